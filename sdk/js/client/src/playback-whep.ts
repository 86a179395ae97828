// The WebRTC transport of the player.

import {
  firstFrame,
  play,
  type Place,
  type Playback,
  type PlaybackStats,
  type PlaybackTarget,
  type RungChoice,
  type Score,
  Stalls,
} from "./playback.ts";
import { Problem } from "./problem.ts";
import { at } from "./server.ts";
import { streamDetail, type StreamDetail, type Track } from "./streams.ts";
import { WhepSession, type RungEvent } from "./whep.ts";

export class WhepPlayback implements Playback {
  readonly transport = "whep";
  rungs: RungChoice[] = [];
  rung: string | null = null;
  chosen: string | null = null;
  reason = "";
  score: Score | null = null;
  #stalls: Stalls;
  #buffered: { total: number; emitted: number; mean: number | null } = { total: 0, emitted: 0, mean: null };
  #watch: ReturnType<typeof setInterval> | undefined;

  private constructor(
    private readonly session: WhepSession,
    private target: PlaybackTarget,
  ) {
    this.#stalls = new Stalls(target.video);
  }

  /** Connects and waits for the first picture; throws what went wrong. */
  static async open(target: PlaybackTarget): Promise<WhepPlayback> {
    const { video, stream, token, signal } = target;
    let playback: WhepPlayback | null = null;
    // The first event may come before there is a playback to take it.
    let early: RungEvent | null = null;
    const session = await WhepSession.open(
      {
        url: at(target.server, `/whep/${encodeURIComponent(stream)}`),
        token,
        signal,
        onRung: (event) => (playback ? playback.#heard(event) : (early = event)),
        onLayers: () => void (playback && playback.#loadRungs()),
        onLost: () => void (playback && playback.#end("the WebRTC connection was lost")),
      },
      CONNECT_TIMEOUT_MS,
    );
    try {
      signal.throwIfAborted();
      video.srcObject = session.stream;
      void play(video);
      await firstFrame(video, FIRST_FRAME_TIMEOUT_MS, signal);
    } catch (error) {
      session.close();
      video.srcObject = null;
      throw error;
    }
    playback = new WhepPlayback(session, target);
    if (early) playback.#heard(early);
    void playback.#loadRungs();
    playback.#watchFlow();
    return playback;
  }

  async select(rung: string | null): Promise<void> {
    await this.session.select(rung);
    // The server tells what plays; that the choice is made is known now.
    this.chosen = rung;
    this.target.events.changed();
  }

  async saveData(on: boolean): Promise<void> {
    await this.session.saveData(on, this.chosen);
  }

  async report({ width, height }: Place): Promise<void> {
    const { framesDropped } = await this.stats();
    const standing = await this.session.report({
      stalls: this.#stalls.count,
      stall_s: this.#stalls.seconds,
      in_stall: this.#stalls.now,
      dropped_frames: framesDropped,
      screen_width: width,
      screen_height: height,
    });
    if (!standing) return;
    this.score = standing.score;
    this.#heard(standing);
  }

  /** Goes on in another element. */
  async moveTo(video: HTMLVideoElement): Promise<void> {
    const before = this.target.video;
    this.#stalls.stop();
    this.target = { ...this.target, video };
    this.#stalls = new Stalls(video);
    video.srcObject = this.session.stream;
    void play(video);
    await firstFrame(video, FIRST_FRAME_TIMEOUT_MS, this.target.signal);
    before.srcObject = null;
  }

  async stats(): Promise<PlaybackStats> {
    const stats = await readStats(this.session.pc, this.target.video);
    // The browser counts what its buffer held since the beginning; of interest is what it holds now.
    const { bufferTotalSeconds: total, bufferEmitted: emitted } = stats;
    const passed = emitted - this.#buffered.emitted;
    if (passed > 0) this.#buffered = { total, emitted, mean: (total - this.#buffered.total) / passed };
    return { ...stats, bufferSeconds: this.#buffered.mean };
  }

  stop(): void {
    this.#stalls.stop();
    clearInterval(this.#watch);
    this.session.close();
    this.target.video.srcObject = null;
  }

  #heard({ rung, automatic, reason }: RungEvent): void {
    this.rung = rung;
    this.chosen = automatic ? null : (this.chosen ?? rung);
    this.reason = reason;
    if (rung !== null && !this.rungs.some(({ id }) => id === rung)) void this.#loadRungs();
    this.target.events.changed();
  }

  async #loadRungs(): Promise<void> {
    if (!this.session.selectable) return;
    try {
      const { tracks = [] } = await this.#detail();
      this.rungs = tracks.filter(({ kind }) => kind === "video").map(toChoice).sort(bestFirst);
      this.target.events.changed();
    } catch {
      // Without a list there is nothing to choose from; it plays all the same.
    }
  }

  /** Notices when nothing arrives any more: a connection can stay up while its broadcast ends. */
  #watchFlow(): void {
    let bytes = -1;
    let still = 0;
    let busy = false;
    this.#watch = setInterval(async () => {
      if (busy) return;
      busy = true;
      try {
        const stats = await this.stats();
        still = stats.bytesReceived === bytes ? still + 1 : 0;
        bytes = stats.bytesReceived ?? 0;
        if (still >= STILL_CHECKS_MAX) {
          still = 0;
          await this.#end("nothing arrives over WebRTC any more");
        }
      } finally {
        busy = false;
      }
    }, STILL_CHECK_MS);
  }

  #detail(): Promise<StreamDetail> {
    const { stream, token, signal, server } = this.target;
    return streamDetail(stream, token, signal, server);
  }

  async #end(why: string): Promise<void> {
    const { signal, events } = this.target;
    let live = true;
    try {
      live = (await this.#detail()).state !== "ended";
    } catch (error) {
      // Gone is gone; any other failure says nothing about the broadcast.
      live = !(error instanceof Problem && error.status === 404);
    }
    if (!signal.aborted) events.ended(live ? { kind: "broken", why } : { kind: "not-live" });
  }
}

function toChoice(track: Track): RungChoice {
  return {
    id: track.id,
    width: track.width ?? null,
    height: track.height ?? null,
    frameRate: track.frame_rate ?? null,
    bitrateKbps: track.bitrate_kbps ?? null,
  };
}

function bestFirst(a: RungChoice, b: RungChoice): number {
  return (b.height ?? 0) - (a.height ?? 0) || (b.bitrateKbps ?? 0) - (a.bitrateKbps ?? 0);
}

/** The fields of `getStats()` that are read here; TypeScript's own types lack most of them. */
interface StatsEntry {
  type: string;
  kind?: string;
  bytesReceived?: number;
  packetsReceived?: number;
  packetsLost?: number;
  jitter?: number;
  framesDecoded?: number;
  framesDropped?: number;
  freezeCount?: number;
  totalFreezesDuration?: number;
  totalAudioEnergy?: number;
  estimatedPlayoutTimestamp?: number;
  jitterBufferDelay?: number;
  jitterBufferEmittedCount?: number;
  codecId?: string;
  mimeType?: string;
  nominated?: boolean;
  currentRoundTripTime?: number;
}

async function readStats(pc: RTCPeerConnection, video: HTMLVideoElement) {
  const stats: PlaybackStats & { bufferTotalSeconds: number; bufferEmitted: number } = {
    bufferTotalSeconds: 0,
    bufferEmitted: 0,
    transport: "whep",
    width: video.videoWidth,
    height: video.videoHeight,
    framesDecoded: 0,
    framesDropped: 0,
    bytesReceived: 0,
    videoPackets: 0,
    audioPackets: 0,
    packetsLost: 0,
    audioEnergy: 0,
    freezes: 0,
    freezeSeconds: 0,
    jitterMs: null,
    roundTripTimeMs: null,
    skewMs: null,
    bufferSeconds: null,
    latencySeconds: null,
    videoCodec: null,
  };
  const playout: { audio?: number; video?: number } = {};
  const report = await pc.getStats();
  report.forEach((entry: StatsEntry) => {
    if (entry.type === "candidate-pair" && entry.nominated && entry.currentRoundTripTime !== undefined) {
      stats.roundTripTimeMs = entry.currentRoundTripTime * 1000;
    }
    if (entry.type !== "inbound-rtp") return;
    stats.bytesReceived = (stats.bytesReceived ?? 0) + (entry.bytesReceived ?? 0);
    stats.packetsLost = (stats.packetsLost ?? 0) + (entry.packetsLost ?? 0);
    if (entry.kind === "audio") {
      stats.audioPackets = entry.packetsReceived ?? 0;
      stats.audioEnergy = entry.totalAudioEnergy ?? 0;
      if (entry.estimatedPlayoutTimestamp) playout.audio = entry.estimatedPlayoutTimestamp;
    } else if (entry.kind === "video") {
      stats.videoPackets = entry.packetsReceived ?? 0;
      stats.framesDecoded = entry.framesDecoded ?? 0;
      stats.framesDropped = entry.framesDropped ?? 0;
      stats.bufferTotalSeconds = entry.jitterBufferDelay ?? 0;
      stats.bufferEmitted = entry.jitterBufferEmittedCount ?? 0;
      stats.freezes = entry.freezeCount ?? 0;
      stats.freezeSeconds = entry.totalFreezesDuration ?? 0;
      if (entry.jitter !== undefined) stats.jitterMs = entry.jitter * 1000;
      const codec = entry.codecId ? (report.get(entry.codecId) as StatsEntry | undefined) : undefined;
      stats.videoCodec = codec?.mimeType?.replace(/^video\//, "") ?? null;
      if (entry.estimatedPlayoutTimestamp) playout.video = entry.estimatedPlayoutTimestamp;
    }
  });
  if (playout.audio !== undefined && playout.video !== undefined) stats.skewMs = playout.video - playout.audio;
  return stats;
}

const CONNECT_TIMEOUT_MS = 8_000;
const FIRST_FRAME_TIMEOUT_MS = 8_000;
const STILL_CHECK_MS = 1_000;
/** Long enough for a publisher's short gap, short enough that a viewer does not reload first. */
const STILL_CHECKS_MAX = 5;
