// The room page over TLS with a certificate of the server's own, in rooms of three that do not last long without a host.

import assert from "node:assert/strict";
import { test } from "node:test";

import { atTheDoor, join, mint, SECRET, sees, standing } from "../lib/room.js";
import { until, untilPage } from "../lib/until.js";
import { world } from "../lib/world.js";

const GRACE_S = 1;
const here = world({
  config: {
    http: { listen: "127.0.0.1:0", tls: "self-signed" },
    auth: { secret: SECRET, anonymous: ["play:*"] },
    room: { max_participants: 3, host_grace_s: GRACE_S },
  },
});

const host = (room) => mint(`host of ${room}`, `publish:${room}`, `join:${room}`, `play:${room}`);
const speaker = (who, room) => mint(who, `join:${room}`, `play:${room}`);

/** As large as Chromium wants it to send three sizes, at a rate that two cores encode thrice. */
async function camera(page) {
  await page.addInitScript(() => {
    const { mediaDevices } = navigator;
    const open = mediaDevices.getUserMedia.bind(mediaDevices);
    const video = { width: 960, height: 540, frameRate: 8 };
    mediaDevices.getUserMedia = (asked) => open(asked.video ? { ...asked, video } : asked);
  });
}

const over = { ignoreHTTPSErrors: true };
const comes = (room, name, token, options = {}) => join(here, room, { name, token, ...over, ...options });

/** How high the pictures of the others arrive, by their names. */
const heights = (page) =>
  page.evaluate(async () => {
    const { downlink } = await window.lockgateRoom.stats();
    const name = (id) => window.lockgateRoom.participants.find((one) => one.id === id)?.name;
    const views = downlink.views.filter((view) => view.participant && view.height);
    return Object.fromEntries(views.map((view) => [name(view.participant), view.height]));
  });

test("over TLS three see each other, what is shown small is sent small, and a fourth is told that there is no seat", async () => {
  const sockets = [];
  const prepare = async (page) => {
    page.on("websocket", (socket) => sockets.push(socket.url()));
    await camera(page);
  };
  const ada = await comes("small", "Ada", await host("small"), { prepare });
  const small = { prepare: camera, viewport: { width: 640, height: 480 } };
  const bob = await comes("small", "Bob", await speaker("bob", "small"), small);
  const cy = await comes("small", "Cy", await speaker("cy", "small"), small);
  assert.equal(new URL(ada.url()).protocol, "https:");
  assert.deepEqual([...new Set(sockets.map((url) => new URL(url).protocol))], ["wss:"]);
  // Nobody speaks, so that whoever came first stays large.
  for (const page of [bob, cy]) await page.getByRole("button", { name: "Microphone", exact: true }).click();
  await Promise.all([sees(ada, ["Bob", "Cy"]), sees(bob, ["Ada", "Cy"]), sees(cy, ["Ada", "Bob"])]);

  await ada.getByRole("button", { name: "Speaker view" }).click();
  const featured = await untilPage(ada, "one large picture", () => {
    const { participant } = document.querySelector(".tile.featured")?.dataset ?? {};
    return window.lockgateRoom.participants.find(({ id }) => id === participant)?.name;
  });
  assert.equal(featured, "Bob");
  await until(
    "the large one in full size, and the small one in less",
    async () => {
      const seen = await heights(ada);
      if (seen.Bob === 540 && seen.Cy < 540) return true;
      throw new Error(JSON.stringify(seen));
    },
    60_000,
  );

  const door = await atTheDoor(here, "small", { token: await speaker("di", "small"), ...over });
  await door.getByLabel("Your name").fill("Di");
  await door.getByRole("button", { name: "Join", exact: true }).click();
  const words = door.locator("#join-error");
  await words.waitFor();
  assert.match(await words.textContent(), /^The room is full\. .*has its 3 participants already.* Try again when somebody has left\.$/);
  // One leaves, and there is a seat.
  await cy.getByRole("button", { name: "Leave" }).click();
  await untilPage(ada, "Cy to be gone", () => window.lockgateRoom.participants.length === 2);
  await door.getByRole("button", { name: "Join", exact: true }).click();
  await sees(ada, ["Bob", "Di"]);
});

test("the host hands the room over and leaves, and it goes on with the new one", async () => {
  const ada = await comes("handed", "Ada", await host("handed"));
  const bob = await comes("handed", "Bob", await speaker("bob", "handed"));
  const cy = await comes("handed", "Cy", await speaker("cy", "handed"));
  await Promise.all([sees(ada, ["Bob"]), sees(cy, ["Ada", "Bob"])]);
  await bob.getByRole("button", { name: /participant/ }).click();
  assert.equal(await bob.getByRole("button", { name: "Mute: Cy" }).count(), 0);
  await ada.getByRole("button", { name: /participant/ }).click();
  await ada.getByRole("button", { name: "Make host: Bob" }).click();
  await ada.getByRole("dialog").getByRole("button", { name: "Make host" }).click();
  await untilPage(bob, "Bob to be host", () => window.lockgateRoom.me.role === "host");
  await standing(ada, "Ada", "a speaker", (one) => one.role === "speaker");
  // What each of the two sends goes elsewhere from now on, by itself.
  await Promise.all([sees(cy, ["Ada", "Bob"]), sees(ada, ["Bob"]), sees(bob, ["Ada"])]);

  await ada.getByRole("button", { name: "Leave" }).click();
  await untilPage(cy, "Ada to be gone", () => window.lockgateRoom.participants.length === 2);
  const left = performance.now();
  await sees(cy, ["Bob"]);
  await until("longer than a room without a host lasts", () => performance.now() - left > 2000 * GRACE_S);
  assert.equal(await cy.evaluate(() => window.lockgateRoom.state), "joined");
  await bob.getByRole("button", { name: "Make listener: Cy" }).click();
  await untilPage(cy, "Cy to be a listener", () => window.lockgateRoom.me.role === "listener");
  await bob.getByRole("button", { name: "End the room for everyone" }).click();
  await bob.getByRole("dialog").getByRole("button", { name: "End it" }).click();
  await cy.getByRole("heading", { name: "The room is over" }).waitFor();
});
