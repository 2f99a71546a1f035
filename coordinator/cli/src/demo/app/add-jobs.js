// bun add-jobs.js JOBS SECONDS [QUEUE]: adds that many jobs, each of which takes that many seconds; with 0 jobs it makes the queue.
import { Queue } from "bullmq";
import { connection, prefix, queues } from "./connection.js";

const jobs = Number(process.argv[2]);
const seconds = Number(process.argv[3]);
const name = process.argv[4] || queues[0];
if (!(Number.isInteger(jobs) && jobs >= 0 && seconds >= 0)) {
  console.error("usage: bun add-jobs.js JOBS SECONDS [QUEUE]");
  process.exit(2);
}

const queue = new Queue(name, { connection: connection(), prefix });
await queue.waitUntilReady();
for (let added = 0; added < jobs; added += 1000) {
  const count = Math.min(1000, jobs - added);
  await queue.addBulk(
    Array.from({ length: count }, (_, i) => ({ name: "encode", data: { video: `clip-${added + i + 1}.mp4`, seconds } })),
  );
}
await queue.close();
console.log(`added ${jobs} jobs of ${seconds} s to ${name}`);
