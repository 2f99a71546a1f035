// Makes and replaces nodes. What comes from the coordinator becomes text and never markup: no innerHTML anywhere.

import { ago } from './words.js';

/** An element with attributes, `on…` listeners, `style` and `data` by the DOM's API, and children (text or nodes). */
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'style') Object.entries(value).forEach(([key, it]) => node.style.setProperty(key, it));
    else if (name === 'data') Object.entries(value).forEach(([key, it]) => (node.dataset[key] = it));
    else if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  node.append(...children.flat(Infinity).filter((it) => it !== null && it !== undefined && it !== false && it !== ''));
  return node;
}

const painted = new WeakMap();

// What is pressed stays where it is until it is let go: a click on a node that was replaced meanwhile would be lost.
let pressed = null;
addEventListener('pointerdown', (event) => (pressed = event.target), true);
const release = () => (pressed = null);
addEventListener('click', release, true);
// After the click, where there is one: it comes in the same turn.
for (const end of ['pointerup', 'pointercancel']) addEventListener(end, () => setTimeout(release), true);

/**
 * Fills `host` with what `build` returns, where `model` is another than the last time: what did not change keeps its
 * focus, its selection and its scroll. Where it did change, the focus goes to the node with the same `data-key`.
 */
export function paint(host, model, build) {
  const now = JSON.stringify(model);
  if (painted.get(host) === now || (pressed && host.contains(pressed))) return;
  painted.set(host, now);
  const focused = host.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  host.replaceChildren(...[build()].flat(Infinity).filter(Boolean));
  if (focused !== undefined) host.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

/** Text that changes only where it is another: a live region is not announced again for nothing. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

let clock = Date.now;

/** The coordinator's clock, which ages are told by. */
export const setClock = (now) => (clock = now);

/** A time of which the age is shown, and kept right each second by `tickAges`. */
export const age = (at, before = '') => tickAge(h('time', { data: { since: at ?? '', before } }));

export const tickAges = () => document.querySelectorAll('time[data-since]').forEach(tickAge);

function tickAge(node) {
  const since = node.dataset.since === '' ? null : Number(node.dataset.since);
  write(node, `${node.dataset.before}${ago(since, clock())}`);
  return node;
}

/** `` `command` `` as code. */
export function ticks(text) {
  return text.split('`').map((part, index) => (index % 2 === 1 ? h('code', {}, part) : part));
}

/** What is said aloud to a screen reader, once. */
export function announce(text) {
  write(document.getElementById('announcer'), text);
}
