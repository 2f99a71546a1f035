// Each state says the right sentence, and what is worth acting on stands below it.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { close, said, show, shot, text, UNAVAILABLE } from '../browser.js';

after(close);

const SENTENCES = [
  ['quiet', /^Nothing to do: no jobs ready to run, no instances\.$/],
  ['flood', /^Scaling out: \d+ jobs ready to run, 2 instances desired: 1 ready, 2 starting\.$/],
  ['cap', /^At the cap of 3 instances, so nothing is launched: \d+ jobs ready to run; 1 ready, 2 starting\.$/],
  ['interruption', /1 ready, 1 starting, 1 draining\.$/],
  ['redis-down', /^Cannot read the queues: no scaling until this works again\.$/],
  ['ec2-down', /^Cannot list EC2's instances: no scaling until this works again\.$/],
  ['history-down', /^The history cannot be read: the status below is live\.$/],
  [
    'held',
    /^Held by an operator \(looking at the install step, by root \(uid 0\)\): no launches and no scale-in until resume\.$/,
  ],
  ['blocked', /^Launching is stopped: EC2 answered UnauthorizedOperation \(permission\); tried again in \d min/],
  ['breaker', /^The breaker is open: 3 boots failed in a row: no launch for the next 8 min 20 s, then one instance is tried\.$/],
  ['standby', /^Standby: this coordinator is not the leader\. It observes and decides nothing\.$/],
  ['no-pools', /^This coordinator has no pool: nothing is observed and nothing is launched\.$/],
  ['nulls', /^The queues have not been read yet: no scaling until they are\.$/],
];

for (const [scenario, sentence] of SENTENCES) {
  test(`${scenario}: the head says it in one sentence`, () =>
    show(scenario, { allows: UNAVAILABLE }, async ({ page }) => {
      await said(page, '#headline', sentence);
      assert.match(
        await page.title(),
        sentence.source.startsWith('^') ? new RegExp(sentence.source.slice(1)) : sentence,
      );
      await shot(page, scenario);
    }));
}

const FINDINGS = [
  ['cap', /At the cap of 3 instances while the backlog grows/, /Raise max_instances/, /at%20the%20cap/],
  [
    'cap',
    /EC2 refuses to terminate i-\w+, and it is billed on/,
    /Allow ec2:TerminateInstances/,
    /EC2%20refuses%20to%20terminate/,
  ],
  ['cap', /The image is 45 d old/, /spillway bake/, /launches%20take/],
  [
    'cap',
    /2 volumes left behind by instances that are gone, and billed on/,
    /Delete what nobody needs/,
    /left%20behind/,
  ],
  ['blocked', /Launching is stopped/, /IAM policy/, /not%20permitted/],
  ['breaker', /The breaker is open/, /then spillway resume/, /boots%20failed%20in%20a%20row/],
  ['standby', /This coordinator is not the leader/, /spillway\.leader/, /STANDBY/],
  ['held', /Held while jobs wait/, /spillway resume, unless/, /an%20operator%20holds/],
  ['three-pools', /Pool mail needs attention too/, /Choose the pool above/, null],
];

for (const [scenario, title, todo, link] of FINDINGS) {
  test(`${scenario}: ${title.source} is worth acting on`, () =>
    show(scenario, {}, async ({ page }) => {
      await said(page, '#attention', title);
      const finding = page.locator('#attention > li').filter({ hasText: title });
      assert.match(await finding.innerText(), todo);
      if (link)
        assert.match(
          await finding.locator('a').getAttribute('href'),
          new RegExp(`^/runbook#when-it-does-not-scale.*${link.source}`),
        );
    }));
}

test('nothing is worth acting on in a quiet queue, in a flood, and where nothing is known', async () => {
  for (const scenario of ['quiet', 'flood', 'nulls']) {
    await show(scenario, {}, async ({ page }) =>
      assert.equal(await page.locator('section.attention').isVisible(), false, scenario),
    );
  }
});

test('a Redis that cannot be read makes the page the diagnosis', () =>
  show('redis-down', { allows: UNAVAILABLE }, async ({ page }) => {
    const words = await said(page, '#diagnosis', /The history of queues and instances/);
    assert.match(words, /The queues in Redis last read 9 min ago Redis: connection refused/);
    assert.match(words, /Nothing is launched, drained or terminated: unknown is not zero/);
    assert.match(words, /spillway queues on the primary asks Redis/);
    assert.match(await text(page, '#figures'), /ready to run 7 read 9 min ago/);
    assert.match(await text(page, '#no-history'), /cannot be read/);
    assert.equal(await page.locator('#charts').isVisible(), false);
    assert.equal(
      await page.locator('#diagnosis a').first().getAttribute('href'),
      '/runbook#when-it-does-not-scale:~:text=cannot%20read%20the%20queues%20(',
    );
  }));

test('an EC2 that cannot be listed does not turn into no instances', () =>
  show('ec2-down', {}, async ({ page }) => {
    assert.match(await said(page, '#diagnosis', /EC2's list of instances/), /spillway doctor/);
    assert.match(
      await said(page, '#money', /Unknown/),
      /Unknown: EC2's spot prices cannot be read: UnauthorizedOperation/,
    );
    assert.doesNotMatch(await text(page, '#money'), /\$0/);
    assert.match(await text(page, '#figures'), /spot, last 24 h unknown/);
  }));

test('where everything is null nothing is shown as 0', () =>
  show('nulls', {}, async ({ page }) => {
    await said(page, '#figures', /ready to run unknown running unknown/);
    await said(page, '.legend', /ready to run unknown/);
    assert.match(await text(page, '#lanes'), /No instance is known/);
    assert.doesNotMatch(await text(page, 'main'), /NaN|undefined|null|Invalid/);
  }));

test('another pool is chosen by its button, and by a link', () =>
  show('three-pools', {}, async ({ page, mock }) => {
    assert.match(await text(page, '#pools'), /video-processing thumbnails mail/);
    await page.getByRole('button', { name: /^mail/ }).click();
    await said(page, '#headline', /^Cannot read the queues/);
    assert.match(page.url(), /pool=mail/);
    await page.goto('about:blank');
    await page.goto(`${mock.url}#pool=thumbnails&range=6h`);
    await said(page, '#pools [aria-pressed=true]', /^thumbnails$/);
    await said(page, '#ranges [aria-pressed=true]', /^6 h$/);
  }));

test('an instance that boots tells its step, and its lane opens to all that is known of it', () =>
  show('flood', {}, async ({ page }) => {
    await said(page, '.lane.booting', /boot step 2, install: running for \d+ s: bun install --frozen-lockfile/);
    await page.locator('.lane.ready .lane-name').click();
    const words = await said(page, '.lane-details', /Proof of work/);
    assert.match(words, /launching, [\d:]+ to [\d:]+ \(1 min\): 38 jobs ready to run/);
    assert.match(words, /pull: done in 3 s/);
    assert.match(words, /PM2 shows 2 processes up, 0 restarts; Redis shows 2 locks that it renews \(by name\)/);
    assert.match(words, /image ami-0e000000000000001, made 3 d ago; commit b0391d89; agent 0\.1\.0/);
    assert.match(words, /\$0\.0712 an hour/);
    assert.match(await text(page, '.primaries'), /PRIMARY 2 jobs/);
  }));

test('a boot that failed needs a look although its instance is gone, and its log is there', () =>
  show('breaker', {}, async ({ page }) => {
    await said(page, '.group.urgent', /Needs a look \(3\) ENDED i-\w+ .*boot step install failed/);
    await page.locator('.group.urgent .lane-name').first().click();
    const words = await said(page, '.lane-details', /install: FAILED: exit status 1: error: lockfile had changes/);
    assert.match(words, /End of its worker’s log Error: Cannot find module/);
    assert.match(await text(page, '#lanes'), /No instance runs/);
  }));

test('an interrupted instance comes first, with its notice', () =>
  show('interruption', {}, async ({ page }) => {
    await said(
      page,
      '.group.urgent',
      /Needs a look \(1\) DRAINING i-\w+ .*interruption notice: EC2 will terminate the instance in 1 min/,
    );
    assert.equal(await page.locator('.group.urgent .interrupted').count(), 1);
  }));

test('of 200 instances those that run are paged, and those that ended are closed until somebody opens them', () =>
  show('fleet', { hash: '#range=30d' }, async ({ page }) => {
    await said(page, '#lanes', /Instances \(30\)/);
    assert.equal(await page.locator('.lane').count(), 25);
    await page.getByRole('button', { name: 'Show 5 more' }).click();
    assert.equal(await page.locator('.lane').count(), 30);
    await page.getByText('170 instances ended in this time').click();
    await page.locator('.lane.ended').first().waitFor();
    assert.equal(await page.locator('.lane').count(), 55);
  }));
