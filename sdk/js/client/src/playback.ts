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
  /** Media ahead of the picture. */
  bufferSeconds: number | null;
  /** The codec of the picture as the transport names it. */
  videoCodec: string | null;
}

/** Why a playback ended by itself. */
export type Ending =
  | { kind: "not-live" }
  /** This transport stopped working; another may do. */
  | { kind: "broken"; why: string };

export interface PlaybackEvents {
  /** Rungs, the playing rung or the choice changed. */
  changed: () => void;
  ended: (ending: Ending) => void;
}

export interface PlaybackTarget {
  video: HTMLVideoElement;
  stream: string;
  token: string | null;
  signal: AbortSignal;
  events: PlaybackEvents;
  /** Where the worker of hls.js is: a file of the page's own origin instead of a blob keeps its security policy strict. */
  hlsWorker?: () => Promise<string>;
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
  select(rung: string | null): Promise<void>;
  stats(): Promise<PlaybackStats>;
  stop(): void;
}

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

/** Starts the element. A browser that wants a click first leaves it paused, with its own controls to press. */
export async function play(video: HTMLVideoElement): Promise<void> {
  try {
    await video.play();
  } catch (error) {
    if (!(error instanceof DOMException) || error.name === "NotSupportedError") throw error;
  }
}
