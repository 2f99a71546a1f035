// The page is live, or says since when it is not.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { close, said, show, shot } from '../browser.js';

after(close);

test('a change is on the page without a reload', () =>
  show('flood', {}, async ({ page, mock }) => {
    await said(page, '#headline', /^Scaling out/);
    mock.push((it) => (it.changes = { held: true, hold_reason: 'a test' }));
    await said(page, '#headline', /^Held by an operator \(a test\)/, 2_000);
  }));

test('comment lines alone keep it live', () =>
  show('quiet', { cutOffAfter: 2, beat: 500 }, async ({ page, mock }) => {
    await page.waitForTimeout(3_500);
    assert.equal(mock.opened(), 1);
    await said(page, '#marker', /^live /);
  }));

test('a stream that is cut makes it cut off, greyed and without actions, and it recovers by itself', () =>
  show('flood', { cutOffAfter: 2, allows: /ERR_|Failed to load/ }, async ({ page, mock }) => {
    await said(page, '#lanes', /Instances/);
    await page.locator('.lane.ready .lane-name').click();
    mock.cut();
    await said(page, '#headline', /^Cut off since \d\d:\d\d:\d\d: what is shown below is from before that\.$/, 5_000);
    await said(page, '#marker', /^cut off updated \d+ s ago/);
    assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector('main')).filter), 'grayscale(1)');
    assert.equal(await page.locator('[data-action=drain]').isDisabled(), true);
    assert.match(await page.locator('[data-action=drain]').getAttribute('title'), /^Cut off/);
    await shot(page, 'cut-off');
    mock.heal();
    await page.getByRole('button', { name: 'Try now' }).click();
    await said(page, '#headline', /^Scaling out/, 6_000);
    await said(page, '#marker', /^live updated just now/);
    assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector('main')).filter), 'none');
  }));

test('it comes back without anybody asking', () =>
  show('quiet', { cutOffAfter: 2, allows: /ERR_|Failed to load/ }, async ({ page, mock }) => {
    mock.cut();
    await said(page, '#marker', /^cut off/, 6_000);
    mock.heal();
    await said(page, '#marker', /^live/, 12_000);
  }));

test('a stream that stays open and says nothing is cut off too', () =>
  show('quiet', { cutOffAfter: 2, beat: 60_000, allows: /ERR_|Failed to load/ }, async ({ page }) => {
    await said(page, '#headline', /^Cut off since/, 6_000);
  }));
