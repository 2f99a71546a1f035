// Fetches its jobs by hand, without a processor: start and end, as the others.
const { Worker } = require("bullmq");
const connection = { host: "127.0.0.1", port: Number(process.env.REDIS_PORT), maxRetriesPerRequest: null };
const worker = new Worker("q", null, { connection, autorun: false });
(async () => {
  console.log("ready");
  for (;;) {
    const job = await worker.getNextJob("by-hand", { block: true });
    if (!job) continue;
    console.log("start", "q", job.id, job.attemptsMade, 0);
    await new Promise((resolve) => setTimeout(resolve, job.data.ms));
    await job.moveToCompleted("well", "by-hand", false);
    console.log("end", "q", job.id);
  }
})();
