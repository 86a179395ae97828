// What a test file needs: one server, one browser, and everything said when a test fails.

import { after, afterEach, before } from "node:test";

import { startBrowser } from "./browser.js";
import { startServer } from "./server.js";

/** Starts before the tests of a file, stops after them; closes the pages of each test. */
export function world(options) {
  const here = { server: null, browser: null, pages: [] };

  before(async () => {
    here.server = await startServer(options);
    here.browser = await startBrowser();
  });

  afterEach(async (context) => {
    const failed = context.passed === false || Boolean(context.error);
    for (const page of here.pages.splice(0)) {
      if (failed) {
        const state = await page.evaluate(() => globalThis.lockgate && { ...globalThis.lockgate }).catch(() => null);
        console.error(`# ${page.url()}: ${JSON.stringify(state)}\n# ${page.complaints.join("\n# ")}`);
      }
      await page.context().close();
    }
    if (failed) console.error(`# the server's log:\n# ${here.server?.log.slice(-60).join("\n# ")}`);
  });

  after(async () => {
    await here.browser?.stop();
    await here.server?.stop();
  });

  return {
    get server() {
      return here.server;
    },
    /** Opens a path of the server in a new page. */
    async open(path, { prepare, ...options } = {}) {
      // On a page without anything of its own, tests bring their scripts and players with them.
      const page = await here.browser.page({ bypassCSP: path === "/livez", ...options });
      here.pages.push(page);
      if (prepare) await prepare(page);
      await page.goto(new URL(path, here.server.http).href);
      return page;
    },
  };
}
