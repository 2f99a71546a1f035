// What needs a person. The coordinator decides that, for all who ask it; added here is what it cannot know: other pools
// than the one that is shown, and a page that is older than the coordinator. Empty is the usual state.

import { age, h, paint, ticks } from './dom.js';
import { needsAPerson } from './headline.js';
import { time } from './words.js';

/** Things of one kind that are named in a sentence. */
const NAMED = 5;
const LEVELS = ['stop', 'warn', 'hint'];

/** A row of the runbook's table has no anchor of its own: the browser finds it by its text. */
export const row = (text) => `/runbook#when-it-does-not-scale:~:text=${encodeURIComponent(text)}`;

/** Findings, the worst first: `{ key, level: 'stop' | 'warn' | 'hint', title, detail, todo, link, since }`. */
export function findings({ status, pool, session }) {
  if (!status || !pool) return [];
  const found = [...(status.attention ?? []), ...(pool.attention ?? [])].map(told);
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
  return found.sort((one, other) => LEVELS.indexOf(one.level) - LEVELS.indexOf(other.level));
}

/** One of the coordinator's. A link leads to its runbook and nowhere else. */
function told(it) {
  return {
    key: it.kind,
    level: LEVELS.includes(it.severity) ? it.severity : 'warn',
    title: it.title,
    detail: it.detail,
    todo: it.remedy,
    link: it.runbook?.startsWith('/runbook#') ? it.runbook : null,
    since: time(it.since),
  };
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
        it.detail && h('p', { class: 'detail' }, ticks(it.detail)),
        h('p', { class: 'todo' }, ticks(it.todo), it.link && [' ', h('a', { href: it.link }, 'Runbook')]),
      ),
    ),
  );
}
