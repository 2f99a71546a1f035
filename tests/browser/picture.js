// The pictures of README.md: the page in a flood, light and dark, of the coordinator that is made up.
//
//   node tests/browser/picture.js

import { close, said, show } from './browser.js';

const place = new URL('../../.github/', import.meta.url).pathname;

try {
  for (const dark of [false, true])
    await show('flood', { dark }, async ({ page }) => {
      await page.setViewportSize({ width: 1060, height: 580 });
      await said(page, '#money', /for 1,000 jobs/);
      await said(page, '#lanes', /READY/);
      await page.waitForTimeout(1_000); // The charts take the new size.
      await page.screenshot({ path: `${place}dashboard-${dark ? 'dark' : 'light'}.png` });
    });
} finally {
  await close();
}
