// What a viewer that saves hears, read from the packets that it gets.

import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { until } from "../browser/lib/until.js";
import { world } from "../browser/lib/world.js";
import { PUBLISHERS } from "./publishers.js";
import { aiortc } from "./python.js";

const spare = fileURLToPath(new URL("../browser/policies/spare.luau", import.meta.url));
const here = world({ config: { policies: { optimize: spare } } });

/** RFC 6716 §3.1: the configurations of four kilohertz of audio band, SILK and CELT. */
const NARROW = [0, 1, 2, 3, 16, 17, 18, 19];

test("the Opus of a viewer that saves is narrowband and mono", async () => {
  const { server } = here;
  const publication = await PUBLISHERS["libdatachannel"]({ server, name: "sound" });
  try {
    const heard = async () => {
      const response = await fetch(new URL("/api/streams/sound", server.http));
      const { tracks = [] } = await response.json();
      return tracks.some(({ id }) => id === "opus12");
    };
    await until("the rendition of fewer bits", heard, 30_000);
    const viewer = await aiortc("watch", new URL("/whep/sound", server.http).href, server.token);
    try {
      await until(
        "narrowband mono and nothing else",
        async () => {
          const { configs } = await viewer.read();
          const is = (toc) => NARROW.includes(toc >> 3) && (toc & 4) === 0;
          if (configs.length > 0 && configs.every(is)) return true;
          throw new Error(`first bytes ${configs}`);
        },
        30_000,
      );
    } finally {
      await viewer.stop();
    }
  } finally {
    await publication.stop();
  }
});
