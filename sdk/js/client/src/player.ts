// The player: WebRTC first, HLS when that fails, and words for everything that can be wrong.

import type { Ending, Playback, PlaybackStats, PlaybackTarget, RungChoice, Transport } from "./playback.ts";
import { openHls } from "./playback-hls.ts";
import { WhepPlayback } from "./playback-whep.ts";
import { Problem, Unreachable } from "./problem.ts";

export type PlayerState =
  | "idle"
  | "connecting"
  | "playing"
  /** The broadcast is not live; it is asked for again. */
  | "waiting"
  /** The server cannot be reached, or is too busy; it is asked again. */
  | "unreachable"
  /** The token does not allow this, or is missing. Final. */
  | "refused"
  /** Nothing works here. Final. */
  | "failed";

/** Which transports may be used. */
export type Via = "auto" | Transport;

export interface PlayerOptions {
  video: HTMLVideoElement;
  stream: string;
  token: string | null;
  via: Via;
  /** The address of `hls.js/dist/hls.worker.js`, asked for when HLS is first played; without it the worker is a blob. */
  hlsWorker?: () => Promise<string>;
  /** Anything that can be shown changed. */
  onChange: (player: Player) => void;
}

type Opener = (target: PlaybackTarget) => Promise<Playback>;

const OPENERS: Record<Transport, Opener> = { whep: (target) => WhepPlayback.open(target), hls: openHls };

/** Plays one stream in one element until stopped. */
export class Player {
  state: PlayerState = "idle";
  /** What to tell the viewer about `state`; empty while it plays. */
  message = "";
  /** Why the transport in use is not the first choice; empty if it is. */
  fallback = "";
  via: Via;
  #playback: Playback | null = null;
  #run = new AbortController();

  constructor(private readonly options: PlayerOptions) {
    this.via = options.via;
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

  /** Starts, or starts over, perhaps over another transport. */
  start(via: Via = this.via): void {
    this.stop();
    this.via = via;
    this.#run = new AbortController();
    void this.#play(this.#run.signal);
  }

  stop(): void {
    this.#run.abort(new DOMException("the player was stopped", "AbortError"));
    this.#playback?.stop();
    this.#playback = null;
    this.#set("idle", "");
  }

  /** Chooses a rung, or with `null` leaves the choice to the server (WebRTC) or to hls.js. */
  async select(rung: string | null): Promise<void> {
    await this.#playback?.select(rung);
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
    const { video, stream, token, hlsWorker } = this.options;
    if (this.state !== "waiting" && this.state !== "unreachable") this.#set("connecting", "Connecting…");
    for (const [index, transport] of transports.entries()) {
      let ended: (ending: Ending) => void = () => undefined;
      const ending = new Promise<Ending>((resolve) => (ended = resolve));
      const events = { ended, changed: () => this.options.onChange(this) };
      try {
        const playback = await OPENERS[transport]({ video, stream, token, signal, events, ...(hlsWorker ? { hlsWorker } : {}) });
        if (signal.aborted) {
          playback.stop();
          signal.throwIfAborted();
        }
        this.#playback = playback;
        this.#set("playing", "");
        const result = await ending;
        if (this.#playback === playback) {
          playback.stop();
          this.#playback = null;
        }
        return result;
      } catch (error) {
        signal.throwIfAborted();
        // Where nothing is live, or nothing answers, another transport has nothing either. A 404 may only mean that
        // this server speaks no WHEP.
        const hopeless = error instanceof Unreachable || (error instanceof Problem && error.status === 409);
        if (hopeless || index === transports.length - 1) throw error;
        this.fallback = error instanceof Error ? error.message : String(error);
        this.#set("connecting", "WebRTC does not get through; trying HLS…");
      }
    }
    throw new Error("no transport to try");
  }

  /** Says what is wrong; returns how many seconds to wait before trying again, or `null` for never. */
  #explain(error: unknown, attempt: number): number | null {
    const backoff = Math.min(2 ** attempt, RETRY_PAUSE_MAX_S);
    if (error instanceof Unreachable) {
      this.#set("unreachable", `The server cannot be reached; trying again. (${error.message})`);
      return backoff;
    }
    if (!(error instanceof Problem)) {
      this.#set("failed", error instanceof Error ? `${error.message}.` : String(error));
      return null;
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
    this.state = state;
    this.message = message;
    this.options.onChange(this);
  }
}

/** WHEP says 409 of a stream without a publisher; playlists of one do not exist. */
function isNotLive(error: unknown): boolean {
  return error instanceof Problem && (error.status === 409 || error.status === 404);
}

function clamp(value: number, min: number, max: number): number {
  return Math.min(Math.max(value, min), max);
}

/** Waits; an abort ends the wait early, without an error. */
function pause(seconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, seconds * 1000);
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}

const RETRY_PAUSE_MAX_S = 15;
/** A server may ask for more patience than we would have by ourselves, within reason. */
const RETRY_PAUSE_LONG_MAX_S = 120;
