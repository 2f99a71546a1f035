// Adds jobs. Reads lines of JSON: {add:[queue,[{name,data,opts}]]}, {flood:queue}, {stop:true}; answers a line to each.
const { Queue } = require("bullmq");
const connection = { host: "127.0.0.1", port: Number(process.env.REDIS_PORT), maxRetriesPerRequest: null };
const queues = new Map();
const queue = (name) => {
  if (!queues.has(name)) queues.set(name, new Queue(name, { connection, prefix: process.env.PREFIX || "bull" }));
  return queues.get(name);
};
let flooding = false, added = 0, flood;
// There is always something to fetch.
const pour = async (name) => {
  for (added = 0; flooding; await new Promise((resolve) => setTimeout(resolve, 5))) {
    const { wait, prioritized } = await queue(name).getJobCounts("wait", "prioritized");
    if (wait + prioritized > 200) continue;
    const jobs = Array.from({ length: 100 }, (_, i) => ({
      name: "short", data: { ms: 2, fail: i % 20 === 7 }, opts: { priority: i % 5 === 0 ? 1 + (i % 3) : undefined },
    }));
    await queue(name).addBulk(jobs);
    added += 100;
  }
};
const obey = async ({ add, flood: name, stop }) => {
  if (add) return (await queue(add[0]).addBulk(add[1])).map((job) => job.id);
  flooding = !stop;
  if (name) flood = pour(name);
  else await flood;
  return added;
};
require("node:readline").createInterface({ input: process.stdin }).on("line", async (line) => {
  console.log(JSON.stringify(await obey(JSON.parse(line))));
});
