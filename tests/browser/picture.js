// The pictures of README.md: the page in a flood, light and dark, of the coordinator that is made up.
//
//   node tests/browser/picture.js

import { close, said, show } from './browser.js';

const place = new URL('../../.github/', import.meta.url).pathname;
// As the coordinator answers: the made-up one knows prices.
const unknown = { known: false, why_unknown: 'this version does not ask AWS for prices' };

try {
  for (const dark of [false, true])
    await show('flood', { dark }, async ({ page }) => {
      await page.setViewportSize({ width: 1060, height: 580 });
      await page.route('**/api/v1/money*', (it) => it.fulfill({ json: unknown }));
      await page.reload();
      await said(page, '#money', /Unknown/);
      await said(page, '#lanes', /READY/);
      await page.waitForTimeout(1_000); // The charts take the new size.
      await page.screenshot({ path: `${place}dashboard-${dark ? 'dark' : 'light'}.png` });
    });
} finally {
  await close();
}
