// Low-latency HLS and DASH in players that are not ours: they come near the live edge, measured by the date that the
// demo's pictures were made at, and stay there.

import assert from "node:assert/strict";
import { test } from "node:test";

import { blank, closeToLive, frames, morePictures, playDashJs, playHlsJs, playNative, playShaka } from "../lib/players.js";
import { until } from "../lib/until.js";
import { world } from "../lib/world.js";

const here = world({ demo: true, config: { ladder: { max_quality: "360p30" }, hls: { window: 10, dvr_s: 300 } } });
const url = (path) => new URL(path, here.server.http).href;
const HLS = "/hls/demo/playlist.m3u8";

test("hls.js plays parts less than 3 s behind live", async (context) => {
  const page = await blank(here);
  await playHlsJs(page, url(HLS));
  await morePictures(page, 60);
  const behind = await closeToLive(page, 3);
  await morePictures(page, 150);
  await closeToLive(page, 3);
  assert.ok(page.requests.some((line) => /\/part_\d+_\d+\.m4s$/.test(line)), "it fetches parts");
  assert.deepEqual(await page.evaluate(() => window.errors.filter((error) => error.endsWith("true"))), []);
  context.diagnostic(`${behind.toFixed(2)} s behind live`);
});

test("shaka-player plays parts less than 3 s behind live", async (context) => {
  const page = await blank(here);
  await playShaka(page, url(HLS));
  await morePictures(page, 60);
  const behind = await closeToLive(page, 3);
  await morePictures(page, 150);
  assert.ok(page.requests.some((line) => /\/part_\d+_\d+\.m4s$/.test(line)), "it fetches parts");
  assert.deepEqual(await page.evaluate(() => window.errors), []);
  context.diagnostic(`${behind.toFixed(2)} s behind live`);
});

test("Chromium's own HLS plays the same playlist", async (context) => {
  const page = await blank(here);
  if (!(await playNative(page, url(HLS)))) return context.skip("this Chromium has none");
  await morePictures(page, 60);
  assert.deepEqual(await page.evaluate(() => window.errors), []);
});

for (const [name, play] of [["shaka-player", playShaka], ["dash.js", playDashJs]]) {
  test(`${name} plays the DASH manifest less than 4 s behind live, from segments while they are filled`, async (context) => {
    const page = await blank(here);
    await play(page, url("/dash/demo/manifest.mpd"));
    await morePictures(page, 60);
    const behind = await closeToLive(page, 4);
    await morePictures(page, 150);
    await closeToLive(page, 4);
    assert.ok(page.requests.some((line) => /\/segment_\d+\.m4s$/.test(line)), "it fetches segments");
    assert.deepEqual(await page.evaluate(() => window.errors), []);
    context.diagnostic(`${behind.toFixed(2)} s behind live`);
  });
}

test("hls.js seeks in the long window", async () => {
  // What is far back is on the disk only.
  const first = await until(
    "a long window",
    async () => {
      const rung = await (await fetch(url("/hls/demo/360p30/playlist.m3u8?dvr=1"))).text();
      return rung.match(/#EXTINF/g)?.length >= 16 && rung;
    },
    60_000,
  );
  assert.ok(first.includes("#EXT-X-PROGRAM-DATE-TIME"));
  const page = await blank(here);
  await playHlsJs(page, url(`${HLS}?dvr=1`));
  await morePictures(page, 30);
  const from = await page.evaluate(() => {
    const video = document.querySelector("video");
    const from = window.behind();
    video.currentTime = video.seekable.start(0) + 1;
    return from;
  });
  assert.ok(from < 15, `${from} s`);
  await until("the old pictures", () => page.evaluate(() => window.behind() > 22), 20_000);
  const before = await frames(page);
  await morePictures(page, 60);
  assert.ok((await frames(page)) > before);
});
