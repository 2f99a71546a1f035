// Which charts there are, what each shows, and the sentence that says it without a picture.

import { clock, inWords, number } from './words.js';

const seconds = (n) => (n === null || n === undefined ? 'unknown' : inWords(n));

/** `height` is in pixels; `stepped` series hold a bucket's highest value, the others its sum or a quantile. */
export const CHARTS = [
  {
    id: 'backlog',
    title: 'Backlog',
    unit: 'jobs',
    height: 210,
    stepped: true,
    format: number,
    hasSteps: true,
    series: [
      { key: 'backlog', label: 'ready to run', color: '--blue', fill: true },
      { key: 'active', label: 'running', color: '--teal' },
    ],
  },
  {
    id: 'wait',
    title: 'Wait',
    unit: 'time',
    height: 130,
    format: seconds,
    isTime: true,
    series: [
      // Null means none where nothing waits, or none started.
      { key: 'oldest_age', label: 'oldest waiting', color: '--orange', of: 'backlog' },
      { key: 'wait_p95', label: 'p95 of jobs that started', color: '--purple', of: 'started' },
      { key: 'wait_p50', label: 'p50', color: '--blue', of: 'started' },
    ],
  },
  {
    id: 'throughput',
    title: 'Throughput',
    unit: 'jobs',
    height: 130,
    format: number,
    series: [
      { key: 'arrived', label: 'arrived', color: '--muted' },
      { key: 'started', label: 'started', color: '--blue' },
      { key: 'finished', label: 'finished', color: '--green' },
      { key: 'failed', label: 'failed', color: '--red' },
    ],
  },
  {
    id: 'capacity',
    title: 'Instances',
    unit: 'instances',
    height: 100,
    stepped: true,
    format: number,
    series: [
      { key: 'desired', label: 'desired', color: '--ink' },
      { key: 'ready', label: 'ready', color: '--green', fill: true },
      { key: 'on_the_way', label: 'starting', color: '--blue' },
      { key: 'draining', label: 'draining', color: '--orange' },
    ],
  },
];

/** The value of a series in a bucket, in words. */
export function valueAt(chart, series, history, index) {
  const value = history[series.key]?.[index] ?? null;
  return value === null && series.of && history[series.of]?.[index] === 0 ? 'none' : chart.format(value);
}

/** `rising, highest 40 at 14:05`: of a chart's first series, in short. */
export function gist(chart, history, now) {
  const values = history[chart.series[0].key] ?? [];
  const highest = peak(values);
  if (highest === null) return 'unknown';
  if (values[highest] === 0) return 'none in this time';
  return `${trend(values, history)}highest ${chart.format(values[highest])} at ${clock(history.at[highest], now)}`;
}

/** `Backlog: ready to run 12, rising, highest 40 at 14:05, running 4.`: all series of a chart in a sentence. */
export function summary(chart, history, now) {
  const said = chart.series.map((it) => `${it.label} ${chart.format(lastKnown(history[it.key] ?? []))}`);
  if (peak(history[chart.series[0].key] ?? []) !== null) said.splice(1, 0, gist(chart, history, now));
  return `${chart.title}: ${said.join(', ')}.`;
}

function lastKnown(values) {
  const last = values.findLast((it) => it !== null && it !== undefined);
  return last ?? null;
}

function peak(values) {
  let best = null;
  values.forEach((it, index) => {
    if (it !== null && (best === null || it > values[best])) best = index;
  });
  return best;
}

/** Of the finished buckets alone: one that still fills would always fall. */
function trend(values, history) {
  // What is unknown now does not rise or fall.
  if (values.length > 1 && values.slice(-2).every((it) => it === null)) return '';
  const known = values.filter((it, index) => it !== null && !(history.at[index] >= history.unfinished_from));
  const part = Math.max(3, Math.floor(known.length / 10));
  if (known.length < 2 * part) return '';
  const mean = (some) => some.reduce((sum, it) => sum + it, 0) / some.length;
  const [before, last] = [mean(known.slice(-2 * part, -part)), mean(known.slice(-part))];
  if (last > before * 1.05 + 0.3) return 'rising, ';
  if (last < before * 0.95 - 0.3) return 'falling, ';
  return 'steady, ';
}

/** One bucket in words, as the arrow keys tell it. */
export function bucketLine(chart, history, index, now) {
  const filling = history.at[index] >= history.unfinished_from ? ' (still filling)' : '';
  const said = chart.series.map((it) => `${it.label} ${valueAt(chart, it, history, index)}`);
  return `${clock(history.at[index], now, history.bucket_ms < 60_000)}${filling}: ${said.join(', ')}`;
}
