// The charts: uPlot's canvas with a sentence, a legend that hides series, a table, and keys. Colours are the page's.

import { columns, SECONDS, style, tick, ticks } from './axes.js';
import { announce, h, write } from './dom.js';
import { drawBehind, drawInFront } from './drawing.js';
import { GLYPHS, marks } from './marks.js';
import { bucketLine, CHARTS, gist, summary, valueAt } from './series.js';
import { table } from './table.js';
import { loadUplot } from './uplot.js';
import { inWords } from './words.js';

const SYNC = 'spillway';

/**
 * Makes all charts in `host`. `onPick(at)`: the reader wants the plan of that time. `onChoice()`: a series was
 * hidden or the axis changed; `choices` has it then.
 */
export function charts(host, choices, { onPick, onChoice, now }) {
  const made = CHARTS.map((definition) => chart(definition, choices, { onPick, onChoice, now }));
  host.append(...made.map((it) => it.figure));
  let shown = null;
  let uPlot;
  const draw = () => shown && made.forEach((it) => it.update(uPlot, shown));
  loadUplot().then((it) => {
    uPlot = it;
    document.getElementById('no-charts').hidden = uPlot !== null;
    draw();
  });
  const again = () => made.forEach((it) => it.forget());
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => (again(), draw()));
  new ResizeObserver(draw).observe(host);
  return {
    update(history, chosen) {
      if (shown?.history === history && shown.chosen === chosen) return;
      shown = { history, chosen };
      draw();
    },
  };
}

function chart(definition, choices, { onPick, onChoice, now }) {
  const heading = h('h3', {}, definition.title);
  const sentence = h('span', { class: 'gist muted', 'aria-hidden': 'true' });
  const legend = h('div', { class: 'legend', role: 'group', 'aria-label': `Series of ${definition.title}` });
  const log = definition.hasSteps && h('button', { type: 'button', class: 'small', onclick: toggleLog }, 'Log scale');
  const asTable = h(
    'button',
    { type: 'button', class: 'small', 'aria-expanded': 'false', onclick: toggleTable },
    'Show as table',
  );
  const strip = definition.hasSteps ? marks(onPick, now) : null;
  const plot = h('div', {
    class: 'plot',
    role: 'img',
    tabindex: '0',
    'aria-label': definition.title,
    onkeydown: key,
    onblur: leave,
  });
  const tableHost = h('div', { hidden: true });
  const head = h(
    'div',
    { class: 'chart-head' },
    heading,
    sentence,
    h('div', { class: 'buttons' }, log, asTable),
    legend,
  );
  const figure = h('figure', { id: `chart-${definition.id}`, class: 'chart' }, head, strip?.node, plot, tableHost);
  let [u, uPlot, shown, built, cursor, tableMade] = [null, null, null, '', null, null];

  const isHidden = (key) => choices.hidden.includes(key);

  function toggle(name) {
    choices.hidden = isHidden(name) ? choices.hidden.filter((it) => it !== name) : [...choices.hidden, name];
    onChoice();
    update(uPlot, shown);
  }
  function toggleLog() {
    choices.log = !choices.log;
    onChoice();
    update(uPlot, shown);
  }
  function toggleTable() {
    const opens = tableHost.hidden;
    tableHost.hidden = !opens;
    asTable.setAttribute('aria-expanded', String(opens));
    write(asTable, opens ? 'Hide table' : 'Show as table');
    update(uPlot, shown);
  }

  function update(library, next) {
    if (!next) return;
    [uPlot, shown] = [library, next];
    const { history } = shown;
    write(sentence, gist(definition, history, now()));
    plot.setAttribute('aria-label', summary(definition, history, now()));
    write(
      heading,
      definition.id === 'throughput' ? `Throughput, jobs in ${inWords(history.bucket_ms / 1000)}` : title(),
    );
    log && log.setAttribute('aria-pressed', String(choices.log));
    drawLegend(cursor ?? newest());
    if (uPlot === null) {
      // Built without it: the table is all there is, and is open from the start.
      plot.hidden = true;
      asTable.hidden = true;
      log && (log.hidden = true);
      tableHost.hidden = false;
    }
    if (!tableHost.hidden && tableMade !== history) {
      tableMade = history;
      tableHost.replaceChildren(table(definition, history, now()));
    }
    if (uPlot) drawPlot();
    strip?.update(
      history,
      uPlot ? { left: style().axis, width: plot.clientWidth - style().axis - style().edge } : null,
    );
  }
  const title = () => (definition.hasSteps && choices.log ? `${definition.title} (log scale)` : definition.title);

  /** The newest bucket; the one before while nothing is recorded in it. */
  function newest() {
    const last = shown.history.at.length - 1;
    const isEmpty = definition.series.every(({ key }) => (shown.history[key]?.[last] ?? null) === null);
    return isEmpty && last > 0 ? last - 1 : last;
  }

  function drawLegend(index) {
    const { history } = shown;
    if (legend.childElementCount === 0) {
      legend.append(
        ...definition.series.map((it) =>
          h(
            'button',
            { type: 'button', class: 'key', data: { key: it.key }, onclick: () => toggle(it.key) },
            h('span', { class: 'swatch', style: { '--swatch': `var(${it.color})` } }),
            h('span', {}, it.label),
            h('b', {}),
          ),
        ),
      );
      if (strip) legend.append(h('span', { class: 'glyphs', 'aria-hidden': 'true' }, GLYPHS));
    }
    definition.series.forEach((it, order) => {
      const button = legend.children[order];
      button.setAttribute('aria-pressed', String(!isHidden(it.key)));
      write(button.lastChild, valueAt(definition, it, history, index));
    });
  }

  /** Built anew only where its shape changes: the data alone is replaced otherwise. */
  function drawPlot() {
    const { history } = shown;
    const shape = JSON.stringify([choices.hidden, definition.hasSteps && choices.log, style().axis]);
    // A canvas without width cannot be drawn on: the page is not laid out yet.
    if (plot.clientWidth === 0) return;
    if (u === null || built !== shape) {
      u?.destroy();
      built = shape;
      u = new uPlot(options(), columns(definition, history), plot);
    } else {
      if (u.width !== plot.clientWidth) u.setSize({ width: plot.clientWidth, height: definition.height });
      u.setData(columns(definition, history), false);
      u.setScale('x', { min: history.from, max: history.to });
    }
  }

  function options() {
    const { color, axis: width, edge } = style();
    const colors = Object.fromEntries(
      ['ink', 'muted', 'surface', 'red', 'hatch', 'line'].map((it) => [it, color(`--${it}`)]),
    );
    const axis = {
      stroke: colors.muted,
      font: '11px system-ui, sans-serif',
      grid: { stroke: colors.line, width: 1 },
      ticks: { stroke: colors.line, width: 1, size: 4 },
    };
    const isLog = definition.hasSteps && choices.log;
    const path = definition.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined;
    const series = definition.series.flatMap((it) => {
      const line = {
        label: it.label,
        stroke: color(it.color),
        width: it.key === 'backlog' ? 2 : 1.5,
        paths: path,
        points: { show: false },
        show: !isHidden(it.key),
      };
      // The unfinished end of each line is a series of its own, dashed.
      return [
        { ...line, fill: it.fill ? `${color(it.color)}22` : undefined },
        { ...line, dash: [4, 4], label: `${it.label}, still filling` },
      ];
    });
    const scene = () => ({ history: shown.history, colors, chosen: shown.chosen, hasSteps: definition.hasSteps });
    return {
      width: plot.clientWidth,
      height: definition.height,
      ms: 1,
      padding: [8, edge, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: SYNC }, drag: { x: false, y: false }, points: { size: 6 }, y: false },
      scales: {
        x: { time: true, range: () => [shown.history.from, shown.history.to] },
        y: { distr: isLog ? 4 : 1, range: (_, __, max) => [0, top(max)] },
      },
      axes: [
        { ...axis, size: 26, space: 70, values: ticks },
        {
          ...axis,
          size: width,
          space: 28,
          incrs: definition.isTime ? SECONDS : undefined,
          values: (_, values) => values.map((it) => tick(definition, it)),
        },
      ],
      series: [{}, ...series],
      hooks: {
        drawAxes: [(it) => drawBehind(it, scene())],
        draw: [(it) => drawInFront(it, scene())],
        setCursor: [(it) => moved(it.cursor.idx)],
        ready: [
          (it) =>
            it.over.addEventListener(
              'click',
              () => it.cursor.left >= 0 && onPick(Math.round(it.posToVal(it.cursor.left, 'x'))),
            ),
        ],
      },
    };
  }

  /** Room for the highest threshold too, so that a quiet queue shows how far it is from one. */
  function top(max) {
    const steps = definition.hasSteps ? (shown.history.steps ?? []).map((it) => it.jobs) : [];
    return Math.max((max ?? 0) * 1.1, Math.max(0, ...steps) * 1.25, 1);
  }
  function moved(index) {
    cursor = index === null || index === undefined ? null : Math.min(index, shown.history.at.length - 1);
    drawLegend(cursor ?? newest());
  }

  function key(event) {
    if (!u || !shown || shown.history.at.length === 0) return;
    const last = shown.history.at.length - 1;
    const here = cursor ?? last + 1;
    const to = {
      ArrowLeft: here - 1,
      ArrowRight: here + 1,
      Home: 0,
      End: last,
      PageUp: here - 10,
      PageDown: here + 10,
    }[event.key];
    if (event.key === 'Enter' && cursor !== null) onPick(shown.history.at[cursor]);
    else if (event.key === 'Escape') leave();
    else if (to === undefined) return;
    else {
      const index = Math.max(0, Math.min(last, to));
      u.setCursor({ left: u.valToPos(shown.history.at[index], 'x'), top: 0 });
      moved(index);
      announce(bucketLine(definition, shown.history, index, now()));
    }
    event.preventDefault();
  }
  function leave() {
    u?.setCursor({ left: -10, top: -10 });
  }
  return { figure, update, forget: () => (built = '') };
}
