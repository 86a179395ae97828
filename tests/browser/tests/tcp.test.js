// A browser whose network lets no UDP through watches and publishes over TCP (RFC 6544).
//
// The network is one of the test's own, in which UDP is dropped: the file runs itself again inside it.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { until } from "../lib/until.js";
import { framesPass, playing, soundPasses } from "../lib/watch.js";
import { world } from "../lib/world.js";

const INSIDE = "LOCKGATE_TEST_NETWORK";
/** An address that is not loopback, at which Chromium sees a network. */
const ADDRESS = "10.200.0.1";

const PREPARE = `
  ip link set lo up
  ip link add here type veth peer name there
  ip address add ${ADDRESS}/24 dev here
  ip link set here up && ip link set there up
  nft add table inet drops
  nft add chain inet drops out '{ type filter hook output priority 0; }'
  nft add rule inet drops out meta l4proto udp drop
`;

if (process.env[INSIDE] === undefined) {
  test("without UDP a browser watches and publishes over TCP", () => {
    const allowed = (flags) => spawnSync("unshare", [flags, "true"]).status === 0;
    const flags = ["-n", "-rn"].find(allowed);
    assert.ok(flags, "this test needs a network of its own: run it as root, or where `unshare -rn true` works");
    const { NODE_TEST_CONTEXT: _, ...environment } = process.env;
    const run = spawnSync(
      "unshare",
      [flags, "sh", "-ec", `${PREPARE}\nexec "$0" --test "$1"`, process.execPath, fileURLToPath(import.meta.url)],
      { env: { ...environment, [INSIDE]: "1" }, encoding: "utf8" },
    );
    const said = `${run.stdout}\n${run.stderr}`;
    assert.equal(run.status, 0, said);
    assert.match(said, /pass 2/);
  });
} else {
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
    await page.getByRole("button", { name: "Unmute" }).click();
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
