// A room, as one of its participants has it.

import { Emitter } from "../emitter.ts";
import { Problem, Unreachable } from "../problem.ts";
import { Media, type MediaOptions, type RoomStats, type Way } from "./media.ts";
import { Signalling } from "./signalling.ts";
import type { SocketOptions } from "./socket.ts";
import { readSaid, type ChatLine, type Joined, type Muted, type Participant, type Reaction, type Role, type Source, type Speaker, type Told } from "./wire.ts";

/** What joining needs. */
export interface JoinOptions extends SocketOptions, Partial<MediaOptions> {
  /** The room's name, by the rules of broadcasts' names. */
  room: string;
  /** What the others are to call you, at most 64 characters. */
  name?: string;
  /** The secret of a seat that was lost less than 20 s ago (`Room.seat`): for a page that crashed. */
  seat?: string;
  /** What to send; both can be changed later. */
  camera?: MediaStreamTrack | null;
  microphone?: MediaStreamTrack | null;
  /** Gives up joining. */
  signal?: AbortSignal;
}

/** `reconnecting`: signalling is down; media may go on, and the seat is kept for 20 s. `closed` is final. */
export type RoomState = "joined" | "reconnecting" | "closed";

/** Why one is no longer in the room. */
export interface Closing {
  /** You left; the host removed you; the room is over; the server does not let you back in. */
  kind: "left" | "removed" | "ended" | "refused";
  reason: string;
}

/** What a room tells. */
export interface RoomEvents {
  /** Anything that can be shown is different. */
  change: undefined;
  state: RoomState;
  joined: Participant;
  left: { id: string; name: string; reason: string };
  /** Who speaks, in order; at most twice a second. */
  speakers: readonly Speaker[];
  chat: ChatLine;
  reaction: Reaction;
  /** You were muted or no longer are, by the host, or by the server's operator (`null`). */
  muted: Muted & { by: string | null };
  /** Something does not work. It is tried again by itself unless `final`. */
  trouble: { way: Way; error: Problem | Unreachable | Error; final: boolean };
  /** Once a second, where somebody listens. */
  stats: RoomStats;
  closed: Closing;
}

/** A room that was joined. */
export class Room extends Emitter<RoomEvents> {
  state: RoomState = "joined";
  /** Who speaks, the first in order first. */
  speakers: readonly Speaker[] = [];
  /** Why it is closed. */
  closing: Closing | null = null;
  #participants = new Map<string, Participant>();
  #joined: Joined;
  #muted: Muted = { audio: false, video: false };
  readonly #media: Media;
  readonly #ticker: ReturnType<typeof setInterval>;
  readonly #leave = (): void => this.leave();

  private constructor(
    private readonly signalling: Signalling,
    joined: Joined,
    options: JoinOptions,
  ) {
    super();
    this.#joined = joined;
    this.#media = new Media(
      {
        codec: options.codec ?? "h264",
        simulcast: options.simulcast ?? true,
        videoBitrateMaxBps: options.videoBitrateMaxBps ?? 1_500_000,
        videoPlaces: options.videoPlaces ?? 9,
        audioPlaces: options.audioPlaces ?? 3,
      },
      {
        ask: (event, data) => signalling.ask(event, data),
        iceServers: () => this.#joined.ice_servers,
        said: (text) => this.#said(text),
        trouble: (way, error, final) => this.#trouble(way, error, final),
        changed: () => this.#changed(),
      },
    );
    this.#media.setTracks({ camera: options.camera ?? null, microphone: options.microphone ?? null });
    this.#ticker = setInterval(() => void this.#tick(), STATS_EVERY_MS);
    // The others see at once that a page went away.
    addEventListener("pagehide", this.#leave);
  }

  /** Joins; resolves when in the room, before media flows. Throws [`Problem`] when refused, [`Unreachable`] without an answer. */
  static join(options: JoinOptions): Promise<Room> {
    return new Promise((resolve, reject) => {
      let room: Room | null = null;
      let signalling: Signalling | null = null;
      const give = (error: unknown): void => {
        signalling?.end();
        reject(error as Error);
      };
      const { signal } = options;
      const aborted = (): void => give(signal?.reason);
      signal?.addEventListener("abort", aborted);
      const opening = Signalling.open({
        ...options,
        joined: (joined) => {
          if (room) return room.#enter(joined);
          signal?.removeEventListener("abort", aborted);
          // Joining needs an answer from the server, and so a turn of the event loop: it is there.
          void opening.then((opened) => {
            room = new Room(opened, joined, options);
            room.#enter(joined);
            resolve(room);
          });
        },
        down: (error) => (room ? room.#down(error) : give(error)),
        refused: (error) => (room ? room.#close({ kind: "refused", reason: error.message }) : give(error)),
        heard: (event, data) => {
          if (room) room.#heard(event, data);
        },
      });
      opening.then((opened) => {
        signalling = opened;
        if (signal?.aborted) aborted();
      }, give);
    });
  }

  /** The room's name. */
  get name(): string {
    return this.#joined.room;
  }

  /** Comes back to the seat within 20 s of a crash: `joinRoom({ seat })`. */
  get seat(): string {
    return this.#joined.seat;
  }

  /** How many may be in the room. */
  get participantsMax(): number {
    return this.#joined.max_participants;
  }

  /** Oneself, as the others know one. */
  get me(): Participant {
    return this.#participants.get(this.#joined.you.id) ?? this.#joined.you;
  }

  /** Everyone, oneself included, in the order they came. */
  get participants(): readonly Participant[] {
    return [...this.#participants.values()].sort((a, b) => a.joined_at_ms - b.joined_at_ms);
  }

  /** The host, if there is one. */
  get host(): Participant | null {
    return this.participants.find(({ role }) => role === "host") ?? null;
  }

  get camera(): MediaStreamTrack | null {
    return this.#media.camera;
  }

  get microphone(): MediaStreamTrack | null {
    return this.#media.microphone;
  }

  /** The screen that one shares. */
  get screen(): MediaStream | null {
    return this.#media.screen;
  }

  /** The browser plays no sound before a click; call `resumeSound` in the click's handler. */
  get soundBlocked(): boolean {
    return this.#media.sound.blocked;
  }

  /**
   * Shows somebody in an element from now on: who is asked for, and in which size, follows from the element's size and
   * from whether it is seen.
   */
  show(video: HTMLVideoElement, participant: string, source: Source = "camera"): void {
    this.#media.stage.show(video, participant, source);
  }

  /** Shows nobody there. */
  hide(video: HTMLVideoElement): void {
    this.#media.stage.hide(video);
  }

  /** Sends another camera, or none. */
  setCamera(camera: MediaStreamTrack | null): void {
    this.#media.setTracks({ camera });
  }

  /** Sends another microphone, or none. */
  setMicrophone(microphone: MediaStreamTrack | null): void {
    this.#media.setTracks({ microphone });
  }

  /** Sends a screen beside the camera, until `null` or until the person ends it in the browser. */
  setScreen(screen: MediaStream | null): void {
    for (const track of screen?.getVideoTracks() ?? []) {
      track.addEventListener("ended", () => this.screen === screen && this.setScreen(null));
    }
    this.#media.setScreen(screen);
  }

  /** Plays sound through another loudspeaker; empty is the browser's default. */
  setSpeaker(deviceId: string): Promise<void> {
    return this.#media.sound.setOutput(deviceId);
  }

  resumeSound(): Promise<void> {
    return this.#media.sound.resume();
  }

  /** Mutes oneself or unmutes, at once: nothing of it is sent. Throws when the server does not know it. */
  async mute(muted: Partial<Muted>): Promise<void> {
    this.#setMuted({ ...this.me.muted, ...muted });
    await this.signalling.ask("mute", muted);
  }

  /** Mutes somebody. For the host. */
  async muteOther(participant: string, muted: Partial<Muted>): Promise<void> {
    await this.signalling.ask("mute", { participant, ...muted });
  }

  /** Sends somebody out, who cannot come back. For the host. */
  async remove(participant: string, reason?: string): Promise<void> {
    await this.signalling.ask("remove", { participant, ...(reason ? { reason } : {}) });
  }

  /** Makes a speaker of a listener, or the reverse; `host` hands the room over. For the host. */
  async setRole(participant: string, role: Role): Promise<void> {
    await this.signalling.ask("role", { participant, role });
  }

  /** Ends the room for everyone. For the host. */
  async end(): Promise<void> {
    await this.signalling.ask("end", {});
  }

  /** Says something to all, or to one: 1 to 4,000 characters, 10 a second. One hears it oneself when it was said. */
  async chat(text: string, to?: string): Promise<void> {
    const said = { text, ...(to ? { to } : {}) };
    if (!this.#media.say({ type: "chat", ...said })) await this.signalling.ask("chat", said);
  }

  /** Shows an emoji to all. */
  async react(emoji: string): Promise<void> {
    if (!this.#media.say({ type: "reaction", emoji })) await this.signalling.ask("reaction", { emoji });
  }

  stats(): Promise<RoomStats> {
    return this.#media.stats();
  }

  /** Leaves for good. */
  leave(): void {
    if (this.state === "closed") return;
    this.signalling.leave();
    this.#close({ kind: "left", reason: "" });
  }

  #enter(joined: Joined): void {
    this.#joined = joined;
    const before = this.#participants;
    this.#participants = new Map(joined.participants.map((one) => [one.id, one]));
    this.#participants.set(joined.you.id, joined.you);
    if (joined.resumed || before.size === 0) this.#setMuted(joined.you.muted);
    // A server that was started again does not know that one was muted.
    else if (this.#muted.audio || this.#muted.video) {
      this.mute(this.#muted).catch((error: unknown) => this.#trouble("signalling", error, false));
    }
    this.#media.joined(joined.you.role, joined.places, joined.resumed);
    this.#set("joined");
    for (const one of before.values()) {
      if (!this.#participants.has(one.id)) this.emit("left", { id: one.id, name: one.name, reason: "gone" });
    }
    if (before.size === 0) return;
    for (const one of this.#participants.values()) if (!before.has(one.id)) this.emit("joined", one);
  }

  #heard(event: string, data: unknown): void {
    const hear = this.#ears[event as keyof Told] as ((data: unknown) => void) | undefined;
    if (!hear || data === undefined) return;
    hear(data);
    this.#changed();
  }

  readonly #ears: { [Event in keyof Told]: (data: Told[Event]) => void } = {
    "user-joined": (one) => {
      this.#participants.set(one.id, one);
      this.emit("joined", one);
    },
    "user-left": ({ id, reason }) => {
      const name = this.#participants.get(id)?.name ?? "";
      this.#participants.delete(id);
      this.emit("left", { id, name, reason });
    },
    "user-updated": (one) => {
      this.#participants.set(one.id, one);
      if (one.id !== this.me.id) return;
      this.#media.setRole(one.role);
      this.#setMuted(one.muted);
    },
    speakers: (speakers) => {
      this.speakers = speakers;
      this.emit("speakers", speakers);
    },
    places: (places) => this.#media.placed(places),
    muted: (muted) => {
      this.#setMuted(muted);
      this.emit("muted", muted);
    },
    removed: ({ reason }) => this.#end({ kind: "removed", reason }),
    "room-ended": ({ reason }) => this.#end({ kind: "ended", reason }),
    chat: (line) => this.emit("chat", line),
    reaction: (reaction) => this.emit("reaction", reaction),
  };

  #said(text: unknown): void {
    const said = readSaid(text);
    if (said?.type === "chat") this.emit("chat", said);
    else if (said?.type === "reaction") this.emit("reaction", said);
    else if (said?.type === "error") this.#trouble("uplink", new Error(said.detail), false);
  }

  #setMuted({ audio, video }: Muted): void {
    const { me } = this;
    this.#muted = { audio, video };
    this.#participants.set(me.id, { ...me, muted: { audio, video } });
    this.#media.setMuted({ audio, video });
  }

  #trouble(way: Way, thrown: unknown, final: boolean): void {
    if (this.state === "closed") return;
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    this.emit("trouble", { way, error, final });
  }

  #down(error: Problem | Unreachable): void {
    this.#trouble("signalling", error, false);
    this.#set("reconnecting");
  }

  /** The server ended it. */
  #end(closing: Closing): void {
    this.signalling.end();
    this.#close(closing);
  }

  #close(closing: Closing): void {
    if (this.state === "closed") return;
    removeEventListener("pagehide", this.#leave);
    clearInterval(this.#ticker);
    this.#media.close();
    this.closing = closing;
    this.#set("closed");
    this.emit("closed", closing);
  }

  #set(state: RoomState): void {
    if (this.state !== state) {
      this.state = state;
      this.emit("state", state);
    }
    this.#changed();
  }

  #changed(): void {
    this.emit("change", undefined);
  }

  async #tick(): Promise<void> {
    if (!this.listens("stats") || this.state === "closed") return;
    const stats = await this.stats().catch(() => null);
    if (stats) this.emit("stats", stats);
  }
}

/** Joins a room: see [`Room`]. */
export function joinRoom(options: JoinOptions): Promise<Room> {
  return Room.join(options);
}

const STATS_EVERY_MS = 1_000;
