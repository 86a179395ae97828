import { joinRoom, type Participant, type Room, type RoomState, type RoomStats } from "@lockgate/client";

import { roomFromAddress, tokenFromAddress } from "../lib/address";
import { DeviceChoice } from "../room/devices";
import { Inside } from "../room/inside";
import { closing, refusal } from "../room/words";
import { byId, setText } from "../ui/dom";
import { LevelMeter } from "../ui/level-meter";

/** What embedders and tests can read. */
interface LockgateRoom {
  readonly state: RoomState | "lobby" | "joining";
  readonly error: string;
  readonly me: Participant | null;
  readonly participants: readonly Participant[];
  readonly room: Room | null;
  stats(): Promise<RoomStats | null>;
}

declare global {
  interface Window {
    lockgateRoom?: LockgateRoom;
  }
}

const sections = { lobby: byId("lobby", HTMLElement), room: byId("room", HTMLElement), over: byId("over", HTMLElement) };
const nameInput = byId("name", HTMLInputElement);
const tokenInput = byId("token", HTMLInputElement);
const joinButton = byId("join-button", HTMLButtonElement);
const joinError = byId("join-error", HTMLElement);
const deviceError = byId("device-error", HTMLElement);
const preview = byId("preview", HTMLVideoElement);
const previewCover = byId("preview-cover", HTMLElement);
const previewWords = byId("preview-words", HTMLElement);
const meter = new LevelMeter(byId("level", HTMLMeterElement));

const name = roomFromAddress() ?? "";
setText(byId("title", HTMLElement), name ? `Join “${name}”` : "No room");
document.title = `${name || "Room"} · Lockgate`;
joinButton.disabled = !name;
nameInput.value = storedName() ?? "";
tokenInput.value = tokenFromAddress() ?? "";

let room: Room | null = null;
let inside: Inside | null = null;
let joining = false;

const select = (id: string): HTMLSelectElement => byId(id, HTMLSelectElement);
const devices = {
  camera: new DeviceChoice("camera", [select("camera"), select("room-camera")], devicesChanged),
  microphone: new DeviceChoice("microphone", [select("microphone"), select("room-microphone")], devicesChanged),
};

function devicesChanged(): void {
  const { camera, microphone } = devices;
  const errors = [camera.error, microphone.error].flatMap((error) => (error ? [error] : []));
  // An insecure page is told so once.
  const words = [...new Set(errors.map(({ message }) => message))].join(" ");
  if (room && room.state !== "closed") {
    send(room);
    if (words) inside?.say(words);
    return;
  }
  show(deviceError, words && `${words} You can join without.`);
  preview.srcObject = camera.track && new MediaStream([camera.track]);
  previewCover.hidden = camera.track !== null;
  setText(previewWords, "Your camera is off.");
  if (microphone.track) meter.start(new MediaStream([microphone.track]));
  else meter.stop();
}

/** Sends what is open now. */
function send(to: Room): void {
  to.setCamera(devices.camera.track);
  to.setMicrophone(devices.microphone.track);
}

async function join(): Promise<void> {
  const token = tokenInput.value.trim() || null;
  const called = nameInput.value.trim();
  storeName(called);
  joining = true;
  joinButton.disabled = true;
  setText(joinButton, "Joining…");
  show(joinError, "");
  mark();
  try {
    const { camera, microphone } = devices;
    room = await joinRoom({ room: name, name: called, token, camera: camera.track, microphone: microphone.track });
    enter(room);
  } catch (error) {
    show(joinError, refusal(error, token));
  } finally {
    joining = false;
    joinButton.disabled = false;
    setText(joinButton, "Join");
    mark();
  }
}

function enter(joined: Room): void {
  meter.stop();
  preview.srcObject = null;
  turnTo("room");
  // A device may have been opened, or lost, while the server was asked.
  send(joined);
  inside = new Inside(joined, devices);
  joined.on("state", mark);
  joined.on("closed", (why) => {
    inside?.close();
    inside = null;
    devices.camera.close();
    devices.microphone.close();
    const { title, words } = closing(why);
    setText(byId("over-title", HTMLElement), title);
    setText(byId("over-words", HTMLElement), words);
    byId("again", HTMLElement).hidden = why.kind === "removed";
    turnTo("over");
    byId("over-title", HTMLElement).focus();
  });
}

function turnTo(section: keyof typeof sections): void {
  for (const [one, element] of Object.entries(sections)) element.hidden = one !== section;
  mark();
}

function state(): LockgateRoom["state"] {
  return joining ? "joining" : (room?.state ?? "lobby");
}

function mark(): void {
  document.documentElement.dataset["state"] = state();
}

function show(element: HTMLElement, words: string): void {
  setText(element, words);
  element.hidden = words === "";
}

function storedName(): string | null {
  try {
    return localStorage.getItem("lockgate.name");
  } catch {
    return null;
  }
}

function storeName(called: string): void {
  try {
    localStorage.setItem("lockgate.name", called);
  } catch {
    // Without storage it is asked for again.
  }
}

byId("join", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  void join();
});
byId("again", HTMLButtonElement).addEventListener("click", () => {
  room = null;
  turnTo("lobby");
  void openDevices();
});

/** Both at once, so that the browser asks once. */
async function openDevices(): Promise<void> {
  await Promise.all([devices.camera.open(), devices.microphone.open()]);
}

window.lockgateRoom = {
  get state() {
    return state();
  },
  get error() {
    return joinError.hidden ? "" : joinError.textContent;
  },
  get me() {
    return room?.me ?? null;
  },
  get participants() {
    return room?.participants ?? [];
  },
  get room() {
    return room;
  },
  stats: async () => (await room?.stats()) ?? null,
};

mark();
void openDevices();
