// Those who publish: each a WebRTC of its own.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

import wrtc from "@roamhq/wrtc";

import { lavfi } from "./clip.js";
import { publishByDatachannel } from "./datachannel.js";
import { aiortc } from "./python.js";
import { FPS, HEIGHT, TONE_HZ, WIDTH, isOn } from "./signal.js";
import { until } from "../browser/lib/until.js";
import { publish } from "./whip.js";

const FFMPEG = `${process.env.LOCKGATE_FIXTURES ?? fileURLToPath(new URL("../../target/fixtures", import.meta.url))}/ffmpeg-whip`;

/** By name: starts to publish, and gives how to stop. */
export const PUBLISHERS = {
  "Chromium": publishByChromium,
  "FFmpeg 9": publishByFfmpeg,
  "libdatachannel": ({ server, name }) => publishByDatachannel({ server, name }),
  "aiortc": ({ server, name }) => aiortc("publish", new URL(`/whip/${name}`, server.http).href, server.token),
  "@roamhq/wrtc": publishByWrtc,
};

async function publishByChromium({ server, name, open }) {
  const page = await open("/livez");
  await page.evaluate(
    async ({ name, token, width, height, toneHz, fps }) => {
      const sound = new AudioContext({ sampleRate: 48000 });
      const gain = new GainNode(sound, { gain: 0 });
      const tone = new OscillatorNode(sound, { frequency: toneHz });
      const out = new MediaStreamAudioDestinationNode(sound);
      tone.connect(gain).connect(out);
      tone.start();
      let next = Math.ceil(sound.currentTime);
      const canvas = Object.assign(document.createElement("canvas"), { width, height });
      const drawing = canvas.getContext("2d");
      setInterval(() => {
        // The sound is planned ahead and so exact; the picture is drawn when its time has come.
        for (; next < sound.currentTime + 2; next += 1) {
          gain.gain.setValueAtTime(0.5, next);
          gain.gain.setValueAtTime(0, next + 0.2);
        }
        drawing.fillStyle = sound.currentTime % 1 < 0.2 ? "white" : "black";
        drawing.fillRect(0, 0, width, height);
      }, 1000 / fps / 2);
      const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
      const stream = new MediaStream([...canvas.captureStream(fps).getTracks(), ...out.stream.getTracks()]);
      for (const track of stream.getTracks()) pc.addTransceiver(track, { direction: "sendonly", streams: [stream] });
      await pc.setLocalDescription();
      const headers = { authorization: `Bearer ${token}`, "content-type": "application/sdp" };
      const response = await fetch(`/whip/${name}`, { method: "POST", headers, body: pc.localDescription.sdp });
      if (response.status !== 201) throw new Error(`WHIP said ${response.status}: ${await response.text()}`);
      await pc.setRemoteDescription({ type: "answer", sdp: await response.text() });
      globalThis.pc = pc;
    },
    { name, token: server.token, width: WIDTH, height: HEIGHT, toneHz: TONE_HZ, fps: FPS },
  );
  return { stop: () => page.close() };
}

async function publishByFfmpeg({ server, name }) {
  const child = spawn(
    FFMPEG,
    [
      ...["-v", "error", "-nostdin", "-re", ...lavfi({ width: WIDTH, height: HEIGHT })],
      ...["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "baseline", "-pix_fmt", "yuv420p", "-g", String(FPS), "-bf", "0"],
      ...["-c:a", "libopus", "-ar", "48000", "-ac", "2", "-b:a", "48k"],
      ...["-f", "whip", "-authorization", server.token, new URL(`/whip/${name}`, server.http).href],
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  const ended = new Promise((resolve) => child.once("exit", resolve));
  return {
    stop: async () => {
      child.kill("SIGTERM");
      await ended;
    },
  };
}

async function publishByWrtc({ server, name }) {
  const pc = new wrtc.RTCPeerConnection({ bundlePolicy: "max-bundle" });
  const { RTCAudioSource, RTCVideoSource } = wrtc.nonstandard;
  const [audio, video] = [new RTCAudioSource(), new RTCVideoSource()];
  const stream = new wrtc.MediaStream([video.createTrack(), audio.createTrack()]);
  for (const track of stream.getTracks()) pc.addTransceiver(track, { direction: "sendonly", streams: [stream] });
  await pc.setLocalDescription(await pc.createOffer());
  await until("candidates", () => pc.iceGatheringState === "complete");
  const session = await publish({ server, name, offer: pc.localDescription.sdp });
  await pc.setRemoteDescription({ type: "answer", sdp: session.answer });
  const picture = (on) => {
    const data = new Uint8ClampedArray((WIDTH * HEIGHT * 3) / 2).fill(128);
    return { width: WIDTH, height: HEIGHT, data: data.fill(on ? 235 : 16, 0, WIDTH * HEIGHT) };
  };
  const pictures = { true: picture(true), false: picture(false) };
  const started = performance.now();
  let [sounds, shown] = [0, 0];
  const sending = setInterval(() => {
    const second = (performance.now() - started) / 1000;
    for (; sounds < second * 100; sounds += 1) {
      const samples = Int16Array.from({ length: 480 }, (_, at) => {
        const time = sounds / 100 + at / 48000;
        return isOn(time) ? 16000 * Math.sin(2 * Math.PI * TONE_HZ * time) : 0;
      });
      audio.onData({ samples, sampleRate: 48000, bitsPerSample: 16, channelCount: 1, numberOfFrames: 480 });
    }
    if (shown < second * FPS) {
      shown = Math.floor(second * FPS) + 1;
      video.onFrame(pictures[isOn(second)]);
    }
  }, 5);
  return {
    stop: async () => {
      clearInterval(sending);
      await session.leave();
      pc.close();
    },
  };
}
