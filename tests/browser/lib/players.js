// Players that are not ours, on a blank page of the server: hls.js, shaka-player, dash.js and the browser's own HLS.

import { fileURLToPath } from "node:url";

import { until } from "./until.js";

const script = (path) => fileURLToPath(new URL(`../node_modules/${path}`, import.meta.url));

/** A page with a video element and nothing else. */
export async function blank(here) {
  const page = await here.open("/livez");
  await videoOn(page);
  return page;
}

/** Puts a video element on a page, and nothing else. */
export async function videoOn(page) {
  await page.evaluate(() => {
    document.body.innerHTML = "";
    const video = document.createElement("video");
    video.muted = true;
    document.body.append(video);
    window.errors = [];
  });
}

/** hls.js with its low-latency mode; `window.behind` says how many seconds of the source's clock it is behind. */
export async function playHlsJs(page, url) {
  await page.addScriptTag({ path: script("hls.js/dist/hls.min.js") });
  await page.evaluate((url) => {
    const video = document.querySelector("video");
    const hls = new Hls({ lowLatencyMode: true, enableWorker: false });
    hls.on(Hls.Events.ERROR, (_event, data) => {
      window.errors.push(`${data.details} ${data.fatal}`);
      // hls.js stops at a server that is not there; its manual has the page start it again.
      if (data.fatal && data.type === Hls.ErrorTypes.NETWORK_ERROR) setTimeout(() => hls.startLoad(), 1000);
    });
    hls.on(Hls.Events.FRAG_CHANGED, (_event, { frag }) => (window.discontinuity = frag.cc));
    hls.loadSource(url);
    hls.attachMedia(video);
    void video.play();
    window.player = hls;
    window.behind = () => (hls.playingDate ? (Date.now() - hls.playingDate.getTime()) / 1000 : null);
  }, url);
}

/** shaka-player, which plays HLS and DASH; the manifest of DASH says how far behind live. */
export async function playShaka(page, url) {
  await page.addScriptTag({ path: script("shaka-player/dist/shaka-player.compiled.js") });
  await page.evaluate(async (url) => {
    shaka.polyfill.installAll();
    const video = document.querySelector("video");
    const player = new shaka.Player();
    await player.attach(video);
    const liveSync = { enabled: !url.includes(".mpd") };
    player.configure({ streaming: { lowLatencyMode: true, liveSync } });
    player.addEventListener("error", (event) => window.errors.push(`${event.detail.code} ${event.detail.data}`));
    window.player = player;
    window.behind = () => {
      const at = player.getPlayheadTimeAsDate();
      return at ? (Date.now() - at.getTime()) / 1000 : null;
    };
    await player.load(url);
    void video.play();
  }, url);
}

/** dash.js, following the latency that the manifest asks for. */
export async function playDashJs(page, url) {
  await page.addScriptTag({ path: script("dashjs/dist/modern/umd/dash.all.min.js") });
  await page.evaluate((url) => {
    const video = document.querySelector("video");
    const player = dashjs.MediaPlayer().create();
    player.updateSettings({ debug: { logLevel: dashjs.Debug.LOG_LEVEL_NONE } });
    player.on(dashjs.MediaPlayer.events.ERROR, ({ error }) => window.errors.push(`${error.code} ${error.message}`));
    player.initialize(video, url, true);
    window.player = player;
    window.behind = () => {
      const at = player.timeAsUTC();
      return at ? Date.now() / 1000 - at : null;
    };
  }, url);
}

/** The browser's own HLS; false if it has none. */
export async function playNative(page, url) {
  return page.evaluate((url) => {
    const video = document.querySelector("video");
    if (!video.canPlayType("application/vnd.apple.mpegurl")) return false;
    video.addEventListener("error", () => window.errors.push(video.error?.message));
    video.src = url;
    void video.play();
    return true;
  }, url);
}

/** What the element has decoded. */
export const frames = (page) =>
  page.evaluate(() => document.querySelector("video").getVideoPlaybackQuality().totalVideoFrames);

/** Waits until so many pictures more were decoded. */
export async function morePictures(page, count, deadlineMs = 30_000) {
  const from = await frames(page);
  await until(
    `${count} more pictures`,
    async () => {
      const now = await frames(page);
      if (now >= from + count) return true;
      throw new Error(`${now - from}; ${JSON.stringify(await page.evaluate(() => window.errors))}`);
    },
    deadlineMs,
  );
}

/** Waits until it is no more than so many seconds behind the source's clock; returns how many. */
export async function closeToLive(page, seconds, deadlineMs = 40_000) {
  return until(
    `less than ${seconds} s behind live`,
    async () => {
      const behind = await page.evaluate(() => window.behind());
      if (behind !== null && behind > 0 && behind < seconds) return behind;
      throw new Error(`${behind} s; ${JSON.stringify(await page.evaluate(() => window.errors))}`);
    },
    deadlineMs,
  );
}
