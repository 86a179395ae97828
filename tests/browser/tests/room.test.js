// The room page: people who see and hear one another, and what a host can do.

import assert from "node:assert/strict";
import { test } from "node:test";

import { atTheDoor, framesOf, join, mint, SECRET, sees, smallCamera, standing } from "../lib/room.js";
import { until, untilPage } from "../lib/until.js";
import { world } from "../lib/world.js";

const here = world({ config: { auth: { secret: SECRET, anonymous: ["play:*"] } } });

const host = (room) => mint(`host of ${room}`, `publish:${room}`, `join:${room}`, `play:${room}`);
const speaker = (who, room) => mint(who, `join:${room}`, `play:${room}`);

const people = (page) => page.evaluate(() => window.lockgateRoom.participants.map(({ name }) => name).sort());

async function choose(page, name, control) {
  if (!(await page.locator("#people").isVisible())) await page.getByRole("button", { name: /participant/ }).click();
  await page.getByRole("button", { name: `${control}: ${name}` }).click();
}

test("two people see and hear each other, write and react, share a screen, and leave", async () => {
  const ada = await join(here, "pair", { name: "Ada", token: await host("pair") });
  const bob = await join(here, "pair", { name: "Bob", token: await speaker("bob", "pair") });
  await Promise.all([sees(ada, ["Bob"]), sees(bob, ["Ada"])]);
  assert.equal(await ada.evaluate(() => window.lockgateRoom.me.role), "host");
  assert.equal(await bob.evaluate(() => window.lockgateRoom.me.role), "speaker");

  for (const page of [ada, bob]) {
    await untilPage(page, "sound", async () => (await window.lockgateRoom.stats()).downlink.audioEnergy > 0);
    // What is decoded is shown, too.
    await untilPage(page, "a picture in the tile", () => {
      const videos = [...document.querySelectorAll(".tile video:not(.mirrored)")];
      return videos.length === 1 && videos[0].videoWidth > 0 && !videos[0].paused;
    });
  }
  // The fake microphone beeps.
  await untilPage(ada, "Bob to be marked as speaking", () => window.lockgateRoom.room.speakers.length > 0);

  await bob.getByRole("button", { name: "Chat" }).click();
  await bob.getByRole("textbox", { name: "Message" }).fill("hello <b>there</b>");
  await bob.getByRole("textbox", { name: "Message" }).press("Enter");
  await ada.getByRole("button", { name: "Chat" }).click();
  await ada.locator("#lines p", { hasText: "hello <b>there</b>" }).waitFor();
  await bob.locator("#lines p", { hasText: "You" }).waitFor();
  await ada.getByRole("button", { name: "React" }).click();
  await ada.getByRole("button", { name: "👏" }).click();
  await bob.getByText("Ada reacts with 👏").waitFor();

  await bob.evaluate(() => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 180 });
    const drawing = canvas.getContext("2d");
    let at = 0;
    setInterval(() => {
      drawing.fillStyle = `hsl(${(at += 20)} 80% 50%)`;
      drawing.fillRect(0, 0, 320, 180);
    }, 100);
    navigator.mediaDevices.getDisplayMedia = async () => canvas.captureStream(8);
  });
  await bob.getByRole("button", { name: "Share screen" }).click();
  await sees(ada, ["Bob"], "screen");
  await ada.locator(".tile.screen").waitFor();
  await bob.getByRole("button", { name: "Share screen" }).click();
  await ada.locator(".tile.screen").waitFor({ state: "detached" });

  await bob.getByRole("button", { name: "Camera", exact: true }).click();
  await standing(ada, "Bob", "without picture", (one) => one.muted.video && !one.video);
  await bob.getByRole("button", { name: "Camera off" }).click();
  await standing(ada, "Bob", "seen again", (one) => !one.muted.video && one.video);
  await sees(ada, ["Bob"]);

  await bob.getByRole("button", { name: "Leave" }).click();
  await bob.getByRole("heading", { name: "You left the room" }).waitFor();
  await untilPage(ada, "Bob to be gone", () => window.lockgateRoom.participants.length === 1);
  assert.deepEqual([...ada.complaints, ...bob.complaints], []);
});

test("who joins before the browser has opened the microphone is heard all the same", async () => {
  const ada = await join(here, "early", { name: "Ada", token: await host("early") });
  await join(here, "early", {
    name: "Bob",
    token: await speaker("bob", "early"),
    prepare: async (page) => {
      await smallCamera(page);
      await page.addInitScript(() => {
        const { mediaDevices } = navigator;
        const open = mediaDevices.getUserMedia.bind(mediaDevices);
        const joining = new Promise((resolve) => {
          const look = () => document.documentElement?.dataset.state === "joining" && resolve();
          new MutationObserver(look).observe(document, { subtree: true, attributes: true });
        });
        mediaDevices.getUserMedia = async (asked) => {
          const stream = await open(asked);
          if (asked.audio) await joining;
          return stream;
        };
      });
    },
  });
  await standing(ada, "Bob", "heard", (one) => one.audio);
  await untilPage(ada, "sound", async () => (await window.lockgateRoom.stats()).downlink.audioEnergy > 0);
});

test("five people see one another, and only what is looked at is sent", async () => {
  const names = ["Ada", "Bob", "Cy", "Di", "Ed"];
  const pages = [];
  for (const name of names) {
    const token = await (name === "Ada" ? host("five") : speaker(name, "five"));
    pages.push(await join(here, "five", { name, token }));
  }
  const others = (at) => names.filter((_, other) => other !== at);
  await Promise.all(pages.map((page, at) => sees(page, others(at), "camera", 90_000)));
  for (const page of pages) assert.deepEqual(await people(page), names);

  // One large and the others small: the small ones are asked for small.
  const [ada] = pages;
  await ada.getByRole("button", { name: "Speaker view" }).click();
  await untilPage(ada, "one large picture", () => document.querySelectorAll(".tile.featured").length === 1);
  await sees(ada, others(0), "camera", 60_000);
  // Who is not shown is not sent.
  await ada.evaluate(() => (document.querySelector("#tiles").hidden = true));
  let last = await framesOf(ada);
  await until("nothing to be sent", async () => {
    const now = await framesOf(ada);
    const still = Object.keys(now).every((name) => now[name] === last[name]);
    last = now;
    return still;
  });
  await ada.evaluate(() => (document.querySelector("#tiles").hidden = false));
  await sees(ada, others(0), "camera", 60_000);
});

test("the host mutes, demotes, promotes, removes, and ends the room", async () => {
  const ada = await join(here, "hosted", { name: "Ada", token: await host("hosted") });
  const bob = await join(here, "hosted", { name: "Bob", token: await speaker("bob", "hosted") });
  await sees(ada, ["Bob"]);

  await choose(ada, "Bob", "Mute");
  await bob.getByText("Ada turned off your microphone.").waitFor();
  await standing(ada, "Bob", "silent", (one) => one.muted.audio);
  await bob.getByRole("button", { name: "Microphone off" }).waitFor();
  await choose(ada, "Bob", "Camera off");
  await standing(ada, "Bob", "unseen", (one) => one.muted.video && !one.video);
  await choose(ada, "Bob", "Camera on");
  await sees(ada, ["Bob"]);

  await choose(ada, "Bob", "Make listener");
  await untilPage(bob, "Bob to be a listener", () => window.lockgateRoom.me.role === "listener");
  assert.ok(await bob.locator("#toggle-camera").isDisabled());
  await standing(ada, "Bob", "sending nothing", (one) => !one.video && !one.audio);
  await choose(ada, "Bob", "Make speaker");
  await sees(ada, ["Bob"]);

  const cy = await join(here, "hosted", { name: "Cy", token: await speaker("cy", "hosted") });
  await choose(ada, "Bob", "Remove");
  await ada.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
  await bob.getByRole("heading", { name: "You were removed from the room" }).waitFor();
  await bob.reload();
  await bob.getByRole("button", { name: "Join", exact: true }).click();
  await bob.getByText("You were removed from this room").waitFor();

  await ada.getByRole("button", { name: "End the room for everyone" }).click();
  await ada.getByRole("dialog").getByRole("button", { name: "End it" }).click();
  for (const page of [ada, cy]) await page.getByRole("heading", { name: "The room is over" }).waitFor();
  await cy.getByText("The host ended the room.").waitFor();
});

test("a socket that is killed comes back to its seat, and media goes on", async () => {
  const ada = await join(here, "drop", { name: "Ada", token: await host("drop") });
  const bob = await join(here, "drop", {
    name: "Bob",
    token: await speaker("bob", "drop"),
    prepare: async (page) => {
      await smallCamera(page);
      // Every WebSocket of the page at hand, and whether others may follow.
      await page.addInitScript(() => {
        const Real = WebSocket;
        window.sockets = [];
        window.WebSocket = class extends Real {
          constructor(...args) {
            if (window.cut) throw new Error("there is no network");
            super(...args);
            window.sockets.push(this);
          }
        };
      });
    },
  });
  await sees(ada, ["Bob"]);
  const id = await bob.evaluate(() => window.lockgateRoom.me.id);
  const left = ada.evaluate(() => new Promise((resolve) => window.lockgateRoom.room.on("left", resolve)));
  let gone = null;
  void left.then((one) => (gone = one)).catch(() => undefined);

  await bob.evaluate(() => window.sockets.forEach((socket) => socket.close()));
  await untilPage(bob, "Bob to come back", () => window.lockgateRoom.state === "joined" && window.sockets.length > 1);
  assert.equal(await bob.evaluate(() => window.lockgateRoom.me.id), id);
  await Promise.all([sees(ada, ["Bob"]), sees(bob, ["Ada"])]);

  // For longer: the others see that Bob is away, and nobody is told that he left.
  await bob.evaluate(() => {
    window.cut = true;
    window.sockets.forEach((socket) => socket.close());
  });
  await bob.getByText("The connection was lost; connecting again.").waitFor();
  await standing(ada, "Bob", "away", (one) => one.away);
  await bob.evaluate(() => (window.cut = false));
  await standing(ada, "Bob", "back", (one) => !one.away);
  assert.equal(await bob.evaluate(() => window.lockgateRoom.me.id), id);
  await Promise.all([sees(ada, ["Bob"]), sees(bob, ["Ada"])]);
  assert.equal(gone, null, "nobody was told that Bob left");
});

test("who may only play listens, without a camera, and can be made a speaker", async () => {
  const ada = await join(here, "hall", { name: "Ada", token: await host("hall") });
  const noDevices = (page) =>
    page.addInitScript(() => {
      navigator.mediaDevices.getUserMedia = async () => {
        throw new DOMException("Requested device not found", "NotFoundError");
      };
    });
  const eve = await join(here, "hall", { name: "Eve", token: await mint("eve", "play:hall"), prepare: noDevices });
  assert.equal(await eve.evaluate(() => window.lockgateRoom.me.role), "listener");
  await sees(eve, ["Ada"]);
  await eve.getByText("You are a listener").waitFor();
  await eve.getByRole("button", { name: "Chat" }).click();
  await eve.getByRole("textbox", { name: "Message" }).fill("a question");
  await eve.getByRole("textbox", { name: "Message" }).press("Enter");
  await ada.getByText("a question").first().waitFor();
  await choose(ada, "Eve", "Make speaker");
  await untilPage(eve, "Eve to be a speaker", () => window.lockgateRoom.me.role === "speaker");
  await eve.getByRole("button", { name: "Camera off" }).click();
  await eve.locator("#notice", { hasText: "No camera was found. Connect one, then try again." }).waitFor();
});

test("each refusal is said in words", async () => {
  const refused = async (room, options, words) => {
    const page = await atTheDoor(here, room, options);
    await page.getByLabel("Your name").fill("Eve");
    await page.getByRole("button", { name: "Join", exact: true }).click();
    await page.locator("#join-error", { hasText: words }).waitFor();
    return page;
  };
  await refused("closed", { token: null }, /The room is not open/);
  await refused("closed", { token: "nonsense" }, /The access token was refused/);
  const page = await refused("closed", { token: await mint("eve", "join:elsewhere") }, /access token|not open/);
  await page.close();

  const words = async (prepare, text, options = {}) => {
    const page = await atTheDoor(here, "words", { prepare, ...options });
    await page.locator("#device-error", { hasText: text }).waitFor();
  };
  const throws = (name) => (page) =>
    page.addInitScript((name) => {
      navigator.mediaDevices.getUserMedia = async () => {
        throw new DOMException("why", name);
      };
    }, name);
  await words(throws("NotAllowedError"), "The camera is blocked. Allow it");
  await words(throws("NotFoundError"), "No microphone was found");
  await words(throws("NotReadableError"), "in use by another program");
  await words(
    (page) => page.addInitScript(() => Object.defineProperty(window, "isSecureContext", { get: () => false })),
    "only to secure pages",
  );
});
