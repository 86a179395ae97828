// What a browser sends in H.264, HLS passes on as it is: also when the browser makes its picture smaller on the way.

import assert from "node:assert/strict";
import { test } from "node:test";

import { publishCanvas } from "../lib/canvas.js";
import { blank, playHlsJs } from "../lib/players.js";
import { until } from "../lib/until.js";
import { timePasses } from "../lib/watch.js";
import { world } from "../lib/world.js";

const here = world({});
const WITHIN_MS = 60_000;

const widthIs = (page, width) =>
  until(
    `a picture ${width} wide`,
    async () => {
      const seen = await page.evaluate(() => ({ width: document.querySelector("video").videoWidth, errors: window.errors }));
      if (seen.width !== width) throw new Error(JSON.stringify(seen));
      return true;
    },
    WITHIN_MS,
  );

test("hls.js plays a browser's own pictures, and goes on when they become smaller", async () => {
  const publisher = await here.open("/livez");
  await publishCanvas(publisher, { name: "own", token: here.server.token, codec: "h264", width: 640, height: 480 });
  const variants = () =>
    until(
      "the browser's own pictures in HLS",
      async () => {
        const text = await (await fetch(new URL("/hls/own/playlist.m3u8", here.server.http))).text();
        const lines = text.split("\n");
        const at = lines.indexOf("passthrough/playlist.m3u8");
        if (at < 0) throw new Error(text);
        return lines[at - 1];
      },
      WITHIN_MS,
    );
  assert.match(await variants(), /CODECS="avc1\.42.*RESOLUTION=640x480/);

  const page = await blank(here);
  await playHlsJs(page, "/hls/own/playlist.m3u8");
  await until("its levels", () =>
    page.evaluate(() => {
      const at = window.player.levels.findIndex(({ url }) => String(url).includes("/passthrough/"));
      if (at >= 0) window.player.currentLevel = at;
      return at >= 0;
    }),
  );
  await widthIs(page, 640);
  await timePasses(page, 4);

  await publisher.evaluate(async () => {
    const sender = globalThis.pc.getSenders().find(({ track }) => track.kind === "video");
    const parameters = sender.getParameters();
    parameters.encodings[0].scaleResolutionDownBy = 2;
    await sender.setParameters(parameters);
  });
  await widthIs(page, 320);
  await timePasses(page, 4);
  const errors = await page.evaluate(() => window.errors);
  assert.deepEqual(
    errors.filter((error) => error.endsWith("true")),
    [],
  );
  await until(
    "the new size in the playlist",
    async () => /RESOLUTION=320x240/.test(await variants()),
    WITHIN_MS,
  );
  const media = await (await fetch(new URL("/hls/own/passthrough/playlist.m3u8", here.server.http))).text();
  assert.doesNotMatch(media, /EXT-X-GAP/);
});
