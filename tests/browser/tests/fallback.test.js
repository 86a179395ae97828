// Without UDP a viewer is moved to HLS, and back when it gets through again, and does nothing for it.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { ADDRESS, dropNothing, dropUdp, inNetwork } from "../lib/network.js";
import { until } from "../lib/until.js";
import { framesPass, playing, timePasses } from "../lib/watch.js";
import { world } from "../lib/world.js";

/** A dead connection is noticed after seconds, and WebRTC is tried again after some more. */
const MOVED_MS = 60_000;

if (inNetwork(import.meta.url, "the watch page moves to HLS and back where UDP is dropped", 2)) {
  const here = world({ demo: true, config: { webrtc: { udp_listen: `${ADDRESS}:0`, tcp_listen: [] }, ladder: { max_quality: "480p30" } } });

  afterEach(dropNothing);

  const plays = (page, transport) =>
    until(
      `playback over ${transport}`,
      async () => {
        const { state, transport: now, message } = await page.evaluate(() => ({ ...window.lockgate }));
        assert.ok(!["failed", "refused"].includes(state), message);
        if (state === "playing" && now === transport) return true;
        throw new Error(`${state} ${now}`);
      },
      MOVED_MS,
    );

  /** That it moves on, whatever plays. */
  const picturesPass = async (page) => {
    const pictures = () => page.evaluate(() => document.querySelector("video").getVideoPlaybackQuality().totalVideoFrames);
    const from = await pictures();
    await until("pictures", async () => (await pictures()) > from + 15, 30_000);
  };

  test("from WebRTC to HLS and back", async () => {
    const page = await here.open("/watch/demo");
    await playing(page, "whep");
    await framesPass(page, 30);

    dropUdp();
    await plays(page, "hls");
    await timePasses(page, 2);
    assert.match(await page.locator("#reason").textContent(), /^HLS because /);

    dropNothing();
    await plays(page, "whep");
    await picturesPass(page);
    assert.equal(await page.locator("#transport").textContent(), "WebRTC");
    assert.doesNotMatch(await page.locator("#reason").textContent(), /HLS because/);
  });

  test("HLS from the start, and WebRTC once it gets through", async () => {
    dropUdp();
    const page = await here.open("/watch/demo");
    await plays(page, "hls");
    await timePasses(page, 1);
    dropNothing();
    await plays(page, "whep");
    await picturesPass(page);
  });
}
