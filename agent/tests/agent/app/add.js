// Adds a job for each argument: how many milliseconds it takes.
import { Queue } from "bullmq";
import { connection } from "./common.js";
const queue = new Queue("q", { connection });
for (const ms of process.argv.slice(2)) await queue.add("job", { ms: Number(ms) });
await queue.close();
