// The page of a real coordinator, through a flood, an operator's drain and a restart. `e2e browser::` starts it and reads
// its lines: after "live" it adds jobs, after "draining" it ends the coordinator, after "cut" it starts another.
//
//   node real.js URL

import AxeBuilder from '@axe-core/playwright';

import { close, said, shot, text, visit } from './browser.js';

const [url] = process.argv.slice(2);
const LONG = 100_000;
const step = (name) => console.log(name);

async function follow(page) {
  await said(page, '#headline', /./);
  await said(page, '#lanes', /No instance/, LONG);
  step('live');
  await said(page, '#figures', /ready to run [1-9]/, LONG);
  step('backlog');
  await said(page, '#why', /launch/, LONG);
  await page.locator('.lane.booting').first().waitFor({ timeout: LONG });
  step('booting');
  await page.locator('.lane.ready .lane-name').first().waitFor({ timeout: LONG });
  await shot(page, 'real-ready');
  const found = await new AxeBuilder({ page }).analyze();
  const bad = found.violations.filter((it) => ['serious', 'critical'].includes(it.impact));
  if (bad.length > 0) throw new Error(`axe: ${JSON.stringify(bad.map((it) => [it.id, it.nodes[0].html]))}`);
  step('ready');

  await page.locator('.lane.ready .lane-name').first().click();
  await page.locator('[data-action=drain]').last().click();
  await said(page, 'dialog', /What will happen:/);
  await page.getByLabel('Reason').fill('a browser asked');
  await page.getByRole('button', { name: 'Drain the instance' }).click();
  await said(page, '#lanes', /a browser asked/, LONG);
  await said(page, '#why', /a browser asked/, LONG);
  const decisions = await text(page, '#why');
  step('draining');

  await said(page, '#marker', /^(?:retrying|cut off|reconnecting)/i, LONG);
  step('cut');
  await said(page, '#marker', /^live/, LONG);
  // What was decided before is still there: the record outlives the coordinator.
  await said(page, '#why', /launch .* jobs ready to run/, LONG);
  if (!/launch/.test(decisions)) throw new Error(`no launch was told before: ${decisions}`);
  await shot(page, 'real-recovered');
  step('done');
}

try {
  // A coordinator that is not there is an error that the browser itself writes.
  await visit(url, { allows: /ERR_|Failed to load resource/ }, follow);
} finally {
  await close();
}
