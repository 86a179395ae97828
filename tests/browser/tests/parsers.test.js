// Two playlist parsers that are not ours, and of different makers, agree on what our playlists say, with the tags of low
// latency. A third, m3u8-rs, reads the plain ones in the Rust tests.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import HLS from "hls-parser";
import { Parser } from "m3u8-parser";

import { startServer } from "../lib/server.js";
import { until } from "../lib/until.js";

let server;
before(async () => {
  server = await startServer({
    demo: true,
    config: { ladder: { max_quality: "360p30" }, hls: { segment_s: 1, window: 12, part_ms: 200 } },
  });
});
after(() => server?.stop());

const get = async (path) => {
  const answer = await fetch(new URL(path, server.http));
  const text = await answer.text();
  assert.equal(answer.status, 200, text);
  return text;
};

/** What hls-parser reads, in words common to both. */
function byHlsParser(text) {
  const list = HLS.parse(text);
  const part = (one) => ({ uri: one.uri, duration: one.duration, independent: Boolean(one.independent) });
  const real = (one) => !one.hint;
  const whole = list.segments.filter((one) => one.uri);
  const open = list.segments.find((one) => !one.uri)?.parts ?? [];
  return {
    version: list.version,
    target: list.targetDuration,
    first: list.mediaSequenceBase,
    discontinuity: list.discontinuitySequenceBase ?? 0,
    ended: list.endlist,
    partTarget: list.partTargetDuration,
    hold: list.lowLatencyCompatibility?.partHoldBack,
    blocks: Boolean(list.lowLatencyCompatibility?.canBlockReload),
    skipUntil: list.lowLatencyCompatibility?.canSkipUntil,
    skipped: list.skip ?? 0,
    segments: whole.map((one) => ({
      uri: one.uri,
      duration: one.duration,
      at: one.programDateTime?.getTime(),
      map: one.map?.uri,
      parts: one.parts.filter(real).map(part),
    })),
    open: open.filter(real).map(part),
    hint: list.segments.flatMap((one) => one.parts.filter((one) => one.hint).map((one) => one.uri)),
    reports: list.renditionReports.map((one) => ({ uri: one.uri, msn: one.lastMSN, part: one.lastPart })),
  };
}

/** What m3u8-parser reads. */
function byM3u8Parser(text) {
  const parser = new Parser();
  parser.push(text);
  parser.end();
  const list = parser.manifest;
  const part = (one) => ({ uri: one.uri, duration: one.duration, independent: Boolean(one.independent) });
  const control = list.serverControl;
  const whole = list.segments;
  return {
    version: list.version,
    target: list.targetDuration,
    first: list.mediaSequence,
    discontinuity: list.discontinuitySequence,
    ended: Boolean(list.endList),
    partTarget: list.partTargetDuration,
    hold: control?.partHoldBack,
    blocks: Boolean(control?.canBlockReload),
    skipUntil: control?.canSkipUntil,
    skipped: list.skip?.skippedSegments ?? 0,
    segments: whole.map((one) => ({
      uri: one.uri,
      duration: one.duration,
      at: one.programDateTime,
      map: one.map?.uri,
      parts: (one.parts ?? []).map(part),
    })),
    open: (list.preloadSegment?.parts ?? []).map(part),
    hint: (list.preloadSegment?.preloadHints ?? []).map((one) => one.uri),
    reports: (list.renditionReports ?? []).map((one) => ({ uri: one.uri, msn: one.lastMsn, part: one.lastPart })),
  };
}

test("the media playlists of low latency, whole and as a delta", async () => {
  // Both renditions run, and more is listed than the skip boundary of six target durations.
  await until(
    "a playlist with something to skip and a report",
    async () => {
      await get("/hls/demo/aac/playlist.m3u8");
      const text = await get("/hls/demo/360p30/playlist.m3u8");
      return text.match(/#EXTINF/g).length >= 10 && text.includes("#EXT-X-RENDITION-REPORT");
    },
    60_000,
  );
  for (const rung of ["360p30", "aac"]) {
    for (const query of ["", "?_HLS_skip=YES", "?_HLS_skip=v2"]) {
      const text = await get(`/hls/demo/${rung}/playlist.m3u8${query}`);
      const [one, other] = [byHlsParser(text), byM3u8Parser(text)];
      assert.deepEqual(one, other, text);
      assert.equal(one.skipped > 0, query !== "", text);
      assert.ok(one.partTarget > 0 && one.hold > 2.999999 * one.partTarget && one.blocks, text);
      assert.ok(one.segments.at(-1).parts.length > 0 && one.hint.length === 1 && one.reports.length === 1, text);
    }
  }
});

test("the multivariant playlist", async () => {
  const text = await get("/hls/demo/playlist.m3u8");
  const one = HLS.parse(text).variants.map(({ uri, bandwidth, codecs, resolution, frameRate, audio }) => ({
    uri,
    bandwidth,
    codecs,
    size: `${resolution.width}x${resolution.height}`,
    frameRate,
    audio: audio.map(({ uri, groupId, isDefault }) => ({ uri, groupId, isDefault })),
  }));
  const parser = new Parser();
  parser.push(text);
  parser.end();
  const { playlists, mediaGroups } = parser.manifest;
  const other = playlists.map(({ uri, attributes }) => ({
    uri,
    bandwidth: attributes.BANDWIDTH,
    codecs: attributes.CODECS,
    size: `${attributes.RESOLUTION.width}x${attributes.RESOLUTION.height}`,
    frameRate: attributes["FRAME-RATE"],
    audio: Object.values(mediaGroups.AUDIO[attributes.AUDIO]).map((group) => ({
      uri: group.uri,
      groupId: attributes.AUDIO,
      isDefault: group.default,
    })),
  }));
  assert.deepEqual(one, other);
  assert.equal(one.length, 1);
});
