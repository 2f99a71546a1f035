// What comes from the coordinator is text, its policy is kept, and the page is small and fast.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { close, said, show, text } from '../browser.js';
import { XSS } from '../mock/data.js';

after(close);

/** Of everything that a first visit fetches, headers included: 60 kB. */
const BUDGET = 60_000;
/** Until the first paint, in milliseconds. */
const FIRST_PAINT = 1_000;

test('markup in names, reasons and notes is shown as text and is never run', () =>
  show('xss', {}, async ({ page }) => {
    await said(page, '#headline', /<script>/);
    await page.locator('.lane-name').first().click();
    await page.locator('.mark').first().click();
    await said(page, '#why', /The plan that was in force/);
    await page.locator('[data-action=resume]').click();
    await said(page, 'dialog', /Resume <script>/);
    for (const place of ['#headline', '#pools', '#attention', '#lanes', '#why', '#actions', 'dialog']) {
      assert.ok((await text(page, place)).includes(XSS.replace(/\s+/g, ' ')), place);
    }
    assert.equal(await page.locator('main script, main img, header script, dialog img').count(), 0);
    assert.doesNotMatch(await page.title(), /^owned/);
  }));

test('the policy of the page refuses scripts and styles in its markup, and uPlot works under it', () =>
  show('flood', { allows: /policy|Content Security Policy/ }, async ({ page, problems }) => {
    await page.locator('#chart-backlog canvas').waitFor();
    assert.deepEqual(problems, []);
    assert.notEqual(await page.evaluate(() => document.querySelector('.u-over').style.width), '');
    await page.evaluate(() => {
      document.body.insertAdjacentHTML('beforeend', '<p id="styled" style="color: red">styled</p>');
      document.head.append(
        Object.assign(document.createElement('script'), { textContent: 'document.title = "owned"' }),
      );
    });
    assert.ok(problems.length >= 2, 'the policy was not enforced');
    assert.doesNotMatch(await page.title(), /owned/);
  }));

test('there is no script or style in the page itself', () =>
  show('quiet', {}, async ({ page, mock }) => {
    const html = await (await page.request.get(mock.url)).text();
    assert.doesNotMatch(html, /<style|style=|\son\w+=|<script(?![^>]*\ssrc=)/);
  }));

test('the modules work as they are, too', () =>
  show('flood', { modules: true, wait: false }, async ({ page, mock }) => {
    await page.goto(`${mock.url}`);
    await page.locator('#chart-backlog canvas').waitFor();
    await said(page, '#headline', /^Scaling out/);
    assert.equal(await page.locator('script[src="/assets/main.js"]').count(), 1);
  }));

test('a first visit is small', () =>
  show('quiet', { wait: false }, async ({ page, mock }) => {
    const session = await page.context().newCDPSession(page);
    await session.send('Network.enable');
    await session.send('Network.setCacheDisabled', { cacheDisabled: true });
    const urls = new Map();
    let bytes = 0;
    session.on('Network.requestWillBeSent', (it) => urls.set(it.requestId, it.request.url));
    session.on('Network.loadingFinished', (it) => {
      if (!/\/api\//.test(urls.get(it.requestId)) && urls.get(it.requestId)?.startsWith('http'))
        bytes += it.encodedDataLength;
    });
    await page.goto('about:blank');
    await page.goto(mock.url);
    await page.locator('#chart-backlog canvas').waitFor();
    console.log(
      `on the wire, with headers: ${bytes} bytes of ${BUDGET}, in ${[...urls.values()].filter((it) => /^http/.test(it) && !/api/.test(it)).length} requests`,
    );
    assert.ok(bytes > 20_000 && bytes <= BUDGET, `${bytes} bytes`);
  }));

test('200 instances in 30 days are painted in time', () =>
  show('fleet', { hash: '#range=30d' }, async ({ page }) => {
    await page.goto('about:blank');
    await page.goBack();
    await said(page, '#lanes', /Instances \(30\)/);
    await page.locator('#chart-backlog canvas').waitFor();
    const [paint, whole, longest] = await page.evaluate(
      () =>
        new Promise((done) => {
          const tasks = [];
          new PerformanceObserver((list) => tasks.push(...list.getEntries())).observe({
            type: 'longtask',
            buffered: true,
          });
          new PerformanceObserver((list) => {
            const first = list.getEntriesByName('first-contentful-paint')[0];
            if (first)
              setTimeout(
                () => done([first.startTime, performance.now(), Math.max(0, ...tasks.map((it) => it.duration))]),
                200,
              );
          }).observe({ type: 'paint', buffered: true });
        }),
    );
    console.log(
      `first paint after ${Math.round(paint)} ms, everything within ${Math.round(whole)} ms, longest task ${Math.round(longest)} ms`,
    );
    assert.ok(paint <= FIRST_PAINT, `${paint} ms`);
  }));
