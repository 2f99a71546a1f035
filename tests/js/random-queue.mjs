// Puts queues into random states, and says what BullMQ itself counts there.
//
// One JSON command a line on stdin, one JSON answer a line on stdout, until stdin ends:
//   {"cmd":"random","seed":7,"version":5,"queue":"q","redis":"redis://127.0.0.1:6379","prefix":"bull"}
//     deletes the queue, then brings it into a state that follows from the seed. The answer:
//       waiting prioritized delayed active completed failed waiting_children   numbers, from BullMQ's getters
//       delayed_due    of the delayed, those whose time has come: it does not change for 30 s
//       paused         isPaused()
//       concurrency    the global concurrency, or null
//       marker         a delay marker of BullMQ 4 stands in `wait` or `paused`
//       steps          what was done, to be read when a seed fails
//   {"cmd":"fractions", …the same without seed and version}    a queue with one job whose time is a fraction, and a global
//     concurrency of Infinity. The answer: id, the job's
//   {"cmd":"obliterate", …the same without seed}    BullMQ's own Queue.obliterate
//   {"cmd":"delete", …the same without seed and version}    no key is left: a queue that never existed
//   anything that goes wrong: {"error":"…"}
//
// The state stands still once it is answered. BullMQ's getters remove a delay marker that they find; it is put back.
import { createInterface } from "node:readline";
import { bullmq, connect } from "./bullmq.mjs";

const redis = new Map(); // by URL
const workers = new Map(); // by version, URL, prefix and queue
const soon = 2; // ms: delays that are over when the state is answered
const later = [60_000, 3_600_000, 86_400_000];

// mulberry32
function random(seed) {
  let a = seed >>> 0;
  const next = () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n) => Math.floor(next() * n);
  return { below, chance: (p) => next() < p, pick: (list) => list[below(list.length)] };
}

function client(url) {
  if (!redis.has(url)) redis.set(url, connect(url));
  return redis.get(url);
}

async function remove(client, prefix, name) {
  for (const queue of [name, `${name}-children`]) {
    const keys = await client.keys(`${prefix}:${queue.replace(/[*?[\]\\]/g, "\\$&")}:*`);
    if (keys.length > 0) await client.unlink(...keys);
  }
}

async function worker({ version, redis: url, prefix, queue }) {
  const key = JSON.stringify([version, url, prefix, queue]);
  if (!workers.has(key)) {
    const { Worker } = bullmq(version);
    const made = new Worker(queue, null, { connection: client(url), prefix, name: "random", autorun: false });
    made.on("error", () => {});
    await made.waitUntilReady();
    workers.set(key, made);
  }
  const found = workers.get(key);
  found.limitUntil = 0; // what the last state's rate limit left behind
  return found;
}

// The steps: each is a function of the state's context. `weight` is how often it is drawn.
const steps = {
  async add({ queue, rng }) {
    for (let n = rng.below(4); n >= 0; n--) await queue.add("job", {}, options(rng));
  },
  async lifo({ queue }) {
    await queue.add("job", {}, { lifo: true });
  },
  async prioritized({ queue, rng }) {
    for (let n = rng.below(3); n >= 0; n--) await queue.add("job", {}, { priority: rng.pick([1, 2, 2, 10, 2_097_151]) });
  },
  async delayed({ queue, rng }) {
    await queue.add("job", {}, { delay: rng.pick(later), ...(rng.chance(0.3) && { priority: 1 + rng.below(3) }) });
  },
  async due({ queue, rng }) {
    await queue.add("job", {}, { delay: 1 + rng.below(soon), ...(rng.chance(0.3) && { priority: 1 + rng.below(3) }) });
  },
  async bulk({ queue, rng }) {
    await queue.addBulk(Array.from({ length: 1 + rng.below(8) }, () => ({ name: "job", data: {}, opts: options(rng) })));
  },
  async same({ queue, rng }) {
    await queue.add("job", {}, { jobId: `same-${rng.below(3)}` });
  },
  async flow({ flows, queue, rng }) {
    const opts = rng.pick([{}, { priority: 2 }, { delay: rng.pick(later) }]);
    const id = `flow-${rng.below(1e9)}`; // BullMQ's own are random
    const children = Array.from({ length: 1 + rng.below(3) }, (_, n) => ({
      name: "child",
      queueName: rng.chance(0.5) ? queue.name : `${queue.name}-children`,
      data: {},
      opts: { jobId: `${id}-${n}` },
    }));
    await flows.add({ name: "parent", queueName: queue.name, data: {}, opts: { ...opts, jobId: id }, children });
  },
  async schedule({ queue, rng, version }) {
    const every = rng.pick(later.slice(1)); // BullMQ 4 runs them at multiples of the interval
    if (version === 4) await queue.add("repeated", {}, { repeat: { every } });
    else await queue.upsertJobScheduler(`every-${every}`, { every }, { name: "repeated" });
  },
  async pause({ queue }) {
    await queue.pause();
  },
  async resume({ queue }) {
    await queue.resume();
  },
  async limit({ queue, rng, version }) {
    if (version > 4) await queue.setGlobalConcurrency(1 + rng.below(4));
  },
  async unlimit({ queue, version }) {
    if (version > 4) await queue.removeGlobalConcurrency();
  },
  async rate({ queue, worker, version }) {
    if (version === 4) await worker.rateLimit(30_000);
    else if (version === 5) await queue.rateLimit(30_000);
    else await queue.setGlobalRateLimit(2, 60_000);
  },
  async take({ taken, worker, rng }) {
    await overSoon(); // what a fetch finds must not depend on the clock
    for (let n = rng.below(3); n >= 0; n--) {
      const token = `token-${taken.length}-${rng.below(1e9)}`;
      const job = await worker.getNextJob(token, { block: false });
      if (job) taken.push({ job, token });
    }
  },
  async complete(context) {
    await withTaken(context, ({ job, token }) => job.moveToCompleted({}, token, false));
  },
  async fail(context) {
    await withTaken(context, ({ job, token }) => job.moveToFailed(new Error("random"), token, false));
  },
  async postpone(context) {
    const delay = context.rng.pick([soon, ...later]);
    await withTaken(context, ({ job, token }) => job.moveToDelayed(Date.now() + delay, token));
  },
  async handback(context) {
    if (context.version > 4) await withTaken(context, ({ job, token }) => job.moveToWait(token));
  },
  async stall(context) {
    const { worker, client, key } = context;
    await withTaken(context, async ({ job }) => {
      await client.del(`${key}:${job.id}:lock`);
      for (let look = 0; look < 2; look++) {
        await client.del(`${key}:stalled-check`);
        await worker.moveStalledJobsToWait();
      }
    });
  },
  async retry(context) {
    await withListed(context, "failed", (job) => job.retry("failed"));
  },
  async retryAll({ queue }) {
    await queue.retryJobs({ state: "failed" });
  },
  async promote(context) {
    await withListed(context, "delayed", (job) => job.promote());
  },
  async promoteAll({ queue }) {
    await queue.promoteJobs();
  },
  async reprioritize(context) {
    const priority = context.rng.below(4);
    await withListed(context, context.rng.pick(["prioritized", "wait"]), (job) => job.changePriority({ priority }));
  },
  async redelay(context) {
    await withListed(context, "delayed", (job) => job.changeDelay(context.rng.pick([soon, ...later])));
  },
  async removeOne(context) {
    await withListed(context, context.rng.pick(["wait", "prioritized", "delayed", "completed", "failed"]), (job) => job.remove());
  },
  async drain({ queue, rng }) {
    await queue.drain(rng.chance(0.3));
  },
  async clean({ queue, rng }) {
    await queue.clean(0, 100, rng.pick(["completed", "failed", "wait"]));
  },
};

const weight = { add: 6, take: 6, delayed: 3, due: 3, prioritized: 3, bulk: 3, flow: 3, complete: 4, fail: 3, pause: 2, resume: 2 };
const drawn = Object.keys(steps).flatMap((name) => Array(weight[name] ?? 1).fill(name));

function options(rng) {
  return rng.pick([
    {},
    {},
    { attempts: 3 },
    { attempts: 3, backoff: { type: "fixed", delay: 60_000 } },
    { lifo: true },
    { priority: 1 + rng.below(5) },
    { delay: rng.pick([soon, ...later]) },
    { removeOnComplete: true, removeOnFail: true },
  ]);
}

const overSoon = () => new Promise((resolve) => setTimeout(resolve, 2 * soon));

async function withTaken({ taken, rng }, action) {
  if (taken.length > 0) await action(taken.splice(rng.below(taken.length), 1)[0]);
}

// Takes the jobs by id, so that the getters do not touch a marker.
async function withListed({ client, key, queue, rng }, state, action) {
  const ids = ["wait", "active", "paused"].includes(state)
    ? await client.lrange(`${key}:${state}`, 0, -1)
    : await client.zrange(`${key}:${state}`, 0, -1);
  const jobs = ids.filter((id) => !id.startsWith("0:"));
  if (jobs.length === 0) return;
  const job = await queue.getJob(rng.pick(jobs.sort()));
  if (job) await action(job);
}

async function state(command) {
  const { version, seed, queue: name, redis: url, prefix = "bull" } = command;
  const { Queue, FlowProducer } = bullmq(version);
  const connection = client(url);
  await remove(connection, prefix, name);
  const queue = new Queue(name, { connection, prefix });
  const flows = new FlowProducer({ connection, prefix });
  try {
    await queue.waitUntilReady();
    const rng = random(seed * 3 + version);
    const context = { version, rng, queue, flows, client: connection, key: `${prefix}:${name}`, taken: [] };
    context.worker = await worker({ ...command, prefix });
    const done = [];
    for (let left = 1 + rng.below(24); left > 0; left--) {
      const step = rng.pick(drawn);
      try {
        await steps[step](context);
        done.push(step);
      } catch (error) {
        if (error instanceof TypeError || error instanceof ReferenceError) throw error;
        done.push(`${step}: refused: ${error.message}`); // as BullMQ does with a parent whose children are missing
      }
    }
    await overSoon();
    return { ...(await counts(context)), steps: done };
  } finally {
    await flows.close();
    await queue.close();
  }
}

async function fractions({ queue: name, redis: url, prefix = "bull" }) {
  const { Queue } = bullmq(5);
  const queue = new Queue(name, { connection: client(url), prefix });
  try {
    const { id } = await queue.add("job", {}, { timestamp: Date.now() - 60_000.5 });
    await queue.setGlobalConcurrency(Infinity);
    return { id };
  } finally {
    await queue.close();
  }
}

async function obliterate({ queue: name, version, redis: url, prefix = "bull" }) {
  const { Queue } = bullmq(version);
  const queue = new Queue(name, { connection: client(url), prefix });
  try {
    await queue.obliterate();
    return {};
  } finally {
    await queue.close();
  }
}

async function counts({ client, key, queue, version }) {
  const marker = async (list) => (await client.lindex(`${key}:${list}`, -1))?.startsWith("0:") ?? false;
  const lists = ["wait", "paused"];
  const before = [];
  for (const list of lists) before.push((await marker(list)) ? await client.lindex(`${key}:${list}`, -1) : null);
  const now = Date.now();
  const scores = (await client.zrange(`${key}:delayed`, 0, -1, "WITHSCORES")).filter((_, i) => i % 2 === 1);
  const answer = {
    waiting: await queue.getWaitingCount(),
    prioritized: await queue.getPrioritizedCount(),
    delayed: await queue.getDelayedCount(),
    delayed_due: scores.filter((score) => Math.floor(Number(score) / 4096) <= now).length,
    active: await queue.getActiveCount(),
    completed: await queue.getCompletedCount(),
    failed: await queue.getFailedCount(),
    waiting_children: await queue.getWaitingChildrenCount(),
    paused: await queue.isPaused(),
    concurrency: version > 4 ? await queue.getGlobalConcurrency() : null,
    marker: before.some((found) => found !== null),
  };
  for (const [i, list] of lists.entries()) {
    if (before[i] !== null && !(await marker(list))) await client.rpush(`${key}:${list}`, before[i]);
  }
  return answer;
}

async function answer(line) {
  const command = JSON.parse(line);
  if (command.cmd === "random") return state(command);
  if (command.cmd === "delete") {
    await remove(client(command.redis), command.prefix ?? "bull", command.queue);
    return {};
  }
  if (command.cmd === "fractions") return fractions(command);
  if (command.cmd === "obliterate") return obliterate(command);
  throw new Error(`unknown command ${command.cmd}`);
}

for await (const line of createInterface({ input: process.stdin })) {
  if (line.trim() === "") continue;
  let reply;
  try {
    reply = await answer(line);
  } catch (error) {
    reply = { error: String(error?.stack ?? error) };
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
process.exit(0);
