// What comes down: the tracks of the others, each in a section that the server fills with whom it decides.

import { stereo } from "../whep.ts";
import type { Keepable } from "./kept.ts";
import { Peer, type PeerOptions } from "./peer.ts";

export interface DownlinkOptions extends Pick<PeerOptions, "ask" | "iceServers" | "signal"> {
  /** How many sections for video, and how many for audio. */
  video: number;
  audio: number;
}

/** How one picture arrives. */
export interface ViewStats {
  mid: string;
  width: number | null;
  height: number | null;
  framesPerSecond: number | null;
  framesDecoded: number;
  freezes: number;
}

/** How everything together arrives: counters since the connection began. */
export interface DownlinkStats {
  bytesReceived: number;
  packetsLost: number;
  /** Round trip on the network, in ms. */
  roundTripTimeMs: number | null;
  /** Jitter of the worst section, in ms. */
  jitterMs: number | null;
  /** Grows while sound is not silence. */
  audioEnergy: number;
  views: ViewStats[];
}

/** One connection that receives. */
export class Downlink implements Keepable {
  /** What each section receives, by its `mid`. The objects stay the same whoever is shown. */
  readonly video = new Map<string, MediaStream>();
  readonly audio = new Map<string, MediaStream>();

  private constructor(private readonly peer: Peer) {
    for (const { mid, receiver } of peer.pc.getTransceivers()) {
      if (mid === null) continue;
      const side = receiver.track.kind === "video" ? this.video : this.audio;
      side.set(mid, new MediaStream([receiver.track]));
    }
  }

  static async open({ video, audio, ...options }: DownlinkOptions): Promise<Downlink> {
    const prepare = (pc: RTCPeerConnection): void => {
      for (let at = 0; at < audio; at++) pc.addTransceiver("audio", { direction: "recvonly" });
      for (let at = 0; at < video; at++) pc.addTransceiver("video", { direction: "recvonly" });
    };
    return new Downlink(await Peer.open({ ...options, prepare, munge: stereo }));
  }

  get lost(): Promise<string> {
    return this.peer.lost;
  }

  async stats(): Promise<DownlinkStats> {
    const stats: DownlinkStats = {
      bytesReceived: 0,
      packetsLost: 0,
      roundTripTimeMs: null,
      jitterMs: null,
      audioEnergy: 0,
      views: [],
    };
    const report = await this.peer.pc.getStats();
    report.forEach((entry: StatsEntry) => {
      if (entry.type === "candidate-pair" && entry.nominated && entry.currentRoundTripTime !== undefined) {
        stats.roundTripTimeMs = entry.currentRoundTripTime * 1000;
      }
      if (entry.type !== "inbound-rtp") return;
      stats.bytesReceived += entry.bytesReceived ?? 0;
      stats.packetsLost += entry.packetsLost ?? 0;
      if (entry.jitter !== undefined) stats.jitterMs = Math.max(stats.jitterMs ?? 0, entry.jitter * 1000);
      if (entry.kind === "audio") stats.audioEnergy += entry.totalAudioEnergy ?? 0;
      if (entry.kind !== "video" || entry.mid === undefined) return;
      stats.views.push({
        mid: entry.mid,
        width: entry.frameWidth ?? null,
        height: entry.frameHeight ?? null,
        framesPerSecond: entry.framesPerSecond ?? null,
        framesDecoded: entry.framesDecoded ?? 0,
        freezes: entry.freezeCount ?? 0,
      });
    });
    return stats;
  }

  close(): void {
    this.peer.close();
  }
}

/** The fields of `getStats()` that are read here; TypeScript's own types lack most of them. */
interface StatsEntry {
  type: string;
  kind?: string;
  mid?: string;
  bytesReceived?: number;
  packetsLost?: number;
  jitter?: number;
  totalAudioEnergy?: number;
  frameWidth?: number;
  frameHeight?: number;
  framesPerSecond?: number;
  framesDecoded?: number;
  freezeCount?: number;
  nominated?: boolean;
  currentRoundTripTime?: number;
}
