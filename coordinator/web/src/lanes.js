// The fleet over time: one lane for each instance, below the charts and on the same axis. Lanes are lists with text;
// the colours say nothing that the words do not say.

import { instanceActions } from './actions.js';
import { age, announce, h, paint } from './dom.js';
import { madeOf, noticeLine, stepLine } from './instance.js';
import { lanes } from './lanes-model.js';
import { clock, counted, dollars, inWords, short, time } from './words.js';

const PAGE = 25;

/** Lanes that are shown of each group, which are open, and the phase that the arrows are at: it outlasts a repaint. */
const view = {
  shown: { urgent: PAGE, running: PAGE, ended: PAGE },
  open: new Set(),
  ended: false,
  phase: { name: null, at: 0 },
};

export function render(host, scene) {
  const { history, pool, now } = scene;
  const groups = lanes(history, pool, scene.isPast, now());
  const model = {
    groups,
    view: [view.shown, [...view.open], view.ended],
    from: history?.from,
    to: history?.to,
    chosen: scene.chosen,
    whyNot: scene.whyNot,
  };
  const again = () => render(host, scene);
  paint(host, model, () => [
    scene.isPast ? null : primaries(history),
    group('urgent', 'Needs a look', groups.urgent, scene, again),
    group('running', groups.urgent.length > 0 ? 'The others' : 'Instances', groups.running, scene, again),
    [...groups.urgent, ...groups.running].every((it) => it.isOver) && h('p', { class: 'empty' }, nobody(scene)),
    ended(groups.ended, scene, again),
  ]);
}

/** That none is known does not say that none runs. */
function nobody({ isPast, pool }) {
  if (isPast) return 'No instance ran at the end of this time.';
  if (!pool) return 'There is no pool.';
  if (pool.listing_problem || pool.desired === null)
    return 'No instance is known. Whether one runs is unknown until EC2 can be listed.';
  const others = (pool.attention ?? []).some((it) => it.kind === 'strangers');
  return others ? 'No instance of this installation runs. Others carry the pool’s name: see above.' : 'No instance runs.';
}

/** The primary's own workers: they work the queue before any instance does. */
function primaries(history) {
  const workers = history?.primary ?? [];
  if (workers.length === 0) return null;
  return h(
    'ul',
    { class: 'primaries' },
    workers.map((it) =>
      h(
        'li',
        {},
        h('span', { class: `badge ${it.connected ? 'ready' : 'unknown'}` }, 'PRIMARY'),
        ' ',
        it.name && it.name !== 'primary' ? `${it.name}: ` : '',
        it.connected === false
          ? 'its worker is not connected'
          : it.jobs === null
            ? 'jobs unknown'
            : counted(it.jobs, 'job'),
      ),
    ),
  );
}

function group(name, title, all, scene, again) {
  if (all.length === 0) return null;
  return h('div', { class: `group ${name}` }, h('h3', {}, `${title} (${all.length})`), page(name, all, scene, again));
}

function ended(all, scene, again) {
  if (all.length === 0) return null;
  const summary = h('summary', { data: { key: 'ended' } }, `${counted(all.length, 'instance')} ended in this time`);
  const details = h('details', { open: view.ended }, summary, view.ended && page('ended', all, scene, again));
  details.addEventListener('toggle', () => {
    if (details.open === view.ended) return;
    view.ended = details.open;
    again();
  });
  return details;
}

function page(name, all, scene, again) {
  const more = all.length - view.shown[name];
  return [
    h(
      'ul',
      { class: 'lanes' },
      all.slice(0, view.shown[name]).map((it) => lane(it, scene, again)),
    ),
    more > 0 &&
      h(
        'button',
        {
          type: 'button',
          class: 'small',
          data: { key: `more-${name}` },
          onclick: () => ((view.shown[name] += PAGE), again()),
        },
        more > PAGE ? `Show ${PAGE} more of ${more}` : `Show ${more} more`,
      ),
  ];
}

function lane(it, scene, again) {
  const isOpen = view.open.has(it.name);
  const toggle = () => (isOpen ? view.open.delete(it.name) : view.open.add(it.name), again());
  const last = it.phases.length - 1;
  const at = () => (view.phase.name === it.name ? Math.min(last, view.phase.at) : last);
  const phase = () => it.phases[at()];
  const tell = () => hint(row, phase() ? phaseLine(phase(), scene.now()) : it.line);
  // The arrows go from phase to phase, as the pointer does on the track.
  const key = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || last < 0) return;
    view.phase = { name: it.name, at: Math.max(0, Math.min(last, at() + step)) };
    announce(phaseLine(phase(), scene.now()));
    tell();
    event.preventDefault();
  };
  const since = it.phases.at(-1)?.from ?? null;
  const button = h(
    'button',
    {
      type: 'button',
      class: 'lane-name',
      'aria-expanded': String(isOpen),
      data: { key: `lane-${it.name}` },
      onclick: toggle,
      onkeydown: key,
      // Who came by the mouse has the tooltips of the track.
      onfocus: (event) => event.target.matches(':focus-visible') && tell(),
      onblur: () => hint(row, null),
    },
    it.name,
  );
  const step = it.phase === 'booting' && it.live?.boot_steps?.at(-1);
  const row = h(
    'li',
    { class: `lane ${it.phase}` },
    h(
      'div',
      { class: 'lane-head' },
      h('span', { class: `badge ${it.phase}` }, it.phase.toUpperCase()),
      button,
      h('span', { class: 'muted' }, it.isOver ? lifetime(it, scene.now()) : age(since)),
      h('span', { class: 'muted' }, it.kind),
      it.image.length > 0 && h('span', { class: 'tag' }, it.image.join(', ')),
      it.live?.for_drill && h('span', { class: 'tag' }, 'for the drill'),
      h('p', { class: 'lane-line' }, it.line),
    ),
    it.troubles.length > 0 && h('p', { class: 'trouble' }, it.troubles.join('; ')),
    step &&
      h(
        'p',
        { class: 'lane-line' },
        `boot step ${it.live.boot_steps.indexOf(step) + 1}, ${stepLine(step, scene.now())}`,
      ),
    track(it, scene),
    isOpen && details(it, scene),
  );
  return row;
}

const lifetime = (it, now) => (it.ends === null ? '' : `until ${clock(it.ends, now)}, lived ${it.lived}`);

function phaseLine({ phase, from, to, reason }, now) {
  const when =
    to === null
      ? `since ${clock(from, now, true)}`
      : `${clock(from, now, true)} to ${clock(to, now, true)} (${inWords((to - from) / 1000)})`;
  return `${phase}, ${when}${reason ? `: ${reason}` : ''}`;
}

/** Pieces on the time axis. They have no names of their own for screen readers: the list in `details` has the same. */
function track(it, { history, now, chosen }) {
  if (!history) return null;
  const { from, to } = history;
  const percent = (at) => Math.max(0, Math.min(100, ((at - from) / (to - from)) * 100));
  const piece = (kind, begins, ends, title, style = {}) => {
    const [left, right] = [percent(begins), percent(ends ?? to)];
    if ((ends ?? to) < from || begins > to) return null;
    return h('i', {
      class: kind,
      title,
      style: { left: `${left}%`, width: `${Math.max(right - left, 0.15)}%`, ...style },
    });
  };
  const most = Math.max(1, ...it.jobs.map((job) => job.count));
  return h(
    'div',
    { class: 'track', 'aria-hidden': 'true' },
    it.phases.map((phase) => piece(`phase ${phase.phase}`, phase.from, phase.to, phaseLine(phase, now()))),
    it.steps.map((step, index) =>
      piece(`step ${step.state} ${index % 2 ? 'odd' : 'even'}`, step.from, step.to, stepWords(step, now())),
    ),
    it.jobs.map((job) =>
      piece('jobs', job.from, job.to, `${counted(job.count, 'job')}, ${clock(job.from, now(), true)}`, {
        opacity: String(0.45 + (0.55 * job.count) / most),
      }),
    ),
    it.interrupted !== null &&
      it.interrupted >= from &&
      h('i', {
        class: 'interrupted',
        title: `interruption notice at ${clock(it.interrupted, now(), true)}`,
        style: { left: `${percent(it.interrupted)}%` },
      }),
    chosen !== null &&
      chosen >= from &&
      chosen <= to &&
      h('i', { class: 'chosen', style: { left: `${percent(chosen)}%` } }),
  );
}

const stepWords = (step, now) =>
  `boot step ${step.name}: ${step.state}, ${step.to === null ? `since ${clock(step.from, now, true)}` : inWords((step.to - step.from) / 1000)}`;

function hint(row, text) {
  row.querySelector('.hint')?.remove();
  if (text) row.querySelector('.lane-head').after(h('p', { class: 'hint' }, text));
}

/** All that is known of it, as lists: what the track shows, and what it has no room for. */
function details(it, scene) {
  const { pool } = scene;
  const now = scene.now();
  const { live, recorded } = it;
  const worker = live?.heartbeat?.worker;
  const steps = live?.boot_steps?.length
    ? live.boot_steps.map((step) => stepLine(step, now))
    : it.steps.map((step) => stepWords(step, now));
  const made = live
    ? madeOf(live, pool, now)
    : `image ${recorded.image_id ?? 'unknown'}; commit ${short(recorded.commit) || 'unknown'}`;
  const log = live?.worker_log || worker?.log_tail;
  const facts = [
    [
      'Phases',
      h(
        'ol',
        {},
        it.phases.map((phase) => h('li', {}, phaseLine(phase, now))),
      ),
    ],
    steps.length > 0 && [
      'Boot steps',
      h(
        'ol',
        {},
        steps.map((step) => h('li', {}, step)),
      ),
    ],
    worker && ['Proof of work', proof(worker)],
    ['Made of', made],
    [
      'Price',
      recorded.price_per_hour === null || recorded.price_per_hour === undefined
        ? 'unknown: EC2 has not told the spot price'
        : `${dollars(recorded.price_per_hour)} an hour`,
    ],
    live?.phase_deadline && ['Deadline', `this phase ends by ${clock(time(live.phase_deadline), now, true)}`],
    live?.notices?.length > 0 && ['Notices', live.notices.map((notice) => noticeLine(notice, now)).join('; ')],
    log && ['End of its worker’s log', h('pre', { tabindex: '0' }, log.split('\n').slice(-12).join('\n'))],
  ].filter(Boolean);
  return h(
    'div',
    { class: 'lane-details' },
    h(
      'dl',
      {},
      facts.map(([term, fact]) => [h('dt', {}, term), h('dd', {}, fact)]),
    ),
    live && !it.isOver && instanceActions(live, scene),
  );
}

/** What shows that the worker processes jobs, or what is missing. */
function proof(worker) {
  if (!worker.proven) return worker.missing ?? 'no proof yet that it processes jobs';
  const seen = worker.fetching
    ? 'Redis shows it blocked, waiting for a job'
    : `Redis shows ${counted(worker.live_locks, 'lock')} that it renews`;
  return `PM2 shows ${counted(worker.processes, 'process').replace('processs', 'processes')} up, ${counted(worker.restarts, 'restart')}; ${seen} (by ${worker.by ?? 'unknown'})`;
}
