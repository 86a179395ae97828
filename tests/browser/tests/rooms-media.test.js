// The media of rooms: browsers send once and see each other, with signalling by the reference client of Socket.IO.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { io } from "socket.io-client";

import { until } from "../lib/until.js";
import { world } from "../lib/world.js";

const here = world({ config: { auth: { anonymous: ["play", "join"] } } });
const sockets = [];

after(() => sockets.forEach((socket) => socket.disconnect()));

/** Somebody in a room: a page with the media, and a socket beside it. */
async function person(room, name, token) {
  const page = await here.open("/livez");
  const socket = io(here.server.http, { transports: ["websocket"], auth: token ? { token } : {} });
  sockets.push(socket);
  const ask = async (event, data) => {
    const answer = await socket.timeout(10_000).emitWithAck(event, data);
    assert.equal(answer.ok, true, `${event}: ${JSON.stringify(answer.error)}`);
    return answer;
  };
  let places = [];
  const speakers = [];
  socket.on("places", (now) => (places = now));
  socket.on("speakers", (now) => speakers.push(now));
  const joined = await ask("join", { room, name });
  return {
    id: joined.you.id,
    joined,
    page,
    socket,
    speakers,
    ask,
    /** Whom the place shows. */
    shown: (mid) => places.find((place) => place.mid === String(mid))?.participant ?? null,
    async send() {
      const sdp = await page.evaluate(sending);
      const { sdp: answer, direction } = await ask("offer", { sdp });
      assert.equal(direction, "publish");
      await page.evaluate((sdp) => globalThis.up.setRemoteDescription({ type: "answer", sdp }), answer);
    },
    async watch(videos, audios) {
      const sdp = await page.evaluate(watching, [videos, audios]);
      const { sdp: answer, direction } = await ask("offer", { sdp });
      assert.equal(direction, "subscribe");
      await page.evaluate((sdp) => globalThis.down.setRemoteDescription({ type: "answer", sdp }), answer);
    },
    /** What arrives in a place. */
    arrives: (mid) => page.evaluate(arriving, String(mid)),
  };
}

/**
 * Somebody with a client as programs for calls of two have it: it joins, sends an offer that goes `direction`, or none, tells
 * of its candidates, and answers offers that come. It never asks for an acknowledgement.
 */
async function caller(room, name, direction, token) {
  const page = await here.open("/livez");
  const socket = io(here.server.http, { transports: ["websocket"], auth: token ? { token } : {} });
  sockets.push(socket);
  const offers = [];
  socket.on("error", (problem) => offers.push(problem));
  await page.exposeFunction("emit", (event, data) => void socket.emit(event, data));
  socket.on("offer", (offer) => {
    offers.push(offer);
    page.evaluate(answering, offer.offer).catch((error) => offers.push(error));
  });
  socket.on("answer", ({ direction, answer }) => {
    if (direction !== "publish") return;
    page.evaluate((answer) => globalThis.up.setRemoteDescription(answer), answer).catch((error) => offers.push(error));
  });
  socket.emit("join", room, name);
  const { you } = await new Promise((resolve) => socket.once("joined", resolve));
  if (direction) await page.evaluate(calling, direction);
  return { id: you.id, page, socket, offers, arrives: (mid) => page.evaluate(arriving, String(mid)) };
}

/** In the page: offers a small picture that moves, and a tone. */
async function calling(direction) {
  const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 180 });
  const drawing = canvas.getContext("2d");
  let drawn = 0;
  setInterval(() => {
    drawing.fillStyle = `hsl(${drawn} 80% 50%)`;
    drawing.fillRect((drawn += 7) % 300, drawn % 160, 40, 40);
  }, 100);
  const sound = new AudioContext();
  const out = new MediaStreamAudioDestinationNode(sound);
  const tone = new OscillatorNode(sound, { frequency: 440 });
  tone.connect(new GainNode(sound, { gain: 0.5 })).connect(out);
  tone.start();
  const pc = (globalThis.up = new RTCPeerConnection());
  pc.onicecandidate = ({ candidate }) => candidate && globalThis.emit("ice-candidate", { candidate: candidate.toJSON() });
  for (const track of [...canvas.captureStream(10).getTracks(), ...out.stream.getTracks()]) pc.addTransceiver(track, { direction });
  if (direction === "sendrecv") {
    globalThis.down = pc;
    pc.ontrack = ({ track }) => {
      const player = Object.assign(document.createElement(track.kind), { srcObject: new MediaStream([track]), autoplay: true });
      document.body.append(player);
    };
  }
  await pc.setLocalDescription();
  await globalThis.emit("offer", { offer: pc.localDescription.toJSON() });
}

/** In the page: answers an offer, and plays what comes. */
async function answering(offer) {
  const pc = (globalThis.down = new RTCPeerConnection());
  pc.onicecandidate = ({ candidate }) => candidate && globalThis.emit("ice-candidate", { candidate: candidate.toJSON() });
  pc.ontrack = ({ track }) => {
    const player = Object.assign(document.createElement(track.kind), { srcObject: new MediaStream([track]), autoplay: true });
    document.body.append(player);
  };
  await pc.setRemoteDescription(offer);
  await pc.setLocalDescription();
  await globalThis.emit("answer", { to: "server", answer: pc.localDescription.toJSON() });
}

/** In the page: a drawing in two sizes, which is as many as Chromium makes of 360 lines, a tone, and a data channel. */
async function sending() {
  const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 360 });
  const drawing = canvas.getContext("2d");
  let drawn = 0;
  setInterval(() => {
    drawing.fillStyle = `hsl(${drawn} 80% 50%)`;
    drawing.fillRect((drawn += 7) % 600, drawn % 320, 40, 40);
  }, 40);
  const sound = new AudioContext();
  globalThis.loudness = new GainNode(sound, { gain: 0 });
  const out = new MediaStreamAudioDestinationNode(sound);
  const tone = new OscillatorNode(sound, { frequency: 440 });
  tone.connect(globalThis.loudness).connect(out);
  tone.start();
  const pc = (globalThis.up = new RTCPeerConnection({ bundlePolicy: "max-bundle" }));
  globalThis.heard = [];
  globalThis.channel = pc.createDataChannel("room");
  globalThis.channel.onmessage = ({ data }) => globalThis.heard.push(JSON.parse(data));
  pc.addTransceiver(out.stream.getAudioTracks()[0], { direction: "sendonly" });
  const video = pc.addTransceiver(canvas.captureStream(25).getVideoTracks()[0], {
    direction: "sendonly",
    sendEncodings: [
      { rid: "h", scaleResolutionDownBy: 2 },
      { rid: "f" },
    ],
  });
  const { codecs } = RTCRtpSender.getCapabilities("video");
  video.setCodecPreferences(codecs.filter(({ mimeType }) => mimeType.toLowerCase() === "video/h264"));
  await pc.setLocalDescription();
  return pc.localDescription.sdp;
}

/** In the page: places that receive, video first. */
async function watching([videos, audios]) {
  const pc = (globalThis.down = new RTCPeerConnection({ bundlePolicy: "max-bundle" }));
  // What nobody plays is not decoded.
  pc.ontrack = ({ track }) => {
    const player = Object.assign(document.createElement(track.kind), { srcObject: new MediaStream([track]), autoplay: true });
    document.body.append(player);
  };
  for (let at = 0; at < videos; at++) pc.addTransceiver("video", { direction: "recvonly" });
  for (let at = 0; at < audios; at++) pc.addTransceiver("audio", { direction: "recvonly" });
  await pc.setLocalDescription();
  return pc.localDescription.sdp;
}

async function arriving(mid) {
  for (const entry of (await globalThis.down.getStats()).values()) {
    if (entry.type === "inbound-rtp" && entry.mid === mid) {
      const { framesDecoded = 0, frameHeight = 0, totalAudioEnergy = 0, bytesReceived } = entry;
      return { framesDecoded, frameHeight, totalAudioEnergy, bytesReceived };
    }
  }
  return { framesDecoded: 0, frameHeight: 0, totalAudioEnergy: 0, bytesReceived: 0 };
}

const speak = (person, gain) => person.page.evaluate((gain) => (globalThis.loudness.gain.value = gain), gain);

/** New frames are decoded in a place from now on. */
async function moves(who, mid, most = 20_000) {
  const before = (await who.arrives(mid)).framesDecoded;
  return until(`frames in place ${mid}`, async () => {
    const now = await who.arrives(mid);
    if (now.framesDecoded > before + 10) return now;
    throw new Error(JSON.stringify(now));
  }, most);
}

/** Nothing arrives in a place any more. */
async function rests(who, mid) {
  let before = -1;
  let still = 0;
  await until(`nothing in place ${mid}`, async () => {
    const { bytesReceived } = await who.arrives(mid);
    still = bytesReceived === before ? still + 1 : 0;
    before = bytesReceived;
    return still > 20;
  });
}

test("host, speaker and listener see and hear each other, each sending once", async () => {
  const boss = await person("talk", "Boss", here.server.token);
  const ann = await person("talk", "Ann");
  assert.equal(boss.joined.you.role, "host");
  await boss.send();
  await ann.send();
  await boss.watch(2, 1);
  await ann.watch(2, 1);
  // The host's camera is an ordinary broadcast with a ladder; the other's is seen in the room alone.
  await until("places", () => boss.shown(0) === ann.id && ann.shown(0) === boss.id);
  await Promise.all([moves(boss, 0), moves(ann, 0)]);
  const streams = await (await fetch(`${here.server.http}/api/streams`)).json();
  assert.deepEqual(streams.streams.map(({ id, source }) => [id, source]), [["talk", "room"]]);
  assert.equal(boss.shown(1), null);

  // Who speaks is known to all, and heard.
  await speak(ann, 0.5);
  await until("who speaks", () => boss.speakers.at(-1)?.[0]?.id === ann.id);
  await until("sound", async () => (await boss.arrives(2)).totalAudioEnergy > 0.01);

  // No higher than there is room for.
  await boss.ask("subscribe", { places: [{ mid: "0", participant: ann.id, height_max: 200 }] });
  await until("the smallest layer", async () => (await boss.arrives(0)).frameHeight === 180);
  await boss.ask("subscribe", { places: [{ mid: "0", participant: ann.id, height_max: 720 }] });
  await until("the largest layer", async () => (await boss.arrives(0)).frameHeight === 360, 30_000);
  await boss.ask("subscribe", { places: [{ mid: "0", off: true }, { mid: "1", off: true }] });
  await rests(boss, 0);
  await boss.ask("subscribe", { places: [] });
  await moves(boss, 0);

  // Muted at the server, whatever the client still sends.
  await boss.ask("mute", { participant: ann.id, video: true, audio: true });
  await rests(boss, 0);
  await rests(boss, 2);
  await ann.ask("mute", { video: false, audio: false });
  await moves(boss, 0);

  // Texts by the data channel, both ways.
  await until("the channel", () => ann.page.evaluate(() => globalThis.channel.readyState === "open"));
  await ann.page.evaluate(() => globalThis.channel.send(JSON.stringify({ type: "chat", text: "hello" })));
  const heard = await until("a text", () => boss.page.evaluate(() => globalThis.heard.at(-1)));
  assert.deepEqual([heard.type, heard.text, heard.from, heard.name], ["chat", "hello", ann.id, "Ann"]);

  // As the operator sees it.
  const headers = { authorization: `Bearer ${here.server.token}` };
  const listed = await (await fetch(`${here.server.http}/api/rooms/talk/participants`, { headers })).json();
  const of = listed.participants.find(({ id }) => id === boss.id);
  assert.equal(of.places[0].participant, ann.id);
  assert.ok(of.places[0].decision.reason, JSON.stringify(of));
  assert.ok(of.link.packets_sent > 0);
});

test("clients that send an offer and answer those that come see and hear each other", async () => {
  const ann = await caller("mesh", "Ann", "sendonly");
  const bob = await caller("mesh", "Bob", "sendonly");
  const eve = await caller("mesh", "Eve");
  for (const who of [ann, bob, eve]) {
    await until("a connection", () => who.page.evaluate(() => globalThis.down?.connectionState === "connected"));
  }
  // Nine pictures, then three voices, as many as there are.
  await Promise.all([moves(ann, 0), moves(bob, 0), moves(eve, 0), moves(eve, 1)]);
  for (const [who, mids] of [[ann, [9]], [bob, [9]], [eve, [9, 10]]]) {
    for (const mid of mids) await until(`sound in ${mid}`, async () => (await who.arrives(mid)).totalAudioEnergy > 0.01);
    assert.equal(who.offers.length, 1, JSON.stringify(who.offers));
    const [{ from, direction, session, sdp, offer }] = who.offers;
    assert.deepEqual([from, direction, offer], ["server", "subscribe", { type: "offer", sdp }]);
    assert.match(session, /^[0-9a-f]{32}$/);
  }
  // A connection of one's own takes its place.
  await eve.page.evaluate(() => (globalThis.invited = globalThis.down));
  const sdp = await eve.page.evaluate(watching, [2, 1]);
  const own = await eve.socket.timeout(10_000).emitWithAck("offer", { sdp });
  await eve.page.evaluate((sdp) => globalThis.down.setRemoteDescription({ type: "answer", sdp }), own.sdp);
  await Promise.all([moves(eve, 0), moves(eve, 1)]);
  await until("the connection before to be closed", () => eve.page.evaluate(() => globalThis.invited.connectionState !== "connected"));
  assert.equal(eve.offers.length, 1, JSON.stringify(eve.offers.slice(1)));
});

test("clients with a single connection for both ways see and hear each other over it", async () => {
  // The host's camera is a broadcast of its own.
  const ann = await caller("pair", "Ann", "sendrecv", here.server.token);
  const bob = await caller("pair", "Bob", "sendrecv");
  await Promise.all([moves(ann, 0), moves(bob, 0)]);
  for (const who of [ann, bob]) {
    await until("sound", async () => (await who.arrives(1)).totalAudioEnergy > 0.01);
    // The sender is told how its packets arrive, by receiver reports and by transport-wide feedback.
    await until("reports", () => who.page.evaluate(reported));
  }
  // Who is muted is not seen, and is again.
  ann.socket.emit("mute", { video: true });
  await rests(bob, 0);
  ann.socket.emit("mute", { video: false });
  await moves(bob, 0);
  // A connection to receive alone takes the place of the half that there is.
  await bob.page.evaluate(() => (globalThis.both = globalThis.down));
  const sdp = await bob.page.evaluate(watching, [1, 1]);
  const own = await bob.socket.timeout(10_000).emitWithAck("offer", { sdp });
  await bob.page.evaluate((sdp) => globalThis.down.setRemoteDescription({ type: "answer", sdp }), own.sdp);
  await Promise.all([moves(bob, 0), moves(ann, 0)]);
  assert.equal(await bob.page.evaluate(() => globalThis.both.connectionState), "connected");
  // Nobody was made an offer, or told of a mistake.
  assert.deepEqual([...ann.offers, ...bob.offers], []);
  // Who leaves is shown no more.
  ann.socket.emit("leave");
  await rests(bob, 0);
});

/** In the page: whether the other side says how packets arrive, and what it carries is known. */
async function reported() {
  const stats = [...(await globalThis.up.getStats()).values()];
  const arrive = stats.some(({ type, kind, roundTripTime }) => type === "remote-inbound-rtp" && kind === "video" && roundTripTime >= 0);
  // Without feedback it stays at what it starts with.
  return arrive && stats.some(({ type, availableOutgoingBitrate }) => type === "candidate-pair" && availableOutgoingBitrate > 320_000);
}

test("a participant who loses the socket goes on seeing and being seen", async () => {
  const [ann, bob] = [await person("kept", "Ann"), await person("kept", "Bob")];
  await ann.send();
  await bob.send();
  await ann.watch(1, 1);
  await bob.watch(1, 1);
  await Promise.all([moves(ann, 0), moves(bob, 0)]);
  ann.socket.io.engine.close();
  await new Promise((resolve) => ann.socket.once("connect", resolve));
  await Promise.all([moves(ann, 0), moves(bob, 0)]);
  const again = await ann.ask("join", { room: "kept", seat: ann.joined.seat });
  assert.equal(again.resumed, true);
  assert.equal(again.you.id, ann.id);
  assert.equal(again.places[0].participant, bob.id);
  await Promise.all([moves(ann, 0), moves(bob, 0)]);
});
