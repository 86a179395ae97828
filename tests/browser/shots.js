// Pictures of the pages, dark and light, wide and phone-size, for a person to look at: `npm run shots`.

import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { startBrowser } from "./lib/browser.js";
import { enter, sees, smallCamera } from "./lib/room.js";
import { startServer } from "./lib/server.js";
import { SECRET, mint } from "./lib/token.js";
import { until } from "./lib/until.js";
import { framesPass, playing } from "./lib/watch.js";

const FOLDER = fileURLToPath(new URL("shots", import.meta.url));
const LOOKS = [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["phone", { colorScheme: "dark", viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }],
];

const server = await startServer({ demo: true, config: { auth: { secret: SECRET } } });
const admin = mint("admin");
const browser = await startBrowser();
try {
  await mkdir(FOLDER, { recursive: true });
  // Somebody for the dashboard to show.
  const viewer = await browser.page();
  await viewer.goto(new URL("/watch/demo", server.http).href);
  await playing(viewer, "whep");
  for (const [look, options] of LOOKS) {
    const page = await browser.page(options);
    const shoot = (name) => page.screenshot({ path: `${FOLDER}/${name}-${look}.png`, fullPage: true });
    const visit = (path) => page.goto(new URL(path, server.http).href);

    await visit("/");
    await page.getByRole("link", { name: /demo/ }).waitFor();
    await shoot("index");

    await visit("/watch/demo");
    await playing(page, "whep");
    await page.getByText("Details").click();
    await framesPass(page, 60);
    await page.locator("#graphs canvas").first().waitFor();
    await shoot("watch");
    if (look !== "phone") {
      await page.getByRole("button", { name: "Keyboard shortcuts" }).click();
      await page.locator("media-keyboard-shortcuts-dialog[open]").waitFor();
      await page.screenshot({ path: `${FOLDER}/keys-${look}.png` });
    }

    await visit("/watch/nobody");
    await until("the words", () => page.evaluate(() => window.lockgate.state === "waiting"));
    await shoot("waiting");

    await visit(`/studio?name=shot-${look}#token=${server.token}`);
    await page.getByRole("button", { name: "Publish" }).click();
    await until("the broadcast", () => page.evaluate(() => window.lockgateStudio.state === "live"));
    await page.locator("#stats dd").nth(2).waitFor();
    await page.locator("#ladder tr").nth(1).waitFor();
    await shoot("studio");

    await visit("/studio?name=demo#token=not-a-token");
    await page.getByRole("button", { name: "Publish" }).click();
    await page.getByRole("alert").waitFor();
    await shoot("refused");

    await visit(`/rooms/shot-${look}#token=${server.token}`);
    await until("a preview", () => page.evaluate(() => document.querySelector("#preview").videoWidth > 0));
    await shoot("lobby");
    const guests = [];
    for (const name of ["Ada Lovelace", "Grace Hopper"]) {
      const guest = await browser.page();
      guests.push(guest);
      await smallCamera(guest);
      await guest.goto(page.url());
      await enter(guest, name);
    }
    await enter(page, "Mary Somerville");
    await sees(page, ["Ada Lovelace", "Grace Hopper"]);
    await page.getByRole("button", { name: "Chat" }).click();
    await guests[0].evaluate(() => window.lockgateRoom.room.chat("Can everybody hear me?"));
    await page.locator("#lines p").waitFor();
    if (look === "phone") await page.getByRole("button", { name: "Chat" }).click();
    await shoot("room");
    for (const guest of guests) await guest.context().close();

    await visit("/api/docs");
    await page.locator("summary").first().click();
    await page.screenshot({ path: `${FOLDER}/docs-${look}.png` });
    await visit(`/dashboard#token=${admin}`);
    await page.getByRole("link", { name: "demo" }).waitFor();
    await page.locator("#sessions tbody tr").first().waitFor();
    await until("a line in the graphs", () => page.locator("#graphs figcaption span").first().textContent());
    await shoot("dashboard");
    await page.context().close();
  }
  console.log(`pictures in ${FOLDER}`);
} finally {
  await browser.stop();
  await server.stop();
}
