// What it costs, against on-demand instances and against instances that are left on. Unknown is said to be unknown,
// with its reason: it is never 0.

import { age, h, paint } from './dom.js';
import { sentence } from './headline.js';
import { dollars } from './words.js';

const ROWS = [
  ['hour', 'last hour'],
  ['day', 'last 24 h'],
  ['month', 'last 30 d'],
];

/** `money`: the coordinator's answer, or `{ problem }`; null while it has not come. */
export function render(host, { money }) {
  paint(host, money, () => {
    if (!money) return h('p', { class: 'empty' }, 'Reading the prices …');
    if (money.problem) return h('p', { class: 'empty' }, `Unknown: ${money.problem}.`);
    const why = money.known
      ? null
      : h('p', { class: 'empty' }, `Unknown: ${sentence(money.why_unknown || 'the prices are not known')}`);
    const isEmpty = ROWS.every(([key]) => !money[key] || Object.values(money[key]).every((it) => it === null));
    return [why, isEmpty && !money.known ? null : figures(money)];
  });
}

function figures(money) {
  const cell = (period, key) => h('td', {}, dollars(money[period]?.[key] ?? null));
  return [
    h(
      'table',
      { class: 'money' },
      h('caption', { class: 'aloud' }, `Cost in ${money.currency ?? 'USD'}`),
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          h('td', {}),
          h('th', { scope: 'col' }, 'spot'),
          h('th', { scope: 'col' }, 'on demand'),
          h('th', { scope: 'col' }, 'left on'),
        ),
      ),
      h(
        'tbody',
        {},
        ROWS.map(([key, title]) =>
          h(
            'tr',
            {},
            h('th', { scope: 'row' }, title),
            cell(key, 'spot'),
            cell(key, 'on_demand'),
            cell(key, 'left_on'),
          ),
        ),
      ),
    ),
    h('p', {}, `${dollars(money.per_1000_jobs ?? null)} for 1,000 jobs. ${saved(money.month)}`),
    h(
      'p',
      { class: 'muted' },
      'Left on: max_instances on demand, day and night. ',
      money.prices_at ? [age(money.prices_at, 'Spot prices read '), '. '] : 'When spot prices were read is unknown. ',
      money.on_demand_as_of ? `On-demand prices are of ${money.on_demand_as_of}.` : null,
    ),
  ];
}

function saved(month) {
  const { spot, left_on: left } = month ?? {};
  if (typeof spot !== 'number' || typeof left !== 'number' || left <= 0) return '';
  const share = Math.round((1 - spot / left) * 100);
  return share > 0 ? `That is ${share} % less than left on, in 30 days.` : '';
}
