// A browser sends three sizes; who watches is given the one that was chosen, or the one that its link carries.

import assert from "node:assert/strict";
import { test } from "node:test";

import { publishCanvas } from "../lib/canvas.js";
import { until } from "../lib/until.js";
import { framesPass, heightBecomes, offered, playing } from "../lib/watch.js";
import { world } from "../lib/world.js";

const here = world({});

/** A browser that is short of time stops a size for a while, and begins again. */
const RETURN_MS = 60_000;
const LAYERS = { "source-q": 135, "source-h": 270, "source-f": 540 };

/** Encoders round to what they can. */
const isNear = (height, expected) => Math.abs(height - expected) <= 2;

/** Of 960×540, the smallest of which Chromium makes three. VP9 without a mode would be spatial layers of one stream. */
const encodings = (codec) =>
  [
    { rid: "q", scaleResolutionDownBy: 4, maxBitrate: 60_000 },
    { rid: "h", scaleResolutionDownBy: 2, maxBitrate: 150_000 },
    { rid: "f", maxBitrate: 450_000 },
  ].map((encoding) => (codec === "vp9" ? { ...encoding, scalabilityMode: "L1T2" } : encoding));

test("the studio sends three sizes if asked to", async () => {
  const studio = await here.open(`/studio?name=layers-studio&codec=vp8&simulcast#token=${here.server.token}`);
  await studio.getByRole("button", { name: "Publish" }).click();
  await until("a layer in the broadcast", async () => (await tracksOf("layers-studio")).some(({ id }) => id === "source-q"));
  assert.deepEqual(studio.complaints, []);
});

test("a size that its encoder left out for a while is there again", async () => {
  const name = "layers-paused";
  const publisher = await here.open("/livez");
  const media = { codec: "vp8", width: 640, height: 360, fps: 10, pauses: true };
  const sizes = [
    { rid: "q", scaleResolutionDownBy: 2, maxBitrate: 150_000 },
    { rid: "f", maxBitrate: 300_000 },
  ];
  await publishCanvas(publisher, { name, token: here.server.token, encodings: sizes, ...media });
  const has = async (id) => (await tracksOf(name)).some((track) => track.id === id);
  await until("both layers", async () => (await has("source-q")) && (await has("source-f")), 40_000);
  await publisher.evaluate(() => (globalThis.paused = 180));
  await until("the layer to be gone", async () => !(await has("source-q")));
  assert.ok(await has("source-f"));
  // No keyframe of its own follows: the server has to ask for one.
  await publisher.evaluate(() => (globalThis.paused = 0));
  await until("the layer to be back", () => has("source-q"));
});

for (const codec of ["h264", "vp8", "vp9"]) {
  test(`the three sizes of a browser's ${codec} are layers to choose from`, async () => {
    const name = `layers-${codec}`;
    const publisher = await here.open("/livez");
    await publishCanvas(publisher, {
      ...{ name, token: here.server.token, codec, encodings: encodings(codec) },
      ...{ width: 960, height: 540, fps: 10, noise: 0.15 },
    });
    // A browser begins with the smallest and adds the others as it finds that the network carries them.
    const sizes = await until(
      "all layers in the broadcast",
      async () => {
        const tracks = await tracksOf(name);
        const heights = Object.fromEntries(tracks.map(({ id, height }) => [id, height]));
        if (Object.entries(LAYERS).every(([id, height]) => isNear(heights[id], height)) && heights.source === 540) return heights;
        throw new Error(JSON.stringify(heights));
      },
      40_000,
    );

    let link;
    const prepare = async (page) => {
      link = await page.context().newCDPSession(page);
      await link.send("Network.enable");
      // A link that is never limited cannot be later.
      await carries(link, 50_000);
    };
    const page = await here.open(`/watch/${name}?via=whep`, { prepare });
    await playing(page, "whep");
    for (const id of Object.keys(LAYERS)) {
      await offered(page, id, RETURN_MS);
      await page.locator("#quality").selectOption(id);
      await heightBecomes(page, sizes[id], RETURN_MS);
      await framesPass(page, 15, RETURN_MS);
    }
    if (codec !== "vp8") return;

    await page.locator("#quality").selectOption("");
    await carries(link, 300);
    await until(
      "a layer that fits 300 kbit/s",
      async () => {
        const { rung, automatic, reason } = await page.evaluate(() => ({ ...window.lockgate }));
        if (automatic && ["source-h", "source-q"].includes(rung)) return true;
        throw new Error(JSON.stringify({ rung, automatic, reason }));
      },
      40_000,
    );
    await framesPass(page, 15);
  });
}

async function tracksOf(name) {
  const response = await fetch(new URL(`/api/streams/${name}`, here.server.http));
  const { tracks = [] } = await response.json();
  return tracks;
}

/** Lets so much reach a page, WebRTC included. */
function carries(link, kbps) {
  return link.send("Network.emulateNetworkConditions", {
    offline: false,
    latency: 0,
    downloadThroughput: (kbps * 1000) / 8,
    uploadThroughput: -1,
    packetQueueLength: 50,
  });
}
