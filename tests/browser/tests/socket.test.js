// Socket.IO by its reference client: connecting, being refused, the feed of the dashboard, and who means ill.

import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import { connect as connectTcp } from "node:net";
import { after, before, test } from "node:test";

import { WebSocket } from "ws";

import { startServer } from "../lib/server.js";
import { ask, connect, next } from "../lib/sockets.js";
import { SECRET, mint } from "../lib/token.js";
import { until } from "../lib/until.js";

const CONFIG = {
  auth: { secret: SECRET },
  http: { listen: "127.0.0.1:0", cors: ["https://friend.example"], connections_per_address_max: 60 },
  ladder: { max_quality: "360p30" },
};
let server;
let admin;

before(async () => {
  server = await startServer({ demo: true, config: CONFIG });
  admin = mint("admin");
});

after(() => server?.stop());

const url = (path) => new URL(path, server.http);
const websocket = (query = "EIO=4&transport=websocket") => url(`/socket.io/?${query}`).href.replace("http", "ws");

async function api(method, path, body) {
  const response = await fetch(url(path), {
    method,
    body: body && JSON.stringify(body),
    headers: { authorization: `Bearer ${admin}`, "content-type": "application/json" },
  });
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${await response.clone().text()}`);
  return response.status === 204 ? null : response.json();
}

for (const [how, options, transport] of [
  ["by WebSocket", { transports: ["websocket"] }, "websocket"],
  ["by long polling", { transports: ["polling"] }, "polling"],
  ["by long polling, then WebSocket", {}, "websocket"],
]) {
  test(`connects ${how} and is answered`, async (context) => {
    const socket = await connect(context, server.http, options);
    await until(`a connection ${how}`, () => socket.io.engine.transport.name === transport);
    const { ok, error } = await ask(socket, "no-such-event", { a: 1 });
    assert.deepEqual([ok, error.status, error.title], [false, 404, "No such event"]);
    assert.match(error.detail, /no-such-event/);
    const told = next(socket, "error");
    socket.emit("nothing");
    assert.equal((await told).status, 404);
  });
}

test("a good token is taken from three places, and a bad one is refused in each with a problem", async (context) => {
  const places = (token) => [
    { auth: { token } },
    { extraHeaders: { authorization: `Bearer ${token}` } },
    { query: { token } },
  ];
  for (const options of places(admin)) {
    const socket = await connect(context, server.http, options);
    assert.equal((await ask(socket, "stream-metrics", {})).ok, true, JSON.stringify(Object.keys(options)));
  }
  for (const options of places(`${admin.slice(0, -4)}AAAA`)) {
    const refused = await connect(context, server.http, { transports: ["websocket"], ...options }).catch((error) => error);
    const problem = JSON.parse(refused.message);
    assert.equal(problem.status, 401);
    assert.equal(problem.title, "The token is not valid");
    assert.ok(problem.detail.length > 20, problem.detail);
  }
  const shown = await connect(context, server.http, { auth: { token: 7 } }).catch((error) => JSON.parse(error.message));
  assert.equal(shown.status, 400);
});

test("the metrics of the stream are for administrators, and come once a second", async (context) => {
  const nobody = await connect(context, server.http);
  assert.equal((await ask(nobody, "stream-metrics", {})).error.status, 401);
  const viewer = await connect(context, server.http, { auth: { token: mint("play:*") } });
  assert.equal((await ask(viewer, "stream-metrics", {})).error.status, 403);

  const socket = await connect(context, server.http, { auth: { token: admin } });
  const told = [];
  socket.on("stream-metrics", (metrics) => told.push(metrics));
  assert.deepEqual(await ask(socket, "stream-metrics"), { ok: true, every_ms: 1000 });
  await until("five of them", () => told.length >= 5);
  const between = told.slice(1).map((metrics, at) => metrics.at_ms - told[at].at_ms);
  const mean = between.reduce((sum, one) => sum + one, 0) / between.length;
  assert.ok(mean > 800 && mean < 2500, `${between}`);
  const last = told.at(-1);
  assert.equal(last.active_streams, 1);
  assert.equal(last.streams[0].id, "demo");
  assert.deepEqual(
    last.policies.map((policy) => [policy.kind, policy.active.name]),
    ["abr", "optimize", "score", "ladder", "auth"].map((kind) => [kind, "builtin"]),
  );
  assert.ok(last.node.rss_bytes > 1e6 && last.node.cpu_pct >= 0 && last.node.budget.cpu_budget > 0, JSON.stringify(last.node));
  assert.equal(last.node.ready, true);
  assert.deepEqual(last.rooms, []);
  // What was decided before it began is told first, and once.
  const ladders = told.flatMap((metrics) => metrics.decisions).filter((decision) => decision.kind === "ladder");
  assert.ok(ladders.length >= 1, JSON.stringify(told[0].decisions));
  assert.ok(ladders[0].reason.length > 5 && ladders[0].at_ms > 0, JSON.stringify(ladders[0]));
  assert.equal(new Set(ladders.map((decision) => JSON.stringify(decision))).size, ladders.length);

  assert.equal((await ask(socket, "stream-metrics", { off: true })).ok, true);
  const count = told.length;
  await until("a second and a half without any", () => Date.now() > told.at(-1).at_ms + 1500);
  assert.ok(told.length <= count + 1, `${told.length} after ${count}`);
});

test("sockets and what they follow survive a change of the configuration", async (context) => {
  const socket = await connect(context, server.http, { auth: { token: admin } });
  await ask(socket, "stream-metrics", { every_ms: 250 });
  await next(socket, "stream-metrics");
  await api("POST", "/api/config/reload");
  for (const _ of [1, 2, 3]) await next(socket, "stream-metrics");
  assert.equal((await ask(socket, "stream-metrics", { off: true })).ok, true);
  await connect(context, server.http, { auth: { token: admin } });
});

test("a revoked token ends its sockets, and nobody else's", async (context) => {
  const token = mint("admin", "--sub", "ann");
  const ann = await connect(context, server.http, { auth: { token } });
  const other = await connect(context, server.http, { auth: { token: admin } });
  const [told, gone] = [next(ann, "error"), next(ann, "disconnect")];
  await api("POST", "/api/revocations", { sub: "ann" });
  assert.equal((await told).status, 401);
  assert.equal(await gone, "io server disconnect");
  assert.equal((await ask(other, "stream-metrics", {})).ok, true);
  const again = await connect(context, server.http, { auth: { token } }).catch((error) => JSON.parse(error.message));
  assert.equal(again.status, 401);
});

test("a page of another origin may connect only if http.cors names it", async () => {
  const upgrade = (headers) =>
    new Promise((resolve, reject) => {
      const asked = request(url("/socket.io/?EIO=4&transport=websocket"), {
        headers: {
          connection: "Upgrade",
          upgrade: "websocket",
          "sec-websocket-version": "13",
          "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
          ...headers,
        },
      });
      asked.once("upgrade", (response, stream) => resolve((stream.destroy(), response.statusCode)));
      asked.once("response", (response) => resolve((response.resume(), response.statusCode)));
      asked.once("error", reject).end();
    });
  assert.equal(await upgrade({}), 101);
  assert.equal(await upgrade({ origin: server.http }), 101);
  assert.equal(await upgrade({ origin: "https://friend.example" }), 101);
  assert.equal(await upgrade({ origin: "https://foe.example" }), 403);
  // Behind a proxy that calls us by another name, browsers know.
  assert.equal(await upgrade({ origin: "https://proxied.example", "sec-fetch-site": "same-origin" }), 101);
});

test("whoever sends rubbish is disconnected, and nobody else notices", async (context) => {
  const bystander = await connect(context, server.http, { auth: { token: admin }, transports: ["websocket"] });
  const closes = async (what, ...messages) => {
    const raw = new WebSocket(websocket());
    context.after(() => raw.terminate());
    raw.on("error", () => {});
    await once(raw, "message");
    for (const message of messages) raw.send(message);
    await until(`${what} to be disconnected`, () => raw.readyState === WebSocket.CLOSED, 15_000);
  };
  const rubbish = [
    ["no packet", "x"],
    ["no packet type", "4"],
    ["an unknown packet type", "49{}"],
    ["an event without a name", "40", "42[]"],
    ["an event whose name is no string", "40", "42[7]"],
    ["an event before CONNECT", '42["x"]'],
    ["what is no JSON", "40", '42["x",NaN]'],
    ["deep nesting", "40", `42["x",${"[".repeat(100_000)}`],
    ["a payload that is too large", `42["x","${"y".repeat(300_000)}"]`],
    ["a large attachment", "40", '451-["x",{"_placeholder":true,"num":0}]', Buffer.alloc(300_000)],
    ["a thousand attachments", "40", `451000-["x",{"_placeholder":true,"num":0}]`],
    ["text in place of an attachment", "40", '451-["x",{"_placeholder":true,"num":0}]', "42[]"],
    ["silence after the handshake"],
  ];
  await Promise.all(rubbish.map((one) => closes(...one)));
  // What is odd but no rubbish is answered.
  const raw = new WebSocket(websocket());
  context.after(() => raw.terminate());
  const heard = [];
  raw.on("message", (data) => heard.push(String(data)));
  await once(raw, "open");
  raw.send("40");
  await until("the namespace", () => heard.some((text) => text.startsWith("40")));
  for (const odd of ['421["x"]', '422["stream-metrics",[1,2]]', `423["${"n".repeat(10_000)}"]`]) raw.send(odd);
  const answers = await until("answers to what is odd", () => {
    const acks = heard.filter((text) => /^43\d/.test(text));
    return acks.length === 3 && acks;
  });
  for (const answer of answers) {
    assert.match(answer, /"ok":false/);
    assert.ok(answer.length < 1000, answer);
  }
  assert.equal((await ask(bystander, "stream-metrics", {})).ok, true);
});

test("a body over long polling that is too large is refused", async () => {
  const opened = await (await fetch(url("/socket.io/?EIO=4&transport=polling"))).text();
  const { sid, maxPayload } = JSON.parse(opened.slice(1));
  assert.equal(maxPayload, 256 * 1024);
  const large = await fetch(url(`/socket.io/?EIO=4&transport=polling&sid=${sid}`), {
    method: "POST",
    body: "4".repeat(maxPayload + 1),
  });
  assert.equal(large.status, 413);
});

test("of thousands of events at once only some are done, and the others are told to wait", async (context) => {
  const socket = await connect(context, server.http, { auth: { token: admin }, transports: ["websocket"] });
  const statuses = new Map();
  let answered = 0;
  const gone = new Promise((resolve) => socket.once("disconnect", resolve));
  for (let count = 0; count < 5000; count += 1) {
    socket.emit("no-such-event", count, ({ error }) => {
      answered += 1;
      statuses.set(error.status, (statuses.get(error.status) ?? 0) + 1);
    });
  }
  // It takes what it is told slowly at best: it is answered in full, or disconnected, perhaps before it read an answer.
  const whole = until("5000 answers", () => answered === 5000, 30_000).then(() => true, () => false);
  const isWhole = await Promise.race([whole, gone.then(() => false)]);
  const seen = JSON.stringify([...statuses]);
  assert.ok((statuses.get(404) ?? 0) <= 400, seen);
  assert.ok(isWhole || socket.disconnected, seen);
  if (isWhole) assert.ok(statuses.get(404) >= 20 && statuses.get(429) > 100, seen);
  const other = await connect(context, server.http, { auth: { token: admin } });
  assert.equal((await ask(other, "stream-metrics", {})).ok, true);
});

test("an address has so many sessions over long polling as connections, and gets its places back", async (context) => {
  // A server of its own: the sessions of the tests before this are still counted.
  const own = await startServer({ config: { ...CONFIG, http: { ...CONFIG.http, connections_per_address_max: 10 } } });
  context.after(() => own.stop());
  const open = async () => (await fetch(new URL("/socket.io/?EIO=4&transport=polling", own.http))).status;
  const statuses = [];
  for (let count = 0; count < 15; count += 1) statuses.push(await open());
  assert.deepEqual(statuses, [...Array(10).fill(200), ...Array(5).fill(503)]);
  // Whoever says nothing more is let go after ten seconds.
  await until("a place to be free again", async () => (await open()) === 200, 30_000);
});

test("a WebSocket counts as a connection of its address for as long as it is open", async (context) => {
  const own = await startServer({ config: { ...CONFIG, http: { ...CONFIG.http, connections_per_address_max: 10 } } });
  context.after(() => own.stop());
  const sockets = [];
  for (let count = 0; count < 9; count += 1) {
    sockets.push(await connect(context, own.http, { transports: ["websocket"] }));
  }
  const { hostname, port } = new URL(own.http);
  const answers = () =>
    new Promise((resolve) => {
      const stream = connectTcp(port, hostname);
      stream.once("error", () => resolve(false));
      stream.once("close", () => resolve(false));
      stream.once("data", () => resolve((stream.destroy(), true)));
      stream.write(`GET /livez HTTP/1.1\r\nhost: ${hostname}\r\nconnection: close\r\n\r\n`);
    });
  assert.equal(await answers(), true);
  sockets.push(await connect(context, own.http, { transports: ["websocket"] }));
  assert.equal(await answers(), false);
  sockets.pop().close();
  await until("a place to be free again", answers);
});

test("a server that goes down disconnects everybody and takes nobody in", async (context) => {
  const own = await startServer({ config: CONFIG });
  context.after(() => own.stop());
  const sockets = await Promise.all([
    connect(context, own.http, { transports: ["websocket"] }),
    connect(context, own.http, { transports: ["polling"] }),
    connect(context, own.http),
  ]);
  const gone = sockets.map((socket) => next(socket, "disconnect"));
  const started = performance.now();
  await own.stop();
  for (const reason of await Promise.all(gone)) assert.match(reason, /transport (close|error)/);
  assert.ok(performance.now() - started < 5000, "it does not wait for them");
});
