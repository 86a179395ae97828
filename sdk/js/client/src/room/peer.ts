// One WebRTC connection with the room's server, negotiated over Socket.IO.

import { Unreachable } from "../problem.ts";
import type { Keepable } from "./kept.ts";
import type { Answered, Source } from "./wire.ts";

export interface PeerOptions {
  /** Sends an event and returns its answer. */
  ask: <Answer extends object>(event: string, data: object) => Promise<Answer>;
  iceServers: RTCIceServer[];
  /** What is sent; nothing for a connection that only receives. */
  source?: Source;
  /** Puts into the connection what is to be negotiated. */
  prepare: (pc: RTCPeerConnection) => void;
  munge?: (sdp: string) => string;
  signal: AbortSignal;
}

/** One connection: sends or receives, never both. */
export class Peer implements Keepable {
  readonly lost: Promise<string>;
  #lose: (why: string) => void = () => undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  private constructor(readonly pc: RTCPeerConnection) {
    this.lost = new Promise((resolve) => (this.#lose = resolve));
    pc.addEventListener("connectionstatechange", () => this.#look());
  }

  /** Negotiates and waits until media can flow. */
  static async open(options: PeerOptions): Promise<Peer> {
    const { ask, iceServers, source, signal } = options;
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle", iceServers });
    const peer = new Peer(pc);
    try {
      options.prepare(pc);
      const offer = await pc.createOffer();
      const sdp = (options.munge ?? String)(offer.sdp ?? "");
      // The server is at a public address and learns ours from the first packet; only relays have to be told.
      const candidates: RTCIceCandidate[] = [];
      let session: string | null = null;
      const trickle = (candidate: RTCIceCandidate): void => {
        // One candidate lost leaves the others.
        if (session !== null) ask("ice-candidate", { candidate: candidate.toJSON(), session }).catch(() => undefined);
        else candidates.push(candidate);
      };
      if (iceServers.length > 0) pc.addEventListener("icecandidate", ({ candidate }) => candidate && trickle(candidate));
      await pc.setLocalDescription({ type: "offer", sdp });
      const answer = await ask<Answered>("offer", { sdp, ...(source ? { source } : {}) });
      signal.throwIfAborted();
      session = answer.session;
      candidates.forEach(trickle);
      await pc.setRemoteDescription({ type: "answer", sdp: answer.sdp });
      await peer.#connected(signal);
      return peer;
    } catch (error) {
      peer.close();
      throw error;
    }
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.pc.close();
  }

  /** It is known by other signs that nothing comes through any more. */
  giveUp(why: string): void {
    if (!this.#closed) this.#lose(why);
  }

  #connected(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const state = this.pc.connectionState;
        if (signal.aborted) done(() => reject(signal.reason as Error));
        else if (state === "connected") done(resolve);
        else if (state === "failed" || state === "closed") done(() => reject(new Unreachable(NO_MEDIA)));
      };
      const done = (settle: () => void): void => {
        clearTimeout(timer);
        this.pc.removeEventListener("connectionstatechange", look);
        signal.removeEventListener("abort", look);
        settle();
      };
      const timer = setTimeout(() => done(() => reject(new Unreachable(NO_MEDIA))), CONNECT_TIMEOUT_MS);
      this.pc.addEventListener("connectionstatechange", look);
      signal.addEventListener("abort", look);
      look();
    });
  }

  #look(): void {
    clearTimeout(this.#timer);
    const state = this.pc.connectionState;
    if (state === "failed" || state === "closed") this.giveUp("the media connection failed");
    // A short gap mends itself; browsers take half a minute to call it a failure.
    if (state === "disconnected") this.#timer = setTimeout(() => this.giveUp("the media connection was lost"), GAP_MAX_MS);
  }
}

const NO_MEDIA = "no WebRTC connection in time; is the server's UDP port reachable?";
const CONNECT_TIMEOUT_MS = 10_000;
const GAP_MAX_MS = 6_000;
