// Charts, their marks, their tables and their keys; and what is remembered of the reader's choices.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { close, said, show, shot, text } from '../browser.js';

after(close);

const drawn = (page) => page.locator('#chart-backlog canvas').waitFor();

test('each chart has a sentence made from its data', () =>
  show('flood', {}, async ({ page }) => {
    await drawn(page);
    const label = (id) => page.locator(`#chart-${id} [role=img]`).getAttribute('aria-label');
    assert.match(
      await label('backlog'),
      /^Backlog: ready to run \d+, (rising, |falling, |steady, )highest 46 at \d\d:\d\d, running 5\.$/,
    );
    assert.match(await label('wait'), /^Wait: oldest waiting 1 min \d+ s, .*p95 of jobs that started/);
    assert.match(await label('throughput'), /^Throughput: arrived \d+, .*finished \d+, failed \d+\.$/);
    assert.match(await label('capacity'), /^Instances: desired 2, .*ready 1, starting \d, draining 0\.$/);
  }));

test('the thresholds of the policy, and buckets that still fill, are drawn', () =>
  show('quiet', {}, async ({ page }) => {
    await drawn(page);
    // The red of the thresholds is nowhere else on this canvas.
    const colored = await page.evaluate(() => {
      const canvas = document.querySelector('#chart-backlog canvas');
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      let red = 0;
      for (let at = 0; at < data.length; at += 4)
        if (data[at] > 150 && data[at + 1] < 90 && data[at + 2] < 90 && data[at + 3] > 200) red += 1;
      return red;
    });
    assert.ok(colored > 200, `${colored} red pixels`);
    assert.equal(await page.evaluate(() => document.querySelector('#chart-backlog .u-over').clientWidth > 400), true);
  }));

test('a mark opens the plan of its time, by the mouse', () =>
  show('flood', {}, async ({ page }) => {
    const mark = page.locator('.mark.interruption');
    assert.match(
      await mark.getAttribute('aria-label'),
      /^1 interruption at [\d:]+: interruption i-\w+: interruption notice: EC2 reclaims/,
    );
    await mark.click();
    await said(page, '#why', /The plan that was in force at [\d:]+/);
    const words = await said(page, '#why', /the plan of that time/);
    assert.match(words, /interruption i-\w+: interruption notice: EC2 reclaims the instance in 2 min/);
    assert.match(page.url(), /at=\d{13}/);
    await page.locator('#why').getByRole('button', { name: 'Back to now' }).click();
    await said(page, '#why', /demand \d+, instances desired 2 just now/);
    assert.doesNotMatch(page.url(), /at=/);
  }));

test('marks are one stop of the Tab key, and open by Enter', () =>
  show('flood', {}, async ({ page }) => {
    await drawn(page);
    assert.equal(await page.locator('.mark[tabindex="0"]').count(), 1);
    await page.locator('.mark[tabindex="0"]').focus();
    await page.keyboard.press('ArrowLeft');
    await page.keyboard.press('Enter');
    await said(page, '#why', /The plan that was in force/);
  }));

test('a click on a chart shows the plan of that time', () =>
  show('flood', {}, async ({ page }) => {
    await drawn(page);
    await page.locator('#chart-wait .u-over').click({ position: { x: 200, y: 40 } });
    await said(page, '#why', /The plan that was in force at [\d:]+/);
  }));

test('the arrows move through a chart and tell each bucket; Enter shows its plan', () =>
  show('flood', {}, async ({ page }) => {
    await drawn(page);
    await page.locator('#chart-backlog [role=img]').focus();
    await page.keyboard.press('Home');
    await page.keyboard.press('ArrowRight');
    const first = await said(page, '#announcer', /^\d\d:\d\d: ready to run \d+, running \d+$|^\d\d:\d\d:\d\d: ready/);
    await page.keyboard.press('ArrowRight');
    await said(page, '#announcer', new RegExp(`^(?!${first.slice(0, 8)})`));
    await page.keyboard.press('End');
    await said(page, '#announcer', /still filling/);
    await page.keyboard.press('Enter');
    await said(page, '#why', /The plan that was in force/);
  }));

test('a chart is shown as a table, newest first', () =>
  show('flood', {}, async ({ page }) => {
    await drawn(page);
    const chart = page.locator('#chart-backlog');
    await chart.getByRole('button', { name: 'Show as table' }).click();
    assert.match(await chart.locator('caption').innerText(), /^Backlog for each \d+ s, newest first$/);
    assert.deepEqual(await chart.locator('thead th').allInnerTexts(), ['from', 'ready to run', 'running']);
    assert.match(await chart.locator('tbody tr').first().innerText(), /still filling/);
    assert.match(await chart.locator('tbody tr').nth(3).innerText(), /^[\d:]+\s+\d+\s+\d+$/);
    await chart.getByRole('button', { name: 'Hide table' }).click();
    assert.equal(await chart.locator('table').isVisible(), false);
  }));

test('times of which nothing is known are unknown in the table, and not 0', () =>
  show('quiet', { hash: '#range=6h' }, async ({ page }) => {
    await drawn(page);
    await page.locator('#chart-backlog').getByRole('button', { name: 'Show as table' }).click();
    assert.ok((await page.locator('#chart-backlog td', { hasText: 'unknown' }).count()) >= 2);
  }));

test('range, log scale and hidden series are remembered', () =>
  show('flood', {}, async ({ page, mock }) => {
    await drawn(page);
    await page.getByRole('button', { name: '24 h' }).click();
    await page.getByRole('button', { name: 'Log scale' }).click();
    await said(page, '#chart-backlog h3', /^Backlog \(log scale\)$/);
    await page.locator('#chart-backlog .key[data-key=active]').click();
    await page.goto('about:blank');
    await page.goto(mock.url);
    await drawn(page);
    assert.equal(await text(page, '#ranges [aria-pressed=true]'), '24 h');
    await said(page, '#chart-backlog h3', /^Backlog \(log scale\)$/);
    assert.equal(await page.locator('#chart-backlog .key[data-key=active]').getAttribute('aria-pressed'), 'false');
    assert.equal(await page.locator('#chart-backlog .key[data-key=backlog]').getAttribute('aria-pressed'), 'true');
  }));

test('a link to a time long ago shows that time, and says that it is not now', () => {
  const at = Date.now() - 5 * 86_400_000;
  return show('flood', { hash: `#range=1h&at=${at}` }, async ({ page }) => {
    await said(page, '#past', /^Shown: \d+ \w+ \d\d:\d\d to \d+ \w+ \d\d:\d\d, and not now\./);
    await said(page, '#why', /The plan that was in force at \d+ \w+/);
    assert.doesNotMatch(await text(page, '#lanes'), /LAUNCHING|PRIMARY/);
    await shot(page, 'past');
    await page.locator('#past').getByRole('button', { name: 'Back to now' }).click();
    await said(page, '#lanes', /LAUNCHING/);
  });
});

test('without uPlot the numbers are in tables, and a notice says so', () =>
  show('flood', { uplot: false }, async ({ page }) => {
    await said(page, '#no-charts', /built without the charting library/);
    assert.equal(await page.locator('#charts table').count(), 4);
    assert.equal(await page.locator('#charts canvas').count(), 0);
    assert.match(await text(page, '#chart-backlog tbody'), /\d/);
    await shot(page, 'tables');
  }));

test('uPlot files that are missing altogether lead to the tables too', () =>
  show('flood', { uplot: 'missing', allows: /status of 404|MIME type/ }, async ({ page }) => {
    await said(page, '#no-charts', /built without the charting library/);
    assert.equal(await page.locator('#charts table').count(), 4);
  }));

test('the lanes keep the axis of the charts', () =>
  show('flood', {}, async ({ page }) => {
    await drawn(page);
    const [chart, track] = await page.evaluate(() =>
      ['.u-over', '.track']
        .map((it) => document.querySelector(it).getBoundingClientRect())
        .map(({ left, right }) => [left, right].map(Math.round)),
    );
    assert.deepEqual(chart, track);
  }));
