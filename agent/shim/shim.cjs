'use strict';
/*
 * The worker shim: put by the agent into every node and bun process of the application's boot, where it does nothing
 * until a BullMQ Worker is constructed. It names that Worker after the instance, tells the agent which jobs run, and on
 * the agent's word fences the process (no further job starts), lifts the fence, or hands the running jobs back.
 *
 *   NODE_OPTIONS="--require PATH"   BUN_OPTIONS="--preload=PATH"   SPILLWAY_INSTANCE_ID   SPILLWAY_WORKER_SOCKET
 *
 * Lines of JSON over that unix socket. To the agent:
 *   {"hello":{pid,protocol,runtime}}, then at once {"state":…}, on each connection
 *   {"state":{fenced,workers:[{queue,prefix,bullmq,concurrency,sandboxed,hand_back}],
 *             jobs:[{queue,prefix,id,token,name,ms,sandboxed}]}}   within 20 ms of a change, and every 2 s
 *   {"finished":{queue,name,ms}}   for each job that completed while the agent was connected
 *   {"problem":"…"}                what could not be done; all of them again on a new connection
 *   {"done":{id,handed_back,kept,frozen,problem}}   answers a command; lists of {queue,prefix,id[,why]}, for a hand-back
 * From the agent: {"do":"fence","id"}, {"do":"unfence","id"}, {"do":"hand_back","id","freeze"}.
 *
 * Worker.pause() is not used. It is the application's to call and to undo; before BullMQ 5.41 it strands the jobs that were
 * being fetched; and a Worker that is paused while it waits takes another Worker's wake-up with it. A fence holds the
 * Worker's calls of moveToActive and waitForJob instead, and keeps a job that ends from bringing the next one.
 *
 * Everything here either works or leaves BullMQ alone. Nothing throws, prints, handles a signal or keeps the process alive.
 */
const instance = process.env.SPILLWAY_INSTANCE_ID;
const address = process.env.SPILLWAY_WORKER_SOCKET;
const SHIM = Symbol.for('spillway.worker-shim');
const DEFINES_WORKER = /[\\/]dist[\\/](?:cjs|esm)[\\/]classes[\\/]worker\.js$/;
const METHODS = ['moveToActive', 'waitForJob', 'processJob', 'close'];
const KNOWN_MAJORS = [3, 4, 5, 6];
const COALESCE_MS = 20, BEAT_MS = 2000, LIMBO_MS = 5000, FINISHING_MS = 2000, FLUSH_MS = 200;
const MAX_UNSENT = 1000, MAX_PROBLEMS = 50, MAX_LINE = 1 << 20;

// What is known of this process -----------------------------------------------------------------------------------------
const workers = new Set(); // one entry for each open Worker
const runs = new Set(); // one for each job between its start and its end in Redis
const run_of = new WeakMap();
const problems = new Set();
const bells = new Set(); // who waits for a change
let fenced = false;

const now = () => performance.now();
const place = ({ worker }, id) => ({ queue: worker.name, prefix: worker.opts.prefix || 'bull', id });
// Not enumerable: a Worker that is logged or cloned looks as before.
const own = (object, name, value) => Object.defineProperty(object, name, { value, writable: true, configurable: true });
const later = (run, ms) => setTimeout(run, ms).unref();
const bell = (ms) => new Promise((resolve) => {
  const ring = () => void (bells.delete(ring), clearTimeout(timer), resolve());
  const timer = later(ring, ms);
  bells.add(ring);
});

/** Runs our own code beside BullMQ's: whatever goes wrong in it is told to the agent and is nothing else. */
function attempt(what, run) {
  try {
    const result = run();
    return result && typeof result.then === 'function' ? result.then(undefined, (error) => problem(what, error)) : result;
  } catch (error) {
    problem(what, error);
  }
}

function problem(what, error) {
  const text = error ? `${what}: ${(error && error.message) || error}` : what;
  if (problems.has(text) || problems.size >= MAX_PROBLEMS) return;
  problems.add(text);
  connect();
  send({ problem: text });
}

function changed() {
  for (const ring of bells) ring();
  if (!flushing) flushing = later(flush, COALESCE_MS);
}

function state() {
  for (const entry of workers) if (entry.closed) workers.delete(entry);
  return {
    fenced,
    workers: [...workers].map((entry) => ({
      ...place(entry), bullmq: entry.version, concurrency: entry.worker.concurrency || entry.worker.opts.concurrency || 1,
      sandboxed: entry.sandboxed, hand_back: entry.sandboxed || !entry.worker.processFn ? 'none' : 'wait',
    })),
    jobs: [...runs].map((run) => ({
      ...place(run.entry, run.job.id), token: run.token, name: run.job.name, ms: Math.round(now() - run.begun),
      sandboxed: run.entry.sandboxed,
    })),
  };
}

// The agent -------------------------------------------------------------------------------------------------------------
let socket, connected = false, connecting = false, retry_ms = 100, flushing, beating, unsent = [];

function connect() {
  if (connecting) return;
  connecting = true;
  if (!beating) beating = later(beat, BEAT_MS);
  try {
    let input = '';
    socket = require('net').connect({ path: address });
    socket.unref();
    socket.setEncoding('utf8');
    socket.on('connect', () => {
      [connected, retry_ms, unsent] = [true, 100, []];
      send({ hello: { pid: process.pid, protocol: 1, runtime: runtime() } });
      send({ state: state() });
      for (const text of problems) send({ problem: text });
    });
    socket.on('data', (data) => {
      const lines = (input + data).split('\n');
      input = lines.pop().slice(0, MAX_LINE);
      for (const line of lines) if (line.trim()) attempt('a command failed', () => obey(line));
    });
    socket.on('error', () => {});
    socket.on('close', reconnect);
  } catch {
    reconnect();
  }
}

function reconnect() {
  connected = false;
  later(() => {
    connecting = false;
    connect();
  }, retry_ms);
  retry_ms = Math.min(retry_ms * 2, 1000);
}

function runtime() {
  return process.versions.bun ? `bun ${process.versions.bun}` : `node ${process.versions.node}`;
}

// An agent that does not read costs no memory: beyond 1 MiB nothing is written but answers.
function send(message, then) {
  if (!connected || (!then && socket.writableLength > MAX_LINE)) return then && then();
  try {
    socket.write(JSON.stringify(message) + '\n', then);
  } catch {
    if (then) then();
  }
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
  beating = later(beat, BEAT_MS);
}

async function obey(line) {
  let command = {};
  try {
    command = JSON.parse(line) || {};
  } catch {}
  const run = { fence, unfence, hand_back }[command.do];
  if (!run) return problem(`the agent said what this worker shim does not know: ${line.slice(0, 80)}`);
  let done;
  try {
    done = await run(command);
  } catch (error) {
    done = { problem: `${command.do}: ${(error && error.message) || error}` };
  }
  flush(); // which jobs run now, before the answer that may depend on it
  await new Promise((resolve) => {
    send({ done: { id: command.id, ...done } }, resolve);
    later(resolve, FLUSH_MS);
  });
  if (!done || !done.frozen) return;
  // The user's code of jobs that now run elsewhere stops here, until the agent kills it.
  process.kill(process.pid, 'SIGSTOP');
}

// Fence -----------------------------------------------------------------------------------------------------------------
async function fence() {
  fenced = true;
  changed();
  await Promise.all([...workers].map(unblock));
  // What was on its way at that moment either brings a job, which then runs and is told, or nothing.
  const certain = (entry) => !entry.fetching && !entry.blocked && !limbo(entry);
  while (fenced && ![...workers].every(certain)) await bell(5);
}

function unfence() {
  fenced = false;
  changed();
}

/** Jobs that are fetched but not yet begun. One that never begins (deferred failures) is not waited for for ever. */
function limbo(entry) {
  for (const [id, until] of entry.limbo) if (until < now()) entry.limbo.delete(id);
  return entry.limbo.size;
}

/**
 * Holds a fetch while fenced; true once it may go on. The worker's loop must have it back before that where it has something
 * else to do: begin a job that is in limbo, close, or pause.
 */
async function gate(entry) {
  const { worker } = entry;
  const until = now() + (worker.processFn ? Infinity : 1000);
  while (fenced && !worker.closing && !worker.paused && !limbo(entry) && now() < until) await bell(250);
  return !fenced;
}

const client = ({ worker }) => (worker.backend ? worker.backend.client : worker.client);
const blocking = ({ worker }) => worker.backend ? worker.backend.blockingClient : worker.blockingConnection.client;

/** The number of the blocking connection, asked while it is not blocked. Undefined where it cannot be asked. */
async function number(entry) {
  const connection = await blocking(entry);
  if (!connection || connection.status !== 'ready' || typeof connection.client !== 'function') return undefined;
  if (connection.stream !== entry.stream || entry.number === undefined) {
    entry.number = await Promise.race([connection.client('ID').catch(() => undefined), bell(1000)]);
    entry.stream = connection.stream;
  }
  return entry.number;
}

/**
 * Ends a blocked wait. CLIENT UNBLOCK loses nothing: what Redis had given to the wait already still arrives. Without it
 * (ACL, another Redis client) the connection is closed, and what was given is made good as far as it can be.
 */
async function unblock(entry) {
  for (let turn = 0; turn < 20 && entry.blocked && fenced; turn += 1) {
    if (entry.number === undefined) break;
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
  for (const ms of [0, 50]) later(() => wake(entry), ms);
}

/** Gives a wake-up back to the queue's other workers, who would else sleep for drainDelay. One too many does no harm. */
async function wake(entry) {
  const { worker, major } = entry;
  await attempt(`the other workers of ${worker.name} could not be woken`, async () => {
    const redis = await client(entry);
    if (!redis || major < 4) return;
    if (major >= 5) return redis.zadd(worker.toKey('marker'), 0, '0');
    const keys = ['wait', 'prioritized', 'meta'].map((name) => worker.toKey(name));
    const script = `if redis.call('LLEN', KEYS[1]) == 0 and redis.call('ZCARD', KEYS[2]) > 0
      and redis.call('HEXISTS', KEYS[3], 'paused') == 0 then redis.call('LPUSH', KEYS[1], '0:0') end`;
    return redis.eval(script, keys.length, ...keys);
  });
}

// Hand back -------------------------------------------------------------------------------------------------------------
async function hand_back({ freeze }) {
  await fence();
  const [handed_back, kept] = [[], []];
  const outside = 'handed back from outside once its process is dead';
  let failed = false;
  const all = [...runs].map(async (run) => {
    const where = place(run.entry, run.job.id);
    if (run.entry.sandboxed) return kept.push({ ...where, why: `sandboxed: ${outside}` });
    if (!run.reject) return kept.push({ ...where, why: `fetched by hand with getNextJob: ${outside}` });
    // Its result is on the way to Redis.
    for (const until = now() + FINISHING_MS; run.finishing && runs.has(run) && now() < until; ) await bell(20);
    if (!runs.has(run)) return;
    try {
      if (run.finishing) throw new Error('it ended, but Redis does not answer');
      await move(run);
      run.moved = true;
      handed_back.push(where);
    } catch (error) {
      failed = true;
      kept.push({ ...where, why: (error && error.message) || String(error) });
    }
  });
  await Promise.all(all);
  const frozen = !!freeze && !failed;
  // By name or message every BullMQ takes it for the error that says "the job is moved already". After a freeze it is
  // thrown only if somebody continues the process.
  const moved = Object.assign(new Error('DelayedError'), { name: 'DelayedError' });
  const settle = () => {
    for (const run of runs) if (run.moved) run.reject(moved);
  };
  if (frozen) later(settle, FLUSH_MS * 2);
  else settle();
  return { handed_back, kept, frozen };
}

/** To the front of its queue; no attempt and no stall is spent. */
async function move({ entry, job, token }) {
  const { worker, major } = entry;
  const redis = await client(entry);
  if (typeof job.moveToWait === 'function') {
    // `pb` would call the next run this instance's where that run's worker has no name.
    const pb = worker.toKey(`${job.id}`);
    if (redis) redis.hdel(pb, 'pb').catch(() => {});
    try {
      await job.moveToWait(token);
    } catch (error) {
      if (redis) redis.hset(pb, 'pb', instance).catch(() => {});
      throw error;
    }
    // BullMQ's script wakes nobody for a job that has a priority.
    if (job.opts && job.opts.priority) await wake(entry);
    return;
  }
  const names = ['active', 'wait', 'paused', major < 4 ? 'priority' : 'prioritized', 'stalled', 'marker', 'meta', 'events'];
  const keys = [...names, `${job.id}`, `${job.id}:lock`].map((name) => worker.toKey(name));
  const moved = await redis.eval(MOVE, keys.length, ...keys, `${job.id}`, token, major);
  if (moved !== 1) throw new Error('it is not locked by this worker any more');
}

// Before 5.41 there is no moveToWait: 3, 4 and 5.0 move a job only while the queue is rate limited, or by way of delayed,
// behind all that wait. 3 and 4 count an attempt when a job starts: it is taken back.
const MOVE = `
local call, id, major = redis.call, ARGV[1], tonumber(ARGV[3])
local job, lock = KEYS[9], KEYS[10]
if call('GET', lock) ~= ARGV[2] or call('LREM', KEYS[1], 1, id) == 0 then return 0 end
local paused = call('HEXISTS', KEYS[7], 'paused') == 1
local priority = tonumber(call('HGET', job, 'priority')) or 0
if priority > 0 then call('ZADD', KEYS[4], major < 4 and priority or priority * 0x100000000, id) end
if priority == 0 or major < 4 then call('RPUSH', paused and KEYS[3] or KEYS[2], id) end
call('DEL', lock)
call('SREM', KEYS[5], id)
call('HDEL', job, 'pb')
if major < 5 then call('HINCRBY', job, 'attemptsMade', -1) end
if not paused and major >= 5 then call('ZADD', KEYS[6], 0, '0') end
if not paused and major == 4 and priority > 0 and call('LLEN', KEYS[2]) == 0 then call('LPUSH', KEYS[2], '0:0') end
call('XADD', KEYS[8], 'MAXLEN', '~', 10000, '*', 'event', 'waiting', 'jobId', id, 'prev', 'active')
return 1`;

// Workers ---------------------------------------------------------------------------------------------------------------
/** In place of a copy's Worker class: the same class, but what it constructs is named and watched. */
function hook(Worker, file) {
  return attempt('BullMQ could not be watched', () => {
    const { version } = bullmq(file);
    const methods = typeof Worker === 'function' && Worker.prototype ? METHODS : [];
    if (!methods.length || !methods.every((name) => typeof Worker.prototype[name] === 'function')) {
      problem(`BullMQ ${version} has a Worker that is not known here: its jobs are neither fenced nor handed back`);
      return Worker;
    }
    const watched = new Proxy(Worker, {
      construct(target, args, newTarget) {
        // As early as this, so that the blocking connection carries the name too (5.3 and later).
        const worker = Reflect.construct(target, attempt('a Worker could not be named', () => named(args)) || args, newTarget);
        attempt('a Worker could not be watched', () => adopt(worker, version, args[1]));
        return worker;
      },
    });
    Worker.prototype.constructor = watched;
    return watched;
  }) || Worker;
}

function named([name, processor, opts, ...rest]) {
  if (!opts || typeof opts !== 'object') return undefined;
  const copy = Object.assign(Object.create(Object.getPrototypeOf(opts)), opts, { name: instance });
  return [name, processor, copy, ...rest];
}

function adopt(worker, version, processor) {
  const major = parseInt(version, 10);
  const sandboxed = !!processor && typeof processor !== 'function';
  const entry = { worker, version, major, sandboxed, fetching: 0, blocked: false, limbo: new Map() };
  if (!KNOWN_MAJORS.includes(major)) problem(`BullMQ ${version} is newer than what this worker shim was tested with`);
  // The first part of every lock's token, in all versions. BullMQ only compares tokens.
  if (typeof worker.id === 'string') worker.id = `${instance}:${worker.id}`;
  else problem(`a Worker of BullMQ ${version} has no id: its locks do not say which instance holds them`);

  const { moveToActive, waitForJob, processJob, processFn, close } = worker;
  own(worker, 'moveToActive', async function (...args) {
    // BullMQ 3 and 4 wait with BRPOPLPUSH: such a job is in active already, and held by nobody else.
    const popped = major < 5 && typeof args[typeof args[0] === 'string' ? 1 : 2] === 'string';
    if (fenced && !popped && !(await gate(entry))) return undefined;
    entry.fetching += 1;
    try {
      const job = await moveToActive.apply(this, args);
      if (job && worker.processFn) entry.limbo.set(`${job.id}`, now() + LIMBO_MS);
      else if (job) attempt('a job could not be watched', () => begin(entry, job, args.find((arg) => typeof arg === 'string')));
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
      return major < 5 ? undefined : 0; // "look whether there is a job", as after a wait that has ended
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
  if (typeof processFn === 'function') {
    own(worker, 'processFn', function (job) {
      const result = processFn.apply(this, arguments);
      const run = run_of.get(job);
      if (!run || sandboxed) return result;
      return new Promise((resolve, reject) => {
        run.reject = reject;
        const finish = (settle) => (value) => {
          run.finishing = true;
          settle(value);
        };
        Promise.resolve(result).then(finish(resolve), finish(reject));
      });
    });
  }
  own(worker, 'close', function (...args) {
    const closing = close.apply(this, args);
    const closed = () => {
      entry.closed = true;
      changed();
    };
    changed();
    Promise.resolve(closing).then(closed, closed);
    return closing;
  });
  workers.add(entry);
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
    if (typeof original !== 'function') continue;
    own(job, method, async function (...args) {
      const held = fenced && args[2] !== false;
      if (held) args[2] = false; // the next job
      else entry.fetching += 1;
      try {
        const next = await original.apply(this, args);
        if (entry.worker.processFn && Array.isArray(next) && next[0]) entry.limbo.set(`${next[1]}`, now() + LIMBO_MS);
        if (method === 'moveToCompleted') finished(run);
        return next;
      } finally {
        if (held) wake(entry); // of a queue with a limit of its own, whose free slot nobody else would learn of
        else entry.fetching -= 1;
        end(run);
      }
    });
  }
  changed();
  return run;
}

function finished({ entry, job, begun }) {
  if (connected && unsent.length < MAX_UNSENT) {
    unsent.push({ queue: entry.worker.name, name: job.name, ms: Math.round(now() - begun) });
  }
}

function end(run) {
  if (runs.delete(run)) changed();
}

// Where BullMQ is loaded --------------------------------------------------------------------------------------------------
/** The package.json beside a file that may define Worker; undefined where it is not BullMQ's, whatever its directory's name. */
function bullmq(file) {
  try {
    const { join } = require('path');
    const found = JSON.parse(require('fs').readFileSync(join(file, '../../../../package.json'), 'utf8'));
    return found.name === 'bullmq' ? found : undefined;
  } catch {
    return undefined;
  }
}

// Node and bun load BullMQ as CommonJS however it is imported: its package.json has neither "exports" nor "type".
function hookCommonJs() {
  const { Module } = require('module');
  const after = (owner, name) => {
    const original = owner[name];
    owner[name] = function (first, file = first) {
      const result = original.apply(this, arguments);
      if (typeof file === 'string' && DEFINES_WORKER.test(file) && bullmq(file)) {
        attempt('BullMQ could not be watched', () => {
          const { exports } = name === 'load' ? this : first;
          const watched = hook(exports.Worker, file);
          if (watched !== exports.Worker) exports.Worker = watched;
        });
      }
      return result;
    };
  };
  // Whatever transpiles on the way (tsx, ts-node) is below Module.load, which bun does not have.
  if (typeof Module.prototype.load === 'function') after(Module.prototype, 'load');
  else after(Module._extensions, '.js');
}

// Bun can be told to load the other copy (--main-fields), and an ES module's exports can be changed only from within.
function hookBunModules() {
  const setup = (build) => build.onLoad({ filter: /[\\/]dist[\\/]esm[\\/]classes[\\/]worker\.js$/ }, ({ path }) => {
    let contents = require('fs').readFileSync(path, 'utf8');
    if (bullmq(path) && /^export class Worker\b/m.test(contents)) {
      contents += `\n;Worker = globalThis[Symbol.for(${JSON.stringify(SHIM.description)})](Worker, ${JSON.stringify(path)});\n`;
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
  // Without the shim the application is as it was; the agent misses the hello, and says so.
}
