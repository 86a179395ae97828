// Everyone who publishes against everyone who watches. `LOCKGATE_INTEROP` names the publishers to try, separated by
// commas; without it all of them.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { until } from "../browser/lib/until.js";
import { world } from "../browser/lib/world.js";
import { PUBLISHERS } from "./publishers.js";
import { SKEW_MS_MAX, VIEWERS } from "./viewers.js";

const here = world({});
const wanted = (process.env.LOCKGATE_INTEROP ?? Object.keys(PUBLISHERS).join(",")).split(",");
const cells = new Map();

for (const publisher of wanted) {
  test(`${publisher} is seen and heard by everyone`, async () => {
    const { server } = here;
    const name = publisher.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+/, "");
    const world = { server, name, open: here.open };
    const publication = await PUBLISHERS[publisher](world);
    try {
      await until("picture and sound in the broadcast", async () => {
        const response = await fetch(new URL(`/api/streams/${name}`, server.http));
        const { tracks = [] } = await response.json();
        return ["video", "audio"].every((kind) => tracks.some((track) => track.kind === kind && track.role === "ingest"));
      });
      const watch = async ([viewer, watch]) => [viewer, await watch(world).catch((error) => ({ error }))];
      const results = await Promise.all(Object.entries(VIEWERS).map(watch));
      cells.set(publisher, results);
      for (const [viewer, { error }] of results) if (error) console.log(`${publisher} to ${viewer}: ${error.message}`);
      for (const [viewer, { error, frames, skew }] of results) {
        assert.ifError(error);
        assert.ok(frames > 0, `${viewer} decoded nothing`);
        assert.ok(skew !== null && Math.abs(skew) < SKEW_MS_MAX, `${viewer}: picture and sound are ${skew} ms apart`);
      }
    } finally {
      await publication.stop();
    }
  });
}

after(() => {
  const cell = ({ error, frames, skew }) => (error ? "fails" : `${frames} frames, ${skew === null ? "?" : skew.toFixed(0)} ms`);
  const rows = [...cells].map(([publisher, results]) => [publisher, ...results.map(([, result]) => cell(result))]);
  for (const row of [["from / to", ...Object.keys(VIEWERS)], Object.keys({ 0: 0, ...VIEWERS }).map(() => "---"), ...rows]) {
    console.log(`| ${row.join(" | ")} |`);
  }
});
