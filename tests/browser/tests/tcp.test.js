// A browser whose network lets no UDP through watches and publishes over TCP (RFC 6544).

import assert from "node:assert/strict";
import { before, test } from "node:test";

import { ADDRESS, dropUdp, inNetwork } from "../lib/network.js";
import { until } from "../lib/until.js";
import { framesPass, playing, soundPasses } from "../lib/watch.js";
import { world } from "../lib/world.js";

if (inNetwork(import.meta.url, "without UDP a browser watches and publishes over TCP", 2)) {
  before(dropUdp);
  const here = world({ demo: true, config: { webrtc: { udp_listen: `${ADDRESS}:0` } } });

  /** Keeps the page's connections where the test can ask them. */
  const prepare = (page) =>
    page.addInitScript(() => {
      const Real = window.RTCPeerConnection;
      window.connections = [];
      window.RTCPeerConnection = class extends Real {
        constructor(...given) {
          super(...given);
          window.connections.push(this);
        }
      };
    });

  /** By which protocol the page's last connection goes. */
  const protocol = (page) =>
    page.evaluate(async () => {
      const stats = await window.connections.at(-1).getStats();
      const all = [...stats.values()];
      const transport = all.find((one) => one.type === "transport");
      const pair = stats.get(transport.selectedCandidatePairId);
      return [stats.get(pair.localCandidateId).protocol, stats.get(pair.remoteCandidateId).protocol];
    });

  test("the watch page plays by WebRTC, with sound", async () => {
    const page = await here.open("/watch/demo", { prepare });
    await playing(page, "whep");
    await page.locator("#unmute").click();
    await framesPass(page, 60);
    await soundPasses(page);
    assert.deepEqual(await protocol(page), ["tcp", "tcp"]);
  });

  test("the studio publishes", async () => {
    const studio = await here.open(`/studio?name=tcp#token=${here.server.token}`, { prepare });
    await studio.getByRole("button", { name: "Publish" }).click();
    await until("the broadcast", async () => {
      const { state, error } = await studio.evaluate(() => ({ ...window.lockgateStudio }));
      if (error) throw new Error(error);
      return state === "live";
    });
    const watcher = await here.open("/watch/tcp?via=whep", { prepare });
    await playing(watcher, "whep");
    await framesPass(watcher, 30);
    assert.deepEqual(await protocol(studio), ["tcp", "tcp"]);
  });
}
