// What is drawn on a chart's canvas beside its series: thresholds of the policy, buckets that still fill, times of
// which nothing is known, and the chosen time.

import { counted, inWords } from './words.js';

/** Two labels that are closer than this would cover each other, in pixels. */
const LABEL_HEIGHT = 14;

const ratio = () => window.devicePixelRatio || 1;

export function drawBehind(u, { history, colors }) {
  const { ctx, bbox } = u;
  ctx.save();
  const band = (from, to, label) => {
    const [left, right] = [clampX(u, from), clampX(u, to)];
    if (right - left < 1) return;
    ctx.fillStyle = hatch(ctx, colors.hatch);
    ctx.fillRect(left, bbox.top, right - left, bbox.height);
    if (label && right - left > 90 * ratio())
      text(ctx, label, (left + right) / 2, bbox.top + 14 * ratio(), colors.muted, 'center');
  };
  const begins = history.begins ?? history.to;
  if (begins > history.from) band(history.from, begins, 'not recorded');
  unknownSpans(history)
    .filter(([from]) => from >= begins)
    .forEach(([from, to]) => band(from, to, 'unknown'));
  if (history.unfinished_from < history.to) band(history.unfinished_from, history.to, null);
  ctx.restore();
}

/** Where the backlog is null although the record has begun: the queues could not be read. */
function unknownSpans(history) {
  const spans = [];
  (history.backlog ?? []).forEach((value, index) => {
    const end = history.at[index + 1] ?? history.to;
    if (value !== null) return;
    if (spans.length > 0 && spans.at(-1)[1] === history.at[index]) spans.at(-1)[1] = end;
    else spans.push([history.at[index], end]);
  });
  return spans;
}

export function drawInFront(u, { history, colors, chosen, hasSteps }) {
  const { ctx, bbox } = u;
  ctx.save();
  if (hasSteps) {
    let lastLabel = Infinity;
    (history.steps ?? []).forEach((step) => {
      const y = u.valToPos(step.jobs, 'y', true);
      if (!(y > bbox.top && y < bbox.top + bbox.height)) return;
      line(ctx, [bbox.left, y], [bbox.left + bbox.width, y], colors.red, [6, 4]);
      if (lastLabel - y < LABEL_HEIGHT * ratio()) return;
      lastLabel = y;
      const label = `${step.jobs} jobs for ${inWords(step.for)}: ${counted(step.instances, 'instance')}`;
      text(ctx, label, bbox.left + 6 * ratio(), y - 4 * ratio(), colors.red, 'left', colors.surface);
    });
  }
  if (chosen !== null && chosen >= history.from && chosen <= history.to) {
    const x = clampX(u, chosen);
    line(ctx, [x, bbox.top], [x, bbox.top + bbox.height], colors.ink, []);
  }
  ctx.restore();
}

function clampX(u, at) {
  const { left, width } = u.bbox;
  return Math.min(left + width, Math.max(left, u.valToPos(at, 'x', true)));
}

function line(ctx, [x1, y1], [x2, y2], color, dash) {
  ctx.strokeStyle = color;
  ctx.lineWidth = ratio();
  ctx.setLineDash(dash.map((it) => it * ratio()));
  ctx.beginPath();
  ctx.moveTo(x1, y1);
  ctx.lineTo(x2, y2);
  ctx.stroke();
}

/** With a halo in the background's colour, so that it is read over a line too. */
function text(ctx, words, x, y, color, align, halo) {
  ctx.font = `${11 * ratio()}px system-ui, sans-serif`;
  ctx.textAlign = align;
  ctx.textBaseline = 'alphabetic';
  ctx.setLineDash([]);
  if (halo) {
    ctx.strokeStyle = halo;
    ctx.lineJoin = 'round';
    ctx.lineWidth = 4 * ratio();
    ctx.strokeText(words, x, y);
  }
  ctx.fillStyle = color;
  ctx.fillText(words, x, y);
}

function hatch(ctx, color) {
  const size = 8 * ratio();
  const tile = document.createElement('canvas');
  tile.width = tile.height = size;
  const pen = tile.getContext('2d');
  pen.strokeStyle = color;
  pen.lineWidth = ratio();
  pen.beginPath();
  for (const shift of [-size, 0, size]) {
    pen.moveTo(shift, size);
    pen.lineTo(shift + size, 0);
  }
  pen.stroke();
  return ctx.createPattern(tile, 'repeat');
}
