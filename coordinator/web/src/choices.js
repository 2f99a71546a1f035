// What the reader chose: pool, range and time are in the URL's hash, so that a link shows the same to others. They
// are remembered in this browser too, like which series are hidden and whether the axis is logarithmic.

export const RANGES = [
  ['15min', '15 min', 900_000],
  ['1h', '1 h', 3_600_000],
  ['6h', '6 h', 21_600_000],
  ['24h', '24 h', 86_400_000],
  ['7d', '7 d', 604_800_000],
  ['30d', '30 d', 2_592_000_000],
];
const DEFAULT_RANGE = '1h';
const KEY = 'spillway';

const isRange = (name) => RANGES.some(([it]) => it === name);

function remembered() {
  try {
    const it = JSON.parse(localStorage.getItem(KEY) ?? '{}');
    return typeof it === 'object' && it !== null ? it : {};
  } catch {
    return {}; // Storage is forbidden, or holds what another version wrote.
  }
}

export function read() {
  const kept = remembered();
  const hash = new URLSearchParams(location.hash.slice(1));
  const range = hash.get('range') ?? kept.range;
  const at = Number(hash.get('at'));
  return {
    pool: hash.get('pool') ?? (typeof kept.pool === 'string' ? kept.pool : null),
    range: isRange(range) ? range : DEFAULT_RANGE,
    at: Number.isSafeInteger(at) && at > 0 ? at : null,
    hidden: Array.isArray(kept.hidden) ? kept.hidden.filter((it) => typeof it === 'string') : [],
    log: kept.log === true,
  };
}

export function keep({ pool, range, at, hidden, log }) {
  const hash = new URLSearchParams();
  if (pool) hash.set('pool', pool);
  hash.set('range', range);
  if (at) hash.set('at', String(at));
  history.replaceState(null, '', `#${hash}`);
  try {
    localStorage.setItem(KEY, JSON.stringify({ pool, range, hidden, log }));
  } catch {
    // The page works without a memory.
  }
}

/** The time that charts and lanes show: up to now, unless a time was chosen that lies before that. */
export function windowOf({ range, at }, now) {
  const length = RANGES.find(([name]) => name === range)[2];
  if (at === null || at >= now - length) return { from: now - length, to: now, isPast: false };
  const to = Math.min(now, at + length / 2);
  return { from: to - length, to, isPast: true };
}
