// A chart as a table: the same numbers for whom a picture does not help, and where there is no charting library.

import { h } from './dom.js';
import { valueAt } from './series.js';
import { clock, inWords } from './words.js';

export function table(chart, history, now) {
  const newestFirst = history.at.map((_, index) => index).reverse();
  const withSeconds = history.bucket_ms < 60_000;
  return h(
    'div',
    { class: 'scrolls', tabindex: '0', role: 'region', 'aria-label': `${chart.title} as a table` },
    h(
      'table',
      {},
      h('caption', {}, `${chart.title} for each ${inWords(history.bucket_ms / 1000)}, newest first`),
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          h('th', { scope: 'col' }, 'from'),
          chart.series.map((it) => h('th', { scope: 'col' }, it.label)),
        ),
      ),
      h(
        'tbody',
        {},
        newestFirst.map((index) =>
          h(
            'tr',
            {},
            h(
              'th',
              { scope: 'row' },
              clock(history.at[index], now, withSeconds),
              history.at[index] >= history.unfinished_from ? ' (still filling)' : '',
            ),
            chart.series.map((it) => h('td', {}, valueAt(chart, it, history, index))),
          ),
        ),
      ),
    ),
  );
}
