import assert from "node:assert/strict";
import { test } from "node:test";

import { encodings, rank } from "../src/sending.ts";

test("three sizes share the bitrate, smallest first", () => {
  const layers = encodings({ codec: "h264", simulcast: true, videoBitrateMaxBps: 1_000_000 });
  assert.deepEqual(layers.map(({ rid }) => rid), ["q", "h", "f"]);
  assert.deepEqual(layers.map(({ scaleResolutionDownBy }) => scaleResolutionDownBy), [4, 2, 1]);
  assert.equal(layers.reduce((sum, { maxBitrate = 0 }) => sum + maxBitrate, 0), 1_000_000);
  assert.deepEqual(encodings({ codec: "vp8", simulcast: false, videoBitrateMaxBps: 5 }), [{ maxBitrate: 5 }]);
});

test("the H.264 that every viewer decodes comes first", () => {
  const h264 = (sdpFmtpLine: string) => rank({ mimeType: "video/H264", sdpFmtpLine }, "h264");
  const best = h264("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f");
  const high = h264("packetization-mode=1;profile-level-id=640034");
  const mode0 = h264("packetization-mode=0;profile-level-id=42e01f");
  assert.ok(best < high && best < mode0 && high < rank({ mimeType: "video/VP8" }, "h264"));
  assert.equal(rank({ mimeType: "video/VP8" }, "vp8"), 0);
});
