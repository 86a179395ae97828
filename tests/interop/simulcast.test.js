// Simulcast as OBS 32 sends it: libdatachannel, H.264, layers by rid with the largest first, no retransmission stream.

import assert from "node:assert/strict";
import { test } from "node:test";

import { until } from "../browser/lib/until.js";
import { framesPass, heightBecomes, offered, playing, stats } from "../browser/lib/watch.js";
import { world } from "../browser/lib/world.js";
import { publishByDatachannel } from "./datachannel.js";

const here = world({});

const LAYERS = [
  { width: 640, height: 360, kbps: 600 },
  { width: 320, height: 180, kbps: 200 },
  { width: 160, height: 90, kbps: 80 },
];

test("the layers of OBS are layers to choose from", async () => {
  const { server } = here;
  const publication = await publishByDatachannel({ server, name: "obs", layers: LAYERS });
  try {
    // OBS counts them, and ends its session over a difference.
    assert.match(publication.answer, /a=simulcast:recv 0;1;2\r\n/);
    assert.equal(publication.answer.match(/a=rid:\d recv/g).length, LAYERS.length);
    await until("all layers in the broadcast", async () => {
      const response = await fetch(new URL("/api/streams/obs", server.http));
      const { tracks = [] } = await response.json();
      const heights = Object.fromEntries(tracks.map(({ id, height }) => [id, height]));
      if (LAYERS.every(({ height }, rid) => heights[`source-${rid}`] === height) && heights.source === 360) return true;
      throw new Error(JSON.stringify(heights));
    });
    const page = await here.open("/watch/obs?via=whep");
    await playing(page, "whep");
    const watch = async (rid) => {
      await offered(page, `source-${rid}`);
      await page.locator("#quality").selectOption(`source-${rid}`);
      await heightBecomes(page, LAYERS[rid].height);
      await framesPass(page, 15);
      assert.equal((await stats(page)).videoCodec, "H264");
    };
    await watch(0);
    // What nobody watches is not asked for anything.
    const asked = () => LAYERS.map((_, rid) => publication.keyframesAsked(rid));
    const before = asked();
    await watch(1);
    assert.ok(asked()[1] > before[1], "a keyframe of the layer that was chosen was asked for");
    assert.equal(asked()[2], before[2], "and none of the other");
    await watch(2);
    assert.ok(asked()[2] > before[2]);
  } finally {
    await publication.stop();
  }
});
