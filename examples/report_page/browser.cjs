// One page in headless Chromium: what it loads, what it says, how it looks, what axe-core finds.
// Usage: node browser.cjs MODULES CHROMIUM PLAN.json; prints one JSON object a view of the plan.
const path = require('path');
const { readFileSync } = require('fs');

const [modules, executablePath, plan] = process.argv.slice(2);
const { chromium } = require(path.join(modules, 'playwright-core'));

async function look(browser, view) {
  const context = await browser.newContext({
    viewport: { width: view.width, height: view.height },
    deviceScaleFactor: view.scale || 1,
    colorScheme: view.scheme,
    bypassCSP: Boolean(view.axe), // axe-core is put into the page, whose policy refuses scripts
  });
  const page = await context.newPage();
  const requests = [];
  const messages = [];
  page.on('request', (request) => requests.push(request.url()));
  page.on('console', (message) => messages.push(message.text()));
  page.on('pageerror', (error) => messages.push(String(error)));
  const answer = await page.goto(view.url);
  const found = { status: answer && answer.status(), requests, messages };
  found.paint = await page.evaluate(() => new Promise((resolve) => {
    const seen = () => performance.getEntriesByType('paint').map((e) => [e.name, e.startTime]);
    if (seen().length > 1) resolve(seen());
    else new PerformanceObserver(() => seen().length > 1 && resolve(seen()))
      .observe({ type: 'paint', buffered: true });
  }));
  found.title = await page.title();
  found.scripts = await page.evaluate(() => document.scripts.length);
  if (view.open) {
    found.opened = await page.evaluate(() => new Promise((resolve) => {
      const began = performance.now();
      document.querySelectorAll('details').forEach((one) => { one.open = true; });
      requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - began)));
    }));
  }
  found.size = await page.evaluate(() => ({
    scroll: document.documentElement.scrollWidth,
    width: document.documentElement.clientWidth,
    height: document.documentElement.scrollHeight,
  }));
  if (view.axe) {
    await page.addScriptTag({ path: path.join(modules, 'axe-core', 'axe.min.js') });
    const result = await page.evaluate(() => globalThis.axe.run(document));
    found.violations = result.violations.map((one) => ({
      id: one.id, impact: one.impact, nodes: one.nodes.map((node) => node.html.slice(0, 200)),
    }));
    found.passes = result.passes.map((one) => one.id);
  }
  if (view.anchor) {
    const box = await page.locator(view.anchor).boundingBox();
    const clip = { x: box.x - 24, y: box.y, width: box.width + 48, height: box.height + 24 };
    await page.screenshot({ path: view.picture, fullPage: true, clip });
  } else if (view.picture) {
    await page.screenshot({ path: view.picture, fullPage: Boolean(view.whole) });
  }
  if (view.pdf) await page.pdf({ path: view.pdf, format: 'A4', preferCSSPageSize: true, printBackground: false });
  await context.close();
  return found;
}

(async () => {
  // A container's root has no other way; pages are ours and run no script.
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  try {
    for (const view of JSON.parse(readFileSync(plan, 'utf8'))) {
      console.log(JSON.stringify(await look(browser, view)));
    }
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
