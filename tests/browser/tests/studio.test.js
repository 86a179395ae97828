// The studio: what goes out and what is said of it, and a clear word for each way in which publishing can fail.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";

import { startBrowser } from "../lib/browser.js";
import { BINARY, startServer } from "../lib/server.js";
import { until, untilPage } from "../lib/until.js";
import { framesPass, playing } from "../lib/watch.js";
import { world } from "../lib/world.js";

const SECRET = "what the tests of the studio sign with";
const here = world({ config: { auth: { secret: SECRET } } });
const execute = promisify(execFile);

const studio = (name, options) => here.open(`/studio?name=${name}#token=${here.server.token}`, options);
const publishButton = (page) => page.getByRole("button", { name: "Publish" });

async function goesLive(page) {
  await publishButton(page).click();
  await until("the broadcast", async () => {
    const { state, error } = await page.evaluate(() => ({ ...window.lockgateStudio }));
    if (error) throw new Error(error);
    return state === "live";
  });
}

/** What is said when publishing fails. */
async function refusal(page) {
  await publishButton(page).click();
  await untilPage(page, "an error", () => window.lockgateStudio.error !== "");
  // It can be tried again.
  assert.ok(await publishButton(page).isVisible());
  return page.getByRole("alert").textContent();
}

/** The browser's own answer to a request for devices. */
const devicesSay = (name) => ({
  prepare: (page) =>
    page.addInitScript((name) => {
      const refuse = () => Promise.reject(new DOMException("", name));
      navigator.mediaDevices.getUserMedia = refuse;
      navigator.mediaDevices.getDisplayMedia = refuse;
    }, name),
});

test("a camera goes out; the page says how loud, how well, and what the server makes of it", async () => {
  const page = await studio("seen");
  await page.getByRole("button", { name: "Show preview" }).click();
  // Chromium's fake microphone beeps once a second.
  await untilPage(page, "a level", () => document.querySelector("#level").value > 20);
  await goesLive(page);
  await until("the health of the link", async () => /^(Good|Fair|Poor|The network|This computer)/.test(await page.locator("#health").textContent()));
  const rows = page.locator("#ladder tr");
  await until("the source", async () => (await rows.allTextContents()).some((text) => /^source\d+×\d+/.test(text)));
  assert.match(await page.locator("#viewers").textContent(), /^0 viewers/);

  const viewer = await here.open("/watch/seen?via=whep");
  await playing(viewer, "whep");
  // The page looks seldom: a server counts requests.
  await until("the viewer", async () => /^1 viewer /.test(await page.locator("#viewers").textContent()), 30_000);
  await page.getByRole("button", { name: "Stop" }).click();
  assert.equal(await page.locator("#link").isVisible(), false);
  assert.deepEqual(page.complaints, []);
});

test("a screen goes out", async () => {
  const page = await studio("screen");
  await page.getByLabel("Source").selectOption("screen");
  assert.equal(await page.getByLabel("Camera", { exact: true }).isVisible(), false);
  await goesLive(page);
  const viewer = await here.open("/watch/screen?via=whep");
  await playing(viewer, "whep");
  await framesPass(viewer, 3);
  // As by the browser's own button.
  await page.evaluate(() => {
    const [track] = document.querySelector("#preview").srcObject.getVideoTracks();
    track.stop();
    track.dispatchEvent(new Event("ended"));
  });
  await untilPage(page, "the words", () => /not shared any more/.test(window.lockgateStudio.error));
  assert.equal(await page.evaluate(() => window.lockgateStudio.state), "idle");
});

test("a microphone alone goes out", async () => {
  const page = await studio("voice");
  await page.getByLabel("Source").selectOption("microphone");
  await goesLive(page);
  await until("its sound in the broadcast", async () => {
    const { tracks } = await (await fetch(new URL("/api/streams/voice", here.server.http))).json();
    return tracks.some(({ id }) => id === "opus");
  });
});

for (const [name, words] of [
  ["NotAllowedError", /is blocked\. Allow it/],
  ["NotFoundError", /No camera or microphone was found/],
  ["NotReadableError", /in use by another program/],
  ["OverconstrainedError", /is gone\. Choose another/],
]) {
  test(`of devices that say ${name} the page says what to do`, async () => {
    assert.match(await refusal(await studio("mine", devicesSay(name))), words);
  });
}

test("a screen that is not shared is said to be", async () => {
  const page = await studio("mine", devicesSay("NotAllowedError"));
  await page.getByLabel("Source").selectOption("screen");
  assert.match(await refusal(page), /The screen was not shared/);
});

test("a permission that the browser itself denies is said to be denied", async () => {
  const browser = await startBrowser({ grants: false });
  try {
    const page = await browser.page();
    await page.goto(new URL(`/studio?name=mine#token=${here.server.token}`, here.server.http).href);
    assert.match(await refusal(page), /is blocked\. Allow it/);
  } finally {
    await browser.stop();
  }
});

test("an insecure origin is said to be one", async () => {
  // A name that is not this machine's: browsers trust loopback alone without TLS.
  const { port } = new URL(here.server.http);
  const page = await here.open(`http://insecure.example:${port}/studio?name=mine#token=${here.server.token}`, {
    prepare: (page) =>
      page.route("http://insecure.example:*/**", async (route) => {
        const url = new URL(route.request().url());
        await route.fulfill({ response: await route.fetch({ url: new URL(url.pathname, here.server.http).href }) });
      }),
  });
  assert.match(await refusal(page), /only to secure pages/);
});

test("a token that is bad, too narrow, or not there is told apart", async () => {
  const page = await here.open("/studio?name=mine#token=not-a-token");
  assert.match(await refusal(page), /access token was refused/);
  await page.getByLabel("Access token").fill("");
  await publishButton(page).click();
  await untilPage(page, "an error", () => /needs an access token/.test(window.lockgateStudio.error));
  const mint = ["token", "mint", "--scope", "publish:other"];
  const { stdout } = await execute(BINARY, mint, { env: { ...process.env, LOCKGATE__AUTH__SECRET: SECRET } });
  await page.getByLabel("Access token").fill(stdout.trim());
  await publishButton(page).click();
  await untilPage(page, "an error", () => /does not allow publishing “mine”/.test(window.lockgateStudio.error));
});

test("a taken name is said to be taken", async () => {
  await goesLive(await studio("taken"));
  assert.match(await refusal(await studio("taken")), /“taken” is taken/);
});

test("a server that is full says so", async () => {
  const small = await startServer({ config: { webrtc: { udp_listen: "127.0.0.1:0", peers_max: 1 } } });
  try {
    const open = (name) => here.open(new URL(`/studio?name=${name}#token=${small.token}`, small.http).href);
    await goesLive(await open("first"));
    assert.match(await refusal(await open("second")), /The server is full/);
  } finally {
    await small.stop();
  }
});

test("a server that is gone is said to be gone", async () => {
  const page = await studio("mine", { prepare: (page) => page.route("**/whip/**", (route) => route.abort()) });
  assert.match(await refusal(page), /Is the server running\?/);
});
