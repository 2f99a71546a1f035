// One sentence: what state the pool is in. What keeps it from scaling comes before what it does.

import { ago, clock, counted, inWords, time, until } from './words.js';

const SCALES_AGAIN = 'no scaling until this works again';

/** Queues that were not read for so long are said to be out of date, in milliseconds. */
const OUT_OF_DATE = 60_000;

/** `{ level: 'ok' | 'busy' | 'warn' | 'stop', text }` */
export function headline({ status, pool, connection, historyProblem }, now) {
  if (connection.state === 'cut') {
    const since =
      connection.heard === null
        ? 'No answer from the coordinator'
        : `Cut off since ${clock(connection.heard, Date.now(), true)}`;
    const shown = status ? ': what is shown below is from before that.' : '. Is it running? systemctl status spillway';
    return { level: 'stop', text: `${since}${shown}` };
  }
  if (!status) return { level: 'busy', text: 'Connecting to the coordinator …' };
  if (!pool)
    return { level: 'warn', text: 'This coordinator has no pool: nothing is observed and nothing is launched.' };
  return stopped(status, pool, historyProblem, now) ?? works(pool, now);
}

/** What keeps it from scaling; null where nothing does. */
function stopped(status, pool, historyProblem, now) {
  const stop = (text) => ({ level: 'stop', text });
  if (pool.observation_problem && pool.listing_problem)
    return stop(`Cannot read the queues, nor list EC2's instances: ${SCALES_AGAIN}.`);
  if (pool.observation_problem) return stop(`Cannot read the queues: ${SCALES_AGAIN}.`);
  if (pool.listing_problem) return stop(`Cannot list EC2's instances: ${SCALES_AGAIN}.`);
  if (!status.leader) {
    return { level: 'warn', text: 'Standby: this coordinator is not the leader. It observes and decides nothing.' };
  }
  if (pool.held) {
    const reason = pool.hold_reason ? ` (${pool.hold_reason})` : '';
    return { level: 'warn', text: `Held by an operator${reason}: no launches and no scale-in until resume.` };
  }
  const fix = (pool.launches_blocked ?? []).find((it) => it.needs_a_person);
  if (fix) return stop(`Launching is stopped: EC2 answered ${fix.code} (${fix.class}); ${again(fix, now)}.`);
  const breaker = note(pool, BREAKER);
  if (breaker) return stop(`The breaker is open: ${breaker}.`);
  const blocked = (pool.launches_blocked ?? [])[0];
  if (blocked)
    return {
      level: 'warn',
      text: `Launches wait: EC2 answered ${blocked.code} (${blocked.class}); ${again(blocked, now)}.`,
    };
  if (historyProblem) return { level: 'warn', text: 'The history cannot be read: the status below is live.' };
  const read = time(pool.backlog?.at);
  if (read !== null && now - read > OUT_OF_DATE)
    return { level: 'warn', text: `The queues were last read ${ago(read, now)}.` };
  return null;
}

export const BREAKER = /(\d+ (boots?|instances?) (failed in a row|in a row ended).*?: no launch for .*?)(\. |$)/;
export const AT_CAP = /at the cap: (\d+ of max_instances \d+ .*)/;

/** The first note of the plan that says so; null where none does. */
export function note(pool, pattern) {
  for (const it of pool?.plan?.notes ?? []) {
    const found = pattern.exec(it);
    if (found) return found[1] ?? it;
  }
  return null;
}

export function again(blocked, now) {
  const left = until(time(blocked.retried_at), now);
  return left > 0 ? `tried again in ${inWords(left)}` : 'tried again once an instance is desired';
}

export function phases(pool) {
  const count = (...names) => (pool.instances ?? []).filter((it) => names.includes(it.phase)).length;
  return {
    ready: count('ready'),
    starting: count('launching', 'booting'),
    draining: count('draining'),
    terminating: count('terminating'),
  };
}

/** What it does while nothing is in the way. */
function works(pool, now) {
  const { ready, starting, draining, terminating } = phases(pool);
  const instances = [
    ready && `${ready} ready`,
    starting && `${starting} starting`,
    draining && `${draining} draining`,
    terminating && `${terminating} terminating`,
  ].filter(Boolean);
  const demand = pool.backlog ? counted(pool.backlog.demand, 'job') : null;
  if (demand === null) return { level: 'busy', text: 'The queues have not been read yet: no scaling until they are.' };
  if (pool.backlog.paused)
    return {
      level: 'warn',
      text: `The queue is paused with ${counted(pool.backlog.waiting, 'job')} waiting: no worker takes one until it is resumed, in BullMQ.`,
    };
  const cap = note(pool, AT_CAP);
  if (cap) {
    const shown = instances.length > 0 ? instances.join(', ') : cap;
    return {
      level: 'warn',
      text: `At the cap of ${counted(pool.max_instances, 'instance')}, so nothing is launched: ${demand} ready to run; ${shown}.`,
    };
  }
  if (starting > 0) {
    return {
      level: 'busy',
      text: `Scaling out: ${demand} ready to run, ${counted(pool.desired, 'instance')} desired: ${instances.join(', ')}.`,
    };
  }
  if (instances.length === 0) {
    if (pool.backlog.demand === 0) {
      const running = pool.backlog.active ? `; the primary runs ${counted(pool.backlog.active, 'job')}` : '';
      return { level: 'ok', text: `Nothing to do: no jobs ready to run, no instances${running}.` };
    }
    const why = (pool.plan?.notes ?? [])[0];
    return {
      level: 'ok',
      text: why ? sentence(why) : `${demand} ready to run; ${counted(pool.desired, 'instance')} desired.`,
    };
  }
  const drains = draining > 0 && ready === 0 ? 'Scaling in' : 'Working';
  return {
    level: 'ok',
    text: `${drains}: ${demand} ready to run, ${counted(pool.desired, 'instance')} desired: ${instances.join(', ')}.`,
  };
}

/** With a capital, unless it begins with a name like `i-0abc`, and with an end. */
export function sentence(text) {
  const trimmed = text.trim();
  const isName = /^[a-z]+-\w/.test(trimmed);
  return `${isName ? trimmed : trimmed.charAt(0).toUpperCase() + trimmed.slice(1)}${/[.!?…]$/.test(trimmed) ? '' : '.'}`;
}

/** Whether a pool that is not shown is in a state that a person must end. */
export function needsAPerson(pool) {
  return (pool.attention ?? []).some((it) => it.severity === 'stop');
}
