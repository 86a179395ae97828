// What tests do on the room page.

import { execFile } from "node:child_process";
import { promisify } from "node:util";

import { BINARY } from "./server.js";
import { until } from "./until.js";

/** Tokens of several people are signed with it. */
export const SECRET = "a secret that only the tests of rooms know";

/** A token with these scopes for somebody in particular. */
export async function mint(subject, ...scopes) {
  const asked = scopes.flatMap((scope) => ["--scope", scope]);
  const { stdout } = await promisify(execFile)(BINARY, ["token", "mint", "--set", `auth.secret=${SECRET}`, "--sub", subject, ...asked]);
  return stdout.trim();
}

/** Two cores carry five people whose cameras are small and slow. */
export async function smallCamera(page) {
  await page.addInitScript(() => {
    const { mediaDevices } = navigator;
    const open = mediaDevices.getUserMedia.bind(mediaDevices);
    const video = { width: 320, height: 240, frameRate: 8 };
    mediaDevices.getUserMedia = (asked) => open(asked.video ? { ...asked, video } : asked);
  });
}

/** Opens the page of a room as somebody with a token, without joining. */
export async function atTheDoor(here, room, { token, prepare = smallCamera, ...options }) {
  return here.open(`/rooms/${room}${token ? `#token=${token}` : ""}`, { prepare, ...options });
}

/** Opens the page of a room and joins. */
export async function join(here, room, { name, ...options }) {
  const page = await atTheDoor(here, room, options);
  await enter(page, name);
  return page;
}

/** Joins from the page of a room. */
export async function enter(page, name) {
  await page.getByLabel("Your name").fill(name);
  await page.getByRole("button", { name: "Join", exact: true }).click();
  await until(
    `${name} to be in the room`,
    async () => {
      const { state, error } = await page.evaluate(() => ({ ...window.lockgateRoom }));
      if (state === "joined") return true;
      throw new Error(`${state}: ${error}`);
    },
    MEDIA_MS,
  );
}

/** How many frames of each other were decoded, by their name. */
export function framesOf(page, source = "camera") {
  return page.evaluate(async (source) => {
    const { downlink } = (await window.lockgateRoom.stats()) ?? {};
    const name = (id) => window.lockgateRoom.participants.find((one) => one.id === id)?.name;
    const views = (downlink?.views ?? []).filter((view) => view.participant && view.source === source);
    return Object.fromEntries(views.map((view) => [name(view.participant), view.framesDecoded]));
  }, source);
}

/** Waits until pictures of all these arrive and go on arriving. */
export async function sees(page, names, source = "camera", deadlineMs = MEDIA_MS) {
  let from = null;
  await until(
    `pictures of ${names.join(", ")}`,
    async () => {
      const frames = await framesOf(page, source);
      if (!names.every((name) => frames[name] > 0)) throw new Error(JSON.stringify(frames));
      from ??= frames;
      if (names.every((name) => frames[name] >= (from[name] ?? 0) + 5)) return true;
      throw new Error(JSON.stringify({ from, frames }));
    },
    deadlineMs,
  );
}

/** Waits until somebody is as others are to see them. */
export async function standing(page, name, what, look, arg = null) {
  await until(`${name} to be ${what}`, async () => {
    const one = await page.evaluate((name) => window.lockgateRoom.participants.find((one) => one.name === name) ?? null, name);
    if (look(one, arg)) return true;
    throw new Error(JSON.stringify(one));
  });
}

/** Encoders and decoders of several people start on few cores. */
const MEDIA_MS = 45_000;
