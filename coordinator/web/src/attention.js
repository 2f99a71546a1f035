// What is worth acting on, and only that: each with what it means, what to do, and the runbook's row for it. Empty is
// the usual state.

import { age, h, paint, ticks } from './dom.js';
import { again, AT_CAP, BREAKER, needsAPerson, note, sentence } from './headline.js';
import { imageWords, troubles } from './instance.js';
import { clock, counted, inWords, number, time } from './words.js';

/** An image that is older is worth a bake: each boot then installs what has changed since, in milliseconds. */
const OLD_IMAGE = 30 * 86_400_000;
/** An install that takes longer is worth an image of its own, in seconds. */
const SLOW_INSTALL = 20;
/** A hold that is older may have been forgotten, in milliseconds. */
const LONG_HOLD = 3_600_000;
/** Instances of one kind that are named in a sentence. */
const NAMED = 5;

/** A row of the runbook's table has no anchor of its own: the browser finds it by its text. */
export const row = (text) => `/runbook#when-it-does-not-scale:~:text=${encodeURIComponent(text)}`;

/**
 * Findings, the worst first: `{ key, level: 'stop' | 'warn', title, detail, todo, link, since }`. What cannot be read is
 * the diagnosis' and not among them.
 */
export function findings({ status, pool, history, isPast, session }, now) {
  if (!status || !pool) return [];
  const found = [...leaderless(status), ...launches(pool, now), ...fleet(pool)];
  found.push(
    ...growing(pool, isPast ? null : history),
    ...held(pool, history, now),
    ...image(pool, now),
    ...volumes(status),
    ...notes(pool),
  );
  const others = (status.pools ?? []).filter((it) => it.name !== pool.name && needsAPerson(it)).map((it) => it.name);
  if (others.length > 0) {
    found.push({
      key: 'pools',
      level: 'warn',
      title: `${others.length === 1 ? 'Pool' : 'Pools'} ${list(others)} ${others.length === 1 ? 'needs' : 'need'} attention too`,
      todo: 'Choose the pool above.',
    });
  }
  if (session?.version && status.coordinator_version && session.version !== status.coordinator_version) {
    found.push({
      key: 'version',
      level: 'warn',
      title: 'The coordinator was upgraded since this page was loaded',
      todo: 'Reload the page.',
    });
  }
  return found.sort((one, other) => (one.level === 'stop' ? 0 : 1) - (other.level === 'stop' ? 0 : 1));
}

function leaderless(status) {
  if (status.leader) return [];
  return [
    {
      key: 'leader',
      level: 'warn',
      title: 'This coordinator is not the leader',
      detail:
        'It observes and decides nothing. Where no other coordinator leads, nothing is launched, drained or terminated.',
      todo: "Look at the leader's dashboard on its host. Its health service `spillway.leader` is SERVING; where none is, start one.",
      link: row('STANDBY: this coordinator is not the leader'),
    },
  ];
}

function launches(pool, now) {
  const found = (pool.launches_blocked ?? [])
    .filter((it) => it.needs_a_person)
    .map((it) => ({
      key: `blocked-${it.class}`,
      level: 'stop',
      title: 'Launching is stopped',
      detail: `${it.after_accept ? 'EC2 accepted the last launch, and ended it before anything ran there' : 'EC2 refused the last launch'} (${it.class}: ${it.code}${it.message ? `: ${it.message}` : ''}); ${again(it, now)}.`,
      since: time(it.at),
      todo: `${REMEDIES[it.class] ?? "EC2's message says what to fix"}; then resume, which tries at once.`,
      link: row(`EC2 refused a launch (${LINKS[it.class] ?? 'unknown error'}`),
    }));
  const breaker = note(pool, BREAKER);
  if (breaker) {
    found.push({
      key: 'breaker',
      level: 'stop',
      title: 'The breaker is open',
      detail: sentence(breaker),
      todo: 'Fix the image or the application, then resume. The boot steps and the end of the worker’s log are with each instance below.',
      link: row(breaker.includes('boot') ? 'boots failed in a row: no launch for' : 'in a row ended without notice'),
    });
  }
  return found;
}

const REMEDIES = {
  quota: 'Ask AWS for a higher quota, or lower max_instances',
  permission: "Fix the coordinator's credentials or IAM policy, or the account",
  configuration: 'Fix the launch template, what it names (image, subnet, security group, key, profile), or pool.tags',
};
const LINKS = { quota: 'account limit', permission: 'not permitted', configuration: 'wrong configuration' };

function fleet(pool) {
  const alive = (pool.instances ?? []).filter((it) => it.phase !== 'gone');
  const name = (it) => it.id ?? it.token;
  const found = alive
    .filter((it) => it.terminate_problem)
    .map((it) => ({
      key: `refused-${name(it)}`,
      level: 'stop',
      title: `EC2 refuses to terminate ${name(it)}, and it is billed on`,
      detail: it.terminate_problem,
      todo: 'Allow ec2:TerminateInstances (its condition on ManagedBy too), lift termination protection, or terminate it by hand.',
      link: row('EC2 refuses to terminate'),
    }));
  const bare = alive.filter((it) => (it.heartbeat?.unprotected ?? []).length > 0);
  if (bare.length > 0) {
    const what = [...new Set(bare.flatMap((it) => it.heartbeat.unprotected))];
    found.push({
      key: 'unprotected',
      level: 'warn',
      title: `${counted(bare.length, 'instance')} with an unprotected worker: ${list(bare.map(name))}`,
      detail: what.join(' '),
      todo: 'A drain or an interruption may kill its jobs. Fix the worker’s settings as it says, then bake.',
    });
  }
  const lost = alive.filter((it) => it.hand_back === 'given-up');
  if (lost.length > 0) {
    found.push({
      key: 'hand-back',
      level: 'stop',
      title: `Jobs of ${list(lost.map(name))} could not be handed back`,
      todo: "BullMQ's stall check requeues them. Look at the Redis user's permissions.",
      link: row('cannot hand back the jobs of'),
    });
  }
  const silent = alive.filter((it) => it.stale);
  if (silent.length > 0) {
    found.push({
      key: 'stale',
      level: 'warn',
      title: `No heartbeat from ${list(silent.map(name))}`,
      todo: 'It counts as running. Its jobs are safe: they go back once their locks are seen not to be renewed. Look at the instance, or drain it.',
      link: row('is draining, but its agent does not answer'),
    });
  }
  return found;
}

/** At the cap while more waits than before: only a higher cap would help. */
function growing(pool, history) {
  const cap = note(pool, AT_CAP);
  const known = (history?.backlog ?? []).filter((it) => it !== null);
  if (!cap || known.length < 4) return [];
  const before = known[Math.max(0, known.length - 1 - Math.ceil(known.length / 4))];
  const last = pool.backlog?.demand ?? known.at(-1);
  if (last <= before) return [];
  return [
    {
      key: 'cap',
      level: 'warn',
      title: `At the cap of ${counted(pool.max_instances, 'instance')} while the backlog grows`,
      detail: `${number(last)} jobs ready to run, ${number(before)} before. ${sentence(cap)}`,
      todo: 'Raise max_instances, or find out why jobs arrive faster than they finish.',
      link: row('at the cap: 2 of max_instances 2'),
    },
  ];
}

/** When the hold began is in the history alone: the first note of it, or its decision. */
function held(pool, history, now) {
  if (!pool.held) return [];
  const since = pool.held_since ? time(pool.held_since) : null;
  const isLong = since !== null && now - since > LONG_HOLD;
  const waits = (pool.backlog?.demand ?? 0) > 0;
  if (!isLong && !waits) return [];
  const waiting = waits ? `${counted(pool.backlog.demand, 'job')} ready to run meanwhile.` : '';
  return [
    {
      key: 'held',
      level: 'warn',
      title: isLong ? `Held for ${inWords((now - since) / 1000)}` : 'Held while jobs wait',
      detail: [pool.hold_reason && sentence(pool.hold_reason), waiting].filter(Boolean).join(' '),
      todo: 'Resume, unless somebody is still looking.',
      link: row('an operator holds the pool'),
    },
  ];
}

function image(pool, now) {
  const made = time(pool.launch_image?.made_at);
  const found = [];
  if (made !== null && now - made > OLD_IMAGE) {
    found.push({
      key: 'image',
      level: 'warn',
      title: `The image is ${inWords((now - made) / 1000)} old`,
      detail: `Launches take ${pool.launch_image.id}, made ${clock(made, now)}.`,
      todo: 'spillway bake makes a new one.',
      link: row('launches take'),
    });
  }
  const slow = (pool.boot_step_medians ?? []).filter((it) => it.installs && it.took_seconds > SLOW_INSTALL);
  slow.forEach((it) =>
    found.push({
      key: `slow-${it.name}`,
      level: 'warn',
      title: `${it.name} takes ${inWords(it.took_seconds)} of each boot`,
      todo: 'spillway bake: on a new image the packages are there.',
      link: row('of each boot: spillway bake'),
    }),
  );
  const other = (pool.instances ?? []).filter((it) => it.phase !== 'gone' && imageWords(it, pool).length > 0);
  if (other.length > 0) {
    found.push({
      key: 'other-image',
      level: 'warn',
      title: `${counted(other.length, 'instance')} of another image or commit`,
      detail: list(other.map((it) => it.id ?? it.token)),
      todo: 'Nothing, or drain each: the policy ends them in time.',
      link: row('older image'),
    });
  }
  return found;
}

function volumes(status) {
  const ids = status.left_volumes?.ids ?? [];
  if (ids.length === 0) return [];
  return [
    {
      key: 'volumes',
      level: 'warn',
      title: `${counted(ids.length, 'volume')} left behind by instances that are gone, and billed on`,
      detail: list(ids),
      todo: 'Delete what nobody needs.',
      link: row('left behind by instances that are gone, and billed on'),
    },
  ];
}

/** What the plan says of instances that are not this installation's. */
const STRANGE = [
  [
    /another installation's/,
    'Another installation uses this pool’s name',
    'Give one of the two another pool.name.',
    'uses this pool',
  ],
  [
    /no spillway:installation tag/,
    'An instance is of an unknown installation',
    'Tag it if it is ours.',
    'nobody can tell whose these are',
  ],
  [
    /no launch token/,
    'An instance with this pool’s tag was not launched by it',
    'Terminate it, or remove its tag.',
    "has the pool's tag but no launch token",
  ],
  [
    /somebody changed the tags of/,
    'The tags of an instance were changed',
    'Put the tags back.',
    'somebody changed the tags of',
  ],
];

function notes(pool) {
  return STRANGE.flatMap(([pattern, title, todo, text]) => {
    const said = (pool.plan?.notes ?? []).filter((it) => pattern.test(it));
    return said.length === 0
      ? []
      : [{ key: text, level: 'warn', title, detail: said.map(sentence).join(' '), todo, link: row(text) }];
  });
}

const list = (names) =>
  names.length <= NAMED ? names.join(', ') : `${names.slice(0, NAMED).join(', ')} and ${names.length - NAMED} more`;

export function render(host, found) {
  host.closest('section').hidden = found.length === 0;
  paint(host, found, () =>
    found.map((it) =>
      h(
        'li',
        { class: `finding ${it.level}` },
        h('h3', {}, it.title, it.since ? [' ', h('span', { class: 'muted' }, age(it.since, it.before ?? ''))] : ''),
        it.detail && h('p', { class: 'detail' }, it.detail),
        h('p', { class: 'todo' }, ticks(it.todo), it.link && [' ', h('a', { href: it.link }, 'Runbook')]),
      ),
    ),
  );
}
