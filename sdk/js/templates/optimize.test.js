import assert from "node:assert/strict";
import { test } from "node:test";

import { manifestOf, tester } from "@lockgate/policy";

import * as policy from "./policy.js";

const { ask } = tester(await manifestOf(import.meta.dirname), policy);
const rungs = [{ need_kbps: 600 }, { need_kbps: 1000 }, { need_kbps: 2500 }];

test("a narrow link is saved on, a good one hardly", () => {
  const [narrow, good] = ask("optimize", { rungs, rows: [{ bandwidth_kbps: 300, loss_pct: 5 }, { bandwidth_kbps: 9000 }] });
  assert.deepEqual([narrow.level, narrow.fec, narrow.reason], [2, 1, "a very narrow link"]);
  assert.deepEqual([good.level, good.fec, good.reason], [0, 0, "a good link"]);
});
