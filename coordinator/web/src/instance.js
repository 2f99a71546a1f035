// One instance in words, as `spillway status` has it: what it does, what it is made of, what is wrong with it.

import { ago, counted, dollars, inWords, short, time, until } from './words.js';

const REHEARSAL = 'rehearsal';

/** What it does, in a line. */
export function instanceLine(instance, now) {
  const beat = instance.heartbeat;
  if (!beat) {
    if (instance.phase === 'booting') return 'its agent has not registered yet';
    return instance.phase_reason || 'launch requested';
  }
  const parts = [workerLine(beat.worker, instance.phase)];
  if (beat.active_jobs !== null && beat.active_jobs !== undefined) parts.push(counted(beat.active_jobs, 'job'));
  if (beat.problem && beat.worker?.missing !== beat.problem) parts.push(beat.problem);
  if (['draining', 'terminating'].includes(instance.phase)) parts.push(instance.phase_reason);
  const heard = ago(time(instance.last_heartbeat_at), now);
  if (instance.stale) parts.push(`NO HEARTBEAT: the last was ${heard}`);
  else if (!instance.connected) parts.push(`not connected, last heartbeat ${heard}`);
  parts.push(...handedBack(instance));
  return parts.filter(Boolean).join('; ');
}

/** Whether its worker processes jobs, as its agent proves it. */
function workerLine(worker, phase) {
  if (!worker) return '';
  const missing = worker.missing || 'no proof yet that it processes jobs';
  if (worker.proven) {
    const by = `worker ready (by ${worker.by ?? 'unknown'})`;
    if (worker.waits_for) return `${by}, ${worker.waits_for}`;
    return worker.live_locks === 0 ? `${by}, waiting for jobs` : by;
  }
  if (phase === 'launching' || phase === 'booting') return `waiting for the worker: ${missing}`;
  if (phase === 'ready') return `worker not ready: ${missing}`;
  return worker.missing ?? '';
}

function handedBack(instance) {
  const parts = [];
  if (instance.jobs_handed_back > 0) parts.push(`${counted(instance.jobs_handed_back, 'job')} handed back`);
  if (instance.hand_back === 'under-way') parts.push('its jobs are being handed back');
  if (instance.hand_back === 'given-up') parts.push('some of its jobs could not be handed back');
  return parts;
}

/** `spot c6i.xlarge us-east-1a, $0.0712/h`. */
export function kindLine({ capacity_type, instance_type, zone, price_per_hour }) {
  const kind = [capacity_type, instance_type, zone].filter(Boolean).join(' ');
  const price = price_per_hour === null || price_per_hour === undefined ? null : `${dollars(price_per_hour)}/h`;
  return [kind, price].filter(Boolean).join(', ');
}

/** How it differs from what is launched now. */
export function imageWords(instance, pool) {
  const words = [];
  if (instance.other_image === true) {
    const [made, launched] = [time(pool.launch_image?.made_at), time(instance.launched_at)];
    words.push(made !== null && launched !== null && launched < made ? 'older image' : 'another image');
  }
  const commit = instance.heartbeat?.git_commit;
  if (commit && pool.newest_commit && commit !== pool.newest_commit && instance.phase !== 'gone') {
    words.push(`commit ${short(commit)} (newest ${short(pool.newest_commit)})`);
  }
  return words;
}

/** Of which image it is and how old that is, and which commit it works. */
export function madeOf(instance, pool, now) {
  const image = instance.image_id ?? instance.heartbeat?.image_id;
  const made = image && image === pool.launch_image?.id ? time(pool.launch_image.made_at) : null;
  const parts = [image ? `image ${image}${made === null ? '' : `, made ${ago(made, now)}`}` : 'image unknown'];
  parts.push(instance.heartbeat?.git_commit ? `commit ${short(instance.heartbeat.git_commit)}` : 'commit unknown');
  if (instance.agent_version) parts.push(`agent ${instance.agent_version}`);
  return parts.concat(imageWords(instance, pool)).join('; ');
}

/** One boot step; a failed one with the end of its output. */
export function stepLine(step, now) {
  const again = step.attempt > 1 ? ` (attempt ${step.attempt})` : '';
  const took = step.took_seconds === null || step.took_seconds === undefined ? null : inWords(step.took_seconds);
  if (step.state === 'succeeded') return `${step.name}: done in ${took ?? 'an unknown time'}${again}`;
  if (step.state === 'failed' || step.state === 'retrying') {
    const last = (step.output_tail ?? '').split('\n').findLast((line) => line.trim() !== '') ?? '';
    const next = step.state === 'failed' ? 'FAILED' : 'failed, retried';
    return `${step.name}: ${next}${again}: ${[step.problem, last].filter(Boolean).join(': ')}`;
  }
  const since = time(step.started_at);
  const running = since === null ? '' : ` for ${inWords((now - since) / 1000)}`;
  return `${step.name}: running${running}${again}: ${step.command ?? ''}`;
}

export function noticeLine(notice, now) {
  const at = time(notice.at);
  const left = until(at, now);
  const when = left > 0 ? `in ${inWords(left)}` : ago(at, now);
  if (notice.kind === 'interruption') {
    return notice.action === REHEARSAL
      ? `a rehearsed interruption ${when}`
      : `interruption notice: EC2 will ${notice.action ?? 'reclaim'} the instance ${when}`;
  }
  if (notice.kind === 'rebalance') return `EC2 recommended a rebalance ${when}`;
  return `EC2 has scheduled ${notice.action ?? 'an event'} ${when}`;
}

/** What is wrong with it and worth a look before all others: sentences, none where it is well. */
export function troubles(instance, now) {
  const found = [];
  if (instance.terminate_problem) {
    found.push(`EC2 refuses to terminate it, and it is billed on: ${instance.terminate_problem}`);
  }
  if (instance.hand_back === 'given-up') found.push('some of its jobs could not be handed back');
  if (instance.stale && instance.phase !== 'gone') found.push('no heartbeat from its agent');
  const beat = instance.heartbeat;
  if (instance.phase === 'ready' && beat?.worker && !beat.worker.proven) found.push('its worker is not ready');
  const failed = (instance.boot_steps ?? []).find((step) => step.state === 'failed');
  if (failed && ['booting', 'draining', 'gone'].includes(instance.phase)) found.push(`boot step ${failed.name} failed`);
  const interruption = (instance.notices ?? []).find((it) => it.kind === 'interruption');
  if (interruption && instance.phase !== 'gone') found.push(noticeLine(interruption, now));
  if (instance.phase !== 'gone') (beat?.unprotected ?? []).forEach((what) => found.push(`not protected: ${what}`));
  return found;
}
