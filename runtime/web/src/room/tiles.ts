// The pictures: everyone in a grid, or one large and the others beside it.

import type { Participant, Room, Source } from "@lockgate/client";

import { setText } from "../ui/dom";
import { icon } from "./icon";
import { columnsFor, columnsThatScroll, isCrowded } from "./layout";

interface Tile {
  element: HTMLLIElement;
  video: HTMLVideoElement;
  avatar: HTMLElement;
  who: HTMLElement;
  shown: string;
}

export class Tiles {
  speakerView = false;
  readonly #tiles = new Map<string, Tile>();
  /** One's own camera, shown without a way round over the server. */
  #own: MediaStream | null = null;

  constructor(
    private readonly list: HTMLElement,
    private readonly room: Room,
  ) {
    new ResizeObserver(() => this.#arrange()).observe(list);
  }

  /** Shows the room as it is now. */
  update(): void {
    const { room } = this;
    const wanted = new Set<string>();
    const speaking = new Set(room.speakers.filter(({ level }) => level < SPEAKS_BELOW_DB).map(({ id }) => id));
    for (const one of room.participants) {
      wanted.add(this.#camera(one, speaking.has(one.id)));
      if (one.screen && one.id !== room.me.id) wanted.add(this.#screen(one));
    }
    for (const [key, tile] of this.#tiles) {
      if (wanted.has(key)) continue;
      room.hide(tile.video);
      tile.element.remove();
      this.#tiles.delete(key);
    }
    this.#arrange();
  }

  /** Shows an emoji over somebody for a moment. */
  react(participant: string, emoji: string): void {
    const tile = this.#tiles.get(`camera ${participant}`);
    const element = document.createElement("span");
    element.className = "emoji";
    element.setAttribute("aria-hidden", "true");
    element.textContent = emoji;
    element.addEventListener("animationend", () => element.remove());
    tile?.element.append(element);
  }

  /** The large picture: a screen, else who spoke last, else whoever is there. */
  #featured(): string | null {
    if (!this.speakerView) return null;
    const screen = [...this.#tiles.keys()].find((key) => key.startsWith("screen "));
    const { me, speakers, participants } = this.room;
    const speaker = speakers.find(({ id }) => id !== me.id) ?? participants.find(({ id }) => id !== me.id) ?? me;
    return screen ?? `camera ${speaker.id}`;
  }

  #camera(one: Participant, speaks: boolean): string {
    const { room } = this;
    const mine = one.id === room.me.id;
    const tile = this.#tile("camera", one.id);
    const hasPicture = mine ? room.camera !== null && !one.muted.video : one.video && !one.muted.video && !one.away;
    if (mine) {
      tile.video.classList.add("mirrored");
      this.#showOwn(tile.video, hasPicture ? room.camera : null);
    } else if (hasPicture) {
      room.show(tile.video, one.id);
    } else {
      room.hide(tile.video);
    }
    tile.video.hidden = !hasPicture;
    tile.element.classList.toggle("speaking", speaks && !one.muted.audio);
    tile.element.classList.toggle("away", one.away);
    setText(tile.avatar, initials(one.name));
    const silent = mine ? one.muted.audio || !room.microphone : one.muted.audio || !one.audio;
    const said = [mine ? `${one.name} (you)` : one.name, one.role === "host" ? "host" : "", one.away ? "reconnecting…" : ""];
    this.#label(tile, said.filter(Boolean).join(" · "), silent);
    return `camera ${one.id}`;
  }

  #screen(one: Participant): string {
    const tile = this.#tile("screen", one.id);
    tile.element.classList.add("screen");
    this.room.show(tile.video, one.id, "screen");
    this.#label(tile, `Screen of ${one.name}`, false);
    return `screen ${one.id}`;
  }

  #showOwn(video: HTMLVideoElement, camera: MediaStreamTrack | null): void {
    if ((this.#own?.getTracks()[0] ?? null) === camera && (video.srcObject !== null) === (camera !== null)) return;
    this.#own = camera && new MediaStream([camera]);
    video.srcObject = this.#own;
    if (camera) void video.play().catch(() => undefined);
  }

  #label(tile: Tile, name: string, silent: boolean): void {
    const shown = `${name}|${silent}`;
    // Screen readers read again what is replaced.
    if (tile.shown === shown) return;
    tile.shown = shown;
    const text = document.createElement("span");
    text.textContent = name;
    tile.who.replaceChildren(...(silent ? [icon("microphone-off", "muted")] : []), text);
    tile.video.setAttribute("aria-label", name);
  }

  #tile(source: Source, participant: string): Tile {
    const key = `${source} ${participant}`;
    const there = this.#tiles.get(key);
    if (there) return there;
    const element = document.createElement("li");
    element.className = "tile";
    element.dataset["participant"] = participant;
    element.dataset["source"] = source;
    const avatar = document.createElement("span");
    avatar.className = "avatar";
    avatar.setAttribute("aria-hidden", "true");
    const video = document.createElement("video");
    video.autoplay = true;
    video.muted = true;
    video.playsInline = true;
    const who = document.createElement("div");
    who.className = "who";
    element.append(avatar, video, who);
    const tile = { element, video, avatar, who, shown: "" };
    this.#tiles.set(key, tile);
    this.list.append(element);
    return tile;
  }

  #arrange(): void {
    const { clientWidth, clientHeight } = this.list;
    const count = this.#tiles.size;
    const featured = this.#featured();
    const columns = columnsFor(count, clientWidth, clientHeight);
    const crowded = !featured && isCrowded(count, columns, clientHeight);
    this.list.classList.toggle("speaker", featured !== null);
    this.list.classList.toggle("alone", count < 2);
    this.list.classList.toggle("many", crowded);
    this.list.style.setProperty("--columns", `${crowded ? columnsThatScroll(clientWidth) : columns}`);
    this.list.style.setProperty("--others", `${Math.max(1, count - 1)}`);
    for (const [key, { element }] of this.#tiles) element.classList.toggle("featured", key === featured);
  }
}

/** `Ada Lovelace` as `AL`. */
function initials(name: string): string {
  const words = name.trim().split(/\s+/);
  const letters = [words[0], words.length > 1 ? words.at(-1) : ""].map((word) => [...(word ?? "")][0] ?? "");
  return letters.join("").toUpperCase();
}

/** Louder than this counts as speech: rooms are rarely quieter than 60 dB below full scale. */
const SPEAKS_BELOW_DB = 50;
