import assert from "node:assert/strict";
import { test } from "node:test";

import { findLink, iceServers, parseLinks } from "../src/link.ts";

test("a Link header with several links, quoted commas and odd case is read", () => {
  const links = parseLinks('<a,b>; rel="One two"; title="x, \\"y\\"", </c>;REL=ice-server;username=me;credential="p;w"');
  assert.equal(links.length, 2);
  assert.deepEqual(links[0]?.rels, ["one", "two"]);
  assert.equal(links[0]?.params.get("title"), 'x, "y"');
  assert.deepEqual(iceServers(links), [{ urls: "/c", username: "me", credential: "p;w" }]);
});

test("what is no link ends the reading", () => {
  assert.deepEqual(parseLinks("nonsense <a>; rel=b"), []);
  assert.deepEqual(parseLinks(null), []);
});

test("a link is found by its relation and resolved against the request", () => {
  const links = parseLinks("<layer>; rel=urn:x, <other>; rel=urn:y");
  assert.equal(findLink(links, "urn:y", "https://example.org/whep/demo/1")?.href, "https://example.org/whep/demo/other");
  assert.equal(findLink(links, "urn:z", "https://example.org/"), null);
});
