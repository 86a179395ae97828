// What the pages weigh on the wire, and how long a viewer waits for the first picture: one line of JSON. For `lockgate-bench pages`.

import { startBrowser } from "./lib/browser.js";
import { startServer } from "./lib/server.js";
import { until } from "./lib/until.js";
import { framesPass, playing, segmented } from "./lib/watch.js";

const VISITS = 10;
const WEIGHED = { index: "/", watch: "/watch/demo?via=whep", "watch by HLS": "/watch/demo?via=hls", studio: "/studio", docs: "/api/docs" };

const server = await startServer({ demo: true, config: { ladder: { max_quality: "480p30" } } });
const browser = await startBrowser();

/** A first visit: nothing is cached, and the clock starts with the navigation. */
async function visit(path) {
  const page = await browser.page();
  await page.addInitScript(() => {
    const look = () => {
      const video = document.querySelector("#video");
      if (!video) return requestAnimationFrame(look);
      video.requestVideoFrameCallback((now) => (window.firstPictureMs = now));
    };
    look();
  });
  await page.goto(new URL(path, server.http).href);
  return page;
}

async function firstPictures(transport) {
  const seen = [];
  for (let at = 0; at < VISITS; at += 1) {
    const page = await visit(`/watch/demo?via=${transport}`);
    seen.push(await until("the first picture", () => page.evaluate(() => window.firstPictureMs), 30_000));
    await page.context().close();
  }
  seen.sort((one, other) => one - other);
  return { median_ms: (seen[VISITS / 2 - 1] + seen[VISITS / 2]) / 2, most_ms: seen.at(-1), visits: VISITS };
}

/** Bytes of the page and of what it loads, as they crossed the wire; media and answers of the API are not the page. */
async function weigh(path) {
  const page = await visit(path);
  if (path.startsWith("/watch")) await playing(page, path.endsWith("hls") ? "hls" : "whep");
  const bytes = await page.evaluate(() =>
    [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
      .filter(({ name, entryType }) => entryType === "navigation" || new URL(name).pathname.startsWith("/assets/"))
      .reduce((sum, { transferSize }) => sum + transferSize, 0),
  );
  await page.context().close();
  return bytes;
}

try {
  // Somebody watches already, either way: an encoder that has to start first is another figure.
  const audience = await visit("/watch/demo?via=whep");
  await playing(audience, "whep");
  await framesPass(audience, 60);
  await segmented(server, "demo");
  const whep = await firstPictures("whep");
  const hls = await firstPictures("hls");
  const weight = {};
  for (const [name, path] of Object.entries(WEIGHED)) weight[name] = await weigh(path);
  console.log(JSON.stringify({ whep, hls, weight_bytes: weight }));
} finally {
  await browser.stop();
  await server.stop();
}
