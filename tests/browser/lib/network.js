// A network of a test file's own, in which it may drop what it likes: the file runs itself again inside it.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const INSIDE = "LOCKGATE_TEST_NETWORK";
/** An address that is not loopback, at which Chromium sees a network. */
export const ADDRESS = "10.200.0.1";

const PREPARE = `
  ip link set lo up
  ip link add here type veth peer name there
  ip address add ${ADDRESS}/24 dev here
  ip link set here up && ip link set there up
  nft add table inet drops
  nft add chain inet drops out '{ type filter hook output priority 0; }'
`;

/** Whether this is the run inside. If not, a test of this name does that run and holds it to so many passes. */
export function inNetwork(file, name, passes) {
  if (process.env[INSIDE] !== undefined) return true;
  test(name, () => {
    const allowed = (flags) => spawnSync("unshare", [flags, "true"]).status === 0;
    const flags = ["-n", "-rn"].find(allowed);
    assert.ok(flags, "this test needs a network of its own: run it as root, or where `unshare -rn true` works");
    const { NODE_TEST_CONTEXT: _, ...environment } = process.env;
    const run = spawnSync(
      "unshare",
      [flags, "sh", "-ec", `${PREPARE}\nexec "$0" --test "$1"`, process.execPath, fileURLToPath(file)],
      { env: { ...environment, [INSIDE]: "1" }, encoding: "utf8" },
    );
    const said = `${run.stdout}\n${run.stderr}`;
    assert.equal(run.status, 0, said);
    assert.match(said, new RegExp(`pass ${passes}\\b`));
  });
  return false;
}

/** Lets no UDP packet leave any more. */
export function dropUdp() {
  nft("add", "rule", "inet", "drops", "out", "meta", "l4proto", "udp", "drop");
}

/** Lets everything through again. */
export function dropNothing() {
  nft("flush", "chain", "inet", "drops", "out");
}

function nft(...words) {
  const { status, stderr } = spawnSync("nft", words, { encoding: "utf8" });
  assert.equal(status, 0, `nft ${words.join(" ")}: ${stderr}`);
}
