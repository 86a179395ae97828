// The page while one is in the room.

import { openScreen, type Room } from "@lockgate/client";

import { byId, setText, showFacts } from "../ui/dom";
import { bitrate } from "../ui/format";
import type { DeviceChoice } from "./devices";
import { setIcon } from "./icon";
import { Side } from "./side";
import { Tiles } from "./tiles";
import { sentence } from "./words";

export interface Devices {
  camera: DeviceChoice;
  microphone: DeviceChoice;
}

const EMOJI = ["👍", "❤️", "😂", "👏", "🎉", "✋"];

/** Shows a room until it is closed. */
export class Inside {
  readonly #tiles: Tiles;
  readonly #side: Side;
  readonly #gone = new AbortController();
  readonly #notice = byId("notice", HTMLElement);
  #noticeTimer: ReturnType<typeof setTimeout> | undefined;
  #sent: { bytes: number; received: number; at: number } | null = null;

  constructor(
    readonly room: Room,
    private readonly devices: Devices,
  ) {
    const { signal } = this.#gone;
    byId("tiles", HTMLElement).replaceChildren();
    this.#tiles = new Tiles(byId("tiles", HTMLElement), room);
    this.#side = new Side(room, (words) => this.say(words), sure, signal);
    setText(byId("room-title", HTMLElement), `Room ${room.name}`);

    const click = (id: string, act: () => unknown): void =>
      byId(id, HTMLButtonElement).addEventListener("click", () => void act(), { signal });
    click("toggle-microphone", () => this.#toggle("audio"));
    click("toggle-camera", () => this.#toggle("video"));
    click("share", () => this.#share());
    click("layout", () => this.#changeLayout());
    click("leave", () => this.#leave());
    click("resume-sound", () => room.resumeSound());
    addEventListener("keydown", (event) => this.#key(event), { signal });

    const reactions = byId("reactions", HTMLElement);
    reactions.replaceChildren(...EMOJI.map((emoji) => this.#emoji(emoji, reactions)));
    this.#outputs(signal);

    room.on("change", () => this.update());
    room.on("chat", (line) => this.#side.hear(line));
    room.on("reaction", ({ from, name, emoji }) => {
      this.#tiles.react(from, emoji);
      if (from !== room.me.id) this.say(`${name} reacts with ${emoji}`);
    });
    room.on("joined", ({ name }) => this.say(`${name} joined`));
    room.on("left", ({ name }) => this.say(`${name} left`));
    room.on("muted", ({ audio, video, by }) => this.#muted(audio, video, by));
    room.on("trouble", ({ way, error, final }) => {
      if (final) this.say(`${way === "screen" ? "The screen is not shared" : "No media"}: ${sentence(error.message)}`);
    });
    room.on("stats", (stats) => this.#showStats(stats));
    this.update();
    if (room.me.role === "listener") this.say("You are a listener: you see and hear the others. The host can make you a speaker.");
  }

  /** Says something for a while. */
  say(words: string): void {
    setText(this.#notice, words);
    clearTimeout(this.#noticeTimer);
    this.#noticeTimer = setTimeout(() => setText(this.#notice, this.#standing()), NOTICE_MS);
  }

  update(): void {
    const { room, devices } = this;
    if (room.state === "closed") return;
    this.#tiles.update();
    this.#side.update();
    const { muted, role } = room.me;
    const listens = role === "listener";
    this.#tool("toggle-microphone", "microphone", "Microphone", !muted.audio && devices.microphone.track !== null, listens);
    this.#tool("toggle-camera", "camera", "Camera", !muted.video && devices.camera.track !== null, listens);
    const share = byId("share", HTMLButtonElement);
    share.disabled = listens;
    share.setAttribute("aria-pressed", String(room.screen !== null));
    byId("resume-sound", HTMLButtonElement).hidden = !room.soundBlocked;
    if (room.state === "reconnecting") setText(this.#notice, this.#standing());
    else if (this.#notice.textContent === RECONNECTING) setText(this.#notice, "");
  }

  close(): void {
    clearTimeout(this.#noticeTimer);
    this.#gone.abort();
    for (const id of ["reactions", "devices"]) byId(id, HTMLElement).hidePopover();
  }

  /** What is said while nothing else is. */
  #standing(): string {
    return this.room.state === "reconnecting" ? RECONNECTING : "";
  }

  #tool(id: string, name: string, label: string, on: boolean, disabled: boolean): void {
    const button = byId(id, HTMLButtonElement);
    button.disabled = disabled;
    button.setAttribute("aria-pressed", String(on));
    button.classList.toggle("off", !on);
    setIcon(button, on ? name : `${name}-off`);
    setText(button.querySelector("span") as HTMLElement, on ? label : `${label} off`);
  }

  /** On or off. A device that was not there is opened first. */
  async #toggle(kind: "audio" | "video"): Promise<void> {
    const { room } = this;
    const choice = kind === "audio" ? this.devices.microphone : this.devices.camera;
    const isOn = !room.me.muted[kind] && choice.track !== null;
    if (!isOn && !choice.track) {
      await choice.choose(choice.isOff ? "" : choice.chosen);
      if (!choice.track) return this.say(choice.error?.message ?? "");
    }
    // The light of a camera is out when it is off.
    if (isOn && kind === "video") choice.close();
    await room.mute(kind === "audio" ? { audio: isOn } : { video: isOn }).catch((error: unknown) => {
      this.say(sentence(error instanceof Error ? error.message : String(error)));
    });
    room.setCamera(this.devices.camera.track);
    room.setMicrophone(this.devices.microphone.track);
  }

  async #share(): Promise<void> {
    const { room } = this;
    if (room.screen) return room.setScreen(null);
    try {
      const screen = await openScreen();
      if (screen) room.setScreen(screen);
    } catch (error) {
      this.say(error instanceof Error ? error.message : String(error));
    }
  }

  #changeLayout(): void {
    this.#tiles.speakerView = !this.#tiles.speakerView;
    byId("layout", HTMLButtonElement).setAttribute("aria-pressed", String(this.#tiles.speakerView));
    this.#tiles.update();
  }

  async #leave(): Promise<void> {
    const { room } = this;
    const others = room.participants.length > 1;
    const question = "Leave? Without a host the room ends after a while; you can make somebody else the host first.";
    if (room.me.role === "host" && others && !(await sure(question, "Leave"))) return;
    room.leave();
  }

  #muted(audio: boolean, video: boolean, by: string | null): void {
    const { room } = this;
    if (by === room.me.id) return;
    const who = room.participants.find(({ id }) => id === by)?.name ?? "An administrator";
    const what = [audio ? "microphone" : "", video ? "camera" : ""].filter(Boolean).join(" and ");
    this.say(what ? `${who} turned off your ${what}.` : `${who} turned on what was off. Others see and hear you.`);
  }

  #emoji(emoji: string, reactions: HTMLElement): HTMLButtonElement {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = emoji;
    button.addEventListener("click", () => {
      reactions.hidePopover();
      this.room.react(emoji).catch((error: unknown) => this.say(sentence(String(error))));
    });
    return button;
  }

  /** Loudspeakers, where the browser lets a page choose. */
  #outputs(signal: AbortSignal): void {
    const label = byId("output-label", HTMLElement);
    const select = byId("output", HTMLSelectElement);
    label.hidden = !("setSinkId" in HTMLMediaElement.prototype);
    if (label.hidden) return;
    const list = async (): Promise<void> => {
      const found = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "audiooutput");
      const options = found.filter(({ deviceId }) => deviceId && deviceId !== "default");
      const chosen = select.value;
      select.replaceChildren(new Option("Default", ""), ...options.map(({ deviceId, label }) => new Option(label, deviceId)));
      select.value = options.some(({ deviceId }) => deviceId === chosen) ? chosen : "";
    };
    select.addEventListener("change", () => {
      this.room.setSpeaker(select.value).catch((error: unknown) => this.say(sentence(String(error))));
    }, { signal });
    navigator.mediaDevices?.addEventListener("devicechange", () => void list(), { signal });
    void list();
  }

  #key({ key, target, ctrlKey, altKey, metaKey }: KeyboardEvent): void {
    const types = target instanceof HTMLElement && target.matches("input, select, textarea");
    if (types || ctrlKey || altKey || metaKey) return;
    if (key === "m" || key === "M") byId("toggle-microphone", HTMLButtonElement).click();
    if (key === "v" || key === "V") byId("toggle-camera", HTMLButtonElement).click();
  }

  #showStats({ uplink, downlink }: Awaited<ReturnType<Room["stats"]>>): void {
    const now = { bytes: uplink?.bytesSent ?? 0, received: downlink?.bytesReceived ?? 0, at: performance.now() };
    const rate = (to: number, from: number | undefined): string | null => {
      const seconds = this.#sent ? (now.at - this.#sent.at) / 1000 : 0;
      return from === undefined || to < from || seconds <= 0 ? null : bitrate(((to - from) * 8) / seconds);
    };
    const facts: [string, string | null][] = [
      ["Sending", rate(now.bytes, this.#sent?.bytes)],
      ["Receiving", rate(now.received, this.#sent?.received)],
      ["Round trip", downlink?.roundTripTimeMs == null ? null : `${downlink.roundTripTimeMs.toFixed(0)} ms`],
      ["Packets lost", downlink ? `${downlink.packetsLost}` : null],
    ];
    this.#sent = now;
    if (!byId("devices", HTMLElement).matches(":popover-open")) return;
    showFacts(byId("stats", HTMLElement), facts.filter((fact): fact is [string, string] => fact[1] !== null));
  }
}

/** Asks before what cannot be taken back. */
export function sure(question: string, yes: string): Promise<boolean> {
  const dialog = byId("sure", HTMLDialogElement);
  setText(byId("question", HTMLElement), question);
  setText(byId("sure-yes", HTMLElement), yes);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

const RECONNECTING = "The connection was lost; connecting again. Your seat is kept for 20 seconds.";
const NOTICE_MS = 5_000;
