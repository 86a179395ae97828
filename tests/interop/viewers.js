// Those who watch: each gives frames decoded, and how far sound and picture are apart.

import { spawn } from "node:child_process";

import { until } from "../browser/lib/until.js";
import { playing, segmented, stats } from "../browser/lib/watch.js";
import { aiortc } from "./python.js";
import { skewMs } from "./signal.js";

const FRAMES_MIN = 60;
const WATCH_MS = 60_000;

/** By name: watches until it knows. */
export const VIEWERS = {
  "Chromium WHEP": async ({ name, open }) => {
    const page = await open(`/watch/${name}?via=whep`);
    await playing(page, "whep");
    await page.locator("#unmute").click();
    return until(
      `${FRAMES_MIN} frames in Chromium, in step with the sound`,
      async () => {
        const { framesDecoded: frames, skewMs: skew, videoCodec } = await stats(page);
        if (frames >= FRAMES_MIN && skew !== null && Math.abs(skew) < SKEW_MS_MAX) return { frames, skew, videoCodec };
        throw new Error(`${frames} frames, ${skew} ms apart`);
      },
      WATCH_MS,
    );
  },
  "aiortc": async ({ server, name }) => {
    const viewer = await aiortc("watch", new URL(`/whep/${name}`, server.http).href, server.token);
    try {
      return await until(
        `${FRAMES_MIN} frames in aiortc, and flashes and beeps`,
        async () => {
          const { frames, flashes, beeps } = await viewer.read();
          // Clocks that were aligned by the first sender reports count, not those before.
          const skew = skewMs(flashes.slice(-3), beeps);
          if (frames >= FRAMES_MIN && flashes.length >= 5 && skew !== null && Math.abs(skew) < SKEW_MS_MAX) return { frames, skew };
          throw new Error(`${frames} frames, ${flashes.length} flashes, ${beeps.length} beeps, ${skew} ms apart`);
        },
        WATCH_MS,
      );
    } finally {
      await viewer.stop();
    }
  },
  "hls.js": async ({ server, name, open }) => {
    await segmented(server, name, 3);
    const page = await open(`/watch/${name}?via=hls`);
    await playing(page, "hls");
    const frames = await until(
      `${FRAMES_MIN} frames by hls.js`,
      async () => {
        const { framesDecoded } = await stats(page);
        if (framesDecoded >= FRAMES_MIN) return framesDecoded;
        throw new Error(`${framesDecoded} frames`);
      },
      WATCH_MS,
    );
    // What it plays stands on the timeline of the segments: there flashes and beeps are looked for.
    const skew = await skewOfHls(new URL(`/hls/${name}/playlist.m3u8`, server.http).href);
    return { frames, skew };
  },
};

export const SKEW_MS_MAX = 100;

async function skewOfHls(url) {
  const said = await ffmpeg([
    ...["-v", "info", "-nostdin", "-i", url, "-t", "8"],
    ...["-vf", "blackdetect=d=0.1:pix_th=0.4", "-af", "silencedetect=n=-30dB:d=0.1", "-f", "null", "-"],
  ]);
  const all = (pattern) => [...said.matchAll(pattern)].map(([, number]) => Number(number));
  return skewMs(all(/black_end:([\d.]+)/g), all(/silence_end: ([\d.]+)/g));
}

function ffmpeg(arguments_) {
  return new Promise((resolve, reject) => {
    const child = spawn("ffmpeg", arguments_, { stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text) => (said += text));
    child.once("error", reject);
    child.once("exit", (code) => (code === 0 ? resolve(said) : reject(new Error(`ffmpeg ended with ${code}\n${said}`))));
  });
}
