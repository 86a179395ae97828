// A server that is killed while players play, and started again: they go on by themselves, at numbers that go on too.

import assert from "node:assert/strict";
import { test } from "node:test";

import { blank, closeToLive, morePictures, playHlsJs, playShaka } from "../lib/players.js";
import { publishRtmp } from "../lib/publisher.js";
import { until } from "../lib/until.js";
import { framesPass, playing } from "../lib/watch.js";
import { world } from "../lib/world.js";

const here = world({
  config: {
    ladder: { max_quality: "360p30" },
    "ingest.rtmp": { listen: "127.0.0.1:0" },
    auth: { secret: "a secret that outlives the server's process" },
  },
});
const url = (path) => new URL(path, here.server.http).href;
const HLS = "/hls/live/playlist.m3u8";

/** The numbers of a media playlist that is live. */
async function numbers() {
  const master = await (await fetch(url(HLS))).text();
  const rendition = master.split("\n").find((line) => line && !line.startsWith("#"));
  const response = await fetch(new URL(rendition, url(HLS)));
  const text = await response.text();
  if (!response.ok) throw new Error(text);
  const segments = [...text.matchAll(/^segment_(\d+)\.m4s/gm)].map(([, number]) => Number(number));
  const discontinuity = Number(/DISCONTINUITY-SEQUENCE:(\d+)/.exec(text)?.[1] ?? 0);
  return { first: segments[0], last: segments.at(-1), discontinuity };
}

test("hls.js, shaka-player and the watch page go on after kill -9 and a restart", async (context) => {
  const publisher = publishRtmp(() => `${here.server.rtmp}/live/live?token=${here.server.token}`);
  context.after(() => publisher.stop());
  // shaka-player 5.2 looks for captions in several segments, and takes the open one for whole where there are few.
  await until(
    "a live playlist",
    async () => {
      const { first, last } = await numbers();
      return last >= first + 2;
    },
    60_000,
  );
  const players = { "hls.js": await blank(here), shaka: await blank(here) };
  await playHlsJs(players["hls.js"], url(HLS));
  await playShaka(players.shaka, url(HLS));
  const watched = await here.open("/watch/live?via=hls");
  await playing(watched, "hls");
  for (const page of Object.values(players)) await morePictures(page, 60);

  const earlier = await numbers();
  for (const page of [...Object.values(players), watched]) await page.evaluate(() => (window.before = true));
  const crashed = Date.now();
  await here.server.crashAndStartAgain();
  const later = await until("a playlist of the new server", numbers, 60_000);
  assert.ok(later.first > earlier.last, `${JSON.stringify(earlier)} then ${JSON.stringify(later)}`);
  assert.ok(later.discontinuity > earlier.discontinuity, `${JSON.stringify(earlier)} then ${JSON.stringify(later)}`);

  const goesOn = async ([name, page]) => {
    const named = (error) => assert.fail(`${name}: ${error.message}`);
    // More than was buffered, and of the new server. How far behind live is the player's: shaka-player asks for the parts
    // that it knew for 24 s, and catches up by a tenth.
    await morePictures(page, 500, 90_000).catch(named);
    await closeToLive(page, (Date.now() - crashed) / 1000).catch(named);
  };
  await Promise.all(Object.entries(players).map(goesOn));
  await playing(watched, "hls");
  await framesPass(watched, 60, 40_000);
  for (const page of [...Object.values(players), watched]) {
    assert.ok(await page.evaluate(() => window.before), "the page is the one that it was");
  }
});
