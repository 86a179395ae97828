// Captions that a broadcaster sends in the pictures (CEA-608) on the watch page.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { captioned } from "../lib/captions.js";
import { publishFilm } from "../lib/publisher.js";
import { until, untilPage } from "../lib/until.js";
import { currentTime, offered, playing, timePasses } from "../lib/watch.js";
import { world } from "../lib/world.js";

const here = world({ config: { "ingest.rtmp": { listen: "127.0.0.1:0" } } });

/** What is said in the captions from a time on, and whether they are shown. */
const captions = (page, from = 0) =>
  page.evaluate((from) => {
    const tracks = [...document.querySelector("video").textTracks].filter(({ kind }) => kind === "captions");
    const cues = tracks.flatMap(({ cues }) => [...(cues ?? [])]).filter(({ startTime }) => startTime > from);
    return { lines: cues.map(({ text }) => text.trim()), shown: tracks.some(({ mode }) => mode === "showing") };
  }, from);

test("captions in the pictures can be turned on and off over HLS", async (context) => {
  const folder = await mkdtemp(join(tmpdir(), "lockgate-captions-"));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const film = await captioned(folder, "HELLO");
  const publisher = publishFilm(() => `${here.server.rtmp}/live/live?token=${here.server.token}`, film);
  context.after(() => publisher.stop());
  await until("the broadcast", async () => (await fetch(new URL("/hls/live/playlist.m3u8", here.server.http))).ok, 60_000);

  const page = await here.open("/watch/live?via=hls");
  await playing(page, "hls");
  const button = page.locator("media-captions-button");
  await untilPage(page, "a button for captions", () => document.querySelector("media-captions-button").offsetWidth > 0, null, 30_000);
  assert.equal((await captions(page)).shown, false);
  await button.click();
  await until("captions to be shown", async () => (await captions(page)).shown);
  // As they come, and in a picture that was made smaller here.
  for (const rung of ["source", "360p30"]) {
    await offered(page, rung, 30_000);
    await page.locator("#quality").selectOption(rung);
    await untilPage(page, rung, (rung) => window.lockgate.rung === rung, rung, 30_000);
    const from = await currentTime(page);
    await until(
      `captions of ${rung}`,
      async () => {
        const { lines } = await captions(page, from);
        if ([0, 1, 2, 3].every((number) => lines.includes(`HELLO ${number}`))) return true;
        throw new Error(JSON.stringify(lines));
      },
      30_000,
    );
  }
  await timePasses(page, 2);
  await button.click();
  await until("captions to be shown no more", async () => !(await captions(page)).shown);
  await timePasses(page, 2);
  assert.deepEqual(page.complaints, []);
});
