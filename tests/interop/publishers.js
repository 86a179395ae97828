// Those who publish: each a WebRTC of its own.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

import { publishCanvas } from "../browser/lib/canvas.js";
import { until } from "../browser/lib/until.js";
import { lavfi } from "./clip.js";
import { publishByDatachannel } from "./datachannel.js";
import { aiortc } from "./python.js";
import { FPS, HEIGHT, TONE_HZ, WIDTH, isOn } from "./signal.js";
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
  await publishCanvas(page, { name, token: server.token, width: WIDTH, height: HEIGHT, fps: FPS });
  return { stop: () => page.evaluate(() => globalThis.pc.close()) };
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
  // Loaded only where it is used: its threads outlive everything else.
  const { default: wrtc } = await import("@roamhq/wrtc");
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
