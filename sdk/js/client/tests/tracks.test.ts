import assert from "node:assert/strict";
import { test } from "node:test";

import { captureError, CaptureError, openTrack } from "../src/tracks.ts";

test("each way a device is refused has its reason and names the device", () => {
  const reasons = { NotAllowedError: "denied", NotFoundError: "missing", NotReadableError: "busy", AbortError: "busy", OverconstrainedError: "gone" };
  for (const [name, reason] of Object.entries(reasons)) {
    const error = captureError(new DOMException("why", name), "camera");
    assert.equal(error.reason, reason);
    assert.match(error.message, /camera/);
  }
  assert.equal(captureError(new DOMException("", "SecurityError"), "microphone").reason, "insecure");
  assert.match(captureError(new Error("odd"), "microphone").message, /odd/);
});

test("a page without https is told so before a device is asked for", async () => {
  Object.assign(globalThis, { isSecureContext: false });
  await assert.rejects(openTrack("camera"), (error) => error instanceof CaptureError && error.reason === "insecure");
});
