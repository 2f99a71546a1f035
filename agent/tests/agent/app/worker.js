// A worker that shuts down gracefully, as BullMQ's documentation has it.
import { worker } from "./common.js";
const it = worker();
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, async () => { console.log("closing"); await it.close(); process.exit(0); });
