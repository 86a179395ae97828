import assert from "node:assert/strict";
import { test } from "node:test";

import { readRung, stereo } from "../src/whep.ts";

test("Opus is asked for in stereo once, and nothing else changes", () => {
  const sdp = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n";
  const once = stereo(sdp);
  assert.match(once, /^a=fmtp:111 minptime=10;useinbandfec=1;stereo=1\r$/m);
  assert.equal(stereo(once), once);
  assert.equal(stereo("m=video 9\r\n"), "m=video 9\r\n");
});

test("before the first decision there is only what plays", () => {
  assert.deepEqual(readRung('{"rung":"720p"}'), { rung: "720p", automatic: true, reason: "" });
  assert.deepEqual(readRung("{}"), { rung: null, automatic: true, reason: "" });
  assert.equal(readRung("not JSON"), null);
});
