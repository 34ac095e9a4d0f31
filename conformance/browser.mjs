// A person at a browser: signs in on the login page, approves on the consent page, and waits until the browser has been sent
// back to the client. Debian's Chromium does it, with a profile that lives as long as one login.
//
//   node browser.mjs < {"url", "redirect", "user", "password", "screens": folder, "name": prefix of the screenshots}
//
// Prints {"complaints": [...]}: what the browser's console had to say about the pages.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { argv } from 'node:process';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { load } from './tools.mjs';

const { chromium } = load('playwright-core');
const PATIENCE = 30_000;
const BROWSER = {
  executablePath: '/usr/bin/chromium',
  // Root cannot have Chromium's sandbox, and nothing here may call home.
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync',
  ],
};
const PASSWORD = 'input[type=password]';
const USER = 'form:has(input[type=password]) input:is([type=text], [type=email], :not([type]))';

export async function approve({ url, redirect, user, password, screens, name }) {
  await mkdir(screens, { recursive: true });
  const browser = await chromium.launch(BROWSER);
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(PATIENCE);
    const complaints = [];
    page.on('console', message => {
      // A page without an icon is no complaint.
      const wanted = !message.location().url.endsWith('/favicon.ico');
      if (message.type() === 'error' && wanted) complaints.push(message.text());
    });
    page.on('pageerror', error => complaints.push(String(error)));
    const picture = step => page.screenshot({ path: join(screens, `${name}-${step}.png`), fullPage: true });
    await page.goto(url);
    if (await page.locator(PASSWORD).count()) {
      await picture('login');
      await page.locator(USER).first().fill(user);
      await page.fill(PASSWORD, password);
      await page.press(PASSWORD, 'Enter');
    }
    const allow = page.getByRole('button', { name: /approve|allow|accept|grant/i }).first();
    await allow.waitFor();
    await picture('consent');
    await allow.click();
    await page.waitForURL(address => address.href.startsWith(redirect));
    return complaints;
  } finally {
    await browser.close();
  }
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  const complaints = await approve(JSON.parse(await text(process.stdin)));
  console.log(JSON.stringify({ complaints }));
}
