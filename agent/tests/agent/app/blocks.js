// A worker whose job keeps the event loop to itself for as long as it says.
import { worker } from "./common.js";
worker({ concurrency: 1 }, async (job) => { const end = Date.now() + job.data.ms; while (Date.now() < end); });
