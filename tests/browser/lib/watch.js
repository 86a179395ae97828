// What tests do on the watch page.

import { until, untilPage } from "./until.js";

/** Joining may wait for an encoder that starts for the first viewer. */
const JOIN_MS = 25_000;

/** Waits until the page plays over this transport. */
export async function playing(page, transport) {
  await until(
    `playback over ${transport}`,
    async () => {
      const seen = await page.evaluate(() => {
        const { state, message, transport, fallback } = window.lockgate;
        return { state, message, transport, fallback };
      });
      if (seen.state === "failed" || seen.state === "refused") throw new Error(`${seen.state}: ${seen.message}`);
      if (seen.state === "playing" && seen.transport === transport) return true;
      throw new Error(JSON.stringify(seen));
    },
    JOIN_MS,
  );
}

export function stats(page) {
  return page.evaluate(() => window.lockgate.stats());
}

/** Waits until so many more pictures were decoded. */
export async function framesPass(page, frames, deadlineMs = 15_000) {
  const from = (await stats(page)).framesDecoded;
  await until(`${frames} more frames`, async () => (await stats(page)).framesDecoded >= from + frames, deadlineMs);
}

export function currentTime(page) {
  return page.evaluate(() => document.querySelector("video").currentTime);
}

/** Waits until the element's clock moved so far. */
export async function timePasses(page, seconds, deadlineMs = 20_000) {
  const from = await currentTime(page);
  await until(`${seconds} s of playback`, async () => (await currentTime(page)) >= from + seconds, deadlineMs);
}

/** Waits until sound that is not silence was played. The page must not be muted: what nobody hears is not decoded. */
export async function soundPasses(page) {
  const before = await stats(page);
  await until("sound", async () => {
    const { audioPackets, audioEnergy } = await stats(page);
    if (audioPackets > before.audioPackets && audioEnergy > before.audioEnergy) return true;
    throw new Error(`${audioPackets} packets, energy ${audioEnergy}`);
  });
}

/** Waits until the picture has this height. */
export async function heightBecomes(page, height, deadlineMs = 15_000) {
  await until(
    `a picture ${height} high`,
    async () => {
      const seen = await page.evaluate(() => document.querySelector("video").videoHeight);
      if (seen !== height) throw new Error(`it is ${seen} high`);
      return true;
    },
    deadlineMs,
  );
}

/** Waits until the quality menu offers this choice. */
export async function offered(page, id, deadlineMs = 15_000) {
  const isThere = (id) => [...document.querySelector("#quality").options].some((o) => o.value === id);
  await untilPage(page, `the quality ${id} on offer`, isThere, id, deadlineMs);
}

/** Waits until the first rendition of a broadcast's HLS has so many segments: an encoder starts for whoever asks first. */
export async function segmented(server, name, count = 2) {
  const text = async (url) => {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${url} says ${response.status}`);
    return response.text();
  };
  const multivariant = new URL(`/hls/${name}/playlist.m3u8`, server.http);
  await until(
    `${count} segments of ${name}`,
    async () => {
      const first = (await text(multivariant)).split("\n").find((line) => line && !line.startsWith("#"));
      const playlist = await text(new URL(first, multivariant));
      return playlist.split("#EXTINF").length > count;
    },
    40_000,
  );
}
