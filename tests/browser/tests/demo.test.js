// The demo broadcast as a viewer sees it: over WebRTC, over HLS, and over HLS because WebRTC fails.

import assert from "node:assert/strict";
import { test } from "node:test";

import { until, untilPage } from "../lib/until.js";
import { framesPass, heightBecomes, offered, playing, soundPasses, stats, timePasses } from "../lib/watch.js";
import { world } from "../lib/world.js";

const here = world({ demo: true });

/** What the issue allows a switch of quality to cost. */
const SWITCH_FREEZE_S_MAX = 0.5;

test("the first page names what is live and leads to it", async () => {
  const page = await here.open("/");
  await page.getByRole("link", { name: /demo/ }).click();
  await page.waitForURL("**/watch/demo");
  await playing(page, "whep");
  assert.deepEqual(page.complaints, []);
});

test("the watch page plays by WebRTC, with sound", async () => {
  const page = await here.open("/watch/demo");
  await playing(page, "whep");
  await page.locator("#unmute").click();
  assert.equal(await page.evaluate(() => document.querySelector("video").muted), false);
  await framesPass(page, 30);
  await timePasses(page, 1);
  await soundPasses(page);
  await until("the rung on the page", async () => (await page.locator("#rung").textContent()).length > 0);
  assert.equal(await page.locator("#transport").textContent(), "WebRTC");
  assert.match(await page.locator("#size").textContent(), /^\d+×\d+$/);
  assert.deepEqual(page.complaints, []);
});

test("a chosen quality plays without a freeze and without negotiating again", async () => {
  const page = await here.open("/watch/demo");
  await playing(page, "whep");
  await offered(page, "360p30");
  await framesPass(page, 30);

  // From another height, so that the change is seen.
  await offered(page, "480p30");
  await page.locator("#quality").selectOption("480p30");
  await heightBecomes(page, 480);
  const before = await stats(page);
  await page.locator("#quality").selectOption("360p30");
  await heightBecomes(page, 360);
  await untilPage(page, "the server to say 360p30", () => window.lockgate.rung === "360p30");
  await framesPass(page, 30);
  const after = await stats(page);
  const frozen = after.freezeSeconds - before.freezeSeconds;
  assert.ok(frozen < SWITCH_FREEZE_S_MAX, `the switch froze the picture for ${frozen} s`);
  assert.equal(await page.evaluate(() => window.lockgate.automatic), false);

  await page.locator("#quality").selectOption("");
  await untilPage(page, "automatic choice", () => window.lockgate.automatic && window.lockgate.rung !== null);
  await framesPass(page, 30);

  const isSignalling = (line) => /^(POST|PATCH|DELETE) \/whep\//.test(line) && !line.endsWith("/stats");
  const signalling = page.requests.filter(isSignalling);
  const [offers, choices] = [/^POST \/whep\/demo$/, /\/layer$/].map((kind) => signalling.filter((line) => kind.test(line)));
  assert.equal(offers.length, 1, `one offer for the whole visit: ${signalling}`);
  assert.equal(choices.length, 3);
  assert.equal(signalling.length, 4, `nothing else: ${signalling}`);
  assert.equal(await page.locator("#transport").textContent(), "WebRTC");
});

test("leaving the page ends the session at once", async () => {
  const page = await here.open("/watch/demo");
  await playing(page, "whep");
  const viewers = async () => {
    const response = await fetch(new URL("/api/streams/demo", here.server.http));
    return (await response.json()).viewers;
  };
  const before = await viewers();
  assert.ok(before >= 1);
  await page.goto("about:blank");
  await until("one viewer less", async () => (await viewers()) < before, 5_000);
});

test("the watch page plays by HLS, with every rung on offer", async () => {
  const page = await here.open("/watch/demo?via=hls");
  await playing(page, "hls");
  await timePasses(page, 3);
  await framesPass(page, 30);

  const playlist = await page.evaluate(() => fetch("/hls/demo/playlist.m3u8").then((response) => response.text()));
  const variants = playlist.split("\n").filter((line) => line.startsWith("#EXT-X-STREAM-INF"));
  assert.ok(variants.length >= 3, playlist);
  for (const variant of variants) {
    const codecs = /CODECS="([^"]+)"/.exec(variant)?.[1];
    assert.ok(codecs, variant);
    const [accepted, kinds] = await page.evaluate(
      (codecs) => [MediaSource.isTypeSupported(`video/mp4; codecs="${codecs}"`), codecs.split(",").length],
      codecs,
    );
    assert.ok(accepted, `the browser refuses ${codecs}`);
    assert.equal(kinds, 2, `picture and sound: ${codecs}`);
  }
  const rungs = await page.evaluate(() => window.lockgate.rungs.map(({ id }) => id));
  assert.equal(rungs.length, variants.length);
  assert.equal(await page.locator("#quality option").count(), variants.length + 1);

  const heard = () => page.evaluate(() => document.querySelector("video").webkitAudioDecodedByteCount);
  const before = await heard();
  await until("decoded sound", async () => (await heard()) > before);
  assert.ok((await stats(page)).bufferSeconds > 0);

  await page.locator("#quality").selectOption("360p30");
  await heightBecomes(page, 360, 20_000);
  // The picture changes first, its name with the fragment that is then playing.
  await until("the page to name the rung", async () => (await page.evaluate(() => window.lockgate.rung)) === "360p30");
  assert.deepEqual(page.complaints, []);
});

test("HLS plays by itself where WebRTC is refused", async () => {
  const page = await here.open("/watch/demo", {
    prepare: (page) => page.route("**/whep/**", (route) => route.fulfill({ status: 405, body: "" })),
  });
  await playing(page, "hls");
  await timePasses(page, 2);
  assert.equal(await page.locator("#transport").textContent(), "HLS");
  assert.match(await page.locator("#reason").textContent(), /^HLS because /);
});

test("HLS plays by itself where no packet gets through", async () => {
  const page = await here.open("/watch/demo", {
    prepare: (page) =>
      page.route("**/whep/demo", async (route) => {
        // The answer names a port where nobody listens.
        const response = await route.fetch();
        const body = (await response.text()).replace(/^(a=candidate:\S+ \d \S+ \d+ \S+) \d+/gm, "$1 9");
        await route.fulfill({ response, body });
      }),
  });
  await playing(page, "hls");
  await timePasses(page, 2);
});

test("the viewer can change how it plays", async () => {
  const page = await here.open("/watch/demo?via=hls");
  await playing(page, "hls");
  await page.getByLabel("Playback").selectOption("whep");
  await playing(page, "whep");
  await framesPass(page, 15);
  assert.equal(new URL(page.url()).searchParams.get("via"), "whep");
});

test("a server that is gone is said to be gone, and asked again", async () => {
  let gone = true;
  const page = await here.open("/watch/demo", {
    prepare: (page) => page.route(/\/(whep|hls)\//, (route) => (gone ? route.abort() : route.continue())),
  });
  await untilPage(page, "the words", () => window.lockgate.state === "unreachable");
  assert.match(await page.locator("#message").textContent(), /cannot be reached/);
  gone = false;
  await playing(page, "whep");
});

test("a stream that is not live is waited for", async () => {
  const page = await here.open("/watch/nobody");
  await untilPage(page, "the words", () => window.lockgate.state === "waiting");
  assert.match(await page.locator("#message").textContent(), /not live yet/);
  // It asks again by itself.
  await until("a second try", () => page.requests.filter((line) => line === "POST /whep/nobody").length >= 2);
});

test("a bad token is refused in words", async () => {
  const page = await here.open("/watch/demo#token=not-a-token");
  await untilPage(page, "the refusal", () => window.lockgate.state === "refused");
  assert.match(await page.locator("#message").textContent(), /token was refused/);
  assert.ok(await page.getByRole("button", { name: "Try again" }).isVisible());
});
