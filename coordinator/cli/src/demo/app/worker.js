// A worker for each queue in QUEUE_NAMES. A job takes as many seconds as its data says.
//
// Environment: REDIS_URL, QUEUE_NAMES (comma-separated), QUEUE_PREFIX (bull), CONCURRENCY (1), SPILLWAY_INSTANCE_ID.
//
// Each start of a job is counted in Redis, outside BullMQ's keys: the hash `spillway-demo:runs` has a field
// `QUEUE:JOB_ID` for each job, and a value above 1 means that the job was started more than once.
// No top-level await: PM2 loads this file with require().
import { Worker } from "bullmq";
import { connection, prefix, queues } from "./connection.js";

const name = process.env.SPILLWAY_INSTANCE_ID || "primary";

async function encode(worker, job) {
  const redis = await worker.client;
  await redis.hincrby("spillway-demo:runs", `${job.queueName}:${job.id}`, 1);
  const seconds = Number(job.data.seconds ?? 1);
  const started = Date.now();
  const ends = started + seconds * 1000;
  console.log(`${job.queueName} ${job.id}: started on ${name}, ${seconds} s`);
  for (let now = started; now < ends; now = Date.now()) {
    await new Promise((resolve) => setTimeout(resolve, Math.min(500, ends - now)));
    await job.updateProgress(Math.min(100, Math.round((100 * (Date.now() - started)) / (ends - started))));
  }
  console.log(`${job.queueName} ${job.id}: done`);
  return { by: name };
}

const workers = queues.map((queue) => {
  const worker = new Worker(queue, (job) => encode(worker, job), {
    connection: connection(),
    prefix,
    name,
    concurrency: Number(process.env.CONCURRENCY) || 1,
  });
  worker.on("failed", (job, error) => console.error(`${queue} ${job?.id}: failed: ${error.message}`));
  worker.on("error", (error) => console.error(`${queue}: ${error.message}`));
  return worker;
});

// As BullMQ documents it: close() takes no new job and waits for the current ones.
let closing = false;
async function close(signal) {
  if (closing) return;
  closing = true;
  console.log(`${signal}: finishing the current jobs`);
  await Promise.all(workers.map((worker) => worker.close()));
  process.exit(0);
}
process.on("SIGINT", () => close("SIGINT"));
process.on("SIGTERM", () => close("SIGTERM"));

console.log(`${name} works ${queues.join(", ")}`);
