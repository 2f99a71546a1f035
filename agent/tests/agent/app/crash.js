// A worker that connects, and then falls over: again and again.
import { sleep, worker } from "./common.js";
worker();
await sleep(1200);
process.exit(1);
