// A worker as an application has it: it knows nothing of Spillway. Jobs take `data.ms`; their runs are recorded in the stream
// `worker:runs`: start, a tick every 200 ms, done.
// Environment: WORKER_REDIS, WORKER_QUEUE, WORKER_CONCURRENCY; ON names the place if there is no instance id.
const { Worker } = require("bullmq");
const Redis = require("ioredis");
const { randomUUID } = require("crypto");

const connect = () => new Redis(process.env.WORKER_REDIS, { maxRetriesPerRequest: null });
const redis = connect();
const on = process.env.SPILLWAY_INSTANCE_ID || process.env.ON;

const work = async (job) => {
  const run = randomUUID();
  const record = (what) => redis.xadd("worker:runs", "*", "job", job.id, "run", run, "on", on, "what", what);
  await record("start");
  const ticks = setInterval(() => record("tick"), 200);
  await new Promise((resolve) => setTimeout(resolve, job.data.ms));
  clearInterval(ticks);
  await record("done");
};

const options = { connection: connect(), concurrency: Number(process.env.WORKER_CONCURRENCY) };
const worker = new Worker(process.env.WORKER_QUEUE, work, options);
worker.on("error", (error) => console.error(error.message));
