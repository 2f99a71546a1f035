// Which lanes there are: what the history has of each instance, joined with what the status says of it now.

import { imageWords, instanceLine, kindLine, troubles } from './instance.js';
import { inWords, time } from './words.js';

/** The order of what runs: what changes soon comes first. */
const ORDER = ['launching', 'booting', 'draining', 'terminating', 'ready'];

/** `{ urgent, running, ended }`: lanes that need a look, the others that run, and those that are over. */
export function lanes(history, pool, isPast, now) {
  const live = new Map(isPast ? [] : (pool?.instances ?? []).map((it) => [it.id ?? it.token, it]));
  const recorded = (history?.lanes ?? []).map((lane) => joined(lane, live.get(lane.instance), pool, history, now));
  const known = new Set(recorded.map((it) => it.name));
  // Launched since the history was read.
  const fresh = [...live.values()].filter((it) => it.phase !== 'gone' && !known.has(it.id ?? it.token));
  const all = [...recorded, ...fresh.map((it) => joined(laneOf(it), it, pool, history, now))];
  // One that is gone is in the status for some minutes, where its boot failed with what it said last.
  const isUrgent = (it) => it.troubles.length > 0 && (!it.isOver || it.live?.phase === 'gone');
  const order = (it) => ORDER.indexOf(it.phase);
  return {
    urgent: all.filter(isUrgent),
    running: all
      .filter((it) => !it.isOver && !isUrgent(it))
      .sort((one, other) => order(one) - order(other) || other.begins - one.begins),
    ended: all.filter((it) => it.isOver && !isUrgent(it)).sort((one, other) => (other.ends ?? 0) - (one.ends ?? 0)),
  };
}

function joined(lane, live, pool, history, now) {
  const phases = [...(lane.phases ?? [])];
  const last = phases.at(-1);
  // The history is some seconds older than the status: what became of the instance since is added.
  const since = time(live?.phase_since);
  if (live && last && last.phase !== live.phase && since !== null && since >= last.from) {
    phases[phases.length - 1] = { ...last, to: last.to ?? since };
    if (live.phase !== 'gone') phases.push({ phase: live.phase, from: since, to: null, reason: live.phase_reason });
  }
  const end = phases.at(-1);
  const isOver =
    Boolean(lane.ended) || live?.phase === 'gone' || (end ? end.to !== null && end.to <= (history?.to ?? now) : true);
  const phase = isOver ? 'ended' : (live?.phase ?? end.phase);
  const found = live ? troubles(live, now) : lane.interrupted_at && !isOver ? ['interruption notice'] : [];
  return {
    name: lane.instance ?? live?.token ?? 'unknown',
    kind: kindLine({
      capacity_type: lane.capacity_type ?? live?.capacity_type,
      instance_type: lane.instance_type ?? live?.instance_type,
      zone: lane.zone ?? live?.availability_zone,
      price_per_hour: lane.price_per_hour,
    }),
    image: live && pool ? imageWords(live, pool) : [],
    phase,
    phases,
    isOver,
    live,
    steps: lane.steps ?? [],
    jobs: lane.jobs ?? [],
    interrupted: lane.interrupted_at ?? null,
    troubles: found,
    begins: phases[0]?.from ?? 0,
    ends: end?.to ?? null,
    jobsNow: live?.heartbeat?.active_jobs ?? live?.jobs_in_redis ?? null,
    line: live && !isOver ? instanceLine(live, now) : (lane.ended ?? end?.reason ?? ''),
    lived: phases.length > 0 && end.to !== null ? inWords((end.to - phases[0].from) / 1000) : null,
    recorded: lane,
  };
}

/** What the status alone tells of an instance that the history does not have yet. */
function laneOf(instance) {
  const since = time(instance.phase_since);
  const launched = time(instance.launched_at);
  const phases = [];
  if (launched !== null && since !== null && launched < since)
    phases.push({ phase: 'launched', from: launched, to: since, reason: 'its phases until then are not recorded' });
  if (since !== null) phases.push({ phase: instance.phase, from: since, to: null, reason: instance.phase_reason });
  const steps = (instance.boot_steps ?? [])
    .filter((it) => time(it.started_at) !== null)
    .map((it) => {
      const from = time(it.started_at);
      return {
        name: it.name,
        from,
        to: it.took_seconds === null ? null : from + it.took_seconds * 1000,
        state: it.state,
      };
    });
  return { instance: instance.id ?? instance.token, phases, steps, jobs: [], image_id: instance.image_id };
}
