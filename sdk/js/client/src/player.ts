// The player: WebRTC first, HLS when that fails and as long as it does, and words for everything that can be wrong.

import { Emitter } from "./emitter.ts";
import { pause } from "./pause.ts";
import {
  type Ending,
  type Playback,
  type PlaybackStats,
  type PlaybackTarget,
  type RungChoice,
  type Score,
  type Transport,
  Unplayable,
} from "./playback.ts";
import { openHls } from "./playback-hls.ts";
import { WhepPlayback } from "./playback-whep.ts";
import { Problem, Unreachable } from "./problem.ts";

export type PlayerState =
  | "idle"
  | "connecting"
  | "playing"
  /** The broadcast is not live; it is asked for again. */
  | "waiting"
  /** The server cannot be reached, is too busy, or what it sends does not play; it is asked again. */
  | "unreachable"
  /** The token does not allow this, or is missing. Final. */
  | "refused"
  /** Nothing works here. Final. */
  | "failed";

/** Which transports may be used. */
export type Via = "auto" | Transport;

export interface WatchOptions {
  video: HTMLVideoElement;
  /** The broadcast's name. */
  stream: string;
  token?: string | null;
  /** `auto` by default: WebRTC, else HLS. */
  via?: Via;
  /** The server's origin; without one that of the page. */
  server?: string | URL;
  /** The address of `hls.js/dist/hls.worker.js`, asked for when HLS is first played; without it the worker is a blob. */
  hlsWorker?: () => Promise<string>;
}

/** What a player tells. */
export interface PlayerEvents {
  /** Anything that can be shown is different. */
  change: undefined;
  state: PlayerState;
  /** Once a second: counters since the playback began; `null` while nothing plays. */
  stats: PlaybackStats | null;
}

/** A playback, and how it will end. */
interface Opened {
  playback: Playback;
  ending: Promise<Ending>;
}

type Opener = (target: PlaybackTarget) => Promise<Playback>;

const OPENERS: Record<Transport, Opener> = { whep: (target) => WhepPlayback.open(target), hls: openHls };

/** Plays one stream in one element until stopped. */
export class Player extends Emitter<PlayerEvents> {
  state: PlayerState = "idle";
  /** What to tell the viewer about `state`; empty while it plays. */
  message = "";
  /** Why the transport in use is not the first choice; empty if it is. */
  fallback = "";
  /** What went wrong, where `state` is `waiting`, `unreachable`, `refused` or `failed`. */
  error: Problem | Unreachable | Error | null = null;
  via: Via;
  #playback: Playback | null = null;
  #savesData = false;
  /** The server said that it will not do WebRTC: it is not asked again. */
  #whepRefused = false;
  #run = new AbortController();

  #ticker: ReturnType<typeof setInterval> | undefined;

  constructor(private readonly options: WatchOptions) {
    super();
    this.via = options.via ?? "auto";
    addEventListener("pageshow", ({ persisted }) => {
      // The session ended when the page was put away.
      if (persisted && this.state !== "idle") this.start();
    });
  }

  get transport(): Transport | null {
    return this.#playback?.transport ?? null;
  }

  get rungs(): readonly RungChoice[] {
    return this.#playback?.rungs ?? [];
  }

  get rung(): string | null {
    return this.#playback?.rung ?? null;
  }

  get chosen(): string | null {
    return this.#playback?.chosen ?? null;
  }

  get automatic(): boolean {
    return this.chosen === null;
  }

  /** Why this rung plays, in the words of what decided. */
  get reason(): string {
    return this.#playback?.reason ?? "";
  }

  /** The quality of the network as the server judges it. */
  get score(): Score | null {
    return this.#playback?.score ?? null;
  }

  get savesData(): boolean {
    return this.#savesData;
  }

  /** Starts, or starts over, perhaps over another transport. */
  start(via: Via = this.via): void {
    this.stop();
    this.via = via;
    this.#run = new AbortController();
    this.#ticker = setInterval(() => void this.#tick(), STATS_EVERY_MS);
    void this.#play(this.#run.signal);
  }

  stop(): void {
    clearInterval(this.#ticker);
    this.#run.abort(new DOMException("the player was stopped", "AbortError"));
    this.#playback?.stop();
    this.#playback = null;
    this.#set("idle", "");
  }

  /** Chooses a rung, or with `null` leaves the choice to the server (WebRTC) or to hls.js. */
  async select(rung: string | null): Promise<void> {
    await this.#playback?.select(rung);
  }

  /** Asks for less data, or no longer, of whatever plays now and later. */
  async saveData(on: boolean): Promise<void> {
    await this.#playback?.saveData(on);
    this.#savesData = on;
  }

  async stats(): Promise<PlaybackStats | null> {
    return (await this.#playback?.stats()) ?? null;
  }

  /** Tries, plays, waits, tries again: until stopped or until there is nothing left to try. */
  async #play(signal: AbortSignal): Promise<void> {
    let brokenWhep = "";
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        this.fallback = brokenWhep;
        const transports: Transport[] = this.via !== "auto" ? [this.via] : brokenWhep ? ["hls"] : ["whep", "hls"];
        const ending = await this.#playOnce(transports, signal);
        attempt = 0;
        if (ending.kind === "not-live") {
          brokenWhep = "";
          await this.#wait("waiting", "The broadcast has ended. It resumes here when it is live again.", 2, signal);
        } else if (this.via === "auto" && this.fallback === "") {
          brokenWhep = ending.why;
        } else {
          // HLS broke, or the only transport asked for: begin again from the first choice.
          brokenWhep = "";
          await this.#wait("connecting", `Reconnecting: ${ending.why}.`, 1, signal);
        }
      } catch (error) {
        if (signal.aborted) return;
        const pauseS = this.#explain(error, attempt);
        if (pauseS === null) return;
        brokenWhep = "";
        await pause(pauseS, signal);
      }
    }
  }

  /** Plays over the first transport that works; resolves when it ends, throws when none works. */
  async #playOnce(transports: Transport[], signal: AbortSignal): Promise<Ending> {
    if (this.state !== "waiting" && this.state !== "unreachable") this.#set("connecting", "Connecting…");
    for (const [index, transport] of transports.entries()) {
      try {
        return await this.#playToEnd(await this.#open(transport, this.options.video, signal), signal);
      } catch (error) {
        signal.throwIfAborted();
        // Where nothing is live, or nothing answers, another transport has nothing either. A 404 may only mean that
        // this server speaks no WHEP.
        const hopeless = error instanceof Unreachable || (error instanceof Problem && error.status === 409);
        if (hopeless || index === transports.length - 1) throw error;
        this.fallback = error instanceof Error ? error.message : String(error);
        this.#whepRefused = isFinal(error);
        this.#set("connecting", "WebRTC does not get through; trying HLS…");
      }
    }
    throw new Error("no transport to try");
  }

  async #open(transport: Transport, video: HTMLVideoElement, signal: AbortSignal): Promise<Opened> {
    const { stream, token = null, server, hlsWorker } = this.options;
    let ended: (ending: Ending) => void = () => undefined;
    const ending = new Promise<Ending>((resolve) => (ended = resolve));
    const events = { ended, changed: () => this.emit("change", undefined) };
    const target = { video, stream, token, server, signal, events, hlsWorker };
    const playback = await OPENERS[transport](target);
    if (signal.aborted) {
      playback.stop();
      signal.throwIfAborted();
    }
    return { playback, ending };
  }

  /** Shows what was opened. Where it is HLS in place of WebRTC, it gives way to that as soon as it works. */
  async #playToEnd({ playback, ending }: Opened, signal: AbortSignal): Promise<Ending> {
    this.#playback = playback;
    this.#set("playing", "");
    if (this.#savesData) await playback.saveData(true).catch(() => undefined);
    const over = new AbortController();
    const standsIn = this.via === "auto" && playback.transport === "hls" && !this.#whepRefused;
    const better = async (): Promise<Ending | Opened> =>
      (standsIn ? await this.#whepAgain(AbortSignal.any([signal, over.signal])) : null) ?? ending;
    const first = await Promise.race([ending, better()]);
    if ("kind" in first) {
      over.abort();
      this.#stopIf(playback);
      return first;
    }
    const { video } = this.options;
    this.#stopIf(playback);
    if (!(first.playback instanceof WhepPlayback) || signal.aborted) {
      first.playback.stop();
      signal.throwIfAborted();
    } else {
      await first.playback.moveTo(video);
    }
    this.fallback = "";
    return this.#playToEnd(first, signal);
  }

  /** Tries WebRTC now and then in an element that nobody sees, until it plays; `null` if it never will. */
  async #whepAgain(signal: AbortSignal): Promise<Opened | null> {
    for (let pauseS = AGAIN_FIRST_S; ; pauseS = Math.min(pauseS * 2, AGAIN_MAX_S)) {
      await pause(pauseS, signal);
      if (signal.aborted) return null;
      // Nobody looks: what plays is good enough, and a hidden page may not play at all.
      if (document.hidden) continue;
      const aside = document.createElement("video");
      aside.muted = true;
      try {
        return await this.#open("whep", aside, signal);
      } catch (error) {
        if (signal.aborted || isFinal(error)) return null;
      }
    }
  }

  #stopIf(playback: Playback): void {
    if (this.#playback !== playback) return;
    playback.stop();
    this.#playback = null;
  }

  /** Says what is wrong; returns how many seconds to wait before trying again, or `null` for never. */
  #explain(error: unknown, attempt: number): number | null {
    this.error = error instanceof Error ? error : new Error(String(error));
    const backoff = Math.min(2 ** attempt, RETRY_PAUSE_MAX_S);
    if (error instanceof Unreachable) {
      this.#set("unreachable", `The server cannot be reached; trying again. (${error.message})`);
      return backoff;
    }
    if (error instanceof Unplayable) {
      this.#set("failed", `${error.message}.`);
      return null;
    }
    if (!(error instanceof Problem)) {
      // What went wrong in between, as while a server starts again, goes right the next time.
      this.#set("unreachable", `It does not play; trying again. (${this.error.message})`);
      return backoff;
    }
    const words = [error.title, error.detail].filter(Boolean).join(": ");
    if (isNotLive(error)) {
      this.#set("waiting", `“${this.options.stream}” is not live yet. It plays here as soon as it is.`);
      return clamp(error.retryAfterS ?? 3, 1, RETRY_PAUSE_MAX_S);
    }
    if (error.status === 401 || error.status === 403) {
      const why = this.options.token ? "The access token was refused" : "This stream needs an access token";
      this.#set("refused", `${why}. ${words}`);
      return null;
    }
    if (error.status === 429 || error.status >= 500) {
      this.#set("unreachable", `The server is not ready; trying again. ${words}`);
      return clamp(error.retryAfterS ?? backoff, 1, RETRY_PAUSE_LONG_MAX_S);
    }
    this.#set("failed", words);
    return null;
  }

  async #wait(state: PlayerState, message: string, seconds: number, signal: AbortSignal): Promise<void> {
    this.#set(state, message);
    await pause(seconds, signal);
  }

  #set(state: PlayerState, message: string): void {
    const changed = this.state !== state;
    this.state = state;
    this.message = message;
    if (state === "playing" || state === "idle") this.error = null;
    if (changed) this.emit("state", state);
    this.emit("change", undefined);
  }

  /** Tells the page and the server how it goes, and follows what the server decides. */
  async #tick(): Promise<void> {
    const playback = this.#playback;
    const stats = (await playback?.stats().catch(() => null)) ?? null;
    if (playback !== this.#playback) return;
    this.emit("stats", stats);
    if (!playback || !stats) return;
    const { clientWidth, clientHeight } = this.options.video;
    const place = { width: Math.round(clientWidth * devicePixelRatio), height: Math.round(clientHeight * devicePixelRatio) };
    // An answer that does not come changes nothing: what plays goes on, and the next second asks again.
    await playback.report({ ...place, saveData: this.#savesData }).catch(() => undefined);
  }
}

/** Watches a broadcast in an element, from now on until `stop()`. */
export function watch(options: WatchOptions): Player {
  const player = new Player(options);
  player.start();
  return player;
}

/** WHEP says 409 of a stream without a publisher; playlists of one do not exist. */
function isNotLive(error: unknown): boolean {
  return error instanceof Problem && (error.status === 409 || error.status === 404);
}

/** Asking again would be answered alike. */
function isFinal(error: unknown): boolean {
  return error instanceof Problem && error.status >= 400 && error.status < 500 && error.status !== 409 && error.status !== 429;
}

function clamp(value: number, min: number, max: number): number {
  return Math.min(Math.max(value, min), max);
}

const STATS_EVERY_MS = 1_000;
/** How soon WebRTC is tried again while HLS plays in its place, and how seldom at most. */
const AGAIN_FIRST_S = 8;
const AGAIN_MAX_S = 60;
const RETRY_PAUSE_MAX_S = 15;
/** A server may ask for more patience than we would have by ourselves, within reason. */
const RETRY_PAUSE_LONG_MAX_S = 120;
