import assert from "node:assert/strict";
import { test } from "node:test";

import { manifestOf, tester } from "@lockgate/policy";

import * as policy from "./policy.js";

const { ask } = tester(await manifestOf(import.meta.dirname), policy);
const rungs = [
  { width: 640, height: 360, fps: 30 },
  { width: 1280, height: 720, fps: 60 },
];

test("nothing is enlarged, and the budget is kept", () => {
  const [small] = ask("ladder", { rungs, rows: [{ width: 854, height: 480, fps: 30 }] });
  assert.deepEqual(small.encode, [true, false]);
  const [poor] = ask("ladder", { rungs, rows: [{ width: 1920, height: 1080, fps: 30, cpu_budget: 0 }] });
  assert.deepEqual(poor.encode, [true, false]);
});
