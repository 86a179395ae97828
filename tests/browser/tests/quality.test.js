// A viewer over WHEP chooses its quality over Socket.IO, and is told of what is decided.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ask, connect, next } from "../lib/sockets.js";
import { SECRET, mint } from "../lib/token.js";
import { until, untilPage } from "../lib/until.js";
import { framesPass, offered, playing } from "../lib/watch.js";
import { world } from "../lib/world.js";

const here = world({ demo: true, config: { auth: { secret: SECRET } } });

/** The only session there is. */
async function sessionOf(stream) {
  const response = await fetch(new URL(`/api/streams/${stream}/sessions`, here.server.http), {
    headers: { authorization: `Bearer ${mint("admin")}` },
  });
  return (await response.json()).sessions[0]?.id;
}

test("a viewer picks a rung, leaves the choice to the server again, and is told of later decisions", async (context) => {
  const page = await here.open("/watch/demo");
  await playing(page, "whep");
  await offered(page, "360p30");
  await framesPass(page, 30);
  const session = await until("the session", () => sessionOf("demo"));
  const socket = await connect(context, here.server.http);

  const chosen = await ask(socket, "quality", { stream: "demo", session, quality: "360p30" });
  assert.deepEqual([chosen.ok, chosen.rung, chosen.automatic], [true, "360p30", false]);
  assert.ok(chosen.reason.length > 3, JSON.stringify(chosen));
  await untilPage(page, "the rung", () => window.lockgate.rung === "360p30");

  const auto = await ask(socket, "quality", { stream: "demo", session, quality: "auto" });
  assert.deepEqual([auto.ok, auto.automatic], [true, true]);

  // Somebody else chooses for the same session: whoever follows it is told.
  const told = next(socket, "quality");
  const other = await connect(context, here.server.http);
  await ask(other, "quality", { stream: "demo", session, quality: "480p30" });
  const later = await told;
  assert.deepEqual([later.stream, later.session, later.rung, later.automatic], ["demo", session, "480p30", false]);
});

test("what cannot be chosen is refused in words", async (context) => {
  const socket = await connect(context, here.server.http);
  const refused = async (fields) => (await ask(socket, "quality", fields)).error;
  const nobody = "0123456789abcdef0123456789abcdef";
  for (const [fields, status, words] of [
    [undefined, 400, /stream is missing/],
    [{ stream: "demo", session: nobody }, 400, /quality is missing/],
    [{ stream: "../demo", session: nobody, quality: "auto" }, 400, /name/],
    [{ stream: "nothing", session: nobody, quality: "auto" }, 404, /nothing/],
    [{ stream: "demo", session: nobody, quality: "auto" }, 404, /session/],
    [{ stream: "demo", session: "x", quality: "auto" }, 404, /session/],
  ]) {
    const error = await refused(fields);
    assert.equal(error.status, status, JSON.stringify([fields, error]));
    assert.match(error.detail, words);
  }
});
