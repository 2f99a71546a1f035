
// What the agent is told (appended to shim.cjs) --------------------------------------------------------------------------
function state() {
  return {
    fenced,
    workers: [...workers].map((entry) => ({
      ...place(entry), bullmq: entry.version,
      concurrency: entry.worker.concurrency || entry.worker.opts.concurrency || 1,
      sandboxed: entry.sandboxed, hand_back: entry.sandboxed || !entry.worker.processFn ? 'none' : 'wait',
      ...attempt('what a Worker does is not known', () => activity(entry)),
    })),
    jobs: [...runs].filter((run) => !run.moved).map(({ entry, job, token, begun }) => ({
      ...place(entry, job), token, name: `${job.name}`, ms: Math.round(now() - begun), sandboxed: entry.sandboxed,
    })),
  };
}

/**
 * What a Worker does this moment, as BullMQ's own fields and the calls that are under way have it:
 *   doing     working | waiting (blocked for a job) | fetching | limited (by a rate limit) | paused (by the application) |
 *             closing | new (nobody runs it)
 *   ready     its blocking connection stands; absent where the Redis client hides it
 *   quiet_ms  since Redis answered a fetch or the end of a job; absent before the first
 *   drain_ms  how long Redis lets it wait for a job
 *   limiter_max   its own limiter.max: the queue's counter of starts is not asked beyond it
 *   ended     jobs that ended in it, well or not
 *   run_id, db, address   the Redis that it is connected to, as that Redis and its client name it
 */
function activity(entry) {
  const { worker, connection, answered, ended, redis } = entry, { opts } = worker;
  const status = connection && (connection.status || (typeof connection.isReady === 'boolean' && `${connection.isReady}`));
  return {
    doing: doing(entry), ended, ...redis,
    ...(status && { ready: status === 'ready' || status === 'true' }),
    ...(answered !== undefined && { quiet_ms: Math.round(now() - answered) }),
    ...(Number.isFinite(opts.drainDelay) && { drain_ms: Math.round(opts.drainDelay * 1000) }),
    ...(opts.limiter && Number.isFinite(opts.limiter.max) && { limiter_max: opts.limiter.max }),
    ...(limited(worker) && { limited_ms: Math.round(limited(worker)) }),
  };
}

function doing(entry) {
  const { worker } = entry;
  if ([...runs].some((run) => run.entry === entry && !run.moved)) return 'working';
  if (worker.closing) return 'closing';
  if (worker.paused) return 'paused';
  if (entry.blocked) return 'waiting';
  if (limited(worker)) return 'limited';
  // One without a processor is driven by the application's own calls of getNextJob.
  return worker.running || entry.answered !== undefined || entry.fetching ? 'fetching' : 'new';
}

/** For how long a rate limit holds it back: a time span up to 5.12, a point in time after. */
function limited({ limitUntil }) {
  if (!(limitUntil > 0)) return 0;
  return limitUntil > 1e12 ? Math.max(limitUntil - Date.now(), 0) : limitUntil;
}

/**
 * Asks the Worker's Redis who it is, once for each connection: the agent compares it with its own. What cannot be learnt is
 * not told.
 */
async function identify(entry) {
  try {
    const connection = entry.connection || (await blocking(entry));
    entry.connection = connection;
    if (!connection || entry.identified === (connection.stream || connection)) return;
    entry.identified = connection.stream || connection;
    const redis = await client(entry), options = (redis && redis.options) || {};
    const known = { db: Number(options.db) || 0 };
    if (options.host || options.path) known.address = `${options.path || `${options.host}:${options.port || 6379}`}`;
    const info = redis && typeof redis.info === 'function' ? await redis.info('server').catch(() => '') : '';
    const run_id = /^run_id:(\w+)/m.exec(`${info}`);
    entry.redis = { ...known, ...(run_id && { run_id: run_id[1] }) };
    changed();
  } catch {}
}
