// What the player asks of a transport. Two answer: WebRTC (playback-whep.ts) and HLS (playback-hls.ts).

export type Transport = "whep" | "hls";

/** A quality the viewer can choose. */
export interface RungChoice {
  id: string;
  width: number | null;
  height: number | null;
  frameRate: number | null;
  bitrateKbps: number | null;
}

/** Counters since the playback began; `null` where the transport cannot know. */
export interface PlaybackStats {
  transport: Transport;
  width: number;
  height: number;
  framesDecoded: number;
  framesDropped: number;
  bytesReceived: number | null;
  videoPackets: number | null;
  audioPackets: number | null;
  packetsLost: number | null;
  /** Grows while sound is not silence. */
  audioEnergy: number | null;
  freezes: number | null;
  freezeSeconds: number | null;
  jitterMs: number | null;
  roundTripTimeMs: number | null;
  /** How much later than the picture the sound is played; near 0 is lip-sync. */
  skewMs: number | null;
  /** Media ahead of the picture; over WebRTC what the jitter buffer holds. */
  bufferSeconds: number | null;
  /** How far the picture is behind the source, where that is known. */
  latencySeconds: number | null;
  /** The codec of the picture as the transport names it. */
  videoCodec: string | null;
}

/** Why a playback ended by itself. */
export type Ending =
  | { kind: "not-live" }
  /** This transport stopped working; another may do. */
  | { kind: "broken"; why: string };

/** Network quality, 0 to 100, and what took how much off it, as `loss_part`: points, by the names of the server's policy. */
export type Score = { readonly score: number } & Readonly<Record<string, unknown>>;

/** What a viewer knows of itself and the server does not. */
export interface Place {
  /** Of the picture's place on the screen, in device pixels. */
  width: number;
  height: number;
  saveData: boolean;
}

export interface PlaybackEvents {
  /** Rungs, the playing rung or the choice changed. */
  changed: () => void;
  ended: (ending: Ending) => void;
}

export interface PlaybackTarget {
  video: HTMLVideoElement;
  stream: string;
  token: string | null;
  server?: string | URL | undefined;
  signal: AbortSignal;
  events: PlaybackEvents;
  /** Where the worker of hls.js is: a file of the page's own origin instead of a blob keeps its security policy strict. */
  hlsWorker?: (() => Promise<string>) | undefined;
}

/** A transport at work: media plays until it ends or is stopped. */
export interface Playback {
  readonly transport: Transport;
  /** Best first. */
  readonly rungs: readonly RungChoice[];
  /** What plays now, if known. */
  readonly rung: string | null;
  /** What the viewer chose; `null` leaves it to the server or to hls.js. What plays follows at a keyframe. */
  readonly chosen: string | null;
  readonly reason: string;
  /** As of the last report; `null` where nobody judges. */
  readonly score: Score | null;
  select(rung: string | null): Promise<void>;
  saveData(on: boolean): Promise<void>;
  /** Tells the server how it goes, and follows what the answer says. Once a second. */
  report(place: Place): Promise<void>;
  stats(): Promise<PlaybackStats>;
  stop(): void;
}

/** This browser cannot do it, however often it is tried. */
export class Unplayable extends Error {}

/** Resolves with the first picture (or the first sound of a broadcast without pictures). */
export function firstFrame(video: HTMLVideoElement, timeoutMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (settle: () => void): void => {
      clearTimeout(timer);
      video.removeEventListener("loadeddata", loaded);
      signal.removeEventListener("abort", aborted);
      settle();
    };
    const loaded = (): void => {
      if (video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA) done(resolve);
    };
    const aborted = (): void => done(() => reject(signal.reason as Error));
    const timer = setTimeout(() => done(() => reject(new Error("no picture arrived in time"))), timeoutMs);
    video.addEventListener("loadeddata", loaded);
    signal.addEventListener("abort", aborted);
    if (signal.aborted) aborted();
    else loaded();
  });
}

/** Notes when an element waits for media in the middle of playing. */
export class Stalls {
  count = 0;
  #seconds = 0;
  #since: number | null = null;
  #hasPlayed = false;

  constructor(private readonly video: HTMLVideoElement) {
    video.addEventListener("waiting", this.#began);
    video.addEventListener("playing", this.#over);
  }

  get now(): boolean {
    return this.#since !== null;
  }

  get seconds(): number {
    return this.#seconds + (this.#since === null ? 0 : (performance.now() - this.#since) / 1000);
  }

  stop(): void {
    this.video.removeEventListener("waiting", this.#began);
    this.video.removeEventListener("playing", this.#over);
  }

  readonly #began = (): void => {
    // Before the first picture it is joining; who seeks or pauses waits because they want to.
    if (!this.#hasPlayed || this.#since !== null || this.video.seeking || this.video.paused) return;
    this.count += 1;
    this.#since = performance.now();
  };

  readonly #over = (): void => {
    this.#hasPlayed = true;
    this.#seconds = this.seconds;
    this.#since = null;
  };
}

/** Starts the element. A browser that wants a click first leaves it paused, with its own controls to press. */
export async function play(video: HTMLVideoElement): Promise<void> {
  try {
    await video.play();
  } catch (error) {
    if (!(error instanceof DOMException) || error.name === "NotSupportedError") throw error;
  }
}
