// BullMQ's side of the property test: puts a queue into a random state in which a dead instance's jobs are active, and lets
// BullMQ's own workers run what was handed back.
//
// One JSON command a line on stdin, one JSON answer a line on stdout, until stdin ends. `version` is 3, 4, 50 (5.0.0),
// 512 (5.12.0), 5 or 6; the packages are those of tests/js.
//   {"cmd":"state","seed":7,"version":5,"redis":"redis+unix:///…"}
//     a queue that follows from the seed; the answer:
//       prefix queue   where it is
//       active         [{id kind token priority before}]: its active jobs. `kind` is what is said of it in `kinds`,
//                      `before` the counters of its hash before its last run
//       waiting        ids of the other jobs that can run once the queue is open
//       idle           an idle worker is blocked on the queue, and starts the first job that can run
//   {"cmd":"twist"}    what happens to some of the active jobs after they were looked at
//   {"cmd":"first"}    once a job has started: {id}, or {} where none does within 3 s
//   {"cmd":"drain"}    opens the queue, ends the jobs that still are somebody's, and runs the rest:
//                      {runs: [{id name counters}], left: {list: [ids]}}
//   {"cmd":"queue", "version", "redis", "jobs": [opts]}    a queue with these jobs, for a worker that will be killed
//   {"cmd":"idle"}     starts a worker, and answers once it is blocked
//   anything that goes wrong: {"error":"…"}
import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(new URL("../../../../tests/js/package.json", import.meta.url));
const { Redis } = require("ioredis");

const instance = "i-1";
const other = "i-12"; // begins with the other's id
const hour = 3_600_000;

// What can be true of an active job. Those of `later` happen in `twist`.
const kinds = ["plain", "plain", "plain", "plain", "expired", "named", "namedOld", "stale", "other", "unnamed"];
const later = ["finished", "stalled", "taken", "renewed", "expiredLater", "gone", "takenUnlocked", "takenLockless"];
// Those whose lock has expired before anybody looks.
const lockless = ["expired", "takenUnlocked", "takenLockless"];

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

const clients = new Map();
function client(url) {
  const path = url.replace("redis+unix://", "");
  if (!clients.has(path)) clients.set(path, new Redis({ path, maxRetriesPerRequest: null }).setMaxListeners(0));
  return clients.get(path);
}

// The state that the last `state` or `queue` made.
let now;

const takers = new Map();
// A worker that runs nothing by itself: it takes jobs as a worker of that name would.
async function taker(name) {
  const key = JSON.stringify([now.version, now.prefix, now.name, name]);
  if (!takers.has(key)) {
    const { Worker } = now.bullmq;
    const made = new Worker(now.name, null, { ...now.options, autorun: false, ...(name && { name }) });
    made.on("error", () => {});
    await made.waitUntilReady();
    takers.set(key, made);
  }
  const found = takers.get(key);
  found.limitUntil = 0;
  return found;
}

async function take(name, token) {
  const job = await (await taker(name)).getNextJob(token, { block: false });
  if (!job) throw new Error("there is no job to take");
  return job;
}

const counters = ["attemptsMade", "atm", "ats", "stc", "stalledCounter"];
async function countersOf(id) {
  const values = await now.client.hmget(`${now.key}:${id}`, ...counters);
  return Object.fromEntries(counters.map((name, i) => [name, Number(values[i] ?? 0)]));
}

// Two stall checks: the first marks, the second moves those of the marked that `only` names.
async function stallChecks(only) {
  const worker = await taker(null);
  for (let check = 0; check < 2; check++) {
    await now.client.del(`${now.key}:stalled-check`);
    const marked = (await now.client.smembers(`${now.key}:stalled`)).filter((id) => !only.includes(id));
    if (marked.length > 0) await now.client.srem(`${now.key}:stalled`, ...marked);
    await worker.moveStalledJobsToWait();
  }
}

let ids = 0;
function customId(rng, version) {
  ids += 1;
  const odd = ["käse 🧀", "a b", "{x}", "o'b\"r", "%s\\n", "-x", "*[a-z]?", "line\nbreak", "tab\t", "0x", "lock", "x".repeat(300)];
  if (version < 5) odd.push("a:b");
  return `${rng.pick(odd)}${ids}`;
}

function options(rng, version) {
  return {
    ...(rng.chance(0.4) && { priority: rng.pick([1, 2, 2, 10, 2_000_000]) }),
    ...(rng.chance(0.3) && { jobId: customId(rng, version) }),
    ...(rng.chance(0.2) && { lifo: true }),
    ...(rng.chance(0.2) && { removeOnComplete: true }),
    attempts: 4,
  };
}

// Adds a job to a queue in which nothing else can be taken, and takes it as its kind says.
async function hold(rng, kind) {
  const { queue, version, client, key } = now;
  const opts = options(rng, version);
  const { id } = await queue.add("held", {}, opts);
  // An unnamed worker leaves the last one's name: where that is the instance's, the kind is `stale`.
  for (let used = kind === "unnamed" ? 0 : rng.below(3); used > 0; used--) {
    const token = `${instance}:earlier:${used}`;
    const job = await take(instance, token);
    await job.moveToFailed(new Error("earlier"), token, false);
  }
  if (kind === "stale") {
    const job = await take(instance, "earlier:0");
    await job.moveToFailed(new Error("earlier"), "earlier:0", false);
  } else if (rng.chance(0.2) && ![...lockless, "expiredLater", "stalled"].includes(kind)) {
    // A second stall would fail it.
    await take(null, "earlier:1");
    await client.del(`${key}:${id}:lock`);
    await stallChecks([id]);
  }
  const before = await countersOf(id);
  const worker = { other, stale: null, unnamed: null }[kind];
  const name = worker === undefined ? instance : worker;
  const prefix = ["named", "namedOld", "stale", "unnamed"].includes(kind) ? "" : `${name}:`;
  const token = `${prefix}${randomUUID()}:${rng.below(9)}`;
  const job = await take(name, token);
  if (job.id !== id) throw new Error(`took ${job.id} instead of ${id}`);
  if (lockless.includes(kind)) await client.del(`${key}:${id}:lock`);
  if (kind === "namedOld") await client.pexpire(`${key}:${id}:lock`, 9000);
  now.active.push({ id, kind, token, priority: opts.priority ?? 0, before, job });
}

async function others(rng, most) {
  const { queue, version } = now;
  for (let n = rng.below(most + 1); n > 0; n--) {
    const job = await queue.add("other", {}, options(rng, version));
    now.waiting.push(job.id);
  }
}

async function open(command, queueName, prefix) {
  const { version, redis: url } = command;
  await close();
  const bullmq = require(`bullmq${version}`);
  const connection = client(url);
  const keys = await connection.keys("*");
  if (keys.length > 0) await connection.unlink(...keys);
  const options = { connection, prefix };
  const queue = new bullmq.Queue(queueName, options);
  await queue.waitUntilReady();
  const key = `${prefix}:${queueName}`;
  now = { version, bullmq, client: connection, options, queue, prefix, name: queueName, key };
  Object.assign(now, { active: [], waiting: [], runs: [], workers: [], started: null });
}

async function close() {
  if (!now) return;
  await Promise.all(now.workers.map((worker) => worker.close(true)));
  await now.queue.close();
  now = undefined;
}

async function state(command) {
  const { seed, version } = command;
  const rng = random(seed * 7 + version);
  await open(command, rng.pick(["q", "Jobs of ours", "video"]), rng.pick(["bull", "bull", "{our}:prefix", "x y"]));
  const { queue, client, key } = now;
  const idle = rng.chance(0.3);
  for (let n = rng.below(idle ? 2 : 4); n >= 0; n--) {
    await hold(rng, idle ? "plain" : rng.chance(0.4) ? rng.pick(later) : rng.pick(kinds));
  }
  for (let n = rng.below(idle ? 1 : 3); n > 0; n--) await hold(rng, rng.pick(["other", "unnamed"]));
  const canLimit = queue.setGlobalConcurrency !== undefined;
  const limit = idle ? now.active.length + rng.below(2) : Math.max(1, now.active.length - 2 + rng.below(4));
  const concurrency = canLimit && rng.chance(0.4) ? limit : null;
  if (concurrency) await queue.setGlobalConcurrency(concurrency);
  if (rng.chance(0.4)) await client.sadd(`${key}:stalled`, ...now.active.map(({ id }) => id)); // as a stall check does
  const maxed = concurrency !== null && concurrency <= now.active.length;
  if (!idle || maxed) await others(rng, 4);
  for (let n = rng.below(3); n > 0; n--) await queue.add("later", {}, { delay: hour, ...(rng.chance(0.3) && { priority: 2 }) });
  if (!idle && rng.chance(0.35)) {
    await queue.pause();
    now.paused = true;
    if (rng.chance(0.5)) await others(rng, 2);
    // BullMQ 6 took the queue over from 5 while it was paused.
    if (version === 6 && rng.chance(0.2) && (await client.exists(`${key}:wait`))) await client.rename(`${key}:wait`, `${key}:paused`);
  }
  if (!idle && rng.chance(0.2)) {
    if (version < 5) await (await taker(null)).rateLimit(30_000);
    else if (version === 6) await queue.setGlobalRateLimit(2, 60_000);
    else if (queue.rateLimit) await queue.rateLimit(30_000);
  }
  if (rng.chance(0.3)) await client.hdel(`${key}:meta`, "version");
  if (rng.chance(0.1)) await client.hset(`${key}:meta`, "opts.maxLenEvents", 20);
  if (rng.chance(0.5)) await client.del(`${key}:marker`); // an idle worker has taken it
  if (idle) await startIdle();
  const active = now.active.map(({ job, ...rest }) => rest);
  return { prefix: now.prefix, queue: now.name, active, waiting: now.waiting, idle };
}

async function twist() {
  const { client, key } = now;
  for (const { id, kind, token, job } of now.active) {
    const lock = `${key}:${id}:lock`;
    if (kind === "finished") await job.moveToCompleted({}, token, false);
    if (kind === "taken" || kind === "takenUnlocked") await client.set(lock, "thief:1", "PX", 30_000);
    if (kind === "takenLockless") await client.hset(`${key}:${id}`, "pb", other);
    if (kind === "renewed") await client.pexpire(lock, 60_000);
    if (kind === "expiredLater") await client.del(lock);
    if (kind === "gone") await client.del(`${key}:${id}`);
    if (kind === "stalled") {
      await client.del(lock);
      await stallChecks([id]);
    }
  }
  return {};
}

async function run(concurrency) {
  const state = now;
  const worker = new state.bullmq.Worker(
    state.name,
    async (job) => {
      state.runs.push({ id: job.id, name: job.name, counters: await countersOf(job.id) });
      state.started?.({ id: job.id });
    },
    { ...state.options, concurrency },
  );
  worker.on("error", () => {});
  state.workers.push(worker);
  await worker.waitUntilReady();
}

async function startIdle() {
  await run(1);
  await until(async () => / flags=\w*b/.test(await now.client.client("LIST")), "the worker is not blocked");
  return {};
}

async function until(holds, otherwise) {
  for (let tries = 0; tries < 1000; tries++) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 3));
  }
  throw new Error(otherwise);
}

function first() {
  return new Promise((resolve) => {
    now.started = resolve;
    if (now.runs.length > 0) resolve({ id: now.runs[0].id });
    setTimeout(() => resolve({}), 3000).unref();
  });
}

const lists = async () => {
  const { client, key } = now;
  const left = {};
  for (const list of ["wait", "paused", "active"]) left[list] = await client.lrange(`${key}:${list}`, 0, -1);
  left.prioritized = await client.zrange(`${key}:prioritized`, 0, -1);
  for (const list of ["wait", "paused"]) left[list] = left[list].filter((id) => !id.startsWith("0:"));
  return left;
};

async function drain() {
  const { queue, client, key, version } = now;
  if (now.paused) await queue.resume();
  await client.del(`${key}:limiter`);
  if (version === 6) await queue.removeGlobalRateLimit();
  // Whose lock was not touched must be able to finish; who has none is found by the stall check.
  const active = await client.lrange(`${key}:active`, 0, -1);
  const lost = [];
  for (const { id, token, kind, job } of now.active) {
    if (now.workers.length > 0 && kind === "plain") continue; // the idle worker's by now
    if (!active.includes(id)) continue;
    const held = ["taken", "takenUnlocked"].includes(kind) ? "thief:1" : token;
    if (await client.exists(`${key}:${id}:lock`)) await job.moveToCompleted({}, held, false);
    else lost.push(id);
  }
  if (lost.length > 0) await stallChecks(lost);
  await run(2);
  const settled = async () => Object.values(await lists()).every((list) => list.length === 0);
  await until(settled, "").catch(() => {});
  const left = await lists();
  return { runs: now.runs, left };
}

async function queue(command) {
  await open(command, "killed", "bull");
  for (const opts of command.jobs) now.waiting.push((await now.queue.add("job", {}, opts)).id);
  return { prefix: now.prefix, queue: now.name, waiting: now.waiting };
}

const commands = { state, twist, first, drain, queue, idle: startIdle };

for await (const line of createInterface({ input: process.stdin })) {
  if (line.trim() === "") continue;
  let reply;
  try {
    const command = JSON.parse(line);
    reply = await commands[command.cmd](command);
  } catch (error) {
    reply = { error: String(error?.stack ?? error) };
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
process.exit(0);
