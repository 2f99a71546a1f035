// The head of the page: the sentence, whether it is live, how old it is, the pools, the range, and the figures of
// now.

import { h, paint, tickAges, write } from './dom.js';
import { headline, needsAPerson, phases } from './headline.js';
import { RANGES } from './choices.js';
import { ago, clock, dollars, inWords, number, time, until, zone } from './words.js';

const byId = (id) => document.getElementById(id);

export function prepare({ onChoose, onPick, onRetry, choices }) {
  const ranges = RANGES.map(([name, label]) =>
    h(
      'button',
      {
        type: 'button',
        data: { range: name },
        'aria-pressed': String(choices.range === name),
        onclick: () => onChoose({ range: name, at: null }),
      },
      label,
    ),
  );
  byId('ranges').replaceChildren(...ranges);
  byId('retry').addEventListener('click', onRetry);
  byId('to-now').addEventListener('click', () => onPick(null));
}

export function render(scene) {
  const { level, text } = headline(scene, scene.now());
  write(byId('headline'), text);
  byId('state').className = `state ${level}`;
  document.title = `${scene.pool ? `${scene.pool.name}: ` : ''}${text}`;
  setIcon(level);
  pools(scene);
  [...byId('ranges').children].forEach((it) =>
    it.setAttribute('aria-pressed', String(it.dataset.range === scene.choices.range)),
  );
  byId('past').hidden = !scene.isPast;
  if (scene.isPast && scene.history)
    write(
      byId('past-words'),
      `Shown: ${clock(scene.history.from, scene.now())} to ${clock(scene.history.to, scene.now())}, and not now.`,
    );
  figures(scene);
  const version = scene.status?.coordinator_version ?? scene.session?.version;
  write(byId('version'), version ? `Spillway ${version}` : 'Spillway');
  write(byId('zone'), `Times are in ${zone(scene.now())}`);
}

function pools({ pools: all, pool, onChoose }) {
  const model = all.map((it) => [it.name, it === pool, needsAPerson(it)]);
  paint(byId('pools'), model, () =>
    all.length < 2
      ? h('span', { class: 'pool' }, pool?.name ?? '')
      : all.map((it) =>
          h(
            'button',
            {
              type: 'button',
              'aria-pressed': String(it === pool),
              data: { key: `pool-${it.name}` },
              onclick: () => onChoose({ pool: it.name, at: null }),
            },
            it.name,
            needsAPerson(it) && h('span', { class: 'alarm', role: 'img', 'aria-label': 'needs attention' }, '!'),
          ),
        ),
  );
}

/** The numbers that somebody asks for first. Those that are old say so by the marker above them. */
function figures({ pool, money, now }) {
  const backlog = pool?.backlog;
  const { ready, starting, draining } = pool ? phases(pool) : {};
  const more = [starting && `${starting} starting`, draining && `${draining} draining`].filter(Boolean).join(', ');
  const oldest = backlog?.oldest_age_seconds ?? (backlog?.demand === 0 ? 'none' : null);
  const spent = money?.day?.spot ?? null;
  const stale = pool?.observation_problem ? `read ${ago(time(backlog?.at), now())}` : '';
  const shown = [
    ['ready to run', number(backlog?.demand), stale || (backlog?.paused ? 'queue paused' : delayed(backlog))],
    ['running', number(backlog?.active), stale || (backlog ? '' : 'not read yet')],
    ['oldest waiting', typeof oldest === 'number' ? inWords(oldest) : (oldest ?? 'unknown'), stale],
    [
      'instances ready',
      pool ? `${ready} of ${pool.desired ?? '?'}` : 'unknown',
      pool ? more || `at most ${pool.max_instances}` : '',
    ],
    ['spot, last 24 h', dollars(spent), money && !money.known ? 'see the reason below' : ''],
  ];
  paint(byId('figures'), shown, () =>
    shown.map(([label, value, note]) =>
      h(
        'div',
        { class: value === 'unknown' || (stale && note === stale) ? 'figure unknown' : 'figure' },
        h('dt', {}, label),
        h('dd', {}, h('b', {}, value), note && h('span', { class: 'muted' }, note)),
      ),
    ),
  );
}

const delayed = (backlog) =>
  backlog?.delayed > backlog?.delayed_due ? `${number(backlog.delayed - backlog.delayed_due)} delayed` : '';

/** Each second: the marker, and the age of everything that has one. */
export function tick({ connection, status, now }) {
  const marker = byId('marker');
  const at = time(status?.at);
  const [word, kind] = {
    connecting: ['connecting', 'waiting'],
    live: ['live', 'live'],
    retrying: ['reconnecting', 'waiting'],
    cut: ['cut off', 'cut'],
  }[connection.state];
  marker.className = `marker ${kind}`;
  write(byId('marker-word'), word);
  const age = at === null ? '' : `updated ${ago(at, now())}`;
  const left = until(connection.retryAt, Date.now());
  const retry = connection.state === 'cut' && left > 0 ? `, next try in ${inWords(Math.ceil(left))}` : '';
  write(byId('updated'), `${age}${retry}`);
  byId('retry').hidden = connection.state !== 'cut';
  tickAges();
}

/** The tab shows the state too: by its shape, and not by its colour alone. */
function setIcon(level) {
  const [color, shape] = {
    ok: ['2e9e6b', '<circle cx="8" cy="8" r="6"/>'],
    busy: ['2f6fde', '<path d="M8 1l7 13H1z"/>'],
    warn: ['c77700', '<path d="M8 1l7 7-7 7-7-7z"/>'],
    stop: ['d13438', '<path d="M2 2h12v12H2z"/>'],
  }[level];
  const icon = document.querySelector('link[rel="icon"]');
  const href = `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" fill="#${color}">${shape}</svg>`)}`;
  if (icon.href !== href) icon.href = href;
}
