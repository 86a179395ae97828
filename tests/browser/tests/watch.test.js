// What a viewer does on the watch page, what it tells the server, and what follows from the answer.

import assert from "node:assert/strict";
import { test } from "node:test";

import { until, untilPage } from "../lib/until.js";
import { framesPass, heightBecomes, playing } from "../lib/watch.js";
import { world } from "../lib/world.js";

const here = world({ demo: true });

const muted = (page) => page.evaluate(() => document.querySelector("video").muted);

test("keys work wherever the focus is on nothing else, and a list of them can be had", async () => {
  const page = await here.open("/watch/demo");
  await playing(page, "whep");
  assert.equal(await muted(page), true);
  await page.keyboard.press("m");
  await until("sound", async () => !(await muted(page)));
  await page.keyboard.press("ArrowDown");
  await untilPage(page, "less volume", () => document.querySelector("video").volume < 1);
  await page.keyboard.press("k");
  await untilPage(page, "a pause", () => document.querySelector("video").paused);
  await page.keyboard.press("Space");
  await untilPage(page, "no pause", () => !document.querySelector("video").paused);
  await page.keyboard.press("f");
  await untilPage(page, "full screen", () => document.fullscreenElement?.id === "stage");
  await page.keyboard.press("f");
  await untilPage(page, "no full screen", () => document.fullscreenElement === null);
  await page.keyboard.press("p");
  await untilPage(page, "picture in picture", () => document.pictureInPictureElement?.id === "video");
  await page.keyboard.press("p");
  await untilPage(page, "no picture in picture", () => document.pictureInPictureElement === null);
  await page.keyboard.press("Shift+?");
  const list = page.locator("media-keyboard-shortcuts-dialog[open]");
  await list.waitFor();
  await page.keyboard.press("Escape");
  await list.waitFor({ state: "detached" });

  // Where something is chosen, a letter is a letter.
  await page.locator("#via").focus();
  await page.keyboard.press("m");
  assert.equal(await muted(page), false);
  await framesPass(page, 15);
  assert.deepEqual(page.complaints, []);
});

test("each second it tells how it goes, and shows how it stands", async () => {
  const reports = [];
  const page = await here.open("/watch/demo", {
    prepare: (page) =>
      page.on("request", (request) => {
        if (/\/whep\/demo\/\w+\/stats$/.test(request.url())) reports.push(request.postDataJSON());
      }),
  });
  await playing(page, "whep");
  await until("some reports", () => reports.length >= 3);
  const { screen_width, screen_height, in_stall } = reports.at(-1);
  assert.ok(screen_width > 0 && screen_height > 0);
  assert.equal(in_stall, false);
  await until("the score", async () => /^\d+ · (excellent|good|fair|poor|critical)$/.test(await page.locator("#score").textContent()));

  await page.getByText("Details").click();
  await until("the numbers", async () => /Network quality\d+ of 100/.test(await page.locator("#stats").textContent()));
  const graphs = page.locator("#graphs figure");
  assert.equal(await graphs.count(), 4);
  await until("the graphs", async () => {
    const labels = await page.locator("#graphs [role=img]").evaluateAll((all) => all.map((one) => one.ariaLabel));
    if (/now [\d.]+ (k|M)b\/s$/.test(labels[0]) && labels.slice(1).every((label) => /now [\d.]+ (%|ms|s)$/.test(label))) return true;
    throw new Error(labels.join(", "));
  });
  const painted = (canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((byte) => byte !== 0);
  assert.ok(await graphs.locator("canvas").first().evaluate(painted));
  await until("a decision", async () => /\d\d:\d\d:\d\d \w+: /.test(await page.locator("#decisions li").first().textContent()));
});

test("over HLS the server's decision is followed", async () => {
  let advised = "360p30";
  const reports = [];
  const page = await here.open("/watch/demo?via=hls", {
    prepare: (page) =>
      page.route("**/api/streams/demo/stats", (route) => {
        reports.push(route.request().postDataJSON());
        return route.fulfill({ json: { rung: advised, reason: `told to play ${advised}` } });
      }),
  });
  await playing(page, "hls");
  await heightBecomes(page, 360, 20_000);
  await until("the reason", async () => /told to play 360p30/.test(await page.locator("#reason").textContent()));
  advised = "480p30";
  await heightBecomes(page, 480, 20_000);
  const { bandwidth_kbps, buffer_s, latency_s, stalls, rung } = reports.at(-1);
  assert.ok(bandwidth_kbps > 0 && buffer_s >= 0 && latency_s > 0 && stalls >= 0, JSON.stringify(reports.at(-1)));
  assert.ok(["360p30", "480p30"].includes(rung), rung);
  // A choice of the viewer's comes first.
  await page.locator("#quality").selectOption("360p30");
  await heightBecomes(page, 360, 20_000);
  const told = reports.length;
  await until("more reports", () => reports.length >= told + 3);
  assert.equal(await page.evaluate(() => document.querySelector("video").videoHeight), 360);
});

test("what goes wrong while it begins is tried again", async () => {
  const wrong = [
    (route) => route.fulfill({ status: 404, json: { title: "No such file", status: 404 } }),
    (route) => route.fulfill({ status: 200, body: "no playlist", contentType: "application/vnd.apple.mpegurl" }),
  ];
  const states = [];
  const page = await here.open("/watch/demo?via=hls", {
    prepare: async (page) => {
      await page.exposeFunction("note", (state) => states.push(state));
      // The playlists of the rungs, not the one of all.
      await page.route("**/hls/demo/*/playlist.m3u8*", (route) => (wrong.length > 0 ? wrong.shift()(route) : route.continue()));
    },
  });
  await page.evaluate(() => setInterval(() => void window.note(window.lockgate.state), 50));
  await playing(page, "hls");
  await framesPass(page, 30);
  assert.equal(wrong.length, 0, `${wrong.length} left`);
  assert.ok(states.includes("waiting") || states.includes("unreachable"), states.join());
});

test("who saves data is sent less", async () => {
  const page = await here.open("/watch/demo");
  await playing(page, "whep");
  await untilPage(page, "the best rung", () => window.lockgate.rung === "720p60");
  const saver = page.getByRole("switch", { name: "Save data" });
  await saver.click();
  await untilPage(page, "a lesser one", () => window.lockgate.rung !== "720p60" && window.lockgate.automatic);
  await framesPass(page, 15);
  // It is kept where another transport plays.
  await page.getByLabel("Playback").selectOption("hls");
  await playing(page, "hls");
  const request = await page.waitForRequest("**/api/streams/demo/stats");
  assert.equal(request.postDataJSON().data_saver, true);
  await page.getByLabel("Playback").selectOption("whep");
  await playing(page, "whep");
  await saver.click();
  await untilPage(page, "the best rung again", () => window.lockgate.rung === "720p60", undefined, 30_000);
});

test("captions that a playlist has can be switched on", async () => {
  const words = "what is being said";
  const page = await here.open("/watch/demo?via=hls", {
    prepare: async (page) => {
      await page.route("**/hls/demo/playlist.m3u8*", async (route) => {
        const response = await route.fetch();
        const captions = '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subs",NAME="English",LANGUAGE="en",DEFAULT=NO,AUTOSELECT=YES,URI="/captions.m3u8"\n';
        const body = (await response.text())
          .replace("#EXT-X-STREAM-INF", `${captions}#EXT-X-STREAM-INF`)
          .replace(/(#EXT-X-STREAM-INF:[^\n]*)/g, '$1,SUBTITLES="subs"');
        await route.fulfill({ response, body });
      });
      const playlist = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:3600\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:3600,\n/captions.vtt\n";
      await page.route("**/captions.m3u8*", (route) => route.fulfill({ contentType: "application/vnd.apple.mpegurl", body: playlist }));
      const text = `WEBVTT\n\n00:00:00.000 --> 01:00:00.000\n${words}\n`;
      await page.route("**/captions.vtt", (route) => route.fulfill({ contentType: "text/vtt", body: text }));
    },
  });
  await playing(page, "hls");
  const button = page.locator("media-captions-button");
  await button.waitFor();
  await page.keyboard.press("c");
  await until("the words", async () => {
    const shown = await page.evaluate(() =>
      [...document.querySelector("video").textTracks]
        .filter(({ mode }) => mode === "showing")
        .flatMap(({ cues }) => [...(cues ?? [])].map(({ text }) => text)),
    );
    if (shown.includes(words)) return true;
    throw new Error(JSON.stringify(shown));
  });
});

test("without captions there is no button for them", async () => {
  const page = await here.open("/watch/demo?via=hls");
  await playing(page, "hls");
  assert.equal(await page.locator("media-captions-button").isVisible(), false);
});
