// Publishing over WebRTC: a WHIP client (RFC 9725).

import { HttpSession, type Endpoint } from "./http-session.ts";
import { encodings, fitAll, prefer, sizeOf, type VideoSending } from "./sending.ts";

export interface WhipOptions extends Endpoint, VideoSending {
  stream: MediaStream;
  /** An established connection was lost for good. */
  onLost?: () => void;
}

/** What goes out, once. Rates are for the caller to take as differences. */
export interface PublishStats {
  codec: string | null;
  width: number | null;
  height: number | null;
  framesPerSecond: number | null;
  framesEncoded: number;
  bytesSent: number;
  roundTripTimeMs: number | null;
  /** Of the packets of the last report, how many were lost, 0 to 1. */
  lossFraction: number | null;
  /** What holds quality back: `none`, `cpu`, `bandwidth` or `other`. */
  limitedBy: string | null;
  /** What the browser believes that the network takes. */
  availableBps: number | null;
  /** What is captured, before it is made smaller. */
  sourceWidth: number | null;
  sourceHeight: number | null;
}

/** One publication. */
export class WhipSession {
  private constructor(private readonly http: HttpSession) {}

  /** Negotiates and waits for the connection. */
  static async open(options: WhipOptions, timeoutMs: number): Promise<WhipSession> {
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    try {
      for (const track of options.stream.getTracks()) {
        const video = track.kind === "video";
        const transceiver = pc.addTransceiver(track, {
          direction: "sendonly",
          streams: [options.stream],
          sendEncodings: video ? encodings(options, sizeOf(track)) : [{}],
        });
        if (video) prefer(transceiver, options.codec);
      }
      const http = await HttpSession.open(pc, options);
      try {
        await fitAll(pc, options);
        await http.connected(timeoutMs);
      } catch (error) {
        http.close();
        throw error;
      }
      if (options.onLost) http.onLost(options.onLost);
      return new WhipSession(http);
    } catch (error) {
      pc.close();
      throw error;
    }
  }

  get pc(): RTCPeerConnection {
    return this.http.pc;
  }

  async stats(): Promise<PublishStats> {
    return WhipSession.statsOf(this.pc);
  }

  /** How what a connection sends goes out. */
  static async statsOf(pc: RTCPeerConnection): Promise<PublishStats> {
    const stats: PublishStats = {
      codec: null,
      width: null,
      height: null,
      framesPerSecond: null,
      framesEncoded: 0,
      bytesSent: 0,
      roundTripTimeMs: null,
      lossFraction: null,
      limitedBy: null,
      availableBps: null,
      sourceWidth: null,
      sourceHeight: null,
    };
    const report = await pc.getStats();
    report.forEach((entry: StatsEntry) => {
      if (entry.type === "outbound-rtp") {
        stats.bytesSent += entry.bytesSent ?? 0;
        // Of several sizes the largest that is being sent is told.
        if (entry.kind !== "video" || (entry.frameWidth ?? 0) < (stats.width ?? 0)) return;
        const codec = entry.codecId ? (report.get(entry.codecId) as StatsEntry | undefined) : undefined;
        stats.codec = codec?.mimeType?.replace(/^video\//, "") ?? null;
        stats.width = entry.frameWidth ?? null;
        stats.height = entry.frameHeight ?? null;
        stats.framesPerSecond = entry.framesPerSecond ?? null;
        stats.framesEncoded = entry.framesEncoded ?? 0;
        stats.limitedBy = entry.qualityLimitationReason ?? null;
      } else if (entry.type === "candidate-pair" && entry.nominated) {
        stats.availableBps = entry.availableOutgoingBitrate ?? null;
        if (entry.currentRoundTripTime !== undefined) stats.roundTripTimeMs ??= entry.currentRoundTripTime * 1000;
      } else if (entry.type === "media-source" && entry.kind === "video") {
        stats.sourceWidth = entry.width ?? null;
        stats.sourceHeight = entry.height ?? null;
      } else if (entry.type === "remote-inbound-rtp" && entry.kind === "video") {
        stats.lossFraction = entry.fractionLost ?? null;
        if (entry.roundTripTime !== undefined) stats.roundTripTimeMs = entry.roundTripTime * 1000;
      }
    });
    return stats;
  }

  close(): void {
    this.http.close();
  }
}

/** The fields of `getStats()` that are read here; TypeScript's own types lack most of them. */
interface StatsEntry {
  type: string;
  kind?: string;
  codecId?: string;
  mimeType?: string;
  bytesSent?: number;
  frameWidth?: number;
  frameHeight?: number;
  framesPerSecond?: number;
  framesEncoded?: number;
  qualityLimitationReason?: string;
  nominated?: boolean;
  availableOutgoingBitrate?: number;
  currentRoundTripTime?: number;
  width?: number;
  height?: number;
  fractionLost?: number;
  roundTripTime?: number;
}
