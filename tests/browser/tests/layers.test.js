// Fewer pictures a second out of what the publisher layered in time, for each codec that says so.

import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { publishCanvas } from "../lib/canvas.js";
import { until } from "../lib/until.js";
import { framesPass, offered, playing, stats } from "../lib/watch.js";
import { world } from "../lib/world.js";

const spare = fileURLToPath(new URL("../policies/spare.luau", import.meta.url));
const here = world({ config: { policies: { optimize: spare } } });

for (const codec of ["vp8", "vp9", "av1"]) {
  test(`15 of 30 pictures of ${codec} are left out for a viewer that saves`, async () => {
    const name = `time-${codec}`;
    const publisher = await here.open("/livez");
    await publishCanvas(publisher, { name, token: here.server.token, codec, encodings: [{ scalabilityMode: "L1T2" }] });
    const page = await here.open(`/watch/${name}?via=whep`);
    await playing(page, "whep");
    await offered(page, "source");
    await page.locator("#quality").selectOption("source");
    await until("the publisher's own coding", async () => (await stats(page)).videoCodec?.toLowerCase() === codec);
    await framesPass(page, 15);
    // How many of those that came in were shown, over the same stretch.
    let [came, shown, share] = [await unitsOf(name), (await stats(page)).framesDecoded, 1];
    await until(
      "half of the pictures",
      async () => {
        const now = [await unitsOf(name), (await stats(page)).framesDecoded];
        if (now[0] - came >= 60) {
          share = (now[1] - shown) / (now[0] - came);
          [came, shown] = now;
        }
        if (share > 0.4 && share < 0.7) return true;
        throw new Error(`${share.toFixed(2)} of them are shown`);
      },
      30_000,
    );
  });
}

async function unitsOf(name) {
  const response = await fetch(new URL(`/api/streams/${name}`, here.server.http));
  const { tracks = [] } = await response.json();
  return tracks.find(({ id }) => id === "source")?.units ?? 0;
}
