import assert from "node:assert/strict";
import { test } from "node:test";

import { assign, heightStep, merged, placesFor, type Want } from "../src/room/places.ts";
import { readSaid } from "../src/room/wire.ts";

const want = (participant: string, heightPx = 180, source: Want["source"] = "camera"): Want => ({ participant, source, heightPx });

test("what is wanted fills places in order, and the rest is off", () => {
  assert.deepEqual(assign(["3", "4", "5"], [], [want("a", 400), want("b")]), [
    { mid: "3", participant: "a", source: "camera", height_max: 540 },
    { mid: "4", participant: "b", source: "camera", height_max: 180 },
    { mid: "5", off: true },
  ]);
});

test("what is still wanted stays in its place, whatever comes and goes around it", () => {
  const mids = ["1", "2", "3"];
  const first = assign(mids, [], [want("a"), want("b"), want("c")]);
  const next = assign(mids, first, [want("d", 720), want("c"), want("b")]);
  assert.deepEqual(next.map(({ participant }) => participant), ["d", "b", "c"]);
  assert.deepEqual(assign(mids, next, []), mids.map((mid) => ({ mid, off: true })));
});

test("a camera and a screen of the same person are two pictures", () => {
  const wishes = assign(["1", "2"], [], [want("a", 900, "screen"), want("a", 90)]);
  assert.deepEqual(wishes.map(({ source }) => source), ["screen", "camera"]);
});

test("a picture in two elements is asked for once, as large as the larger", () => {
  assert.deepEqual(merged([want("a", 90), want("b"), want("a", 700)]), [want("a", 700), want("b")]);
});

test("with too few places the last wants are left out, and a kept one may be among them", () => {
  const first = assign(["1"], [], [want("a")]);
  assert.deepEqual(assign(["1"], first, [want("b"), want("a")]).map(({ participant }) => participant), ["b"]);
});

test("after a new offer with more places, old places are kept by name", () => {
  const first = assign(["1", "2"], [], [want("a"), want("b")]);
  const next = assign(["1", "2", "3"], first, [want("b"), want("c"), want("a")]);
  assert.deepEqual(next.map(({ participant }) => participant), ["a", "b", "c"]);
  // A connection with other names begins anew.
  assert.deepEqual(assign(["x"], first, [want("b")]).map(({ mid, participant }) => [mid, participant]), [["x", "b"]]);
});

test("heights go by steps, so that a window being resized asks seldom", () => {
  assert.deepEqual([1, 90, 91, 361, 5000].map(heightStep), [90, 90, 180, 540, 2160]);
});

test("places grow by eight, up to the most, and never shrink", () => {
  assert.equal(placesFor(5, 9, 49), 9);
  assert.equal(placesFor(10, 9, 49), 16);
  assert.equal(placesFor(60, 9, 49), 49);
});

test("what is said over the data channel is read, and nonsense is nothing", () => {
  assert.equal(readSaid('{"type":"chat","from":"a","name":"A","text":"hi","at_ms":1}')?.type, "chat");
  for (const nonsense of ["{", "null", "1", '{"type":"other"}', new ArrayBuffer(2)]) assert.equal(readSaid(nonsense), null);
});
