import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { Server, type Socket as Side } from "socket.io";

import { Problem, Unreachable } from "../src/problem.ts";
import { Signalling } from "../src/room/signalling.ts";
import { ask, openSocket } from "../src/room/socket.ts";
import type { Joined } from "../src/room/wire.ts";

/** The reference server, with a room that answers as ours does. */
const http = createServer();
const io = new Server(http);
let origin = "";
const seats: (string | undefined)[] = [];
const sides: Side[] = [];

before(async () => {
  io.use((socket, next) => {
    const { token } = socket.handshake.auth as { token?: string };
    const problem = JSON.stringify({ type: "/problems/token", title: "Token refused", status: 401, detail: "it has expired" });
    next(token === "bad" ? new Error(problem) : undefined);
  });
  io.on("connection", (socket) => {
    sides.push(socket);
    socket.on("join", ({ room, seat }: { room: string; seat?: string }, ack: (answer: object) => void) => {
      if (room === "full") return ack({ ok: false, error: { type: "/problems/room-full", title: "The room is full", status: 409, detail: "it has 50 people" } });
      seats.push(seat);
      ack({ ok: true, room, seat: "secret", resumed: seat === "secret" });
    });
    socket.on("silent", () => undefined);
    socket.on("odd", (_data: object, ack: (answer: unknown) => void) => ack("odd"));
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(http.address() as { port: number }).port}`;
});
after(() => io.close());

function join(options: { room?: string; token?: string; server?: string } = {}) {
  const told: { kind: string; data: unknown }[] = [];
  const waiting: { kind: string; resolve: (data: unknown) => void }[] = [];
  const tell = (kind: string) => (data: unknown) => {
    const at = waiting.findIndex((one) => one.kind === kind);
    if (at >= 0) waiting.splice(at, 1)[0]?.resolve(data);
    else told.push({ kind, data });
  };
  const next = <Data>(kind: string): Promise<Data> => {
    const at = told.findIndex((one) => one.kind === kind);
    if (at >= 0) return Promise.resolve(told.splice(at, 1)[0]?.data as Data);
    return new Promise((resolve) => waiting.push({ kind, resolve: resolve as (data: unknown) => void }));
  };
  const opened = Signalling.open({
    server: origin,
    room: "here",
    ...options,
    joined: tell("joined"),
    down: tell("down"),
    refused: tell("refused"),
    heard: (event, data) => tell(event)(data),
  });
  return { opened, next };
}

test("joins, hears the room, and comes back to the seat after the socket was cut", async () => {
  const { opened, next } = join();
  const signalling = await opened;
  assert.equal((await next<Joined>("joined")).resumed, false);
  sides.at(-1)?.emit("user-left", { id: "x", reason: "left" });
  assert.deepEqual(await next("user-left"), { id: "x", reason: "left" });

  sides.at(-1)?.conn.close();
  assert.ok((await next("down")) instanceof Unreachable);
  await assert.rejects(signalling.ask("chat", {}), Unreachable);
  assert.equal((await next<Joined>("joined")).resumed, true);
  assert.equal(seats.at(-1), "secret");

  // A server that disconnects without saying why is going down: one comes back.
  sides.at(-1)?.disconnect(true);
  assert.ok((await next("down")) instanceof Unreachable);
  assert.equal((await next<Joined>("joined")).resumed, true);

  // One that says why means it.
  sides.at(-1)?.emit("error", { title: "Token refused", status: 401, detail: "it was revoked" });
  sides.at(-1)?.disconnect(true);
  const refused = await next<Problem>("refused");
  assert.deepEqual([refused.status, refused.message], [401, "it was revoked"]);
});

test("a refusal is said in the server's words, by the namespace and by the room", async () => {
  const bad = join({ token: "bad" });
  const token = await bad.next<Problem>("refused");
  assert.deepEqual([token.status, token.title, token.message], [401, "Token refused", "it has expired"]);
  const full = join({ room: "full" });
  const room = await full.next<Problem>("refused");
  assert.deepEqual([room.status, room.title, room.type], [409, "The room is full", "/problems/room-full"]);
});

test("without a server it is said that it cannot be reached", async () => {
  const { opened, next } = join({ server: "http://127.0.0.1:1" });
  assert.ok((await next("down")) instanceof Unreachable);
  (await opened).end();
});

test("an answer that does not come, or is none, is an error of its own", async () => {
  const socket = await openSocket({ server: origin });
  await assert.rejects(ask(socket, "silent", {}), Unreachable);
  socket.connect();
  await new Promise<void>((resolve) => socket.once("connect", resolve));
  await assert.rejects(ask(socket, "silent", {}, 50), Unreachable);
  await assert.rejects(ask(socket, "odd", {}), (error) => error instanceof Problem && error.status === 502);
  socket.disconnect();
});
