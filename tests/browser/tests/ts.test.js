// HLS of MPEG-TS segments, as older players want them.

import assert from "node:assert/strict";
import { test } from "node:test";

import { framesPass, playing, timePasses } from "../lib/watch.js";
import { world } from "../lib/world.js";

const here = world({ demo: true, config: { hls: { container: "ts" } } });

test("hls.js plays MPEG-TS", async () => {
  const page = await here.open("/watch/demo?via=hls");
  await playing(page, "hls");
  await timePasses(page, 3);
  await framesPass(page, 30);
  assert.ok(page.requests.some((line) => /^GET \/hls\/demo\/[^/]+\/[^/]+\.ts$/.test(line)), "segments end in .ts");
  assert.ok(!page.requests.some((line) => line.endsWith(".m4s")));
  assert.deepEqual(page.complaints, []);
});
