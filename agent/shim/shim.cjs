'use strict';
/*
 * The worker shim: the agent puts it into every node and bun process of the application's boot, where it does nothing
 * until a BullMQ Worker is constructed. It names that Worker after the instance, tells the agent which jobs run, and on
 * the agent's word fences the process (no further job starts), lifts the fence, or hands the running jobs back.
 *
 *   NODE_OPTIONS="--require PATH"   BUN_OPTIONS="--preload=PATH"   SPILLWAY_INSTANCE_ID   SPILLWAY_WORKER_SOCKET
 *
 * Lines of JSON over that unix socket. To the agent:
 *   {"hello":{pid,protocol,runtime}}   first on each connection, with a state next
 *   {"state":{fenced,workers:[{queue,prefix,bullmq,concurrency,sandboxed,hand_back,doing,…}],
 *             jobs:[{queue,prefix,id,token,name,ms,sandboxed}]}}   within 20 ms of a change, and every 2 s (state.cjs)
 *   {"finished":{queue,name,ms}}   for each job that completed while the agent was connected
 *   {"problem":"…"}   what could not be done; all of them again on a new connection
 *   {"done":{id,problem?}}   answers a command; to a hand-back with frozen, handed_back:[{queue,prefix,id}] and
 *                            kept:[{queue,prefix,id,why}]
 * From the agent: {"do":"fence","id"}, {"do":"unfence","id"}, {"do":"hand_back","id","freeze"}. A file SOCKET.fenced
 * says to a process that starts that it is fenced from its first Worker on.
 *
 * Worker.pause() is not used. It is the application's to call and to undo; BullMQ 3, 4 and the earlier 5 strand jobs
 * that are just being fetched when it is called; and a Worker that is paused while it waits swallows another Worker's
 * wake-up. A fence holds the Worker's calls of moveToActive and waitForJob instead, and keeps a job that ends from
 * bringing the next one.
 *
 * Everything here works or leaves BullMQ alone. Nothing throws, prints, handles a signal or keeps the process alive.
 */
const instance = process.env.SPILLWAY_INSTANCE_ID;
const address = process.env.SPILLWAY_WORKER_SOCKET;
const SHIM = Symbol.for('spillway.worker-shim');
const DEFINES_WORKER = /[\\/]dist[\\/](?:cjs|esm)[\\/]classes[\\/]worker\.js$/;
const METHODS = ['moveToActive', 'waitForJob', 'processJob', 'close'];
const KNOWN_MAJORS = [3, 4, 5, 6];
const COALESCE_MS = 20, BEAT_MS = 2000, LIMBO_MS = 5000, FINISHING_MS = 2000, FLUSH_MS = 200;
const MAX_UNSENT = 1000, MAX_PROBLEMS = 50, MAX_BYTES = 1 << 20;

// What is known of this process ---------------------------------------------------------------------------------------
const workers = new Set(); // an entry for each open Worker
const runs = new Set(); // one for each job from its start to its end in Redis
const run_of = new WeakMap(); // by the Job
const problems = new Set();
const bells = new Set(); // rung at each change
let fenced = false;

const now = () => performance.now();
const later = (ms, run) => setTimeout(() => attempt('the worker shim failed', run), ms).unref();
const place = ({ worker: { name, opts } }, job) => ({
  queue: name, prefix: opts.prefix || 'bull', ...(job && { id: `${job.id}` }),
});
const why = (error) => `${(error && error.message) || error}`;
// Not enumerable: a Worker or Job that is logged or copied looks as before.
const own = (object, name, value) => Object.defineProperty(object, name, { value, writable: true, configurable: true });
const bell = (ms) => new Promise((resolve) => {
  const ring = () => void (bells.delete(ring), clearTimeout(timer), resolve());
  const timer = later(ms, ring);
  bells.add(ring);
});

/** Runs our own code beside BullMQ's: what goes wrong in it is told to the agent, and is nothing else. */
function attempt(what, run) {
  const failed = (error) => problem(`${what}: ${why(error)}`);
  try {
    const result = run();
    return result && typeof result.then === 'function' ? result.then(undefined, failed) : result;
  } catch (error) {
    failed(error);
  }
}

function problem(text) {
  if (problems.has(text) || problems.size >= MAX_PROBLEMS) return;
  problems.add(text);
  try {
    connect();
    send({ problem: text });
  } catch {} // nobody to tell
}

function changed() {
  for (const ring of [...bells]) ring();
  if (!flushing) flushing = later(COALESCE_MS, flush);
}

// The agent -----------------------------------------------------------------------------------------------------------
let socket, connected = false, connecting = false, retry_ms = 100, flushing, unsent = [];

function connect() {
  if (connecting) return;
  if (connecting === false) {
    fenced = require('fs').existsSync(`${address}.fenced`);
    beat();
  }
  connecting = true;
  let input = '';
  socket = require('net').connect({ path: address });
  socket.unref();
  socket.setEncoding('utf8');
  const on = (event, run) => socket.on(event, (data) => attempt('the worker shim failed', () => run(data)));
  on('connect', () => {
    [connected, retry_ms, unsent] = [true, 100, []];
    const { bun, node } = process.versions;
    send({ hello: { pid: process.pid, protocol: 1, runtime: bun ? `bun ${bun}` : `node ${node}` } });
    send({ state: state() });
    for (const text of problems) send({ problem: text });
  });
  on('data', (data) => {
    const lines = (input + data).split('\n');
    input = lines.pop().slice(0, MAX_BYTES);
    for (const line of lines) if (line.trim()) attempt('a command failed', () => obey(line));
  });
  socket.on('error', () => {});
  on('close', () => {
    connected = false;
    connecting = null; // again
    later(retry_ms, connect);
    retry_ms = Math.min(retry_ms * 2, 1000);
  });
}

// An agent that does not read costs no memory: with 1 MiB on the way, only answers are written.
function send(message, then) {
  if (!connected || (!then && socket.writableLength > MAX_BYTES)) return then && then();
  socket.write(`${JSON.stringify(message)}\n`, then);
}

function flush() {
  flushing = undefined;
  if (!connected) return;
  for (const finished of unsent) send({ finished });
  unsent = [];
  send({ state: state() });
}

function beat() {
  flush();
  later(BEAT_MS, beat);
}

async function obey(line) {
  let command;
  try {
    command = JSON.parse(line);
  } catch {}
  const run = command && new Map([['fence', fence], ['unfence', unfence], ['hand_back', hand_back]]).get(command.do);
  if (!run) return problem(`the agent sent a command that this worker shim does not know: ${line.slice(0, 80)}`);
  const answer = await run(command).catch((error) => ({ problem: `${command.do}: ${why(error)}` }));
  const { settle, ...done } = answer || {};
  flush(); // which jobs run now, before the answer
  await new Promise((resolve) => {
    send({ done: { id: command.id, ...done } }, resolve);
    later(FLUSH_MS, resolve);
  });
  // The user's code of jobs that run elsewhere now stops here, until the agent kills it.
  if (done.frozen) process.kill(process.pid, 'SIGSTOP');
  if (settle) settle();
}

// Fence ---------------------------------------------------------------------------------------------------------------
async function fence() {
  fenced = true;
  changed();
  await Promise.all([...workers].map(unblock));
  // A fetch that was on its way brings nothing, or a job, which then runs and is told.
  const certain = (entry) => !entry.fetching && !entry.blocked && !limbo(entry);
  while (fenced && ![...workers].every(certain)) await bell(5);
}

async function unfence() {
  fenced = false;
  changed();
}

/** Jobs that are fetched but not yet begun. */
function limbo({ limbo }) {
  for (const [id, until] of limbo) if (until < now()) limbo.delete(id);
  return limbo.size;
}

/**
 * Holds a fetch while fenced; true once it may go on. BullMQ's loop needs it back sooner where it has something else to
 * do: begin a job that is in limbo, pause, or close.
 */
async function gate(entry) {
  const { worker } = entry;
  const until = now() + (worker.processFn ? Infinity : 1000);
  while (fenced && !worker.closing && !worker.paused && !limbo(entry) && now() < until) await bell(250);
  return !fenced;
}

const client = ({ worker }) => (worker.backend ? worker.backend.client : worker.client);
const blocking = ({ worker }) => (worker.backend ? worker.backend.blockingClient : worker.blockingConnection.client);

/** Learns the number of the blocking connection while it is not blocked. Redis clients other than ioredis hide it. */
async function number(entry) {
  const connection = await blocking(entry);
  entry.connection = connection;
  if (!connection || connection.status !== 'ready' || typeof connection.client !== 'function') return;
  if (connection.stream === entry.stream && entry.number !== undefined) return;
  entry.number = await Promise.race([connection.client('ID').catch(() => undefined), bell(1000)]);
  entry.stream = connection.stream;
}

/**
 * Ends a blocked wait. CLIENT UNBLOCK loses nothing: what Redis had already given to the wait still arrives. Where it
 * is not possible the connection is closed, and a wake-up that this may have lost is made good.
 */
async function unblock(entry) {
  for (let turn = 0; turn < 20 && entry.blocked && fenced && entry.number !== undefined; turn += 1) {
    const answer = await (await client(entry)).client('UNBLOCK', entry.number).catch(() => undefined);
    if (answer === undefined) break;
    await bell(5);
  }
  if (!entry.blocked || !fenced) return;
  await attempt(`the wait for jobs of ${entry.worker.name} could not be ended`, async () => {
    const { backend, blockingConnection } = entry.worker;
    await (backend ? backend.disconnectBlocking(true) : blockingConnection.disconnect(true));
    await (backend ? backend.reconnectBlocking() : blockingConnection.reconnect());
  });
  entry.blocked = false;
  for (const ms of [0, 50]) later(ms, () => wake(entry));
}

/** Gives a wake-up back to the queue's other workers, which else sleep for drainDelay. One too many is harmless. */
function wake(entry) {
  const { worker, major } = entry;
  return attempt(`the other workers of ${worker.name} could not be woken`, async () => {
    const redis = await client(entry);
    if (!redis || major < 4) return; // 3 waits for the jobs themselves
    if (major >= 5) return redis.zadd(worker.toKey('marker'), 0, '0');
    const keys = ['wait', 'prioritized', 'meta'].map((name) => worker.toKey(name));
    return redis.eval(`if redis.call('LLEN', KEYS[1]) == 0 and redis.call('ZCARD', KEYS[2]) > 0
      and redis.call('HEXISTS', KEYS[3], 'paused') == 0 then redis.call('LPUSH', KEYS[1], '0:0') end`, 3, ...keys);
  });
}

// Hand back -----------------------------------------------------------------------------------------------------------
async function hand_back({ freeze }) {
  await fence();
  const handed_back = [], kept = [], moved = [], outside = 'handed back by the agent once its process is dead';
  let frozen = !!freeze;
  // Results that are on the way to Redis come first: from the first job that is moved on, the freeze must not be far.
  for (const until = now() + FINISHING_MS; [...runs].some((run) => run.finishing) && now() < until; ) await bell(20);
  await Promise.all([...runs].filter((run) => !run.moved).map(async (run) => {
    const where = place(run.entry, run.job);
    if (run.entry.sandboxed) return kept.push({ ...where, why: `sandboxed: ${outside}` });
    if (!run.entry.worker.processFn) return kept.push({ ...where, why: `fetched with getNextJob: ${outside}` });
    try {
      if (run.finishing || !run.reject) throw new Error('it was about to end, but Redis does not answer');
      await move(run);
      handed_back.push(where);
      run.moved = true;
      moved.push(run);
    } catch (error) {
      frozen = false;
      kept.push({ ...where, why: why(error) });
    }
  }));
  // By its name or its message every BullMQ takes this for "the job has been moved already".
  const error = Object.assign(new Error('DelayedError'), { name: 'DelayedError' });
  const settle = () => moved.forEach((run) => run.reject(error));
  return { handed_back, kept, frozen, settle };
}

/** To the front of its queue; no attempt and no stall is spent. MOVE is move.lua, which the agent appends to this file. */
async function move({ entry, job, token }) {
  const { worker, major } = entry, id = `${job.id}`;
  const redis = await client(entry);
  if (typeof job.moveToWait !== 'function') {
    const sorted = major < 4 ? 'priority' : 'prioritized';
    const names = ['active', 'wait', 'paused', sorted, 'stalled', 'marker', 'meta', 'events', id, `${id}:lock`];
    const keys = names.map((name) => worker.toKey(name));
    if ((await redis.eval(MOVE, keys.length, ...keys, id, token, major)) !== 1) throw new Error('its lock has expired or was taken');
    return;
  }
  // `pb` would call the next run this instance's where that run's worker has no name.
  if (redis) redis.hdel(worker.toKey(id), 'pb').catch(() => {});
  try {
    await job.moveToWait(token);
  } catch (error) {
    if (redis) redis.hset(worker.toKey(id), 'pb', instance).catch(() => {});
    throw error;
  }
  if (job.opts && job.opts.priority) await wake(entry); // BullMQ's script wakes nobody for such a job
}

// Workers -------------------------------------------------------------------------------------------------------------
/** In place of a BullMQ's Worker class: the same class, but what it constructs is named and watched. */
function hook(Worker, file) {
  const { version } = bullmq(file);
  const { prototype } = Worker || {};
  if (!prototype || !METHODS.every((name) => typeof prototype[name] === 'function')) {
    problem(`BullMQ ${version} has a Worker that is not known here: its jobs are not reported, fenced or handed back`);
    return Worker;
  }
  const watched = new Proxy(Worker, {
    construct(target, args, newTarget) {
      // So early, that the blocking connection carries the name too (5.3 and later).
      const given = attempt('a Worker could not be named', () => named(args)) || args;
      const worker = Reflect.construct(target, given, newTarget);
      attempt('a Worker could not be watched', () => adopt(worker, version, args[1]));
      return worker;
    },
  });
  prototype.constructor = watched;
  return watched;
}

function named([name, processor, opts, ...rest]) {
  if (!opts || typeof opts !== 'object') return undefined;
  const copy = Object.assign(Object.create(Object.getPrototypeOf(opts)), opts, { name: instance });
  return [name, processor, copy, ...rest];
}

function adopt(worker, version, processor) {
  const major = parseInt(version, 10), sandboxed = !!processor && typeof processor !== 'function';
  const entry = { worker, version, major, sandboxed, fetching: 0, blocked: false, limbo: new Map(), ended: 0 };
  if (typeof worker.name !== 'string' || !worker.opts) throw new Error('it has no name or no options');
  if (!KNOWN_MAJORS.includes(major)) problem(`BullMQ ${version} is not one that this worker shim was tested with`);
  // The first part of every lock's token, in all versions. BullMQ does nothing with tokens but compare them.
  if (typeof worker.id === 'string') worker.id = `${instance}:${worker.id}`;
  else problem(`BullMQ ${version} has Workers without id: the locks do not say which instance holds them`);

  const { moveToActive, waitForJob, processJob, processFn, close } = worker;
  own(worker, 'moveToActive', async function (...args) {
    const token = args.find((arg) => typeof arg === 'string');
    // 3 and 4 wait by BRPOPLPUSH: what that brought is in active already, and must go on.
    const popped = major < 5 && typeof args[args.indexOf(token) + 1] === 'string';
    if (fenced && !popped) {
      // From 5.55 on a job that has been moved (DelayedError and its like) fetches the next one by its own token.
      for (const run of runs) if (run.token === token) return undefined;
      if (!(await gate(entry))) return undefined;
    }
    entry.fetching += 1;
    identify(entry);
    try {
      const job = await moveToActive.apply(this, args);
      entry.answered = now();
      if (job && processFn) entry.limbo.set(`${job.id}`, now() + LIMBO_MS);
      else if (job) attempt('a job could not be watched', () => begin(entry, job, token));
      return job;
    } finally {
      entry.fetching -= 1;
      if (fenced) changed();
    }
  });
  own(worker, 'waitForJob', async function (...args) {
    await attempt('the blocking connection has no number', () => number(entry));
    if (fenced) {
      await gate(entry);
      return major < 5 ? undefined : 0; // as after a wait that brought nothing: moveToActive is next
    }
    entry.blocked = true;
    try {
      return await waitForJob.apply(this, args);
    } finally {
      entry.blocked = false;
      if (fenced) {
        changed();
        wake(entry); // it may have taken the marker
      }
    }
  });
  own(worker, 'processJob', function (job, token) {
    const run = attempt('a job could not be watched', () => begin(entry, job, token));
    const ended = processJob.apply(this, arguments);
    if (run) Promise.resolve(ended).then(() => end(run), () => end(run));
    return ended;
  });
  if (processFn) {
    own(worker, 'processFn', function (job) {
      const result = processFn.apply(this, arguments);
      const run = run_of.get(job);
      if (!run) return result;
      const finish = (settle) => (value) => {
        run.finishing = true;
        settle(value);
      };
      return new Promise((resolve, reject) => {
        run.reject = reject;
        Promise.resolve(result).then(finish(resolve), finish(reject));
      });
    });
  }
  own(worker, 'close', function () {
    const closing = close.apply(this, arguments);
    const closed = () => {
      workers.delete(entry);
      flush(); // the process may end with this
    };
    Promise.resolve(closing).then(closed, closed);
    return closing;
  });
  workers.add(entry);
  identify(entry);
  connect();
  changed();
}

function begin(entry, job, token) {
  const run = { entry, job, token, begun: now(), finishing: false };
  entry.limbo.delete(`${job.id}`);
  runs.add(run);
  run_of.set(job, run);
  for (const method of ['moveToCompleted', 'moveToFailed']) {
    const original = job[method];
    own(job, method, async function (...args) {
      const held = fenced;
      if (held) args[2] = false; // the next job
      else entry.fetching += 1;
      try {
        const next = await original.apply(this, args);
        [entry.answered, entry.ended] = [now(), entry.ended + 1];
        if (entry.worker.processFn && Array.isArray(next) && next[0]) entry.limbo.set(`${next[1]}`, now() + LIMBO_MS);
        if (method === 'moveToCompleted' && connected && unsent.length < MAX_UNSENT) {
          unsent.push({ queue: entry.worker.name, name: `${job.name}`, ms: Math.round(now() - run.begun) });
        }
        return next;
      } finally {
        if (held) wake(entry); // a queue with a concurrency of its own has a free slot now
        else entry.fetching -= 1;
        end(run);
      }
    });
  }
  changed();
  return run;
}

function end(run) {
  if (runs.delete(run)) changed();
}

// Where BullMQ is loaded ----------------------------------------------------------------------------------------------
/** The package.json of a file that may define Worker; undefined where it is not BullMQ's, however it is called. */
function bullmq(file) {
  try {
    const json = require('path').join(file, '../../../../package.json');
    const found = JSON.parse(require('fs').readFileSync(json, 'utf8'));
    return found.name === 'bullmq' ? found : undefined;
  } catch {
    return undefined;
  }
}

// Node and bun load BullMQ as CommonJS, however it is imported: its package.json has neither "exports" nor "type".
function hookCommonJs() {
  const { Module } = require('module');
  // Whatever transpiles on the way (tsx, ts-node) is below Module.load, which bun does not have.
  const [owner, name] = Module.prototype.load ? [Module.prototype, 'load'] : [Module._extensions, '.js'];
  const original = owner[name];
  owner[name] = function (first, second) {
    const result = original.apply(this, arguments);
    const [module, file] = name === 'load' ? [this, first] : [first, second];
    if (DEFINES_WORKER.test(file) && bullmq(file)) {
      attempt('BullMQ could not be watched', () => {
        const watched = hook(module.exports.Worker, file);
        if (watched !== module.exports.Worker) module.exports.Worker = watched;
      });
    }
    return result;
  };
}

// Bun can be told to load the other copy (--main-fields=module). An ES module's exports change only from within.
function hookBunModules() {
  const setup = (build) => build.onLoad({ filter: /[\\/]dist[\\/]esm[\\/]classes[\\/]worker\.js$/ }, ({ path }) => {
    let contents = require('fs').readFileSync(path, 'utf8');
    if (bullmq(path) && /^export class Worker\b/m.test(contents)) {
      const hook = `globalThis[Symbol.for(${JSON.stringify(SHIM.description)})]`;
      contents += `\n;Worker = ${hook}(Worker, ${JSON.stringify(path)});\n`;
    }
    return { contents, loader: 'js' };
  });
  Bun.plugin({ name: 'spillway', setup });
}

try {
  if (instance && address && !globalThis[SHIM]) {
    Object.defineProperty(globalThis, SHIM, { value: hook });
    hookCommonJs();
    if (process.versions.bun) hookBunModules();
  }
} catch {
  // The application is as it was without the shim. The agent misses the hello, and says so.
}
