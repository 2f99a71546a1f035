// What the made-up coordinator says, by scenario. Everything is drawn from one seed: two runs are the same but for
// the time.

import { ATTENTION, ATTENTION_OF_ALL, FLOODS, LANES, MORE, NOTES, past, POOLS, XSS } from './data.js';
import { COMMIT, IMAGE, instance, lane } from './instances.js';
import { instanceId, random } from './seed.js';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const iso = (at) => new Date(at).toISOString();

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
      attention: ATTENTION_OF_ALL[this.name] ?? [],
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
    const isKnown = (it) => it.ended === null || this.name === 'breaker';
    const alive = this.lanes.filter((it) => isKnown(it) && index === 0);
    const instances = alive.map((it) =>
      instance(it, {
        ...MORE[this.name]?.(it),
        instance: { ...MORE[this.name]?.(it)?.instance, ...this.instanceChanges[it.instance] },
      }),
    );
    const demand = this.backlog(now);
    const desired = alive.length > 0 ? 2 : 0;
    return {
      attention: ATTENTION[this.name]?.(now, this.ids, index) ?? [],
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
    const some = ((at - this.begun + 700 * DAY) / (10 * MINUTE) + 3) % 7 < 1.2 ? 2 : 0;
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
        // A bucket that ends while a request for 'until now' is on its way is still the one that fills.
        unfinished_from: Math.floor((now - to < 5_000 ? Math.min(now, to) : now) / width) * width,
        begins,
        at,
        backlog,
        active: backlog.map((it) => (it === null ? null : Math.min(5, it))),
        oldest_age: backlog.map((it) => (it === null ? null : it * 2.6)),
        arrived: each((it) => rate(it + width, 1.1)),
        started: each((it) => rate(it, 1)),
        finished: each((it) => rate(it - width, 1)),
        failed: each((it) => ((it / width) % 19 < 1 ? Math.min(1, rate(it - width, 1)) : 0)),
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
    if (name === 'resume') this.changes = { attention: [], held: false, hold_reason: null };
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
