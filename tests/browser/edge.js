// How far hls.js stays behind the demo's own clock over half a minute: one line of JSON. For `lockgate-bench hls`.

import { startBrowser } from "./lib/browser.js";
import { blank, closeToLive, morePictures, playHlsJs } from "./lib/players.js";
import { startServer } from "./lib/server.js";

const SAMPLES = 60;
const EVERY_MS = 500;

const server = await startServer({ demo: true, config: { ladder: { max_quality: "360p30" } } });
const browser = await startBrowser();
try {
  const open = async (path) => {
    const page = await browser.page({ bypassCSP: true });
    await page.goto(new URL(path, server.http).href);
    return page;
  };
  const page = await blank({ open });
  await playHlsJs(page, new URL("/hls/demo/playlist.m3u8", server.http).href);
  await morePictures(page, 60);
  await closeToLive(page, 10);
  const seen = [];
  for (let sample = 0; sample < SAMPLES; sample += 1) {
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    seen.push(await page.evaluate(() => window.behind()));
  }
  seen.sort((one, other) => one - other);
  console.log(JSON.stringify({ median_s: seen[SAMPLES / 2], most_s: seen.at(-1), samples: SAMPLES }));
} finally {
  await browser.stop();
  await server.stop();
}
