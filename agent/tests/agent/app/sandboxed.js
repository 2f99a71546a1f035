// A worker with a sandboxed processor: each job runs in a child process, which outlives a kill of its parent.
import { worker } from "./common.js";
const it = worker({}, new URL("processor.js", import.meta.url));
process.on("SIGINT", async () => { await it.close(); process.exit(0); });
