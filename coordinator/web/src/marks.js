// Marks above the backlog: launches, drains, interruptions and alerts, where they happened. Each opens its plan. They
// are buttons outside the picture, so that keys and screen readers reach them; marks that would cover each other are
// one.

import { h } from './dom.js';
import { clock, decisionLine } from './words.js';

/** A finger needs so much, in pixels. */
const SIZE = 24;
/** The number beside a mark of several, in pixels. */
const COUNT = 8;
/** Decisions that a mark's tooltip names. */
const NAMED = 6;

/** The worst first: a mark of several shows the worst of them. */
const KINDS = [
  { name: 'interruption', nouns: ['interruption', 'interruptions'], glyph: '✕', of: ['interruption'] },
  { name: 'alert', nouns: ['alert', 'alerts'], glyph: '!', of: ['alert'] },
  { name: 'drain', nouns: ['drain', 'drains'], glyph: '▼', of: ['drain', 'power_off'] },
  { name: 'launch', nouns: ['launch', 'launches'], glyph: '▲', of: ['launch', 'cancel_drain'] },
];

/** What the marks mean. */
export const GLYPHS = KINDS.toReversed()
  .map((it) => `${it.glyph} ${it.nouns[0]}`)
  .join('  ');

const kindOf = (decision) => KINDS.find((it) => it.of.includes(decision.kind));

export function marks(onPick, now) {
  const node = h('div', { class: 'marks', role: 'toolbar', 'aria-label': 'Decisions on the chart', onkeydown: key });
  let drawn = '';

  function update(history, place) {
    node.hidden = place === null;
    if (place === null) return;
    const groups = grouped(history, place);
    const model = JSON.stringify([groups, place]);
    if (model === drawn) return;
    drawn = model;
    const focused = node.contains(document.activeElement) ? document.activeElement.dataset.at : null;
    node.replaceChildren(...groups.map((group, index) => button(group, index === groups.length - 1)));
    if (focused) node.querySelector(`[data-at="${focused}"]`)?.focus();
  }

  function button({ x, decisions }, isStop) {
    const kind = KINDS.find((it) => decisions.some((decision) => kindOf(decision) === it));
    const at = decisions.at(-1).at;
    const named = decisions.slice(0, NAMED).map(decisionLine);
    if (decisions.length > NAMED) named.push(`and ${decisions.length - NAMED} more`);
    // The sign and the number are the style's: the label says both in words.
    return h('button', {
      type: 'button',
      class: `mark ${kind.name}`,
      style: { left: `${x}px` },
      tabindex: isStop ? '0' : '-1',
      data: { at, sign: kind.glyph, count: decisions.length > 1 ? decisions.length : '' },
      'aria-label': `${counts(decisions)} at ${clock(at, now(), true)}: ${named[0]}`,
      title: `${clock(at, now(), true)}\n${named.join('\n')}`,
      onclick: () => onPick(at),
    });
  }

  /** One stop of the Tab key for all marks; the arrows go from one to the next. */
  function key(event) {
    const all = [...node.children];
    const here = all.indexOf(document.activeElement);
    const to = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined || !all[to]) return;
    all.forEach((it, index) => (it.tabIndex = index === to ? 0 : -1));
    all[to].focus();
    event.preventDefault();
  }
  return { node, update };
}

/** `2 launches, 1 drain` */
function counts(decisions) {
  const of = KINDS.map((kind) => [decisions.filter((it) => kindOf(it) === kind).length, kind.nouns]);
  return of
    .filter(([n]) => n > 0)
    .map(([n, [one, many]]) => `${n} ${n === 1 ? one : many}`)
    .join(', ');
}

function grouped(history, { left, width }) {
  const groups = [];
  for (const decision of history.decisions ?? []) {
    if (!kindOf(decision) || decision.at < history.from || decision.at > history.to) continue;
    const x = Math.round(left + ((decision.at - history.from) / (history.to - history.from)) * width - SIZE / 2);
    const last = groups.at(-1);
    if (last && x - last.x < SIZE + COUNT) last.decisions.push(decision);
    else groups.push({ x, decisions: [decision] });
  }
  return groups;
}
