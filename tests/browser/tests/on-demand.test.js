// DASH of a source that is passed through, with a ladder that rests until somebody reads the manifest: a player goes
// from the source to a rung and back, and when it is gone the ladder rests again.

import assert from "node:assert/strict";
import { test } from "node:test";

import { blank, morePictures, playDashJs, playShaka } from "../lib/players.js";
import { publishRtmp } from "../lib/publisher.js";
import { until } from "../lib/until.js";
import { world } from "../lib/world.js";

const here = world({
  config: {
    hls: { keep_alive_s: 5 },
    "ingest.rtmp": { listen: "127.0.0.1:0" },
  },
});
const url = (path) => new URL(path, here.server.http).href;

/** The rungs that somebody reads. */
async function read() {
  const { tracks } = await (await fetch(url("/api/streams/live"))).json();
  return tracks.filter(({ kind, readers, id }) => kind === "video" && readers > 0 && id !== "source").map(({ id }) => id);
}

const PLAYERS = {
  "shaka-player": {
    play: playShaka,
    choose: (height) => {
      player.configure({ abr: { enabled: false } });
      player.selectVariantTrack(player.getVariantTracks().find((track) => track.height === height), true);
    },
  },
  "dash.js": {
    play: playDashJs,
    choose: (height) => {
      player.updateSettings({ streaming: { abr: { autoSwitchBitrate: { video: false } } } });
      const all = player.getRepresentationsByType("video");
      player.setRepresentationForTypeById("video", all.find((one) => one.height === height).id, true);
    },
  },
};

test("players of DASH go over to a rung that rested, and back", async (context) => {
  const publisher = publishRtmp(() => `${here.server.rtmp}/live/live?token=${here.server.token}`, "854x480");
  context.after(() => publisher.stop());
  await until("a manifest", async () => (await fetch(url("/dash/live/manifest.mpd"))).ok, 60_000);
  for (const [name, { play, choose }] of Object.entries(PLAYERS)) {
    await until(`the rungs to rest before ${name}`, async () => (await read()).length === 0, 60_000);
    const page = await blank(here);
    await play(page, url("/dash/live/manifest.mpd"));
    await morePictures(page, 60);
    const height = () => page.evaluate(() => document.querySelector("video").videoHeight);
    for (const wanted of [360, 480]) {
      await page.evaluate(choose, wanted);
      await until(`${wanted} lines in ${name}`, async () => (await height()) === wanted, 40_000);
      await morePictures(page, 90);
    }
    assert.deepEqual(await page.evaluate(() => window.errors), []);
    await page.close();
  }
});
