// Rooms with the reference client of Socket.IO, as existing programs use it: plain events, with and without acknowledgements.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { io } from "socket.io-client";

import { startServer } from "../lib/server.js";
import { until } from "../lib/until.js";

let server;
const sockets = [];

before(async () => {
  const room = { max_participants: 3, host_grace_s: 1 };
  server = await startServer({ config: { room, auth: { anonymous: ["play", "join"] } } });
});

after(async () => {
  for (const socket of sockets) socket.disconnect();
  await server?.stop();
});

/** A connected client that keeps what it is told. */
async function client(options = {}) {
  const socket = io(server.http, { transports: ["websocket"], reconnection: false, ...options });
  sockets.push(socket);
  const told = [];
  socket.onAny((name, data) => told.push([name, data]));
  await new Promise((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("connect_error", reject);
  });
  return {
    socket,
    told,
    /** Asks, and returns the answer. */
    ask: (name, ...data) => socket.timeout(5_000).emitWithAck(name, ...data),
    /** The next event of that name that fits; what came before it of others stays. */
    next: (name, fits = () => true) =>
      until(`${name} in ${JSON.stringify(told).slice(0, 2000)}`, () => {
        const at = told.findIndex(([is, data]) => is === name && fits(data));
        return at >= 0 && (told.splice(at, 1)[0][1] ?? {});
      }),
  };
}

const host = () => client({ auth: { token: server.token } });

test("join, offer, answer, ice-candidate and leave work as with any server for calls of two", async () => {
  const ann = await client();
  const bob = await client();
  // As the plainest of clients do it: a text, and no acknowledgement.
  ann.socket.emit("join", "call");
  const joined = await ann.next("joined");
  assert.equal(joined.room, "call");
  assert.equal(joined.you.role, "speaker");
  assert.deepEqual(joined.participants, [joined.you]);
  assert.equal(joined.max_participants, 3);
  assert.match(joined.seat, /^[0-9a-f]{32}$/);
  assert.deepEqual(joined.ice_servers, []);

  const answer = await bob.ask("join", "call", "Bob");
  assert.equal(answer.ok, true);
  assert.equal(answer.resumed, false);
  assert.equal(answer.you.name, "Bob");
  assert.deepEqual(answer.participants.map(({ id }) => id), [joined.you.id, answer.you.id]);
  const came = await ann.next("user-joined");
  assert.deepEqual(came, answer.you);

  const offer = { type: "offer", sdp: "v=0\r\n" };
  ann.socket.emit("offer", { to: came.id, offer });
  assert.deepEqual(await bob.next("offer"), { offer, from: joined.you.id });
  bob.socket.emit("answer", { to: joined.you.id, answer: { type: "answer", sdp: "v=0\r\n" } });
  const answered = await ann.next("answer");
  assert.deepEqual(answered, { answer: { type: "answer", sdp: "v=0\r\n" }, from: came.id });
  const candidate = { candidate: "candidate:1 1 udp 1 192.0.2.1 9 typ host", sdpMid: "0", sdpMLineIndex: 0 };
  ann.socket.emit("ice-candidate", { to: came.id, candidate });
  assert.deepEqual(await bob.next("ice-candidate"), { candidate, from: joined.you.id });

  bob.socket.emit("leave");
  assert.deepEqual(await ann.next("user-left"), { id: came.id, reason: "left" });
  const late = await ann.ask("offer", { to: came.id, offer });
  assert.equal(late.ok, false);
  assert.equal(late.error.status, 404);
  assert.match(late.error.detail, /nobody with the id/);
});

test("a client over long polling is a participant like any other", async () => {
  const ann = await client({ transports: ["polling"] });
  const bob = await client();
  await ann.ask("join", { room: "polled", name: "Ann" });
  await bob.ask("join", { room: "polled", name: "Bob" });
  assert.equal((await ann.next("user-joined")).name, "Bob");
  assert.equal((await bob.ask("chat", { text: "hello" })).ok, true);
  assert.equal((await ann.next("chat")).text, "hello");
});

test("one more than there are seats is refused with a reason, and a seat that was lost is kept", async () => {
  const [ann, bob, eve] = await Promise.all([client(), client(), client()]);
  const first = await ann.ask("join", { room: "small", name: "Ann" });
  await bob.ask("join", { room: "small" });
  await eve.ask("join", { room: "small" });
  const late = await client();
  const refused = await late.ask("join", { room: "small" });
  assert.equal(refused.ok, false);
  assert.equal(refused.error.status, 503);
  assert.equal(refused.error.type, "/problems/room-full");
  assert.match(refused.error.detail, /has its 3 participants already/);
  // Without an acknowledgement it comes as an event.
  late.socket.emit("join", "small");
  assert.equal((await late.next("error")).type, "/problems/room-full");

  ann.socket.disconnect();
  const away = await bob.next("user-updated", ({ id, away }) => id === first.you.id && away);
  assert.equal(away.name, "Ann");
  assert.equal((await late.ask("join", { room: "small" })).ok, false);
  const back = await client();
  const again = await back.ask("join", { room: "small", seat: first.seat });
  assert.equal(again.resumed, true);
  assert.equal(again.you.id, first.you.id);
  assert.equal(again.you.name, "Ann");
  await bob.next("user-updated", ({ id, away: is }) => id === first.you.id && !is);
});

test("whoever leaves and is gone at once has left", async () => {
  const ann = await client();
  await ann.ask("join", { room: "hasty" });
  for (let round = 0; round < 30; round += 1) {
    const bob = await client();
    const { you } = await bob.ask("join", { room: "hasty" });
    bob.socket.emit("leave", {});
    bob.socket.disconnect();
    await ann.next("user-left", ({ id }) => id === you.id);
  }
  // Else they would have been away, with their seats kept.
  const away = ann.told.filter(([name, data]) => name === "user-updated" && data.away);
  assert.deepEqual(away, []);
});

test("the host controls the room, and it ends some time after the host has left", async () => {
  const boss = await host();
  const ann = await client();
  const joined = await boss.ask("join", { room: "meeting", name: "Boss" });
  assert.equal(joined.you.role, "host");
  assert.equal(joined.host, joined.you.id);
  const guest = await ann.ask("join", { room: "meeting", name: "Ann" });
  assert.equal(guest.you.role, "speaker");

  const refused = await ann.ask("mute", { participant: joined.you.id, audio: true });
  assert.equal(refused.error.status, 403);
  assert.equal(refused.error.detail, "only the host may mute others");
  assert.equal((await boss.ask("mute", { participant: guest.you.id, audio: true })).ok, true);
  assert.deepEqual(await ann.next("muted"), { audio: true, video: false, by: joined.you.id });
  await boss.next("user-updated", ({ muted }) => muted.audio);
  assert.equal((await ann.ask("mute", { audio: false })).ok, true);
  await boss.next("user-updated", ({ muted }) => !muted.audio);

  assert.equal((await boss.ask("role", { participant: guest.you.id, role: "listener" })).ok, true);
  assert.equal((await ann.next("user-updated", ({ id, role }) => id === guest.you.id && role === "listener")).role, "listener");

  boss.socket.emit("reaction", { emoji: "👋" });
  assert.equal((await ann.next("reaction")).emoji, "👋");

  boss.socket.emit("leave", {});
  assert.deepEqual(await ann.next("room-ended"), { reason: "the host left" });
  assert.equal((await ann.ask("chat", { text: "anybody?" })).ok, false);
});

test("whoever is sent out is told why, and does not come back to that room", async () => {
  const boss = await host();
  const ann = await client();
  await boss.ask("join", { room: "strict" });
  const guest = await ann.ask("join", { room: "strict" });
  await boss.ask("remove", { participant: guest.you.id, reason: "too loud" });
  assert.deepEqual(await ann.next("removed"), { reason: "too loud" });
  assert.deepEqual(await boss.next("user-left"), { id: guest.you.id, reason: "removed" });
  const again = await ann.ask("join", { room: "strict" });
  assert.equal(again.error.type, "/problems/sent-out");
  await boss.ask("end", {});
  await boss.next("room-ended");
});

test("an operator sees rooms, controls them, and finds their records", async () => {
  const boss = await host();
  const ann = await client();
  const joined = await boss.ask("join", { room: "watched", name: "Boss" });
  const guest = await ann.ask("join", { room: "watched", name: "Ann" });
  const call = async (method, path, body, token = server.token) => {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const response = await fetch(new URL(path, server.http), { method, headers, body: body && JSON.stringify(body) });
    const text = await response.text();
    return { status: response.status, body: text ? JSON.parse(text) : null };
  };
  // Whoever may publish under its name controls a room; nobody else does.
  const room = await call("GET", "/api/rooms/watched");
  assert.deepEqual([room.status, room.body.host, room.body.participants], [200, joined.you.id, 2]);
  assert.deepEqual(room.body.roles, { host: 1, speaker: 1, listener: 0 });
  assert.equal((await fetch(new URL("/api/rooms/watched", server.http))).status, 401);
  const listed = await call("GET", "/api/rooms");
  assert.ok(listed.body.rooms.some(({ id }) => id === "watched"));
  const people = await call("GET", "/api/rooms/watched/participants");
  assert.deepEqual(people.body.participants.map(({ name }) => name), ["Boss", "Ann"]);

  const path = `/api/rooms/watched/participants/${guest.you.id}`;
  assert.equal((await call("PATCH", path, { muted: { audio: true } })).status, 204);
  assert.deepEqual(await ann.next("muted"), { audio: true, video: false, by: null });
  assert.equal((await call("PATCH", path, { role: "host" })).status, 204);
  await ann.next("user-updated", ({ id, role }) => id === guest.you.id && role === "host");
  assert.equal((await call("PATCH", path, { role: "king" })).status, 400);
  assert.equal((await call("DELETE", `/api/rooms/watched/participants/${"0".repeat(32)}`)).status, 404);
  assert.equal((await call("DELETE", `/api/rooms/watched/participants/${joined.you.id}`)).status, 204);
  await boss.next("removed");
  assert.equal((await call("DELETE", "/api/rooms/watched")).status, 204);
  assert.deepEqual(await ann.next("room-ended"), { reason: "an administrator ended the room" });
  await until("the room's end", async () => (await call("GET", "/api/rooms/watched")).status === 404);
});

test("whoever asks for it is offered a connection at once, and may answer in vain", async () => {
  const ann = await client();
  assert.equal((await ann.ask("join", { room: "offered", receive: "offered" })).ok, true);
  const { session, sdp } = await ann.next("offer", ({ from }) => from === "server");
  assert.equal(sdp.match(/^m=video /gm).length, 9);
  assert.equal(sdp.match(/^m=audio /gm).length, 3);
  assert.match(sdp, /a=candidate:/);
  const candidate = { candidate: "candidate:1 1 udp 1 192.0.2.1 9 typ host", sdpMid: "0" };
  assert.equal((await ann.ask("ice-candidate", { to: "server", session, candidate })).ok, true);
  const refused = await ann.ask("answer", { session, answer: { type: "answer", sdp: "v=0\r\n" } });
  assert.equal(refused.ok, false);
  assert.equal(refused.error.status, 400, JSON.stringify(refused.error));
});

test("what cannot be is answered with what to do", async () => {
  const ann = await client();
  const wrong = async (name, data, status, words) => {
    const { ok, error } = await ann.ask(name, data);
    assert.equal(ok, false, name);
    assert.equal(error.status, status, `${name}: ${error.detail}`);
    assert.match(error.detail, words);
  };
  await wrong("join", {}, 400, /room is missing/);
  await wrong("join", { room: "../x" }, 400, /a name is made of/);
  await wrong("chat", { text: "x" }, 400, /you are in no room/);
  await wrong("teleport", {}, 404, /there is no event "teleport"/);
  await ann.ask("join", { room: "odd" });
  await wrong("chat", { text: "" }, 400, /text has 0 characters/);
  await wrong("chat", { text: "x".repeat(4001) }, 400, /it has 1 to 4000/);
  await wrong("offer", {}, 400, /sdp is missing/);
  await wrong("offer", { to: "me", sdp: "v=0" }, 400, /32 hexadecimal digits/);
  await wrong("answer", { sdp: "v=0" }, 400, /no offer of the server waits/);
  await wrong("answer", { to: "server", session: "0".repeat(32), sdp: "v=0" }, 400, /no offer of the server waits/);
  await wrong("role", { participant: "0".repeat(32), role: "king" }, 400, /role is host, speaker or listener/);
  const listener = await client({ auth: { token: "nonsense" } }).catch((error) => error);
  assert.match(JSON.parse(listener.message).detail, /token/);
});
