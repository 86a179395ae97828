// Watching over WebRTC: a WHEP client with Lockgate's two extensions, choosing a layer and hearing which one plays.

import { HttpSession, type Endpoint } from "./http-session.ts";
import type { Score } from "./playback.ts";
import { request } from "./problem.ts";

/** What the server answers to a report. */
interface Standing extends RungEvent {
  score: Score | null;
}

/** Which rung plays, and why. */
export interface RungEvent {
  /** `null` before the first keyframe. */
  rung: string | null;
  automatic: boolean;
  reason: string;
}

export interface WhepOptions extends Endpoint {
  onRung?: (event: RungEvent) => void;
  /** The set of rungs changed. */
  onLayers?: () => void;
  /** An established connection was lost for good. */
  onLost?: () => void;
}

/** One subscription. */
export class WhepSession {
  #events: EventSource | null = null;

  private constructor(
    private readonly http: HttpSession,
    /** What arrives. */
    readonly stream: MediaStream,
    private readonly options: WhepOptions,
  ) {
    if (options.onLost) http.onLost(options.onLost);
    this.#listen();
  }

  /** Negotiates and waits for the connection. */
  static async open(options: WhepOptions, timeoutMs: number): Promise<WhepSession> {
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    const stream = new MediaStream();
    let session: WhepSession | null = null;
    try {
      pc.addTransceiver("video", { direction: "recvonly" });
      pc.addTransceiver("audio", { direction: "recvonly" });
      pc.addEventListener("track", ({ track }) => stream.addTrack(track));
      const http = await HttpSession.open(pc, options, stereo);
      session = new WhepSession(http, stream, options);
      await http.connected(timeoutMs);
      return session;
    } catch (error) {
      session?.close();
      pc.close();
      throw error;
    }
  }

  get pc(): RTCPeerConnection {
    return this.http.pc;
  }

  /** Whether the server lets the viewer choose. */
  get selectable(): boolean {
    return this.http.link(LAYER_REL) !== null;
  }

  /** Asks for a rung, or with `null` for the server's own choice. */
  async select(rung: string | null): Promise<void> {
    const url = this.http.link(LAYER_REL);
    if (!url) throw new Error("this server offers no choice of quality");
    await request(url, {
      method: "POST",
      token: this.options.token,
      contentType: "application/json",
      body: JSON.stringify({ encodingId: rung }),
    });
  }

  /** Asks to save data, or no longer. The choice of a rung stays as it is said here. */
  async saveData(on: boolean, rung: string | null): Promise<void> {
    const url = this.http.link(LAYER_REL);
    if (!url) throw new Error("this server cannot save data");
    await request(url, {
      method: "POST",
      token: this.options.token,
      contentType: "application/json",
      body: JSON.stringify({ encodingId: rung, dataSaver: on }),
    });
  }

  /** Says how the player fares; `null` from a server that does not want to know. */
  async report(said: Record<string, unknown>): Promise<Standing | null> {
    const url = this.http.link(STATS_REL);
    if (!url) return null;
    const response = await request(url, {
      method: "POST",
      token: this.options.token,
      contentType: "application/json",
      body: JSON.stringify(said),
    });
    return (await response.json()) as Standing;
  }

  close(): void {
    this.#events?.close();
    this.#events = null;
    this.http.close();
  }

  #listen(): void {
    const url = this.http.link(EVENTS_REL);
    if (!url) return;
    // An EventSource sends no headers of ours.
    if (this.options.token) url.searchParams.set("token", this.options.token);
    const events = new EventSource(url);
    events.addEventListener("rung", ({ data }: MessageEvent<string>) => {
      const event = readRung(data);
      if (event) this.options.onRung?.(event);
    });
    events.addEventListener("layers", () => this.options.onLayers?.());
    this.#events = events;
  }
}

export function readRung(data: string): RungEvent | null {
  try {
    // Before the first decision there is nothing but what plays.
    const { rung = null, automatic = true, reason = "" } = JSON.parse(data) as Partial<RungEvent>;
    return { rung, automatic, reason };
  } catch {
    return null;
  }
}

/** Browsers play Opus in mono unless their own description asks for stereo (RFC 7587 §7.1). */
export function stereo(sdp: string): string {
  const opus = /^a=rtpmap:(\d+) opus\/48000\/2\s*$/im.exec(sdp)?.[1];
  if (!opus) return sdp;
  return sdp.replace(new RegExp(`^(a=fmtp:${opus} (?!.*stereo=).*?)(\r?)$`, "m"), "$1;stereo=1$2");
}

const LAYER_REL = "urn:ietf:params:whep:ext:core:layer";
const STATS_REL = "urn:lockgate:whep:stats";
const EVENTS_REL = "urn:lockgate:whep:events";
