// What goes up: camera and microphone with the data channel, or a screen.

import { encodings, fit, prefer, sizeOf, type VideoSending } from "../sending.ts";
import { WhipSession, type PublishStats } from "../whip.ts";
import type { Keepable } from "./kept.ts";
import { Peer, type PeerOptions } from "./peer.ts";

export interface UplinkOptions extends Pick<PeerOptions, "ask" | "iceServers" | "signal" | "source"> {
  /** How to send video; `null` sends no media at all, the data channel alone. */
  video: VideoSending | null;
  /** What to send from the start: a browser finds out what the network takes only while it has something to send. */
  tracks: () => Tracks;
  /** Takes what comes over the data channel; without it there is none. */
  said?: (text: unknown) => void;
}

/** What is sent; `null` is nothing of the kind. */
export interface Tracks {
  video: MediaStreamTrack | null;
  audio: MediaStreamTrack | null;
}

/** One connection that sends. Tracks are put into it and taken out without negotiation. */
export class Uplink implements Keepable {
  readonly #video: RTCRtpSender | null;
  readonly #audio: RTCRtpSender | null;
  #put: Promise<void> = Promise.resolve();

  private constructor(
    private readonly peer: Peer,
    private readonly channel: RTCDataChannel | null,
    private readonly sending: VideoSending | null,
  ) {
    const sender = (kind: string): RTCRtpSender | null =>
      peer.pc.getTransceivers().find(({ receiver }) => receiver.track.kind === kind)?.sender ?? null;
    this.#video = sender("video");
    this.#audio = sender("audio");
    // The server closed the connection, without ICE noticing.
    channel?.addEventListener("close", () => peer.giveUp("the server closed the media connection"));
  }

  static async open({ video, tracks, said, ...options }: UplinkOptions): Promise<Uplink> {
    let channel: RTCDataChannel | null = null;
    const prepare = (pc: RTCPeerConnection): void => {
      if (said) {
        channel = pc.createDataChannel("room");
        channel.addEventListener("message", ({ data }) => said(data));
      }
      if (!video) return;
      const streams = [new MediaStream()];
      const now = tracks();
      pc.addTransceiver(now.audio ?? "audio", { direction: "sendonly", streams });
      prefer(pc.addTransceiver(now.video ?? "video", { direction: "sendonly", streams, sendEncodings: encodings(video, sizeOf(now.video)) }), video.codec);
    };
    const peer = await Peer.open({ ...options, prepare });
    const uplink = new Uplink(peer, channel, video);
    await uplink.#fit();
    return uplink;
  }

  get lost(): Promise<string> {
    return this.peer.lost;
  }

  /** Sends these from now on. */
  send(tracks: Tracks): Promise<void> {
    // One after the other: the last word counts.
    const put = this.#put.then(() => this.#exchange(tracks));
    this.#put = put.catch(() => undefined);
    return put;
  }

  /** Says something over the data channel; false: it is not open. */
  say(data: object): boolean {
    if (this.channel?.readyState !== "open") return false;
    this.channel.send(JSON.stringify(data));
    return true;
  }

  async stats(): Promise<PublishStats> {
    return WhipSession.statsOf(this.peer.pc);
  }

  close(): void {
    this.peer.close();
  }

  async #exchange({ video, audio }: Tracks): Promise<void> {
    if (this.#audio && this.#audio.track !== audio) await this.#audio.replaceTrack(audio);
    if (!this.#video || this.#video.track === video) return;
    await this.#video.replaceTrack(video);
    await this.#fit();
  }

  async #fit(): Promise<void> {
    if (this.#video && this.sending) await fit(this.#video, this.sending);
  }
}
