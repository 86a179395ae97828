import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

test("the example of the README is the one that compiles", () => {
  const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
  const [, example = ""] = /```ts\n([\s\S]*?)```/.exec(read("README.md")) ?? [];
  assert.ok(example.length > 0 && example.split("\n").length <= 26);
  assert.ok(read("tests/example.ts").endsWith(example));
});
