// A browser sends three sizes; who watches is given the one that was chosen, or the one that its link carries.

import { test } from "node:test";

import { until } from "../lib/until.js";
import { framesPass, heightBecomes, offered, playing } from "../lib/watch.js";
import { world } from "../lib/world.js";

const here = world({});

const LAYERS = { "source-q": 180, "source-h": 360, "source-f": 720 };

for (const codec of ["vp8", "vp9"]) {
  test(`the three sizes of a browser's ${codec} are layers to choose from`, async () => {
    const name = `layers-${codec}`;
    const studio = await here.open(`/studio?name=${name}&codec=${codec}&simulcast#token=${here.server.token}`);
    await studio.getByRole("button", { name: "Publish" }).click();
    // A browser begins with the smallest and adds the others as it finds that the network carries them.
    await until(
      "all layers in the broadcast",
      async () => {
        const tracks = await tracksOf(name);
        const heights = Object.fromEntries(tracks.map(({ id, height }) => [id, height]));
        if (Object.entries(LAYERS).every(([id, height]) => heights[id] === height) && heights.source === 720) return true;
        throw new Error(JSON.stringify(heights));
      },
      40_000,
    );

    const page = await here.open(`/watch/${name}?via=whep`);
    await playing(page, "whep");
    for (const [id, height] of Object.entries(LAYERS)) {
      await offered(page, id);
      await page.locator("#quality").selectOption(id);
      await heightBecomes(page, height);
      await framesPass(page, 15);
    }

    await page.locator("#quality").selectOption("");
    await heightBecomes(page, 720);
    if (codec === "vp8") await narrow(page, 400);
    await until(
      codec === "vp8" ? "a layer that fits 400 kbit/s" : "the best layer",
      async () => {
        const { rung, automatic } = await page.evaluate(() => ({ ...window.lockgate }));
        const expected = codec === "vp8" ? ["source-h", "source-q"] : ["source"];
        if (automatic && expected.includes(rung)) return true;
        throw new Error(JSON.stringify({ rung, automatic }));
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

/** Lets only so much reach a page by WebRTC. */
async function narrow(page, kbps) {
  const session = await page.context().newCDPSession(page);
  await session.send("Network.emulateNetworkConditions", {
    offline: false,
    latency: 0,
    downloadThroughput: (kbps * 1000) / 8,
    uploadThroughput: -1,
    packetQueueLength: 50,
  });
}
