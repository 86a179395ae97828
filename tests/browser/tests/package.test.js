// What `lockgate package` wrote, in a run that was killed and gone on with, from a plain static server: HLS and DASH play
// from start to end, and wherever a viewer goes in between.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";

import { startBrowser } from "../lib/browser.js";
import { serveFiles } from "../lib/files.js";
import { morePictures, playDashJs, playHlsJs, playShaka, videoOn } from "../lib/players.js";
import { BINARY } from "../lib/server.js";
import { until } from "../lib/until.js";

const run = promisify(execFile);
const LASTS_S = 24;
const here = {};

before(async () => {
  here.folder = await mkdtemp(join(tmpdir(), "lockgate-package-"));
  const film = join(here.folder, "film.mp4");
  const source = `-f lavfi -i testsrc2=size=854x480:rate=30:duration=${LASTS_S} -f lavfi -i sine=sample_rate=48000:duration=${LASTS_S}`;
  const coding = "-c:v libx264 -preset ultrafast -bf 2 -g 75 -pix_fmt yuv420p -c:a aac";
  await run("ffmpeg", ["-v", "error", ...source.split(" "), ...coding.split(" "), film]);
  const asked = ["package", "--json", "-o", join(here.folder, "out"), "--rungs", "480p30,360p30", film];
  await killOnTheWay(asked, join(here.folder, "out.part", "unfinished.jsonl"));
  const { stdout } = await run(BINARY, asked, { cwd: here.folder });
  here.begin = JSON.parse(stdout.split("\n")[0]);
  here.files = await serveFiles(join(here.folder, "out"));
  here.browser = await startBrowser();
});

after(async () => {
  await here.browser?.stop();
  await here.files?.stop();
  await rm(here.folder, { recursive: true, force: true });
});

/** Runs until some segments are written, and kills it. */
async function killOnTheWay(asked, journal) {
  const child = spawn(BINARY, asked, { cwd: here.folder, stdio: "ignore" });
  const exited = new Promise((resolve) => child.once("exit", (code) => resolve(code)));
  let ended = null;
  void exited.then((code) => (ended = code ?? "a signal"));
  await until(
    "three segments",
    async () => {
      if (ended !== null) throw new Error(`it ended with ${ended}`);
      const lines = await readFile(journal, "utf8");
      return lines.split("\n").filter((line) => line.includes('"number"')).length >= 6;
    },
    60_000,
  );
  child.kill("SIGKILL");
  await exited;
}

test("the second run went on where the first was killed", () => {
  assert.equal(here.begin.event, "begin");
  assert.ok(here.begin.segments_kept >= 3, JSON.stringify(here.begin));
});

for (const [name, play, path] of [
  ["hls.js plays the playlist", playHlsJs, "playlist.m3u8"],
  ["shaka-player plays the playlist", playShaka, "playlist.m3u8"],
  ["shaka-player plays the manifest", playShaka, "manifest.mpd"],
  ["dash.js plays the manifest", playDashJs, "manifest.mpd"],
]) {
  test(`${name}, seeking included`, async () => {
    const page = await here.browser.page();
    try {
      await page.goto(here.files.http);
      await videoOn(page);
      await play(page, `${here.files.http}${path}`);
      await morePictures(page, 45);
      const lasts = await page.evaluate(() => document.querySelector("video").duration);
      assert.ok(Math.abs(lasts - LASTS_S) < 0.5, `${lasts} s`);
      // Ahead of what is loaded, back, and into the last segment: to the end.
      for (const [to, count] of [[15.3, 45], [4.7, 45], [LASTS_S - 2.5, 30]]) {
        await page.evaluate((to) => (document.querySelector("video").currentTime = to), to);
        await morePictures(page, count);
        const at = await page.evaluate(() => document.querySelector("video").currentTime);
        assert.ok(at >= to && at < to + 15, `${at} s after going to ${to} s`);
      }
      await until("the end", () => page.evaluate(() => document.querySelector("video").ended), 30_000);
      assert.deepEqual(await page.evaluate(() => window.errors), []);
      assert.deepEqual(page.complaints, []);
    } finally {
      await page.context().close();
    }
  });
}
