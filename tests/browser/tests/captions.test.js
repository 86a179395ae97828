// Captions that a broadcaster sends in the pictures (CEA-608) on the watch page.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { captioned } from "../lib/captions.js";
import { publishFilm } from "../lib/publisher.js";
import { until, untilPage } from "../lib/until.js";
import { offered, playing } from "../lib/watch.js";
import { world } from "../lib/world.js";

const here = world({ config: { "ingest.rtmp": { listen: "127.0.0.1:0" } } });

/** What is said in the captions there are, and whether they are shown. */
const captions = (page) =>
  page.evaluate(() => {
    const tracks = [...document.querySelector("video").textTracks].filter(({ kind }) => kind === "captions");
    const lines = tracks.flatMap(({ cues }) => [...(cues ?? [])].map(({ text }) => text.trim()));
    return { lines, shown: tracks.some(({ mode }) => mode === "showing") };
  });

test("captions in the pictures can be turned on and off over HLS", async (context) => {
  const folder = await mkdtemp(join(tmpdir(), "lockgate-captions-"));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const film = await captioned(folder, "HELLO THERE");
  const publisher = publishFilm(() => `${here.server.rtmp}/live/live?token=${here.server.token}`, film);
  context.after(() => publisher.stop());
  await until("the broadcast", async () => (await fetch(new URL("/hls/live/playlist.m3u8", here.server.http))).ok, 60_000);

  const page = await here.open("/watch/live?via=hls");
  await playing(page, "hls");
  await offered(page, "passthrough", 30_000);
  await page.locator("#quality").selectOption("passthrough");
  await until("a caption", async () => {
    const seen = await captions(page);
    if (seen.lines.includes("HELLO THERE")) return true;
    throw new Error(JSON.stringify(seen));
  }, 30_000);
  const button = page.locator("media-captions-button");
  await untilPage(page, "a button for captions", () => document.querySelector("media-captions-button").offsetWidth > 0);
  const { shown } = await captions(page);
  await button.click();
  await until("captions to be switched", async () => (await captions(page)).shown === !shown);
  await button.click();
  await until("captions to be switched back", async () => (await captions(page)).shown === shown);
  assert.deepEqual(page.complaints, []);
});
