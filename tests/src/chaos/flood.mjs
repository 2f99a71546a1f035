// node flood.mjs BULLMQ VERSION QUEUE JOBS PER_SECOND SHORTEST_MS LONGEST_MS SEED: adds so many jobs, whose durations are as
// likely to be in any decade, and ends when Redis has them all. BULLMQ is the path of tests/js/bullmq.mjs.
// Environment: REDIS_URL.
const [path, version, name, ...numbers] = process.argv.slice(2);
const [jobs, perSecond, shortest, longest, seed] = numbers.map(Number);
const { bullmq, connect } = await import(path);
const connection = connect(process.env.REDIS_URL);
// Every event of a run is kept: they are its record.
const queue = new (bullmq(Number(version)).Queue)(name, { connection, streams: { events: { maxLen: 1_000_000 } } });

let state = seed >>> 0 || 1;
const random = () => {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) / 2 ** 32;
};
const added = [];
for (let job = 0; job < jobs; job += 1) {
  added.push(queue.add("job", { ms: Math.round(shortest * (longest / shortest) ** random()) }));
  await new Promise((resolve) => setTimeout(resolve, 1000 / perSecond));
}
await Promise.all(added);
await queue.close();
await connection.quit();
