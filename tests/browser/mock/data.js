// What the scenarios differ in: their instances, floods, notes and what is wrong.

import { IMAGE, lane } from './instances.js';
import { random } from './seed.js';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const iso = (at) => new Date(at).toISOString();

/** What a name or a reason must never become: markup. */
export const XSS = '<script>document.title="owned"</script><img src=x onerror="document.title=\'owned\'">';

/** Instances that have come and gone in the last day. */
export function past(now, ids, count) {
  return Array.from({ length: count }, (_, index) => {
    const begins = now - 5 * HOUR + index * 4 * MINUTE;
    return lane(ids[100 + index], {
      launching: begins,
      booting: begins + 40 * SECOND,
      ready: begins + 100 * SECOND,
      draining: begins + 55 * MINUTE,
      terminating: begins + 57 * MINUTE,
      gone: begins + 58 * MINUTE,
    });
  });
}

function flooded(now, ids) {
  return [
    lane(ids[0], { launching: now - 14 * MINUTE, booting: now - 13 * MINUTE, ready: now - 11.8 * MINUTE }),
    lane(ids[1], { launching: now - 70 * SECOND, booting: now - 34 * SECOND }, { stepsDone: 1 }),
    lane(ids[2], { launching: now - 9 * SECOND }),
    ...past(now, ids, 2),
    lane(
      ids[3],
      {
        launching: now - 41 * MINUTE,
        booting: now - 40 * MINUTE,
        ready: now - 39 * MINUTE,
        draining: now - 22 * MINUTE,
        terminating: now - 20 * MINUTE,
        gone: now - 19 * MINUTE,
      },
      {
        interruptedAt: now - 22 * MINUTE,
        reasons: { draining: 'interruption notice: EC2 reclaims the instance in 2 min' },
        ended: 'EC2 reclaimed it; 1 job handed back',
      },
    ),
  ];
}

/** 200 instances of which 30 run, over 30 days. */
function many(now, ids) {
  const next = random(194);
  return ids.slice(0, 200).map((id, index) => {
    const runs = index < 30;
    const begins = runs ? now - next() * 3 * HOUR - 5 * MINUTE : now - next() * 29 * DAY - 4 * HOUR;
    const life = { launching: begins, booting: begins + 35 * SECOND, ready: begins + 90 * SECOND };
    if (!runs)
      Object.assign(life, {
        draining: begins + HOUR + next() * 2 * HOUR,
        terminating: begins + 3.1 * HOUR,
        gone: begins + 3.2 * HOUR,
      });
    return lane(id, life, { interruptedAt: index % 11 === 5 ? (life.draining ?? null) : null });
  });
}

export const LANES = {
  flood: flooded,
  xss: flooded,
  long: flooded,
  cap: flooded,
  held: flooded,
  'three-pools': flooded,
  'ec2-down': flooded,
  'history-down': flooded,
  interruption: (now, ids) => [
    lane(
      ids[0],
      {
        launching: now - 50 * MINUTE,
        booting: now - 49 * MINUTE,
        ready: now - 48 * MINUTE,
        draining: now - 25 * SECOND,
      },
      {
        interruptedAt: now - 26 * SECOND,
        reasons: { draining: 'interruption notice: EC2 reclaims the instance in 1 min 59 s' },
      },
    ),
    lane(ids[1], { launching: now - 50 * MINUTE, booting: now - 49 * MINUTE, ready: now - 48 * MINUTE }),
    lane(ids[2], { launching: now - 20 * SECOND }),
  ],
  breaker: (now, ids) =>
    [5, 12, 19].map((minutes, index) =>
      lane(
        ids[index],
        {
          launching: now - minutes * MINUTE,
          booting: now - (minutes - 0.7) * MINUTE,
          draining: now - (minutes - 2) * MINUTE,
          gone: now - (minutes - 2.5) * MINUTE,
        },
        {
          stepsDone: 1,
          failed: true,
          reasons: { draining: 'boot failed: install: exit status 1' },
          ended: 'boot failed: install: exit status 1',
        },
      ),
    ),
  fleet: many,
};

export const FLOODS = {
  fleet: Array.from({ length: 40 }, (_, index) => [
    -index * 17 * HOUR - 40 * MINUTE,
    400 + ((index * 37) % 9) * 220,
    6 * HOUR,
  ]),
  quiet: [[-5 * HOUR, 24, 50 * MINUTE]],
  flood: [
    [-20 * MINUTE, 46, 70 * MINUTE],
    [-5 * HOUR, 24, 50 * MINUTE],
  ],
  cap: [[-50 * MINUTE, 140, 9 * HOUR]],
  breaker: [[-25 * MINUTE, 60, 4 * HOUR]],
  held: [[-20 * MINUTE, 46, 70 * MINUTE]],
  interruption: [[-50 * MINUTE, 46, 140 * MINUTE]],
  xss: [[-20 * MINUTE, 46, 70 * MINUTE]],
  long: [[-20 * MINUTE, 46, 70 * MINUTE]],
  'three-pools': [[-20 * MINUTE, 46, 70 * MINUTE]],
  blocked: [[-20 * MINUTE, 46, 70 * MINUTE]],
};

const LONG = `the worker crash-loops: ${'Error: Cannot find module ./transcode-profiles/extremely-long-path-without-any-space/'.repeat(6)} and then some more words, so that it wraps`;

export const MORE = {
  breaker: (it) => ({
    instance: {
      phase: 'gone',
      phase_since: iso(it.phases.at(-1).to),
      worker_log: 'Error: Cannot find module ./transcode',
    },
  }),
  interruption: (it) =>
    it.interrupted_at
      ? {
          instance: {
            notices: [
              {
                kind: 'interruption',
                action: 'terminate',
                at: iso(it.interrupted_at + 2 * MINUTE),
                seen_at: iso(it.interrupted_at),
              },
            ],
          },
        }
      : {},
  cap: (it) =>
    it.phases.at(-1).phase === 'ready'
      ? {
          instance: {
            terminate_problem:
              'OperationNotPermitted: the instance may not be terminated: modify its disableApiTermination attribute',
          },
        }
      : {},
  xss: () => ({ worker: { proven: false, missing: XSS }, instance: { phase_reason: XSS } }),
  long: () => ({ worker: { proven: false, missing: LONG }, instance: { phase_reason: LONG } }),
};

export const NOTES = {
  held: [
    '30 jobs ready to run: the highest step is reached, 2 instances desired',
    'an operator holds the pool (looking at the install step, by root (uid 0)): no scaling until `spillway resume`',
  ],
  cap: [
    '124 jobs ready to run: the highest step is reached, 3 instances desired',
    'at the cap: 3 of max_instances 3 are running or starting',
  ],
  breaker: [
    '57 jobs ready to run: the highest step is reached, 2 instances desired',
    '3 boots failed in a row: no launch for the next 8 min 20 s, then one instance is tried. `spillway status --all` says why each failed',
  ],
  standby: ['standby: another coordinator is the leader and decides'],
  quiet: ['no jobs ready to run'],
  xss: [`${XSS} ready to run`],
  long: [LONG, LONG],
};

export const POOLS = {
  'redis-down': (now) => ({
    backlog: {
      active: 2,
      at: iso(now - 9 * MINUTE),
      demand: 7,
      waiting: 7,
      delayed: 0,
      delayed_due: 0,
      paused: false,
      oldest_age_seconds: 12,
      completed: 3,
      failed: 0,
    },
    observation_problem: 'Redis: connection refused (os error 111)',
    plan: {
      pool: 'video-processing',
      at: iso(now - 9 * MINUTE),
      until: iso(now),
      times: 540,
      demand: null,
      desired: null,
      decisions: [],
      notes: ['cannot read the queues (Redis: connection refused (os error 111)): no scaling until this works again'],
    },
  }),
  'ec2-down': () => ({ listing_problem: 'UnauthorizedOperation: not authorized to perform: ec2:DescribeInstances' }),
  held: () => ({ held: true, hold_reason: 'looking at the install step, by root (uid 0)' }),
  blocked: (now) => ({
    launches_blocked: [
      {
        class: 'permission',
        code: 'UnauthorizedOperation',
        message: 'You are not authorized to perform ec2:RunInstances',
        at: iso(now - 3 * MINUTE),
        retried_at: iso(now + 7 * MINUTE),
        needs_a_person: true,
        after_accept: false,
      },
    ],
  }),
  'three-pools': (_, index) => (index === 2 ? { observation_problem: 'NOPERM no permissions to access a key' } : {}),
  xss: () => ({ held: true, hold_reason: XSS }),
  fleet: () => ({ max_instances: 40, desired: 30 }),
  cap: () => ({
    desired: 3,
    max_instances: 3,
    launch_image: { id: IMAGE, at: iso(Date.now()), made_at: iso(Date.now() - 45 * DAY) },
  }),
};

/** One finding as the coordinator words it; `row` is the text of its row in the runbook. */
export function finding(kind, severity, title, { detail = null, remedy, row, pool = null, since = null }) {
  const runbook = `/runbook#when-it-does-not-scale:~:text=${encodeURIComponent(row)}`;
  return { kind, pool, severity, title, detail, remedy, runbook, since };
}

/** What needs a person, by scenario. */
export const ATTENTION = {
  'redis-down': (now) => [
    finding('queues_unknown', 'stop', 'Cannot read the queues', {
      detail: 'Redis: connection refused (os error 111). No scaling until this works again.',
      remedy: 'Is Redis up, and are password and permissions right? `spillway doctor` tries them.',
      row: 'cannot read the queues (',
      since: iso(now - 9 * MINUTE),
    }),
  ],
  'ec2-down': () => [
    finding('instances_unknown', 'stop', "Cannot list EC2's instances", {
      remedy: "Are the coordinator's credentials, IAM policy and clock right? `spillway doctor` asks EC2.",
      row: "cannot list EC2's instances (",
    }),
  ],
  held: () => [
    finding('held', 'warn', 'Held while jobs wait', {
      detail: 'Looking at the install step, by root (uid 0). 30 jobs ready to run meanwhile.',
      remedy: '`spillway resume`, unless somebody is still looking.',
      row: 'an operator holds the pool',
    }),
  ],
  cap: (_, ids) => [
    finding('termination_refused', 'stop', `EC2 refuses to terminate ${ids[0]}, and it is billed on`, {
      detail: 'OperationNotPermitted: the instance may not be terminated.',
      remedy: 'Allow ec2:TerminateInstances (its condition on ManagedBy too), lift termination protection, or terminate it by hand.',
      row: 'EC2 refuses to terminate',
    }),
    finding('cap_reached', 'warn', 'At the cap of 3 instances while the backlog grows', {
      detail: '124 jobs ready to run, 98 before. At the cap: 3 of max_instances 3 are running or starting.',
      remedy: 'Raise max_instances, or find out why jobs arrive faster than they finish.',
      row: 'at the cap: 2 of max_instances 2',
    }),
    finding('image_stale', 'warn', 'The image is 45 d old', {
      detail: `Launches take ${IMAGE}.`,
      remedy: '`spillway bake` makes a new one.',
      row: 'launches take',
    }),
  ],
  blocked: (now) => [
    finding('launches_stopped', 'stop', 'Launching is stopped', {
      detail: 'EC2 refused the last launch (permission: UnauthorizedOperation).',
      remedy: "Fix the coordinator's credentials or IAM policy, or the account; then `spillway resume`, which tries at once.",
      row: 'EC2 refused a launch (not permitted',
      since: iso(now - 3 * MINUTE),
    }),
  ],
  breaker: () => [
    finding('breaker_open', 'stop', 'The breaker is open', {
      detail: '3 boots failed in a row: no launch for the next 8 min 20 s, then one instance is tried.',
      remedy: 'Fix the image or the application, then `spillway resume`.',
      row: 'boots failed in a row: no launch for',
    }),
  ],
  'three-pools': (_now, _ids, index) =>
    index === 2
      ? [
          finding('queues_unknown', 'stop', 'Cannot read the queues', {
            remedy: 'Is Redis up?',
            row: 'cannot read the queues (',
          }),
        ]
      : [],
  xss: () => [finding('held', 'warn', XSS, { detail: XSS, remedy: XSS, row: XSS })],
};

/** Of the installation. */
export const ATTENTION_OF_ALL = {
  standby: [
    finding('standby', 'hint', 'This coordinator is not the leader', {
      detail: 'It observes and decides nothing.',
      remedy: "Look at the leader's dashboard on its host. Its health service `spillway.leader` is SERVING; where none is, start one.",
      row: 'STANDBY: this coordinator is not the leader',
    }),
  ],
  cap: [
    finding('left_volumes', 'warn', '2 volumes left behind by instances that are gone, and billed on', {
      detail: 'vol-0a1, vol-0b2',
      remedy: 'Delete what nobody needs.',
      row: 'left behind by instances that are gone, and billed on',
    }),
  ],
};
