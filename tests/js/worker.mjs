// node worker.mjs VERSION: works QUEUE_NAMES with that BullMQ, as the demo's worker does with 5.
// Environment: REDIS_URL, QUEUE_NAMES, QUEUE_PREFIX, CONCURRENCY, SPILLWAY_INSTANCE_ID (no name where it is not set).
// Starts are counted in the hash `spillway-demo:runs`, field QUEUE:JOB_ID. SIGINT, SIGTERM: finish the current jobs.
import { bullmq, connect } from "./bullmq.mjs";

const { Worker } = bullmq(Number(process.argv[2]));
const redis = connect(process.env.REDIS_URL);
const workers = process.env.QUEUE_NAMES.split(",").map((queue) => {
  const work = async (job) => {
    await redis.hincrby("spillway-demo:runs", `${queue}:${job.id}`, 1);
    await new Promise((resolve) => setTimeout(resolve, 1000 * (job.data.seconds ?? 1)));
  };
  const worker = new Worker(queue, work, {
    connection: connect(process.env.REDIS_URL),
    prefix: process.env.QUEUE_PREFIX || "bull",
    name: process.env.SPILLWAY_INSTANCE_ID || undefined,
    concurrency: Number(process.env.CONCURRENCY) || 1,
  });
  worker.on("error", (error) => console.error(error.message));
  return worker;
});
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, async () => {
    await Promise.all(workers.map((worker) => worker.close()));
    process.exit(0);
  });
}
await Promise.all(workers.map((worker) => worker.waitUntilReady()));
console.log("ready");
