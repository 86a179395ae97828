// The HLS transport of the player: hls.js, loaded when it is first needed, or the browser's own where that cannot run.

import type Hls from "hls.js";
import type { ErrorData, HlsConfig, Level } from "hls.js";

import {
  firstFrame,
  play,
  type Place,
  type Playback,
  type PlaybackStats,
  type PlaybackTarget,
  type RungChoice,
  Stalls,
  Unplayable,
} from "./playback.ts";
import { Problem, request } from "./problem.ts";
import { at } from "./server.ts";

/** Opens HLS in whichever way this browser can; throws what went wrong. */
export async function openHls(target: PlaybackTarget): Promise<Playback> {
  const url = at(target.server, `/hls/${encodeURIComponent(target.stream)}/playlist.m3u8`);
  // Asked for by hand first: players swallow the words of a refusal. The first viewer waits for the encoder here.
  await request(url, { token: target.token, signal: target.signal, timeoutMs: PLAYLIST_TIMEOUT_MS });
  const { default: HlsPlayer } = await import("hls.js");
  if (HlsPlayer.isSupported()) return HlsPlayback.open(target, url, HlsPlayer);
  if (target.video.canPlayType("application/vnd.apple.mpegurl")) return NativePlayback.open(target, url);
  throw new Unplayable("this browser plays neither WebRTC nor HLS");
}

class HlsPlayback implements Playback {
  readonly transport = "hls";
  rungs: RungChoice[] = [];
  rung: string | null = null;
  chosen: string | null = null;
  reason = "";
  /** Over HLS nobody judges the network. */
  readonly score = null;
  readonly #stalls: Stalls;
  #bytes = 0;
  #saveData = false;
  #switchedAt = performance.now();
  /** Time to the first byte of the last fetch. */
  #firstByteMs: number | null = null;
  #recoveredAt = -Infinity;
  /** Where each rung stands in hls.js's own list. */
  readonly #levels = new Map<string, number>();

  private constructor(
    private readonly hls: Hls,
    private readonly target: PlaybackTarget,
  ) {
    this.#stalls = new Stalls(target.video);
    target.video.textTracks.addEventListener("change", this.#captionsChanged);
  }

  static async open(target: PlaybackTarget, url: string, HlsPlayer: typeof Hls): Promise<HlsPlayback> {
    const { video, token, signal, events } = target;
    const workerPath = await target.hlsWorker?.();
    signal.throwIfAborted();
    const config: Partial<HlsConfig> = {
      ...(workerPath ? { workerPath } : {}),
      lowLatencyMode: true,
      backBufferLength: 30,
    };
    if (token) config.xhrSetup = (xhr) => xhr.setRequestHeader("authorization", `Bearer ${token}`);
    const hls = new HlsPlayer(config);
    const playback = new HlsPlayback(hls, target);

    let opened = false;
    const failed = new Promise<never>((_, reject) => {
      hls.on(HlsPlayer.Events.ERROR, (_event, data) => {
        if (!data.fatal || playback.#recover(data, HlsPlayer)) return;
        const why = describe(data);
        const status = data.response?.code ?? 0;
        if (!opened) reject(status >= 400 ? new Problem(status, why, "", null) : new Error(why));
        else if (status === 404 || status === 409) events.ended({ kind: "not-live" });
        else events.ended({ kind: "broken", why });
      });
    });
    hls.on(HlsPlayer.Events.MANIFEST_PARSED, () => playback.#listLevels());
    hls.on(HlsPlayer.Events.LEVELS_UPDATED, () => playback.#listLevels());
    hls.on(HlsPlayer.Events.LEVEL_SWITCHED, (_event, { level }) => {
      playback.rung = rungOf(hls.levels[level]);
      playback.#switchedAt = performance.now();
      events.changed();
    });
    hls.on(HlsPlayer.Events.FRAG_LOADED, (_event, { frag }) => {
      playback.#bytes += frag.stats.loaded;
      const { start, first } = frag.stats.loading;
      if (first > start) playback.#firstByteMs = first - start;
    });
    try {
      hls.loadSource(url);
      hls.attachMedia(video);
      void play(video);
      await Promise.race([firstFrame(video, FIRST_FRAME_TIMEOUT_MS, signal), failed]);
    } catch (error) {
      playback.stop();
      throw error;
    }
    opened = true;
    video.addEventListener("ended", playback.#ended);
    // Loading may have moved the element past what the autoplay began with.
    if (video.paused) void play(video);
    return playback;
  }

  async select(rung: string | null): Promise<void> {
    if (rung === null) {
      this.hls.nextLevel = -1;
    } else {
      const level = this.#levels.get(rung);
      if (level === undefined) throw new Error(`there is no quality ${rung}`);
      this.hls.nextLevel = level;
    }
    this.chosen = rung;
    this.target.events.changed();
  }

  async stats(): Promise<PlaybackStats> {
    const codec = this.hls.levels[this.hls.currentLevel]?.videoCodec ?? null;
    return {
      ...elementStats(this.target.video),
      bytesReceived: this.#bytes,
      videoCodec: codec,
      freezes: this.#stalls.count,
      freezeSeconds: this.#stalls.seconds,
      latencySeconds: this.hls.latency || null,
      roundTripTimeMs: this.#firstByteMs,
    };
  }

  async saveData(on: boolean): Promise<void> {
    this.#saveData = on;
  }

  async report({ width, height }: Place): Promise<void> {
    const { hls, target } = this;
    const { bufferSeconds, framesDropped } = elementStats(target.video);
    const finite = (number: number | null | undefined): number | undefined =>
      number != null && Number.isFinite(number) && number >= 0 ? number : undefined;
    try {
      const response = await request(at(target.server, `/api/streams/${encodeURIComponent(target.stream)}/stats`), {
        method: "POST",
        token: target.token,
        signal: target.signal,
        contentType: "application/json",
        body: JSON.stringify({
          player: PLAYER,
          bandwidth_kbps: finite(hls.bandwidthEstimate / 1000),
          rtt_ms: finite(this.#firstByteMs),
          buffer_s: finite(bufferSeconds),
          latency_s: finite(hls.latency),
          latency_target_s: finite(hls.targetLatency),
          play_rate: finite(target.video.playbackRate),
          stalls: this.#stalls.count,
          stall_s: this.#stalls.seconds,
          in_stall: this.#stalls.now,
          ...(this.rung === null ? {} : { rung: this.rung }),
          since_switch_ms: performance.now() - this.#switchedAt,
          dropped_frames: framesDropped,
          screen_width: width,
          screen_height: height,
          data_saver: this.#saveData,
        }),
      });
      this.#follow((await response.json()) as Advice);
    } catch (error) {
      // Nobody to decide: hls.js does.
      if (this.chosen === null) hls.loadLevel = -1;
      this.reason = "";
      throw error;
    }
  }

  #follow({ rung, reason, play_rate: rate }: Advice): void {
    const level = rung === null ? undefined : this.#levels.get(rung);
    // By its next fragment; what is loaded already plays to its end.
    if (this.chosen === null && level !== undefined && this.hls.loadLevel !== level) this.hls.loadLevel = level;
    this.target.video.playbackRate = rate === undefined ? 1 : Math.min(Math.max(rate, RATE_MIN), RATE_MAX);
    if (this.reason === reason) return;
    this.reason = reason;
    this.target.events.changed();
  }

  stop(): void {
    this.#stalls.stop();
    this.target.video.playbackRate = 1;
    this.target.video.removeEventListener("ended", this.#ended);
    this.target.video.textTracks.removeEventListener("change", this.#captionsChanged);
    this.hls.destroy();
  }

  readonly #ended = (): void => this.target.events.ended({ kind: "not-live" });

  /** hls.js forgets at the end of each part what it has read of a caption: whoever wants captions is given whole segments. */
  readonly #captionsChanged = (): void => {
    const shown = [...this.target.video.textTracks].some(({ kind, mode }) => kind === "captions" && mode === "showing");
    this.hls.lowLatencyMode = !shown;
  };

  #listLevels(): void {
    this.#levels.clear();
    this.rungs = this.hls.levels
      .map((level, index): RungChoice => {
        const id = rungOf(level) ?? `${index}`;
        this.#levels.set(id, index);
        return {
          id,
          width: level.width || null,
          height: level.height || null,
          frameRate: level.frameRate || null,
          bitrateKbps: level.bitrate ? Math.round(level.bitrate / 1000) : null,
        };
      })
      .reverse();
    this.target.events.changed();
  }

  /** A decoder that stumbled is set up anew, but not over and over. */
  #recover(data: ErrorData, HlsPlayer: typeof Hls): boolean {
    if (data.type !== HlsPlayer.ErrorTypes.MEDIA_ERROR) return false;
    const now = performance.now();
    if (now - this.#recoveredAt < RECOVERY_PAUSE_MS) return false;
    this.#recoveredAt = now;
    this.hls.recoverMediaError();
    return true;
  }
}

/** What the server makes of a report. */
interface Advice {
  /** The rung to play; `null` while there is none. */
  rung: string | null;
  reason: string;
  play_rate?: number;
}

/** The browser's own HLS: it chooses by itself and tells little. */
class NativePlayback implements Playback {
  readonly transport = "hls";
  readonly rungs: RungChoice[] = [];
  readonly rung = null;
  readonly chosen = null;
  readonly reason = "";
  readonly score = null;

  private constructor(private readonly target: PlaybackTarget) {}

  static async open(target: PlaybackTarget, url: string): Promise<NativePlayback> {
    const { video, token, signal } = target;
    const playback = new NativePlayback(target);
    // It sends no headers of ours; the server carries the token on into what the playlists name.
    video.src = token ? `${url}?token=${encodeURIComponent(token)}` : url;
    try {
      void play(video);
      await firstFrame(video, FIRST_FRAME_TIMEOUT_MS, signal);
    } catch (error) {
      playback.stop();
      throw error;
    }
    video.addEventListener("ended", playback.#ended);
    video.addEventListener("error", playback.#failed);
    return playback;
  }

  async select(rung: string | null): Promise<void> {
    if (rung !== null) throw new Error("this browser chooses the quality by itself");
  }

  async saveData(on: boolean): Promise<void> {
    if (on) throw new Error("this browser chooses the quality by itself");
  }

  /** It neither knows its bandwidth nor could follow a decision. */
  async report(): Promise<void> {}

  async stats(): Promise<PlaybackStats> {
    return elementStats(this.target.video);
  }

  stop(): void {
    const { video } = this.target;
    video.removeEventListener("ended", this.#ended);
    video.removeEventListener("error", this.#failed);
    video.removeAttribute("src");
    video.load();
  }

  readonly #ended = (): void => this.target.events.ended({ kind: "not-live" });
  readonly #failed = (): void =>
    this.target.events.ended({ kind: "broken", why: this.target.video.error?.message || "playback failed" });
}

/** The rung is the folder of its playlist: `/hls/{stream}/{rung}/playlist.m3u8`. */
function rungOf(level: Level | undefined): string | null {
  const folders = level ? new URL(level.uri, location.href).pathname.split("/") : [];
  const rung = folders.at(-2);
  return rung ? decodeURIComponent(rung) : null;
}

function describe(data: ErrorData): string {
  const code = data.response?.code ? ` (HTTP ${data.response.code})` : "";
  return `HLS playback failed: ${data.details}${code}`;
}

function elementStats(video: HTMLVideoElement): PlaybackStats {
  const quality = video.getVideoPlaybackQuality();
  const { buffered, currentTime } = video;
  let bufferSeconds = 0;
  for (let i = 0; i < buffered.length; i++) {
    if (buffered.start(i) <= currentTime + 0.1) bufferSeconds = Math.max(0, buffered.end(i) - currentTime);
  }
  return {
    transport: "hls",
    width: video.videoWidth,
    height: video.videoHeight,
    framesDecoded: quality.totalVideoFrames,
    framesDropped: quality.droppedVideoFrames,
    bytesReceived: null,
    videoPackets: null,
    audioPackets: null,
    packetsLost: null,
    audioEnergy: null,
    freezes: null,
    freezeSeconds: null,
    jitterMs: null,
    roundTripTimeMs: null,
    skewMs: null,
    bufferSeconds,
    latencySeconds: null,
    videoCodec: null,
  };
}

const PLAYLIST_TIMEOUT_MS = 15_000;
const FIRST_FRAME_TIMEOUT_MS = 20_000;
const RECOVERY_PAUSE_MS = 5_000;
/** Told apart from other players behind the same address. */
const PLAYER = Math.random().toString(36).slice(2);
/** Faster or slower is heard. */
const RATE_MIN = 0.9;
const RATE_MAX = 1.1;
