// Every page in light and dark and on a phone: nothing that axe finds, nothing that scrolls sideways, nothing from elsewhere.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";

import { SECRET, mint } from "../lib/token.js";
import { until, untilPage } from "../lib/until.js";
import { playing } from "../lib/watch.js";
import { world } from "../lib/world.js";

const here = world({ demo: true, config: { auth: { secret: SECRET } } });
const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

const LOOKS = {
  light: { colorScheme: "light" },
  dark: { colorScheme: "dark" },
  phone: { colorScheme: "light", viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true },
};

/** Where each page is, and how it is brought to show what it has. */
const PAGES = {
  index: ["/", (page) => page.getByRole("link", { name: /demo/ }).waitFor()],
  watch: [
    "/watch/demo",
    async (page) => {
      await playing(page, "whep");
      await page.getByText("Details").click();
      await page.locator("#graphs canvas").first().waitFor();
      await page.locator("#decisions li").first().waitFor();
    },
  ],
  waiting: ["/watch/nobody", (page) => untilPage(page, "the words", () => window.lockgate.state === "waiting")],
  studio: [
    "/studio?name=look",
    async (page) => {
      await page.getByLabel("Access token").fill(here.server.token);
      await page.getByRole("button", { name: "Publish" }).click();
      await page.locator("#ladder tr").first().waitFor();
      await page.locator("#health:not(:empty)").waitFor();
    },
  ],
  lobby: ["/rooms/look", (page) => untilPage(page, "a preview", () => document.querySelector("#preview").videoWidth > 0)],
  room: [
    "/rooms/look",
    async (page) => {
      await page.getByLabel("Access token").fill(here.server.token);
      await page.getByLabel("Your name").fill("Ada Lovelace");
      await page.getByRole("button", { name: "Join", exact: true }).click();
      await untilPage(page, "to be in the room", () => window.lockgateRoom.state === "joined");
      await page.getByRole("button", { name: "1 participant" }).click();
      await page.locator("#list li").waitFor();
    },
  ],
  dashboard: [
    "/dashboard",
    async (page) => {
      await page.evaluate((token) => (location.hash = `token=${token}`), mint("admin"));
      await page.reload();
      await page.getByRole("link", { name: "demo" }).waitFor();
      await page.locator("#decisions tbody tr").first().waitFor();
    },
  ],
  docs: ["/api/docs", (page) => page.locator("details").first().waitFor()],
};

for (const [look, options] of Object.entries(LOOKS)) {
  for (const [name, [path, ready]] of Object.entries(PAGES)) {
    test(`${name}, ${look}`, async () => {
      const page = await here.open(path, { ...options, bypassCSP: true });
      await ready(page);
      await page.addScriptTag({ path: AXE });
      const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      const found = violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`).join("; ")}`);
      assert.deepEqual(found, []);
      const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(wider, 0, "it scrolls sideways");
    });
  }
}

test("a page asks nobody but its own server, and obeys its own security policy", async () => {
  for (const path of ["/", "/watch/demo", "/watch/demo?via=hls", "/studio", "/rooms/look", "/api/docs"]) {
    const hosts = new Set();
    const page = await here.open(path, {
      prepare: (page) => page.on("request", (request) => hosts.add(new URL(request.url()).host)),
    });
    if (path.startsWith("/watch")) {
      await playing(page, path.endsWith("hls") ? "hls" : "whep");
      await page.getByText("Details").click();
      await page.locator("#graphs canvas").first().waitFor();
      await page.getByRole("button", { name: "Keyboard shortcuts" }).click();
      await page.locator("media-keyboard-shortcuts-dialog[open]").waitFor();
    }
    await until("the page to be quiet", () => page.evaluate(() => document.readyState === "complete"));
    hosts.delete(new URL(here.server.http).host);
    // Media that hls.js feeds.
    hosts.delete("");
    assert.deepEqual([...hosts], [], path);
    assert.deepEqual(page.complaints, [], path);
  }
});
