// node steady-load.mjs VERSION QUEUE JOBS_PER_SECOND SHORTEST_MS LONGEST_MS SEED: adds jobs until its input ends; their
// durations are as likely to be in any decade. Prints how many it added. Environment: REDIS_URL.
import { bullmq, connect } from "./bullmq.mjs";

const [version, name, rate, shortest, longest, seed] = process.argv.slice(2).map((it, at) => (at === 1 ? it : Number(it)));
const connection = connect(process.env.REDIS_URL);
// Every event of a run is kept: they are its record.
const queue = new (bullmq(version).Queue)(name, { connection, streams: { events: { maxLen: 1_000_000 } } });

let state = seed >>> 0 || 1;
const random = () => {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) / 2 ** 32;
};
let added = 0;
const timer = setInterval(async () => {
  added += 1;
  await queue.add("job", { ms: Math.round(shortest * (longest / shortest) ** random()) });
}, 1000 / rate);
process.stdin.resume();
process.stdin.on("end", async () => {
  clearInterval(timer);
  await new Promise((resolve) => setTimeout(resolve, 500));
  await queue.close();
  await connection.quit();
  console.log(added);
});
