// Follows the status by Server-Sent Events. It reads them itself: EventSource hides the comment lines, and these are
// what tells a coordinator with nothing to say from one that is gone.

const FIRST_RETRY = 1_000;
const LONGEST_RETRY = 15_000;

/**
 * Calls `onStatus(document)` for each status, and `onChange(connection)` when the connection's state changes:
 * `{ state: 'connecting' | 'live' | 'retrying' | 'cut', heard, retryAt }`. `silence()` is how many milliseconds
 * without a byte mean that it is cut off.
 */
export function follow(url, { onStatus, onChange, silence }) {
  const connection = { state: 'connecting', heard: null, retryAt: null };
  const begun = Date.now();
  let wait = FIRST_RETRY;
  let abort = null;
  let timer = null;

  const become = (state, retryAt = null) => {
    if (connection.state === state && connection.retryAt === retryAt) return;
    Object.assign(connection, { state, retryAt });
    onChange(connection);
  };
  const isSilent = () => Date.now() - (connection.heard ?? begun) > silence();

  async function connect() {
    clearTimeout(timer);
    timer = null;
    abort = new AbortController();
    try {
      const headers = { accept: 'text/event-stream' };
      const response = await fetch(url, { signal: abort.signal, cache: 'no-store', headers });
      if (!response.ok || !response.body) throw new Error(`status ${response.status}`);
      await read(response.body.getReader());
    } catch {
      // What went wrong does not matter here: the page says since when nothing was heard, and it is tried again.
    }
    abort = null;
    // A jitter, so that the pages of all operators do not come back in the same moment.
    const delay = wait * (0.75 + Math.random() / 2);
    wait = Math.min(wait * 2, LONGEST_RETRY);
    timer = setTimeout(connect, delay);
    become(isSilent() ? 'cut' : 'retrying', Date.now() + delay);
  }

  async function read(reader) {
    const decoder = new TextDecoder();
    let rest = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      connection.heard = Date.now();
      wait = FIRST_RETRY;
      become('live');
      const events = (rest + decoder.decode(value, { stream: true })).replaceAll('\r\n', '\n').split('\n\n');
      rest = events.pop();
      events.forEach(take);
    }
  }

  function take(event) {
    const lines = event.split('\n');
    const field = (name) =>
      lines.filter((it) => it.startsWith(`${name}:`)).map((it) => it.slice(name.length + 1).trim());
    if (field('event')[0] !== 'status') return;
    try {
      onStatus(JSON.parse(field('data').join('\n')));
    } catch (error) {
      console.warn('a status that cannot be read', error);
    }
  }

  function watch() {
    if (!isSilent()) return;
    // A connection that says nothing is no better than none: the next one may reach somebody.
    abort?.abort();
    if (connection.state !== 'cut') become('cut', connection.retryAt);
  }

  function retryNow() {
    if (timer !== null) connect();
  }

  setInterval(watch, 250);
  addEventListener('online', retryNow);
  document.addEventListener('visibilitychange', () => document.hidden || retryNow());
  connect();
  return { connection, retryNow };
}
