// Everybody can use it: axe finds nothing serious, nothing is wider than a phone, and the keyboard reaches everything.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { AxeBuilder } from '@axe-core/playwright';

import { close, said, show, shot, UNAVAILABLE } from '../browser.js';

after(close);

async function check(page) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  return violations
    .filter((it) => ['serious', 'critical'].includes(it.impact))
    .map((it) => `${it.id}: ${it.nodes.map((node) => `${node.target} ${node.failureSummary}`).join('; ')}`);
}

for (const dark of [false, true]) {
  for (const scenario of ['flood', 'cap', 'redis-down', 'xss', 'nulls', 'interruption', 'three-pools']) {
    test(`${scenario}, ${dark ? 'dark' : 'light'}: axe finds nothing serious`, () =>
      show(scenario, { dark, allows: UNAVAILABLE }, async ({ page }) => {
        await said(page, '#money', /\S/);
        const name = page.locator('.lane-name').first();
        if (await name.count()) await name.click();
        await page.evaluate(() => document.querySelector('.chart [aria-expanded=false]')?.click());
        assert.deepEqual(await check(page), []);
        await shot(page, `${scenario}-${dark ? 'dark' : 'light'}-open`);
      }));
  }
}

for (const dark of [false, true]) {
  test(`a dialog, and a page that is cut off, ${dark ? 'dark' : 'light'}: axe finds nothing serious`, () =>
    show('flood', { dark, cutOffAfter: 2, allows: /ERR_|Failed to load/ }, async ({ page, mock }) => {
      await said(page, '#actions', /Hold/);
      await page.getByRole('button', { name: 'Hold', exact: true }).click();
      assert.deepEqual(await check(page), []);
      await page.keyboard.press('Escape');
      mock.cut();
      await said(page, '#headline', /^Cut off/, 6_000);
      assert.deepEqual(await check(page), []);
    }));
}

for (const size of ['phone', 'desk', 'wide']) {
  for (const scenario of ['flood', 'fleet', 'long', 'xss', 'cap', 'three-pools']) {
    test(`${scenario}, ${size}: nothing is wider than the window, and nothing covers anything`, () =>
      show(scenario, { size }, async ({ page }) => {
        await said(page, '#lanes', /\S/);
        await page.locator('#chart-backlog canvas').waitFor();
        for (const name of await page.locator('.lane-name').all())
          if (await name.isVisible()) {
            await name.click();
            break;
          }
        assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), 0);
        assert.deepEqual(await page.evaluate(outside), []);
        await shot(page, `${scenario}-${size}`);
        if (scenario === 'flood' && size === 'phone') {
          await page.emulateMedia({ colorScheme: 'dark' });
          await page.waitForTimeout(200);
          await shot(page, 'flood-phone-dark');
        }
      }));
  }
}

/** Texts that stick out of what they are in. */
function outside() {
  const found = [];
  for (const node of document.querySelectorAll(
    'main p, main b, main h3, main button, main dd, header p, header button',
  )) {
    const box = node.getBoundingClientRect();
    if (
      box.width > 0 &&
      !node.closest('.scrolls, pre, .aloud, .marks') &&
      (box.right > innerWidth + 1 || box.left < -1)
    )
      found.push(node.textContent.slice(0, 60));
  }
  return found;
}

test('the Tab key reaches head, charts, lanes and actions in the order of the page', () =>
  show('flood', {}, async ({ page }) => {
    await page.locator('#chart-backlog canvas').waitFor();
    await page.locator('body').focus();
    const order = [];
    for (let presses = 0; presses < 60; presses += 1) {
      await page.keyboard.press('Tab');
      const at = await page.evaluate(() => {
        const it = document.activeElement;
        return it === document.body
          ? ''
          : (it.className || it.dataset.range || it.dataset.action || it.textContent).toString().split(' ')[0];
      });
      if (at === '') break;
      order.push(at);
    }
    const places = ['skip', '15min', 'plot', 'lane-name', 'link', 'hold'].map((it) => order.indexOf(it));
    assert.ok(
      places.every((it) => it >= 0),
      `${places}: ${order}`,
    );
    assert.deepEqual(
      places,
      [...places].sort((one, other) => one - other),
    );
  }));

test('the arrows go through the phases of a lane, and tell each', () =>
  show('flood', {}, async ({ page }) => {
    await said(page, '#lanes', /READY/);
    await page.locator('.lane.ready .lane-name').focus();
    await said(page, '.lane.ready .hint', /^ready, since [\d:]+: its worker is ready to process jobs$/);
    await page.keyboard.press('ArrowLeft');
    await said(page, '#announcer', /^booting, [\d:]+ to [\d:]+ \(1 min 12 s\): EC2 runs it/);
  }));

test('who wants no motion gets none', () =>
  show('quiet', { still: true }, async ({ page }) => {
    const name = () => page.evaluate(() => getComputedStyle(document.querySelector('.dot')).animationName);
    assert.equal(await name(), 'none');
    await page.emulateMedia({ reducedMotion: 'no-preference' });
    assert.equal(await name(), 'beat');
  }));
