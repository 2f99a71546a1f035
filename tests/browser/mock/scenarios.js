// What the made-up coordinator says, by scenario. Everything is drawn from one seed: two runs are the same but for
// the time.

import { COMMIT, IMAGE, instance, lane } from './instances.js';
import { instanceId, random } from './seed.js';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const iso = (at) => new Date(at).toISOString();

export const XSS = '<script>document.title="owned"</script><img src=x onerror="document.title=\'owned\'">';
export const NAMES = [
  'quiet',
  'flood',
  'interruption',
  'redis-down',
  'ec2-down',
  'history-down',
  'held',
  'cap',
  'blocked',
  'breaker',
  'standby',
  'fleet',
  'no-pools',
  'three-pools',
  'xss',
  'long',
  'nulls',
];

export class Scenario {
  constructor(name) {
    if (!NAMES.includes(name)) throw new Error(`no scenario ${name}: ${NAMES.join(', ')}`);
    this.name = name;
    this.begun = Date.now();
    this.next = random(238);
    this.ids = Array.from({ length: 240 }, () => instanceId(this.next));
    this.lanes = LANES[name]?.(this.begun, this.ids) ?? past(this.begun, this.ids, 2);
    this.changes = {}; // Of the pool, by what was done to it.
    this.instanceChanges = {};
  }

  ticks() {
    return this.name !== 'quiet';
  }

  session() {
    return { version: '0.1.0', pools: this.poolNames() };
  }

  poolNames() {
    return (
      { 'no-pools': [], 'three-pools': ['video-processing', 'thumbnails', 'mail'], xss: [XSS] }[this.name] ?? [
        'video-processing',
      ]
    );
  }

  status(now) {
    const left = this.name === 'cap' ? ['vol-0a1', 'vol-0b2'] : [];
    const pools = this.poolNames().map((name, index) => this.pool(name, index, now));
    const leader = this.name !== 'standby';
    const status = {
      at: iso(now),
      coordinator_version: '0.1.0',
      leader,
      left_volumes: { at: iso(now - MINUTE), ids: left },
      pools,
    };
    return this.name === 'nulls'
      ? {
          ...nulls(status),
          at: iso(now),
          leader: true,
          pools: pools.map((it) => ({
            ...nulls(it),
            name: it.name,
            max_instances: 2,
            held: false,
            instances: [],
            launches_blocked: [],
          })),
        }
      : status;
  }

  pool(name, index, now) {
    const alive = this.lanes.filter((it) => it.ended === null && index === 0);
    const instances = alive.map((it) =>
      instance(it, {
        ...MORE[this.name]?.(it),
        instance: { ...MORE[this.name]?.(it)?.instance, ...this.instanceChanges[it.instance] },
      }),
    );
    const demand = this.backlog(now);
    const desired = alive.length > 0 ? 2 : 0;
    return {
      backlog: {
        active: Math.min(4, demand),
        at: iso(now - 900),
        completed: 48_211,
        concurrency: null,
        delayed: 3,
        delayed_due: 0,
        demand,
        failed: 12,
        oldest_age_seconds: demand > 0 ? 95.6 : null,
        paused: false,
        prioritized: 0,
        waiting: demand,
      },
      boot_step_medians: [{ boots: 6, installs: true, name: 'install', took_seconds: 14.2 }],
      desired,
      drill: null,
      held: false,
      hold_reason: null,
      instances,
      jobs_handed_back_total: 3,
      launch_image: { at: iso(now - MINUTE), id: IMAGE, made_at: iso(now - 3 * DAY) },
      launched_total: 214,
      launches_blocked: [],
      listing_problem: null,
      max_instances: 2,
      name,
      newest_commit: COMMIT,
      observation_problem: null,
      plan: this.plan(now, demand, desired),
      terminated_total: 212,
      ...POOLS[this.name]?.(now, index),
      ...this.changes,
    };
  }

  plan(now, demand, desired) {
    const notes =
      NOTES[this.name] ??
      (demand === 0
        ? ['no jobs ready to run: idle for 4 min 12 s of 10 min']
        : [
            `${demand} jobs ready to run: the highest step is reached, ${desired} instances desired`,
            '1 instance starting, at most 3 min 26 s left',
          ]);
    return {
      pool: 'video-processing',
      at: iso(now - 42 * SECOND),
      until: iso(now),
      times: 42,
      demand,
      desired,
      decisions: [],
      notes,
    };
  }

  /** Jobs that were ready to run at a time: floods that rise fast and are worked off slowly. */
  backlog(at) {
    if (['redis-down'].includes(this.name) && at > this.begun - 9 * MINUTE) return 0;
    const floods = FLOODS[this.name] ?? [[-5 * HOUR, 24, 50 * MINUTE]];
    const some = (at / (10 * MINUTE)) % 7 < 1.2 ? 2 : 0;
    return Math.round(
      floods.reduce(
        (sum, [begins, height, lasts]) => {
          const since = at - this.begun - begins;
          if (since < 0 || since > lasts) return sum;
          const rise = lasts / 8;
          return sum + height * (since < rise ? since / rise : 1 - (since - rise) / (lasts - rise));
        },
        this.name === 'quiet' && at > this.begun - HOUR ? 0 : some,
      ),
    );
  }

  history({ from, to, buckets }, now) {
    const problem = {
      'redis-down': 'connection refused (os error 111)',
      'history-down': 'NOPERM this user has no permissions to read the stream',
    }[this.name];
    if (problem)
      return [
        503,
        {
          error: `the history is kept in Redis, which cannot be read: ${problem}`,
          remedy: 'Is Redis up, and may the coordinator read it? `spillway doctor` tries both',
        },
      ];
    [from, to, buckets] = [Number(from), Number(to), Math.min(720, Number(buckets))];
    const width = [
      SECOND,
      5 * SECOND,
      10 * SECOND,
      30 * SECOND,
      MINUTE,
      5 * MINUTE,
      10 * MINUTE,
      30 * MINUTE,
      HOUR,
      3 * HOUR,
      6 * HOUR,
    ].find((it) => (to - from) / it <= buckets);
    const first = Math.ceil(from / width) * width;
    const at = Array.from({ length: Math.floor((to - first) / width) + 1 }, (_, index) => first + index * width);
    const none = this.name === 'nulls';
    const begins = none ? null : this.name === 'fleet' ? from - DAY : this.begun - 26 * DAY;
    const each = (value) => at.map((it) => (none || it < begins ? null : value(it)));
    const backlog = each((it) => (this.isUnknown(it) ? null : this.backlog(it + width / 2)));
    const rate = (it, share) =>
      Math.round(((this.backlog(it) * share) / 6 + 1.4 + Math.sin(it / 7e5)) * Math.max(0.3, width / MINUTE));
    const lanes = this.lanes.filter((it) => it.phases[0].from < to && (it.phases.at(-1).to ?? Infinity) > from);
    const inPhase = (names) =>
      each(
        (it) =>
          lanes.filter((lane) =>
            lane.phases.some(
              (phase) => names.includes(phase.phase) && phase.from < it + width && (phase.to ?? Infinity) > it,
            ),
          ).length,
      );
    const decisions = none ? [] : decided(lanes, this.name).filter((it) => it.at >= from && it.at <= to);
    return [
      200,
      {
        pool: this.poolNames()[0] ?? null,
        from,
        to,
        bucket_ms: width,
        unfinished_from: Math.floor(to / width) * width,
        begins,
        at,
        backlog,
        active: backlog.map((it) => (it === null ? null : Math.min(5, it))),
        oldest_age: backlog.map((it) => (it === null ? null : it * 2.6)),
        arrived: each((it) => rate(it + width, 1.1)),
        started: each((it) => rate(it, 1)),
        finished: each((it) => rate(it - width, 1)),
        failed: each((it) => ((it / width) % 19 < 1 ? 1 : 0)),
        wait_p50: backlog.map((it) => (it === null || it === 0 ? null : it * 0.9)),
        wait_p95: backlog.map((it) => (it === null || it === 0 ? null : it * 2.1)),
        desired: each((it) => Math.min(this.name === 'fleet' ? 30 : 2, Math.floor(this.backlog(it) / 5))),
        ready: inPhase(['ready']),
        on_the_way: inPhase(['launching', 'booting']),
        draining: inPhase(['draining']),
        steps: [
          { jobs: 5, for: 300, instances: 1 },
          { jobs: 15, for: 300, instances: 2 },
        ],
        idle: 600,
        decisions: decisions.slice(-500),
        decisions_left_out: Math.max(0, decisions.length - 500),
        lanes: none
          ? [nulls(lane('i-0null', { launching: from + width }))].map((it) => ({
              ...it,
              phases: [],
              steps: [],
              jobs: [],
            }))
          : lanes,
        primary: none ? [] : [{ name: 'primary', jobs: 2, connected: true }],
      },
    ];
  }

  /** Nine minutes, two hours ago, in which nobody could read the queues. */
  isUnknown(at) {
    return at > this.begun - 2 * HOUR && at < this.begun - 2 * HOUR + 9 * MINUTE;
  }

  plans({ at, limit = 20 }, now) {
    const end = at ? Number(at) : now;
    const [near] = decided(this.lanes, this.name).filter((it) => Math.abs(it.at - end) < 5 * SECOND);
    return {
      plans: Array.from({ length: Math.min(5, Number(limit)) }, (_, index) => {
        const until = end - index * 40 * SECOND;
        const demand = this.backlog(until);
        const decisions =
          index === 0 && near ? [{ kind: near.kind, instance: near.instance, reason: near.reason }] : [];
        return {
          at: until - 39 * SECOND,
          until,
          times: 39,
          demand,
          desired: 1,
          decisions,
          notes: [`${demand} jobs ready to run: the plan of that time`],
        };
      }),
    };
  }

  money(now) {
    if (['ec2-down', 'nulls', 'breaker'].includes(this.name))
      return {
        known: false,
        why_unknown: "EC2's spot prices cannot be read: UnauthorizedOperation: ec2:DescribeSpotPriceHistory",
        currency: 'USD',
        hour: null,
        day: null,
        month: null,
        per_1000_jobs: null,
        prices_at: null,
      };
    const period = (hours) => ({ spot: hours * 0.061, on_demand: hours * 0.17, left_on: hours * 0.34 });
    return {
      known: true,
      why_unknown: '',
      currency: 'USD',
      hour: period(0.9),
      day: period(6.2),
      month: { ...period(171), left_on: 244.8 },
      per_1000_jobs: 0.212,
      prices_at: now - 4 * MINUTE,
    };
  }

  act(name, body) {
    if (name === 'hold') this.changes = { held: true, hold_reason: `${body.reason ?? 'no reason'}, by root (uid 0)` };
    if (name === 'resume') this.changes = { held: false, hold_reason: null };
    if (name === 'cancel-drain')
      return [
        409,
        {
          error: `${body.instance} would be drained again at once: 0 instances desired`,
          remedy: 'Run `spillway hold` first, then cancel the drain',
        },
      ];
    if (name === 'drain' || name === 'rehearse') {
      if (!this.lanes.some((it) => it.instance === body.instance))
        return [404, { error: `no instance ${body.instance} here`, remedy: '' }];
      this.instanceChanges[body.instance] = {
        phase: 'draining',
        phase_since: iso(Date.now()),
        phase_reason: 'requested by an operator: by root (uid 0)',
      };
      return [200, { message: `${body.instance} takes no new job; it is terminated once its jobs are finished` }];
    }
    return [200, { message: `${body.pool}: done: ${name}` }];
  }
}

/** Every value null, and lists empty: what a coordinator says that knows nothing yet. */
function nulls(it) {
  return Object.fromEntries(Object.entries(it).map(([key, value]) => [key, Array.isArray(value) ? [] : null]));
}

/** Instances that have come and gone in the last day. */
function past(now, ids, count) {
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

const LANES = {
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

const FLOODS = {
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

const MORE = {
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

const NOTES = {
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
    '3 boots failed in a row: no launch for 8 min 20 s. `spillway status` shows the boot step that failed',
  ],
  standby: ['standby: another coordinator is the leader and decides'],
  quiet: ['no jobs ready to run'],
  xss: [`${XSS} ready to run`],
  long: [LONG, LONG],
};

const POOLS = {
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

/** What was decided, from the lanes' phases. */
function decided(lanes, name) {
  const all = lanes.flatMap((it) =>
    it.phases.flatMap(({ phase, from, reason }) => {
      const kind = {
        launching: 'launch',
        draining: it.interrupted_at ? 'interruption' : 'drain',
        terminating: 'terminate',
      }[phase];
      return kind ? [{ at: from, kind, instance: it.instance, reason: name === 'xss' ? XSS : reason }] : [];
    }),
  );
  return all.sort((one, other) => one.at - other.at);
}
