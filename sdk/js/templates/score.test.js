import assert from "node:assert/strict";
import { test } from "node:test";

import { manifestOf, tester } from "@lockgate/policy";

import * as policy from "./policy.js";

const { ask } = tester(await manifestOf(import.meta.dirname), policy);

test("what is not known takes nothing off", () => {
  const [unknown, poor] = ask("score", { rows: [{}, { bandwidth_kbps: 0, loss_pct: 50, jitter_ms: 500 }] });
  assert.deepEqual([unknown.score, poor.score], [100, 0]);
  assert.equal(poor.reason, "critical: 360p30");
});
