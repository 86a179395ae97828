import assert from "node:assert/strict";
import { test } from "node:test";

import { authorize } from "./policy.js";

const ask = (action, claims) => authorize({}, { action, stream: "demo", peer: "192.0.2.1", claims, now_s: 0 });

test("scopes decide", () => {
  assert.equal(ask("play", { scope: "publish play:de*" }).allow, true);
  assert.equal(ask("publish", { scope: "play" }).status, 403);
  assert.equal(ask("play", {}).status, 401);
});
