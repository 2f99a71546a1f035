// Why it did what it did, and why it did not: the plan in force, or that of a chosen time, and the decisions before
// it.

import { age, h, paint, ticks } from './dom.js';
import { sentence } from './headline.js';
import { clock, counted, decisionLine, inWords, number } from './words.js';

const PAGE = 12;
const view = { shown: PAGE };

/** `plans`: `{ at, plans, problem }` of the chosen time; the status has the plan of now. */
export function render(host, scene) {
  const { pool, chosen, plans, history } = scene;
  const current = chosen === null ? fromStatus(pool?.plan) : (plans?.plans?.[0] ?? null);
  const decisions = [...(history?.decisions ?? [])].reverse();
  const model = {
    current,
    chosen,
    problem: plans?.problem,
    before: plans?.plans?.slice(1),
    decisions,
    left: history?.decisions_left_out,
    shown: view.shown,
  };
  const again = () => render(host, scene);
  paint(host, model, () => [
    chosen !== null &&
      h(
        'p',
        { class: 'past' },
        `The plan that was in force at ${clock(chosen, scene.now(), true)}. `,
        h(
          'button',
          { type: 'button', class: 'small', data: { key: 'to-now' }, onclick: () => scene.onPick(null) },
          'Back to now',
        ),
      ),
    plan(current, scene),
    chosen !== null && before(plans?.plans?.slice(1) ?? [], scene),
    list(decisions, scene, again),
  ]);
}

/** Times of the status are text, those of /api/v1/plans numbers. */
function fromStatus(record) {
  return record ? { ...record, at: Date.parse(record.at), until: Date.parse(record.until) } : null;
}

/** Why there is none now. */
function noPlan({ pool, status }) {
  if (pool?.observation_problem)
    return 'No plan: the queues cannot be read, nor the lease that says who leads, so nothing is decided.';
  return status && !status.leader ? 'No plan: only the leader decides.' : 'There is no plan yet.';
}

function plan(current, { chosen, plans, now, pool, status }) {
  if (!current) {
    const why =
      chosen === null
        ? noPlan({ pool, status })
        : (plans?.problem ?? (plans ? 'No plan is recorded for this time.' : 'Reading the plan …'));
    return h('p', { class: 'empty' }, why);
  }
  const lasted = (current.until - current.at) / 1000;
  const unchanged = current.times > 1 ? `, unchanged for ${inWords(lasted)}` : '';
  return h(
    'div',
    { class: 'plan' },
    h(
      'p',
      { class: 'plan-head' },
      h('b', {}, `demand ${number(current.demand)}, instances desired ${number(current.desired)}`),
      h(
        'span',
        { class: 'muted' },
        chosen === null ? [' ', age(current.until), unchanged] : ` ${clock(current.at, now(), true)}${unchanged}`,
      ),
    ),
    (current.decisions ?? []).length > 0 &&
      h(
        'ul',
        { class: 'decided' },
        current.decisions.map((it) => h('li', {}, decision(it))),
      ),
    (current.notes ?? []).length > 0 &&
      h(
        'ul',
        { class: 'notes' },
        current.notes.map((it) => h('li', {}, ticks(sentence(it)))),
      ),
  );
}

const decision = (it) => [
  h('b', {}, decisionLine(it).split(':')[0]),
  ticks(decisionLine(it).slice(decisionLine(it).indexOf(':'))),
];

function before(plans, { now }) {
  if (plans.length === 0) return null;
  return h(
    'details',
    {},
    h('summary', {}, `${counted(plans.length, 'plan')} before that`),
    h(
      'ul',
      { class: 'notes' },
      plans.map((it) =>
        h(
          'li',
          {},
          h('b', {}, clock(it.at, now(), true)),
          ` demand ${number(it.demand)}, instances desired ${number(it.desired)}. `,
          [...(it.decisions ?? []).map(decisionLine), ...(it.notes ?? [])].map(sentence).join(' '),
        ),
      ),
    ),
  );
}

function list(decisions, { now, onPick, history }, again) {
  if (!history) return null;
  if (decisions.length === 0) return h('p', { class: 'empty' }, 'Nothing was decided in the time that is shown.');
  const more = decisions.length - view.shown;
  const left = history.decisions_left_out ?? 0;
  return h(
    'div',
    {},
    h('h3', {}, 'Decisions, newest first'),
    h(
      'ol',
      { class: 'decisions' },
      decisions.slice(0, view.shown).map((it) =>
        h(
          'li',
          {},
          h(
            'button',
            {
              type: 'button',
              class: 'link',
              data: { key: `decision-${it.at}-${it.instance}-${it.kind}` },
              title: 'Show the plan of this time',
              onclick: () => onPick(it.at),
            },
            clock(it.at, now(), true),
          ),
          ' ',
          decision(it),
        ),
      ),
    ),
    more > 0 &&
      h(
        'button',
        {
          type: 'button',
          class: 'small',
          data: { key: 'more-decisions' },
          onclick: () => ((view.shown += PAGE * 2), again()),
        },
        `Show more of ${number(more)}`,
      ),
    more <= 0 &&
      left > 0 &&
      h('p', { class: 'muted' }, `${counted(left, 'older decision')} of this time not shown: choose a shorter one.`),
  );
}
