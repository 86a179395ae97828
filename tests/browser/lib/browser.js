// Chromium, headless, with a fresh profile and a camera that is not there.

import { chromium } from "playwright-core";

const EXECUTABLE = process.env.CHROMIUM ?? "/usr/bin/chromium";

const ARGUMENTS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--autoplay-policy=no-user-gesture-required",
  "--use-fake-device-for-media-stream",
];

/** Says no to every page that asks for devices; else all of them may have them. */
const DENY = "--deny-permission-prompts";
const GRANT = "--use-fake-ui-for-media-stream";

/** A browser whose pages gather what they complain about. Playwright gives every launch a profile of its own. */
export async function startBrowser({ grants = true } = {}) {
  const args = [...ARGUMENTS, grants ? GRANT : DENY];
  const browser = await chromium.launch({ executablePath: EXECUTABLE, args, headless: true });
  return {
    /** A page in a context of its own, so that nothing is left over from another test. */
    async page(options = {}) {
      const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
      const page = await context.newPage();
      page.complaints = [];
      page.requests = [];
      page.on("console", (message) => {
        if (message.type() === "error") page.complaints.push(message.text());
      });
      page.on("pageerror", (error) => page.complaints.push(String(error)));
      page.on("request", (request) => page.requests.push(`${request.method()} ${new URL(request.url()).pathname}`));
      return page;
    },
    stop: () => browser.close(),
  };
}
