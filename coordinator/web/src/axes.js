// What a chart draws by: its columns of numbers, the labels of its axes, and the page's colours.

import { day, inWords } from './words.js';

/** Steps of an axis of durations that are one unit in words. */
export const SECONDS = [1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400, 172_800, 604_800];

/**
 * uPlot's columns: the times, and two for each series. The second has the end that still fills, which is dashed. A bucket
 * lasts until the next one begins, and the last one until the end of the time that is shown.
 */
export function columns(definition, history) {
  const at = [...history.at, history.to];
  const found = history.at.findIndex((it) => it >= history.unfinished_from);
  const first = found === -1 ? at.length : found;
  const joins = definition.stepped ? first : first - 1;
  const lines = definition.series.flatMap(({ key }) => {
    const values = [...(history[key] ?? history.at.map(() => null))];
    values.push(values.at(-1) ?? null);
    const isFilling = first < at.length;
    return [
      values.map((it, index) => (index <= joins || !isFilling ? it : null)),
      values.map((it, index) => (index >= joins && isFilling ? it : null)),
    ];
  });
  return [at, ...lines];
}

/** The label of a value. */
export function tick(definition, value) {
  if (value === null) return '';
  // Two units have no room.
  if (definition.isTime) return value < 3600 && value % 60 ? `${value} s` : value % 3600 ? `${value / 60} min` : inWords(value);
  if (!Number.isInteger(value)) return '';
  return value >= 10_000 ? `${value / 1000}k` : String(value);
}

/** The page's colours; and its axis and edge, which the lanes keep too: one time is at one place from top to bottom. */
export function style() {
  const all = getComputedStyle(document.documentElement);
  const color = (name) => all.getPropertyValue(name).trim();
  return { color, axis: parseInt(color('--axis'), 10), edge: parseInt(color('--edge'), 10) };
}

/** Hours where a day is shown, days where a month is: in the reader's time zone, like every time of the page. */
export function ticks(u, splits) {
  const length = u.scales.x.max - u.scales.x.min;
  const two = (n) => String(n).padStart(2, '0');
  return splits.map((at) => {
    const date = new Date(at);
    if (length > 3 * 86_400_000) return day(date);
    const hours = `${two(date.getHours())}:${two(date.getMinutes())}`;
    return hours === '00:00' ? day(date) : length < 600_000 ? `${hours}:${two(date.getSeconds())}` : hours;
  });
}
