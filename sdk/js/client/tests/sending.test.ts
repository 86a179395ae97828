import assert from "node:assert/strict";
import { test } from "node:test";

import { encodings, rank } from "../src/sending.ts";

const SIMULCAST = { codec: "h264", simulcast: true, videoBitrateMaxBps: 1_000_000 } as const;

test("sizes share the bitrate, smallest first, as many as the picture has pixels for", () => {
  const scales = (width: number, height: number) => {
    const layers = encodings(SIMULCAST, { width, height });
    assert.deepEqual(layers.map(({ rid }) => rid), ["q", "h", "f"]);
    const sent = layers.filter(({ active }) => active);
    assert.equal(sent.reduce((sum, { maxBitrate = 0 }) => sum + maxBitrate, 0), 1_000_000);
    return sent.map(({ scaleResolutionDownBy }) => scaleResolutionDownBy);
  };
  assert.deepEqual(scales(1280, 720), [4, 2, 1]);
  assert.deepEqual(scales(720, 1280), [4, 2, 1]);
  // What browsers leave out is never the full size.
  assert.deepEqual(scales(640, 480), [2, 1]);
  assert.deepEqual(scales(320, 240), [1]);
  assert.deepEqual(encodings({ codec: "vp8", simulcast: false, videoBitrateMaxBps: 5 }, null), [{ maxBitrate: 5 }]);
});

test("the H.264 that every viewer decodes comes first", () => {
  const h264 = (sdpFmtpLine: string) => rank({ mimeType: "video/H264", sdpFmtpLine }, "h264");
  const best = h264("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f");
  const high = h264("packetization-mode=1;profile-level-id=640034");
  const mode0 = h264("packetization-mode=0;profile-level-id=42e01f");
  assert.ok(best < high && best < mode0 && high < rank({ mimeType: "video/VP8" }, "h264"));
  assert.equal(rank({ mimeType: "video/VP8" }, "vp8"), 0);
});
