// Durations, counts, times and money in the reader's words: the spelling of `spillway status` and `spillway explain`.

/** `350 ms`, `12 s`, `4 min 59 s`, `2 h 5 min`, `3 d 2 h`: two units at the most. */
export function inWords(seconds) {
  if (!Number.isFinite(seconds)) return 'unknown';
  const whole = Math.floor(Math.max(0, seconds));
  const two = (big, bigUnit, small, smallUnit) =>
    small === 0 ? `${big} ${bigUnit}` : `${big} ${bigUnit} ${small} ${smallUnit}`;
  if (whole === 0) return seconds >= 0.001 ? `${Math.floor(seconds * 1000)} ms` : '0 s';
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return two(Math.floor(whole / 60), 'min', whole % 60, 's');
  if (whole < 86400) return two(Math.floor(whole / 3600), 'h', Math.floor((whole % 3600) / 60), 'min');
  return two(Math.floor(whole / 86400), 'd', Math.floor((whole % 86400) / 3600), 'h');
}

/** `just now`, `12 s ago`, `2 min ago`, `never`: one unit is enough for how long ago something was. */
export function ago(at, now) {
  if (at === null || at === undefined) return 'never';
  const seconds = (now - at) / 1000;
  if (seconds < 1) return 'just now';
  return `${inWords(seconds).split(' ').slice(0, 2).join(' ')} ago`;
}

/** Seconds from now until `at`; 0 where it is past or unknown. */
export const until = (at, now) => (at === null ? 0 : Math.max(0, (at - now) / 1000));

/** `1 instance`, `2 instances`. */
export function counted(n, noun) {
  if (n === null || n === undefined) return `an unknown number of ${noun}s`;
  return n === 1 ? `1 ${noun}` : `${number(n)} ${noun}s`;
}

/** `1,204`; `unknown` where there is none. Unknown is never 0. */
export function number(n) {
  if (n === null || n === undefined || !Number.isFinite(n)) return 'unknown';
  return n.toLocaleString('en-US', { maximumFractionDigits: Math.abs(n) < 10 ? 1 : 0 });
}

/** `$0.0712`, `$12.40`, `$1,204`; `unknown` where there is no price. */
export function dollars(n) {
  if (n === null || n === undefined || !Number.isFinite(n)) return 'unknown';
  const digits = n === 0 ? 2 : n < 1 ? 4 : n < 1000 ? 2 : 0;
  return `$${n.toLocaleString('en-US', { minimumFractionDigits: Math.min(2, digits), maximumFractionDigits: digits })}`;
}

/** Milliseconds of a time that `status` writes as RFC 3339 text; null where it is not known. */
export function time(text) {
  const at = typeof text === 'string' ? Date.parse(text) : NaN;
  return Number.isNaN(at) ? null : at;
}

const two = (n) => String(n).padStart(2, '0');
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `12 Nov` */
export const day = (date) => `${date.getDate()} ${MONTHS[date.getMonth()]}`;

/** `14:05`, with seconds where they tell something; with the day where it is not today. */
export function clock(at, now, withSeconds = false) {
  if (at === null || at === undefined) return 'unknown';
  const date = new Date(at);
  const hours = `${two(date.getHours())}:${two(date.getMinutes())}${withSeconds ? `:${two(date.getSeconds())}` : ''}`;
  if (new Date(now).toDateString() === date.toDateString()) return hours;
  return `${day(date)} ${hours}`;
}

/** `Europe/Berlin (UTC+1)`: an operator at night may not sit where the machine stands. */
export function zone(now) {
  const minutes = -new Date(now).getTimezoneOffset();
  const hours = Math.floor(Math.abs(minutes) / 60);
  const rest = Math.abs(minutes) % 60;
  const offset = minutes === 0 ? 'UTC' : `UTC${minutes < 0 ? '−' : '+'}${hours}${rest ? `:${two(rest)}` : ''}`;
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return name && name !== 'UTC' ? `${name} (${offset})` : offset;
}

export const short = (commit) => (commit ?? '').slice(0, 8);

/** `cancel drain` for the decision `cancel_drain`. */
export const decisionWord = (kind) => String(kind ?? '').replaceAll('_', ' ');

/** A decision with its reason, as `explain` prints it. */
export function decisionLine({ kind, instance, reason }) {
  const what = decisionWord(kind);
  return instance ? `${what} ${instance}: ${reason ?? ''}` : `${what}: ${reason ?? ''}`;
}
