// A browser publishes, a second one watches by WebRTC, a third by HLS.

import assert from "node:assert/strict";
import { test } from "node:test";

import { until, untilPage } from "../lib/until.js";
import { framesPass, offered, playing, segmented, soundPasses, stats, timePasses } from "../lib/watch.js";
import { world } from "../lib/world.js";

const here = world({});

/** Lip-sync as people notice it. */
const SKEW_MS_MAX = 150;

async function watchByWebRtc(name, codec) {
  const page = await here.open(`/watch/${name}?via=whep`);
  await playing(page, "whep");
  // As it came, whatever the policy makes of the link.
  await offered(page, "source");
  await page.locator("#quality").selectOption("source");
  await until("the publisher's own coding", async () => {
    const { videoCodec } = await stats(page);
    if (videoCodec?.toLowerCase() === codec) return true;
    throw new Error(`it is ${videoCodec}`);
  });
  await page.locator("#unmute").click();
  await framesPass(page, 30);
  await soundPasses(page);
  // Known once both sender reports are in, which for sound takes some seconds.
  await until(
    "picture and sound together",
    async () => {
      const { skewMs } = await stats(page);
      if (skewMs === null || Math.abs(skewMs) >= SKEW_MS_MAX) throw new Error(`${skewMs} ms apart`);
      return true;
    },
    20_000,
  );
  return page;
}

async function watchByHls(name) {
  await segmented(here.server, name);
  const page = await here.open(`/watch/${name}?via=hls`);
  await playing(page, "hls");
  await timePasses(page, 3);
  await framesPass(page, 30);
  const heard = () => page.evaluate(() => document.querySelector("video").webkitAudioDecodedByteCount);
  const before = await heard();
  await until("decoded sound", async () => (await heard()) > before);
  return page;
}

/** A viewer whose browser decodes nothing but H.264. */
async function watchWithH264Alone(name) {
  const prepare = (page) =>
    page.addInitScript(() => {
      const { addTransceiver } = RTCPeerConnection.prototype;
      RTCPeerConnection.prototype.addTransceiver = function (kind, init) {
        const transceiver = addTransceiver.call(this, kind, init);
        if (kind === "video") {
          const { codecs } = RTCRtpReceiver.getCapabilities("video");
          transceiver.setCodecPreferences(codecs.filter(({ mimeType }) => mimeType === "video/H264"));
        }
        return transceiver;
      };
    });
  const page = await here.open(`/watch/${name}?via=whep`, { prepare });
  await playing(page, "whep");
  await framesPass(page, 30);
  assert.equal((await stats(page)).videoCodec, "H264");
}

for (const codec of ["h264", "vp8", "vp9", "av1"]) {
  test(`a browser publishes ${codec}, others watch by WebRTC and by HLS`, async () => {
    const name = `studio-${codec}`;
    const studio = await here.open(`/studio?name=${name}#token=${here.server.token}`);
    await studio.getByLabel("Video codec").selectOption(codec);
    await studio.getByRole("button", { name: "Publish" }).click();
    await until("the broadcast", async () => {
      const { state, error } = await studio.evaluate(() => ({ ...window.lockgateStudio }));
      if (error) throw new Error(error);
      return state === "live";
    });
    await until("pictures going out", async () => {
      const sent = await studio.evaluate(() => window.lockgateStudio.stats());
      return sent.codec?.toLowerCase() === codec && sent.framesEncoded > 0;
    });

    const [whep] = await Promise.all([watchByWebRtc(name, codec), watchByHls(name)]);
    if (codec !== "h264") await watchWithH264Alone(name);

    await studio.getByRole("button", { name: "Stop" }).click();
    await untilPage(whep, "the end of the broadcast", () => window.lockgate.state === "waiting", undefined, 20_000);
    assert.equal(await studio.evaluate(() => window.lockgateStudio.state), "idle");
    assert.deepEqual(studio.complaints, []);
  });
}
