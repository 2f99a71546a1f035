// What an operator does here is said in a dialog, sent with the headers that the coordinator wants, and answered.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { close, said, show, shot, text } from '../browser.js';

after(close);

const openReady = async (page) => {
  await said(page, '#lanes', /READY/);
  await page.locator('.lane.ready .lane-name').first().click();
};

test('drain says what will happen, and is sent once it is confirmed', () =>
  show('flood', {}, async ({ page, mock }) => {
    await openReady(page);
    await page.locator('[data-action=drain]').last().click();
    const words = await said(page, 'dialog', /What will happen:/);
    assert.match(
      words,
      /Drain i-\w+ .*takes no new job\. Its 2 jobs may finish until drain_timeout; what is left is handed back/,
    );
    assert.equal(mock.requests.length, 0);
    await shot(page, 'dialog');
    await page.getByLabel('Reason').fill('a test');
    await page.getByRole('button', { name: 'Drain the instance' }).click();
    await said(page, '#told', /^i-\w+ takes no new job; it is terminated once its jobs are finished/);
    const [request] = mock.requests;
    assert.equal(request.name, 'drain');
    assert.equal(request.method, 'POST');
    assert.equal(request.headers['x-spillway'], '1');
    assert.equal(request.headers['content-type'], 'application/json');
    assert.equal(request.headers.origin, mock.url.slice(0, -1));
    assert.deepEqual(request.body, { pool: 'video-processing', instance: mock.scenario.ids[0], reason: 'a test' });
    await said(page, '.lane.draining', /requested by an operator/);
  }));

test('a button that is held down while the page changes is still clicked', () =>
  show('flood', {}, async ({ page }) => {
    const name = page.locator('.lane.booting .lane-name');
    await name.waitFor();
    const stays = async () => {
      const node = await name.elementHandle();
      await page.waitForTimeout(2_500);
      return node.evaluate((it) => it.isConnected);
    };
    assert.equal(await stays(), false);
    await name.hover();
    await page.mouse.down();
    assert.equal(await stays(), true);
    await page.mouse.up();
    await page.locator('.lane.booting .lane-details').waitFor();
    await said(page, '.lane.booting', /Boot steps/);
  }));

test('Escape and Cancel send nothing', () =>
  show('flood', {}, async ({ page, mock }) => {
    await said(page, '#actions', /Hold/);
    for (const leave of [
      () => page.keyboard.press('Escape'),
      () => page.getByRole('button', { name: 'Cancel' }).click(),
    ]) {
      await page.getByRole('button', { name: 'Hold', exact: true }).click();
      await said(page, 'dialog', /No launches and no scale-in/);
      await leave();
      assert.equal(await page.locator('dialog').isVisible(), false);
    }
    assert.equal(mock.requests.length, 0);
  }));

test('hold and resume, by the keyboard alone', () =>
  show('flood', {}, async ({ page, mock }) => {
    await page.locator('[data-action=hold]').focus();
    await page.keyboard.press('Enter');
    await page.keyboard.type('looking');
    await page.keyboard.press('Enter');
    await said(page, '#headline', /^Held by an operator \(looking, by root/);
    await page.locator('[data-action=resume]').focus();
    await page.keyboard.press('Enter');
    await page.keyboard.press('Enter');
    await said(page, '#headline', /^Scaling out/);
    assert.deepEqual(
      mock.requests.map((it) => it.name),
      ['hold', 'resume'],
    );
  }));

test('a game day asks for the notice and sends it as a number', () =>
  show('flood', {}, async ({ page, mock }) => {
    await openReady(page);
    await page.locator('[data-action=rehearse]').click();
    await said(page, 'dialog', /behaves as if EC2 had given notice.*Then it really is terminated/);
    await page.getByLabel('Notice in seconds').fill('30');
    await page.getByRole('button', { name: 'Interrupt it' }).click();
    await said(page, '#told', /takes no new job/);
    assert.deepEqual(mock.requests[0].body, { pool: 'video-processing', instance: mock.scenario.ids[0], notice: 30 });
  }));

test('what the coordinator refuses stays in the dialog, with what to do', () =>
  show('interruption', { allows: /status of 409/ }, async ({ page }) => {
    await said(page, '#lanes', /DRAINING/);
    await page.locator('.lane.draining .lane-name').click();
    await page.locator('[data-action=cancel-drain]').click();
    await page.getByRole('button', { name: 'Let it take jobs again' }).click();
    await said(
      page,
      'dialog .answer',
      /would be drained again at once: 0 instances desired\. Run `spillway hold` first/,
    );
    assert.equal(await page.locator('dialog').isVisible(), true);
  }));

test('who may not act sees why', () =>
  show(
    'flood',
    { mayAct: false, whyNot: 'You are a viewer: dashboard.operators has your name not' },
    async ({ page }) => {
      await said(page, '#actions', /You are a viewer/);
      await openReady(page);
      for (const action of ['hold', 'resume', 'drain', 'rehearse']) {
        assert.equal(await page.locator(`[data-action=${action}]`).first().isDisabled(), true, action);
      }
      assert.match(await text(page, '.lane-details'), /You are a viewer/);
    },
  ));

test('a standby offers no action', () =>
  show('standby', {}, async ({ page }) => {
    await said(page, '#actions', /This coordinator is a standby: only the leader acts/);
    assert.equal(await page.locator('[data-action=hold]').isDisabled(), true);
  }));
