import assert from "node:assert/strict";
import { test } from "node:test";

import { manifestOf, tester } from "@lockgate/policy";

import * as policy from "./policy.js";

const { ask } = tester(await manifestOf(import.meta.dirname), policy);
const rungs = [{ need_kbps: 600 }, { need_kbps: 1000 }, { need_kbps: 2500 }];

test("down at once, and up after a while", () => {
  const [down] = ask("abr", { rungs, rows: [{ bandwidth_kbps: 900, current: 2 }] });
  assert.deepEqual([down.rung, down.reason], [0, "down: the link carries less"]);
  const wide = { bandwidth_kbps: 9000, current: 0 };
  const [wait] = ask("abr", { tick: { now_ms: 1000 }, rungs, rows: [wide] });
  assert.deepEqual([wait.rung, wait.memo[0]], [0, 1000]);
  const [up] = ask("abr", { tick: { now_ms: 6000 }, rungs, rows: [{ ...wide, memo: wait.memo }] });
  assert.equal(up.rung, 1);
});
