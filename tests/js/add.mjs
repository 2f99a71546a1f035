// node add.mjs VERSION QUEUE JOBS SECONDS [OPTIONS]: adds jobs with that BullMQ. OPTIONS: the jobs' own, as JSON.
// Environment: REDIS_URL, QUEUE_PREFIX.
import { bullmq, connect } from "./bullmq.mjs";

const [version, name, jobs, seconds, options = "{}"] = process.argv.slice(2);
const connection = connect(process.env.REDIS_URL);
const queue = new (bullmq(Number(version)).Queue)(name, { connection, prefix: process.env.QUEUE_PREFIX || "bull" });
for (let left = Number(jobs); left > 0; left -= 1000) {
  const job = () => ({ name: "job", data: { seconds: Number(seconds) }, opts: JSON.parse(options) });
  await queue.addBulk(Array.from({ length: Math.min(left, 1000) }, job));
}
await queue.close();
await connection.quit();
