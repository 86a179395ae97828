import assert from "node:assert/strict";
import { once } from "node:events";
import { EventEmitter } from "node:events";
import { test } from "node:test";

import { Emitter } from "../src/emitter.ts";
import { Problem, Unreachable } from "../src/problem.ts";
import { Kept, type Keepable } from "../src/room/kept.ts";

/** Something that can be lost by hand. */
class Line implements Keepable {
  lose: (why: string) => void = () => undefined;
  closed = false;
  readonly lost = new Promise<string>((resolve) => (this.lose = resolve));
  close(): void {
    this.closed = true;
  }
}

function keeping(open: (opened: number) => Promise<Line> | Line) {
  const told = new EventEmitter();
  const troubles: { error: unknown; final: boolean }[] = [];
  let opened = 0;
  const kept = new Kept<Line>({
    open: async () => open(++opened),
    changed: (thing) => told.emit(thing ? "up" : "down", thing),
    trouble: (error, final) => {
      troubles.push({ error, final });
      told.emit("trouble");
    },
  });
  return { kept, told, troubles, up: async () => (await once(told, "up"))[0] as Line };
}

test("what is lost is closed and opened again", async () => {
  const { kept, up, troubles } = keeping(() => new Line());
  kept.start();
  const first = await up();
  first.lose("gone");
  const second = await up();
  assert.ok(first.closed && !second.closed && kept.thing === second);
  assert.match(String(troubles[0]?.error), /gone/);
  kept.stop();
  assert.ok(second.closed && kept.thing === null);
});

test("a failure is tried again, a refusal is not", async () => {
  const { kept, told, troubles, up } = keeping((opened) => {
    if (opened === 1) throw new Unreachable("no answer");
    if (opened === 3) throw new Problem(403, "Forbidden", "", null);
    return new Line();
  });
  kept.start();
  const line = await up();
  assert.deepEqual(troubles.map(({ final }) => final), [false]);
  line.lose("gone");
  await once(told, "trouble");
  await once(told, "trouble");
  assert.deepEqual(troubles.map(({ final }) => final), [false, false, true]);
  assert.equal(kept.wanted, false);
});

test("another takes the place of the first, which is open until then", async () => {
  const { kept, up } = keeping(() => new Line());
  kept.start();
  const first = await up();
  kept.restart();
  assert.ok(!first.closed);
  const second = await up();
  assert.ok(first.closed && kept.thing === second);
  kept.stop();
});

test("what comes up after it was stopped is closed", async () => {
  const line = new Line();
  let arrive: (line: Line) => void = () => undefined;
  const { kept } = keeping(() => new Promise((resolve) => (arrive = resolve)));
  kept.start();
  kept.stop();
  arrive(line);
  await new Promise(setImmediate);
  assert.ok(line.closed && kept.thing === null);
});

test("a listener that throws keeps nobody else from hearing, and is not hidden", () => {
  class Bell extends Emitter<{ ring: number }> {
    ring(): void {
      this.emit("ring", 1);
    }
  }
  const bell = new Bell();
  const heard: number[] = [];
  bell.on("ring", () => {
    throw new Error("a page's own error");
  });
  const stop = bell.on("ring", (one) => heard.push(one));
  const reported: unknown[] = [];
  // Node.js has no `reportError` as browsers do.
  Object.assign(globalThis, { reportError: (error: unknown) => reported.push(error) });
  bell.ring();
  stop();
  bell.ring();
  assert.match(String(reported[0]), /a page's own error/);
  assert.deepEqual(heard, [1]);
});
