// The dashboard as an operator sees it: what is live and who watches, a policy swapped and rolled back from the page, and who is
// turned away.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ask, connect } from "../lib/sockets.js";
import { SECRET, mint } from "../lib/token.js";
import { until, untilPage } from "../lib/until.js";
import { framesPass, playing } from "../lib/watch.js";
import { world } from "../lib/world.js";

const here = world({ demo: true, config: { auth: { secret: SECRET }, policies: { deadline_ms: 200 } } });

/** Picks the lowest rung for everyone, and says so. */
const LOWEST = `--!strict
local policy = {}
function policy.recommend(viewer, ladder, tick)
	if #ladder == 0 then return nil, "nothing to pick" end
	return 1, "the operator saves today"
end
return policy
`;

/** The cells of a table's rows. */
const rows = (page, id) =>
  page.locator(`#${id} tbody tr`).evaluateAll((all) => all.map((row) => [...row.cells].map((cell) => cell.textContent)));

const card = (page, kind) => page.getByRole("article", { name: kind, exact: true });

async function opened(token, options) {
  const page = await here.open(`/dashboard#token=${token}`, options);
  await untilPage(page, "the dashboard", () => document.documentElement.dataset.state === "live");
  return page;
}

test("with an admin token it shows what is live, who watches, and how the node is", async () => {
  const watched = await here.open("/watch/demo");
  await playing(watched, "whep");
  await framesPass(watched, 30);
  const page = await opened(mint("admin"));
  const stream = await until("the stream", async () => (await rows(page, "streams")).find(([name]) => name === "demo"));
  assert.equal(stream[1], "demo");
  assert.match(stream[5], /^running, \d encoded$/);
  const session = await until("a scored session", async () => {
    const [row] = await rows(page, "sessions");
    return row && /^\d+$/.test(row[5]) && row[3] !== "—" && row;
  });
  assert.deepEqual(session.slice(1, 3), ["demo", "whep"]);
  assert.ok(session[4].length > 3, `a reason: ${session}`);
  assert.match(session[8], /[km]b\/s/i);
  const figures = await page.locator("#figures").innerText();
  assert.match(figures, /Live streams\s+1/);
  assert.match(figures, /Participants\s+1/);
  await until("a graph that is drawn", () => page.locator("#graphs canvas").count());
  assert.match(await page.locator("#graphs figcaption").first().textContent(), /WebRTC viewers 1/);
  assert.match(await page.locator("#node").innerText(), /Health\s+ready/);
  const decided = await until("a decision", async () => (await rows(page, "decisions")).find((row) => row[1] === "ladder"));
  assert.match(decided[3], /360p30/);
  assert.ok(decided[4].length > 5, `${decided}`);
  // The token is neither in the address nor in what outlives the tab.
  assert.equal(new URL(page.url()).hash, "");
  assert.equal(await page.evaluate(() => localStorage.length), 0);
  await page.reload();
  await untilPage(page, "the dashboard again", () => document.documentElement.dataset.state === "live");
  assert.deepEqual(page.complaints, []);
});

test("a player of HLS has a row of its own, which says why it has no score", async () => {
  const watched = await here.open("/watch/demo?via=hls");
  await playing(watched, "hls");
  const page = await opened(mint("admin"));
  const row = page.locator("#sessions tbody tr", { hasText: "hls" });
  await row.waitFor();
  const score = row.locator("td").nth(4);
  assert.equal(await score.textContent(), "—");
  assert.match(await score.getAttribute("title"), /Only viewers over WebRTC are scored/);
});

test("a policy is swapped from the page, decides, is shown to, and is rolled back", async () => {
  const watched = await here.open("/watch/demo");
  await playing(watched, "whep");
  await framesPass(watched, 30);
  const page = await opened(mint("admin"));
  const abr = card(page, "abr");
  await until("the built-in", async () => /Decides\s+built-in/.test(await abr.innerText()));
  assert.equal(await abr.getByRole("button", { name: "Roll back abr" }).isDisabled(), true);

  // What cannot be used is refused in words, and the old one stays.
  const choose = (name, text) =>
    abr.getByLabel("Swap abr for a file").setInputFiles({ name, mimeType: "text/plain", buffer: Buffer.from(text) });
  await choose("broken.luau", "return {");
  await until("a refusal", async () => /cannot be used/.test(await abr.getByRole("status").textContent()));
  assert.match(await abr.innerText(), /Decides\s+built-in/);

  await choose("lowest.luau", LOWEST);
  await until("the policy to decide", async () => /decides from now on/.test(await abr.getByRole("status").textContent()));
  const saved = await until("a decision of the policy", async () =>
    (await rows(page, "decisions")).find(([, kind, , , why]) => kind === "abr" && why === "the operator saves today"),
  );
  assert.equal(saved[3], "360p30");
  await until("the session to say why", async () =>
    (await rows(page, "sessions")).some((row) => row[4] === "the operator saves today"),
  );
  await untilPage(watched, "the viewer to get it", () => window.lockgate.rung === "360p30");
  await until("the card to follow", async () => !/Decides\s+built-in/.test(await abr.innerText()));
  assert.match(await abr.innerText(), /Time per decision\s+\d+ µs/);

  await abr.getByRole("button", { name: "Roll back abr" }).click();
  await until("the built-in again", async () => /Decides\s+built-in/.test(await abr.innerText()));
  await until("its reason", async () =>
    (await rows(page, "sessions")).every((row) => row[4] !== "the operator saves today"),
  );
  assert.deepEqual(page.complaints.filter((line) => !line.includes("422")), []);
});

test("a room that people meet in is shown, and goes with them", async (context) => {
  const page = await opened(mint("admin"));
  assert.equal(await page.locator("#rooms-section").isVisible(), false);
  const socket = await connect(context, here.server.http, { auth: { token: mint("admin") } });
  const joined = await ask(socket, "join", { room: "meeting", name: "Ann" });
  assert.equal(joined.ok, true, JSON.stringify(joined));
  const row = await until("the room", async () => (await rows(page, "rooms")).find(([name]) => name === "meeting"));
  assert.match(row[2], /^1 of \d+$/);
  assert.equal(row[3], "1 host, 0 speakers, 0 listeners");
  assert.equal((await ask(socket, "end", {})).ok, true);
  await until("no room", async () => !(await page.locator("#rooms-section").isVisible()));
});

test("whoever has no admin token is told so, and asked for another", async () => {
  const page = await here.open("/dashboard");
  const token = page.getByLabel("Access token");
  await token.waitFor();
  const attempt = async (value) => {
    await token.fill(value);
    await page.getByRole("button", { name: "Open" }).click();
    return until("the words", async () => (await page.getByRole("alert").isVisible()) && page.getByRole("alert").textContent());
  };
  assert.match(await attempt(mint("play:*")), /does not allow this: this needs a token with the scope admin/);
  assert.equal(await page.locator("#board").isVisible(), false);
  assert.match(await attempt("no.such.token"), /token is not valid/);
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  await token.fill(mint("admin"));
  await token.press("Enter");
  await untilPage(page, "the dashboard", () => document.documentElement.dataset.state === "live");
  assert.equal(await page.getByRole("alert").isVisible(), false);
  await page.getByRole("button", { name: "Sign out" }).click();
  await token.waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
});

test("on a phone nothing sticks out, and all is reached by keyboard", async () => {
  const page = await opened(mint("admin"), { colorScheme: "dark", viewport: { width: 390, height: 844 } });
  await until("a stream", async () => (await rows(page, "streams")).length);
  const { scrolls, width } = await page.evaluate(() => ({
    scrolls: document.documentElement.scrollWidth,
    width: document.documentElement.clientWidth,
  }));
  assert.ok(scrolls <= width, `${scrolls} px in ${width}`);
  const reached = new Set();
  for (let count = 0; count < 40; count += 1) {
    await page.keyboard.press("Tab");
    reached.add(await page.evaluate(() => document.activeElement?.id || document.activeElement?.textContent?.slice(0, 30) || ""));
  }
  for (const id of ["sign-out", "streams", "sessions", "decisions-kind", "decisions-hold", "decisions"]) {
    assert.ok(reached.has(id), `${id} among ${[...reached]}`);
  }
});

test("a server that was restarted is shown again by itself", async () => {
  const page = await opened(mint("admin"));
  await until("figures", async () => /Live streams\s+1/.test(await page.locator("#figures").innerText()));
  await page.evaluate(() => (window.before = true));
  const again = here.server.crashAndStartAgain();
  const status = () => page.getByRole("status").first().textContent();
  await until("the loss to be told", async () => /connection was lost/.test(await status()), 20_000);
  await again;
  await until("the new server", async () => /Live, every second/.test(await status()), 30_000);
  assert.ok(await page.evaluate(() => window.before), "the page is the one that it was");
});
