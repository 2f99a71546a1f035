// Puts the page together: asks for what it shows, keeps it, and has each part draw its own.

import * as actions from './actions.js';
import { get } from './api.js';
import * as attention from './attention.js';
import { charts } from './charts.js';
import * as choices from './choices.js';
import { diagnosis } from './diagnosis.js';
import { setClock, write } from './dom.js';
import * as header from './header.js';
import * as lanes from './lanes.js';
import * as money from './money.js';
import { follow } from './stream.js';
import { time } from './words.js';
import * as why from './why.js';

/** The coordinator is silent for at most 5 s; of three such times in a row none may be lost. In seconds. */
const CUT_OFF_AFTER = 15;
const MONEY_EVERY = 60_000;
/** The history is read again after half a bucket, within these bounds, in milliseconds. */
const [HISTORY_LEAST, HISTORY_MOST] = [5_000, 60_000];
const PIXELS_A_BUCKET = 4;
const MOST_BUCKETS = 720;
const PLANS_BEFORE = 8;

const byId = (id) => document.getElementById(id);
const state = {
  session: null,
  status: null,
  history: null,
  historyProblem: null,
  money: null,
  plans: null,
  choices: choices.read(),
  connection: { state: 'connecting', heard: null, retryAt: null },
  skew: 0,
};
/** The coordinator's clock: what the page shows are its times. */
const now = () => Date.now() + state.skew;
setClock(now);

const drawn = charts(byId('charts'), state.choices, { onPick: pick, onChoice: chosen, now });

function scene() {
  const pools = state.status?.pools ?? [];
  const pool = pools.find((it) => it.name === state.choices.pool) ?? pools[0] ?? null;
  const shown = { ...state, pool, pools, now, chosen: state.choices.at, onPick: pick, onChoose: choose };
  shown.isPast = choices.windowOf(state.choices, now()).isPast;
  shown.whyNot = actions.whyNot(shown);
  return shown;
}

let due = false;
function draw() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    const it = scene();
    document.body.classList.toggle('cut', it.connection.state === 'cut');
    header.render(it);
    attention.render(byId('attention'), attention.findings(it));
    diagnosis(byId('diagnosis'), it);
    byId('charts').hidden = !state.history;
    byId('no-history').hidden = Boolean(state.history);
    write(byId('no-history'), noHistory(it));
    if (state.history) drawn.update(state.history, it.chosen);
    lanes.render(byId('lanes'), it);
    why.render(byId('why'), it);
    money.render(byId('money'), it);
    actions.render(byId('actions'), it);
    header.tick(it);
  });
}

function noHistory({ historyProblem, status, pool }) {
  if (historyProblem) return 'The history cannot be read: see above.';
  return status && !pool ? 'There is nothing to draw.' : 'Reading the history …';
}

let reading = 0;
let historyTimer = null;
async function readHistory() {
  clearTimeout(historyTimer);
  const { pool } = scene();
  if (!pool) return;
  const mine = ++reading;
  const { from, to } = choices.windowOf(state.choices, now());
  const buckets = Math.max(60, Math.min(MOST_BUCKETS, Math.floor(byId('main').clientWidth / PIXELS_A_BUCKET)));
  let wait = HISTORY_LEAST;
  try {
    const history = await get('/api/v1/history', {
      pool: pool.name,
      from: Math.round(from),
      to: Math.round(to),
      buckets,
    });
    if (mine !== reading) return;
    state.history = history;
    state.historyProblem = null;
    wait = Math.max(HISTORY_LEAST, Math.min(HISTORY_MOST, history.bucket_ms / 2));
  } catch (failure) {
    if (mine !== reading) return;
    state.historyProblem = {
      error: failure.message,
      remedy: failure.remedy,
      since: state.historyProblem?.since ?? now(),
    };
  }
  // Nobody looks at a hidden page; it reads again when it is shown.
  if (!document.hidden) historyTimer = setTimeout(readHistory, wait);
  draw();
}

async function readPlans() {
  const { pool, chosen: at } = scene();
  if (!pool || at === null) return;
  state.plans = null;
  draw();
  const plans = await get('/api/v1/plans', { pool: pool.name, at, limit: PLANS_BEFORE }).catch((failure) => ({
    problem: failure.message,
  }));
  if (at === state.choices.at) state.plans = plans;
  draw();
}

async function readMoney() {
  const { pool } = scene();
  if (!pool || document.hidden) return;
  state.money = await get('/api/v1/money', { pool: pool.name }).catch((failure) => ({ problem: failure.message }));
  draw();
}

async function readSession() {
  state.session = await get('/api/v1/session').catch(() => state.session);
  draw();
}

/** The reader wants the plan of that time, or that of now (null). */
function pick(at) {
  const before = choices.windowOf(state.choices, now());
  state.choices.at = at;
  chosen();
  readPlans();
  const after = choices.windowOf(state.choices, now());
  if (after.isPast || before.isPast) readHistory();
  if (at !== null) byId('why').closest('section').scrollIntoView({ block: 'nearest' });
}

/** Another pool or range. */
function choose(change) {
  Object.assign(state.choices, change);
  if ('pool' in change) Object.assign(state, { history: null, historyProblem: null, money: null, plans: null });
  chosen();
  readHistory();
  readMoney();
  readPlans();
}

function chosen() {
  choices.keep(state.choices);
  draw();
}

function onStatus(status) {
  const isFirst = state.status === null;
  const hasDecided = (status.pools ?? []).some((it) => (it.plan?.decisions ?? []).length > 0);
  state.status = status;
  const at = time(status.at);
  if (at !== null) state.skew = at - Date.now();
  if (isFirst) {
    readHistory();
    readMoney();
    readPlans();
  } else if (hasDecided) {
    // What was decided shall be on the charts before the next bucket is full.
    clearTimeout(historyTimer);
    historyTimer = setTimeout(readHistory, 1_000);
  }
  draw();
}

function onChange(connection) {
  const wasAway = state.connection.state !== 'connecting' && state.connection.state !== 'live';
  state.connection = { ...connection };
  if (connection.state === 'live' && wasAway) {
    readSession();
    if (state.status) readHistory();
  }
  draw();
}

const silence = () => (state.session?.cut_off_after ?? CUT_OFF_AFTER) * 1000;
readSession();
const stream = follow('/api/v1/stream', { onStatus, onChange, silence });
header.prepare({ onChoose: choose, onPick: pick, onRetry: () => stream.retryNow(), choices: state.choices });
setInterval(readMoney, MONEY_EVERY);
setInterval(() => {
  // `heard` changes with each byte, and is no change of the connection's state.
  state.connection.heard = stream.connection.heard;
  header.tick(scene());
}, 1000);
document.addEventListener('visibilitychange', () => document.hidden || readHistory());
addEventListener('hashchange', () => choose(choices.read()));
write(byId('announcer'), '');
draw();
