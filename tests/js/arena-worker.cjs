// A worker as a user would write it: it knows nothing of Spillway. Jobs last `data.ms`; what they do is told in the stream
// `arena:runs`: start, a tick each 200 ms, done.
// Environment: ARENA_REDIS, ARENA_QUEUE, ARENA_CONCURRENCY; ON says where it runs, where no instance id does.
const { Worker } = require("bullmq");
const Redis = require("ioredis");
const { randomUUID } = require("crypto");

const connect = () => new Redis(process.env.ARENA_REDIS, { maxRetriesPerRequest: null });
const redis = connect();
const on = process.env.SPILLWAY_INSTANCE_ID || process.env.ON;

const work = async (job) => {
  const run = randomUUID();
  const tell = (what) => redis.xadd("arena:runs", "*", "job", job.id, "run", run, "on", on, "what", what);
  await tell("start");
  const ticks = setInterval(() => tell("tick"), 200);
  await new Promise((resolve) => setTimeout(resolve, job.data.ms));
  clearInterval(ticks);
  await tell("done");
};

const options = { connection: connect(), concurrency: Number(process.env.ARENA_CONCURRENCY) };
const worker = new Worker(process.env.ARENA_QUEUE, work, options);
worker.on("error", (error) => console.error(error.message));
