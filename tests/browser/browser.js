// Chromium, and pages in it that write down everything that goes wrong. It talks to loopback and to nobody else.

import { mkdirSync } from 'node:fs';

import { chromium } from 'playwright-core';

import { serve } from './mock/server.js';

export const SIZES = { phone: [360, 740], wide: [1680, 1050], desk: [1280, 900] };

const FLAGS = [
  '--no-sandbox', // Root in a container has no namespaces to make one of.
  '--disable-background-networking',
  '--disable-client-side-phishing-detection',
  '--disable-component-update',
  '--disable-default-apps',
  '--disable-sync',
  '--no-first-run',
  '--no-pings',
  '--safebrowsing-disable-auto-update',
  '--no-proxy-server',
  '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1',
];

let browser = null;

async function launched() {
  browser ??= await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
  return browser;
}

/**
 * Shows a scenario and calls `test({ page, mock, problems })`. A page that ends with an error in the console, an
 * exception, a violation of its policy or a request to elsewhere fails the test, but for what `allows` matches.
 */
export async function show(scenario, options, test) {
  const { size, dark, hash, allows, wait, still, ...mocked } = options;
  const mock = await serve(scenario, mocked);
  try {
    await visit(mock.url, { size, dark, hash, allows, wait, still }, (page, problems) => test({ page, mock, problems }));
  } finally {
    await mock.stop();
  }
}

/** Opens the page of whatever serves it at `url`, calls `test(page, problems)`, and judges it as `show` does. */
export async function visit(url, options, test) {
  const { size = 'desk', dark = false, hash = '', allows = null, wait = true, still = true } = options;
  const [width, height] = SIZES[size];
  const context = await (
    await launched()
  ).newContext({
    viewport: { width, height },
    colorScheme: dark ? 'dark' : 'light',
    reducedMotion: still ? 'reduce' : 'no-preference',
    timezoneId: 'Europe/Berlin',
    locale: 'en-GB',
  });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  const problems = [];
  page.on('console', (it) => it.type() === 'error' && problems.push(`console: ${it.text()}`));
  page.on('pageerror', (it) => problems.push(`exception: ${it.stack}`));
  page.on(
    'request',
    (it) => it.url().startsWith(url) || it.url().startsWith('data:') || problems.push(`request: ${it.url()}`),
  );
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (it) =>
      console.error(`policy: ${it.violatedDirective} ${it.blockedURI}`),
    );
  });
  try {
    await page.goto(`${url}${hash}`);
    if (wait)
      await page.waitForFunction(
        () => document.querySelector('.marker.live') && document.querySelector('#money')?.textContent !== '',
      );
    await test(page, problems);
    const left = problems.filter((it) => !allows?.test(it));
    if (left.length > 0) throw new Error(`the page had problems:\n${left.join('\n')}`);
  } finally {
    await context.close();
  }
}

/** What the browser itself writes of an answer 503, which the page has to expect. */
export const UNAVAILABLE = /the server responded with a status of 503/;

export async function close() {
  await browser?.close();
  browser = null;
}

/** The text of an element, with single spaces. */
export async function text(page, selector) {
  return (await page.locator(selector).allInnerTexts()).join(' ').replace(/\s+/g, ' ').trim();
}

/** Waits until the text of `selector` matches, and returns it; the failure tells what it was. */
export async function said(page, selector, pattern, timeout = 8_000) {
  const end = Date.now() + timeout;
  for (;;) {
    const now = await text(page, selector);
    if (pattern.test(now)) return now;
    if (Date.now() > end) throw new Error(`${selector} does not say ${pattern}, but: ${now}`);
    await page.waitForTimeout(50);
  }
}

/** A picture for whoever looks, where SPILLWAY_SHOTS names a directory. */
export async function shot(page, name) {
  const place = process.env.SPILLWAY_SHOTS;
  if (!place) return;
  mkdirSync(place, { recursive: true });
  await page.evaluate(() => scrollTo(0, 0)); // The head sticks to the top of what is seen.
  await page.screenshot({ path: `${place}/${name}.png`, fullPage: true });
}
