// A worker as a user writes one: nothing in it knows the shim. It says on stdout, a line each:
//   ready | start QUEUE ID ATTEMPTS MS | end QUEUE ID | failed QUEUE ID | error MESSAGE | did WORD | tick ID MS
// and does what it reads from stdin: pause, resume, close, more QUEUE.
// Environment: REDIS_PORT, QUEUES (name[:concurrency], by commas), PREFIX, SANDBOX (a processor file), LOCK_MS,
// LIMITER (max:duration).
// A job's data: ms, fail, tick (says once a ms that it still runs).
const say = (...words) => process.stdout.write(`${words.join(" ")}\n`);
// The wall clock, as the test reads it. `performance.timeOrigin` is read beside another clock at the process' start, and is
// wrong by as long as the process was not scheduled in between.
const at = () => Date.now();
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

exports.run = async (Worker) => {
  const connection = { host: "127.0.0.1", port: Number(process.env.REDIS_PORT), maxRetriesPerRequest: null };
  const construct = (text) => {
    const [queue, concurrency] = text.split(":");
    const work = async (job) => {
      say("start", queue, job.id, job.attemptsMade, at());
      const end = Date.now() + job.data.ms;
      for (; job.data.tick && Date.now() < end; await sleep(1)) say("tick", job.id, at());
      await sleep(job.data.ms);
      if (job.data.fail) throw new Error("as told");
      say("end", queue, job.id);
    };
    const opts = { connection, concurrency: Number(concurrency) || 1, prefix: process.env.PREFIX || "bull" };
    // A wake-up that is lost costs minutes, and is seen.
    Object.assign(opts, { drainDelay: 300, stalledInterval: 1000 });
    if (process.env.LOCK_MS) opts.lockDuration = Number(process.env.LOCK_MS);
    if (process.env.LIMITER) {
      const [max, duration] = process.env.LIMITER.split(":").map(Number);
      opts.limiter = { max, duration };
    }
    const before = JSON.stringify(opts);
    const worker = new Worker(queue, process.env.SANDBOX ? `${__dirname}/${process.env.SANDBOX}` : work, opts);
    if (!(worker instanceof Worker) || JSON.stringify(opts) !== before) say("error", "the user can see the shim");
    if (Worker.RateLimitError && !(Worker.RateLimitError() instanceof Error)) say("error", "a static method is gone");
    worker.on("failed", (job) => say("failed", queue, job?.id));
    worker.on("error", (error) => say("error", error.message));
    return worker;
  };
  const workers = process.env.QUEUES.split(",").map(construct);
  await Promise.all(workers.map((worker) => worker.waitUntilReady()));
  say("ready");
  require("node:readline").createInterface({ input: process.stdin }).on("line", async (line) => {
    const [word, queue] = line.split(" ");
    if (word === "more") workers.push(construct(queue));
    else await Promise.all(workers.map((worker) => worker[word](word === "pause" ? true : undefined)));
    say("did", word);
    if (word === "close") process.stdin.destroy();
  });
};
