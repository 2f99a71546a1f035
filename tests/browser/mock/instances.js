// Instances as `spillway status --json` and /api/v1/history have them. Recorded from `spillway demo`, with times
// moved.

const MINUTE = 60_000;
export const IMAGE = 'ami-0e000000000000001';
export const COMMIT = 'b0391d89f3543486c1bc01d4ce61097fc4a4703c';
const STEPS = [
  ['pull', 'git pull origin main', 3],
  ['install', 'bun install --frozen-lockfile', 41],
  ['start', 'pm2 start ecosystem.config.js', 6],
  ['save', 'pm2 save', 2],
];
const iso = (at) => (at === null ? null : new Date(at).toISOString());

/** `life`: when each phase began, by name; `jobs`: now. What it was and is follows from that. */
export function lane(id, life, more = {}) {
  const names = ['launching', 'booting', 'ready', 'draining', 'terminating', 'gone'].filter(
    (it) => life[it] !== undefined,
  );
  const phases = names
    .filter((it) => it !== 'gone')
    .map((phase, index) => ({
      phase,
      from: life[phase],
      to: life[names[index + 1]] ?? null,
      reason: more.reasons?.[phase] ?? REASONS[phase],
    }));
  return {
    instance: id,
    instance_type: 'c6i.xlarge',
    zone: 'us-east-1a',
    capacity_type: 'spot',
    image_id: IMAGE,
    commit: COMMIT,
    price_per_hour: 0.0712,
    phases,
    steps: life.booting ? steps(life.booting, more.stepsDone, more.failed, life.ready) : [],
    jobs: life.ready ? jobs(life, more) : [],
    interrupted_at: more.interruptedAt ?? null,
    ended: life.gone ? (more.ended ?? 'idle: no jobs ready to run for long enough; 0 desired') : null,
    ...more.lane,
  };
}

const REASONS = {
  launching: '38 jobs ready to run; 2 instances desired, 0 ready, 0 starting',
  booting: 'EC2 runs it; its agent boots the worker',
  ready: 'its worker is ready to process jobs',
  draining: 'idle: no jobs ready to run for long enough; 0 instances desired',
  terminating: 'drained: no job left',
};

function steps(begins, done = STEPS.length, failed = false, ready) {
  let at = begins + 4_000;
  return STEPS.slice(0, done + (done < STEPS.length ? 1 : 0)).map(([name, , took], index) => {
    const from = at;
    at += took * 1000;
    if (index < done) return { name, from, to: Math.min(at, ready ?? at), state: 'succeeded' };
    return { name, from, to: failed ? at : null, state: failed ? 'failed' : 'running' };
  });
}

function jobs(life, { jobsNow = 2 }) {
  const end = life.draining ?? life.gone ?? null;
  const spans = [];
  for (let at = life.ready; at < (end ?? Date.now()) - 4 * MINUTE && spans.length < 60; at += 5 * MINUTE)
    spans.push({ from: at, to: at + 4 * MINUTE, count: 1 + (spans.length % 3) });
  const last = spans.at(-1)?.to ?? life.ready;
  if (end === null && jobsNow > 0) spans.push({ from: last, to: null, count: jobsNow });
  return spans;
}

/** The same instance in the status. */
export function instance(lane, more = {}) {
  const last = lane.phases.at(-1);
  const isUp = last.phase === 'ready' || last.phase === 'draining';
  return {
    agent_version: last.phase === 'launching' ? null : '0.1.0',
    availability_zone: lane.zone,
    boot_steps: lane.steps.map((step) => {
      const [, command] = STEPS.find(([name]) => name === step.name);
      const output = step.state === 'failed' ? 'error: lockfile had changes, but lockfile is frozen\n' : 'done\n';
      return {
        attempt: 1,
        command,
        exit_code: step.state === 'failed' ? 1 : 0,
        name: step.name,
        output_tail: output,
        problem: step.state === 'failed' ? 'exit status 1' : null,
        started_at: iso(step.from),
        state: step.state,
        took_seconds: step.to === null ? null : (step.to - step.from) / 1000,
      };
    }),
    capacity_type: 'spot',
    connected: last.phase !== 'launching',
    ec2_state: 'running',
    for_drill: false,
    hand_back: null,
    heartbeat:
      last.phase === 'launching'
        ? null
        : {
            active_jobs: isUp ? (more.jobs ?? 2) : null,
            cpu_percent: 61.5,
            git_commit: lane.commit,
            image_id: lane.image_id,
            lockfile: '01d6120772ec0d5c',
            memory_total_bytes: 8e9,
            memory_used_bytes: 3e9,
            oldest_lock_age_seconds: 1.49,
            phase: last.phase,
            problem: null,
            queues: [{ prefix: 'bull', queue: 'video-processing' }],
            redis_round_trip_seconds: 0.0003,
            unprotected: [],
            worker: {
              by: 'name',
              connections: 2,
              fetching: (more.jobs ?? 2) === 0,
              live_locks: more.jobs ?? 2,
              log_tail: null,
              missing: isUp ? null : 'PM2 shows no process yet',
              processes: isUp ? 2 : 0,
              proven: last.phase === 'ready',
              restarts: 0,
              waits_for: null,
              ...more.worker,
            },
          },
    id: lane.instance,
    image_id: lane.image_id,
    instance_type: lane.instance_type,
    jobs_handed_back: 0,
    jobs_in_redis: isUp ? (more.jobs ?? 2) : 0,
    last_heartbeat_at: iso(Date.now() - 800),
    launched_at: iso(lane.phases[0].from),
    notices: [],
    other_image: false,
    phase: last.phase,
    phase_deadline: last.phase === 'ready' ? null : iso(last.from + 10 * MINUTE),
    phase_reason: last.reason,
    phase_since: iso(last.from),
    stale: false,
    terminate_problem: null,
    token: `spillway-55f3d419a9af-${lane.instance.slice(2, 5)}`,
    worker_log: null,
    ...more.instance,
  };
}
