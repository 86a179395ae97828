// The example of the README, held to compile; `readme.test.ts` holds the two equal.

declare function tileFor(id: string): HTMLVideoElement;

import { capture, joinRoom, publish, watch } from "@lockgate/client";

// Watch: WebRTC, HLS where that does not get through, and back.
const player = watch({ video: document.querySelector("#live")!, stream: "demo" });
player.on("change", () => console.log(player.state, player.transport, player.rung, player.reason));
player.on("stats", (stats) => console.log(stats?.width, stats?.roundTripTimeMs));

// Publish: camera and microphone in three sizes, connected again whenever the connection is lost.
const stream = await capture({ source: "camera", camera: "", microphone: "" });
const publisher = publish({ stream, name: "mine", token: "…" });
publisher.on("state", (state) => console.log(state, publisher.error));

// Meet: what is shown is what is asked for, in the size in which it is shown.
const [camera = null] = stream.getVideoTracks();
const room = await joinRoom({ room: "kitchen", name: "Ada", token: "…", camera });
room.on("joined", ({ id }) => room.show(tileFor(id), id));
room.on("chat", ({ name, text }) => console.log(`${name}: ${text}`));
await room.mute({ audio: true });
