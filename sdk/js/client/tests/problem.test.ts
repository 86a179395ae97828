import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { Problem, problemFrom, request, Unreachable } from "../src/problem.ts";

test("problem details become a Problem in the server's words", async () => {
  const body = JSON.stringify({ title: "Room is full", detail: "50 people are in it" });
  const headers = { "content-type": "application/problem+json", "retry-after": "7" };
  const problem = await problemFrom(new Response(body, { status: 503, headers }));
  assert.equal(problem.status, 503);
  assert.equal(problem.title, "Room is full");
  assert.equal(problem.message, "50 people are in it");
  assert.equal(problem.retryAfterS, 7);
});

test("an error that is no problem document keeps its status", async () => {
  const headers = { "content-type": "application/json" };
  const problem = await problemFrom(new Response("<html>", { status: 502, statusText: "Bad Gateway", headers }));
  assert.deepEqual([problem.status, problem.title, problem.retryAfterS], [502, "Bad Gateway", null]);
});

test("a date in Retry-After is seconds from now", async () => {
  const at = new Date(Date.now() + 30_000).toUTCString();
  const problem = await problemFrom(new Response(null, { status: 429, headers: { "retry-after": at } }));
  assert.ok(problem.retryAfterS !== null && problem.retryAfterS > 20 && problem.retryAfterS <= 30);
});

test("a refusal, silence and nobody there are told apart", async (t) => {
  const server = createServer((asked, answer) => {
    if (asked.url === "/refused") answer.writeHead(403, { "content-type": "application/problem+json" }).end('{"title":"No"}');
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const { port } = server.address() as { port: number };
  const base = `http://127.0.0.1:${port}`;

  await assert.rejects(request(`${base}/refused`), (error) => error instanceof Problem && error.status === 403);
  await assert.rejects(request(`${base}/silent`, { timeoutMs: 50 }), Unreachable);
  const gone = new AbortController();
  const asked = request(`${base}/silent`, { signal: gone.signal });
  gone.abort(new Error("stopped"));
  await assert.rejects(asked, /stopped/);
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await assert.rejects(request(`${base}/refused`), Unreachable);
});
