// The room page among more people than it first has places for.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { io } from "socket.io-client";

import { join, sees } from "../lib/room.js";
import { world } from "../lib/world.js";

const here = world({ config: { auth: { anonymous: ["play", "join"] } } });
const sockets = [];

after(() => sockets.forEach((socket) => socket.disconnect()));

/** In the page: offers to send a picture that all who send from here share, so small and slow that ten encoders cost little. */
async function sending(at) {
  if (!globalThis.track) {
    const canvas = Object.assign(document.createElement("canvas"), { width: 160, height: 90 });
    const drawing = canvas.getContext("2d");
    let drawn = 0;
    setInterval(() => {
      drawing.fillStyle = `hsl(${drawn} 80% 50%)`;
      drawing.fillRect((drawn += 7) % 140, drawn % 70, 40, 40);
    }, 200);
    [globalThis.track] = canvas.captureStream(5).getVideoTracks();
    globalThis.all = [];
  }
  const pc = (globalThis.all[at] = new RTCPeerConnection());
  pc.addTransceiver(globalThis.track, { direction: "sendonly" });
  await pc.setLocalDescription();
  return pc.localDescription.sdp;
}

test("ten others are seen, although a connection begins with nine places", async () => {
  const page = await here.open("/livez");
  const names = [];
  for (let at = 0; at < 10; at += 1) {
    const socket = io(here.server.http, { transports: ["websocket"] });
    sockets.push(socket);
    const ask = async (event, data) => {
      const answer = await socket.timeout(10_000).emitWithAck(event, data);
      assert.equal(answer.ok, true, `${event}: ${JSON.stringify(answer.error)}`);
      return answer;
    };
    names.push(`Guest ${at}`);
    await ask("join", { room: "crowd", name: names[at], receive: "own" });
    const { sdp } = await ask("offer", { sdp: await page.evaluate(sending, at) });
    await page.evaluate(([at, sdp]) => globalThis.all[at].setRemoteDescription({ type: "answer", sdp }), [at, sdp]);
  }
  const ada = await join(here, "crowd", { name: "Ada" });
  await sees(ada, names, "camera", 90_000);
  const { downlink } = await ada.evaluate(() => window.lockgateRoom.stats());
  assert.ok(downlink.views.length > 9, `${downlink.views.length} places`);
  assert.deepEqual(ada.complaints, []);
});
