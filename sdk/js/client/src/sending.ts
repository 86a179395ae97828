// How video is sent: in which codec, in how many sizes, and what gives way when there is too little of something.

/** Video codecs that can be asked for, those that most viewers decode first. */
export const PUBLISH_CODECS = ["h264", "vp8", "vp9", "av1"] as const;
export type PublishCodec = (typeof PUBLISH_CODECS)[number];

/** How one video track is sent. */
export interface VideoSending {
  /** What to offer first; the others stay offered behind it. */
  codec: PublishCodec;
  /** Most to send, in bit/s, all sizes together. */
  videoBitrateMaxBps: number;
  /** Send the picture in three sizes, so that viewers with a poor link need no encoder at the server. */
  simulcast: boolean;
}

/** One encoding, or three by their `rid`, smallest first as browsers have it (RFC 8853). */
export function encodings({ codec, simulcast, videoBitrateMaxBps }: VideoSending): RTCRtpEncodingParameters[] {
  if (!simulcast) return [{ maxBitrate: videoBitrateMaxBps }];
  // Without a mode, Chromium takes three encodings of VP9 for spatial layers of one stream.
  const mode = codec === "vp9" || codec === "av1" ? { scalabilityMode: "L1T2" } : {};
  return LAYERS.map(({ rid, scale, share }) => ({
    rid,
    scaleResolutionDownBy: scale,
    maxBitrate: Math.round(videoBitrateMaxBps * share),
    ...mode,
  }));
}

const LAYERS = [
  { rid: "q", scale: 4, share: 0.06 },
  { rid: "h", scale: 2, share: 0.24 },
  { rid: "f", scale: 1, share: 0.7 },
];

/** While the estimate of the network still grows, a picture of full size and fewer frames: a ladder is cut to the size it first sees. */
export async function keepSize(pc: RTCPeerConnection): Promise<void> {
  for (const { sender, receiver } of pc.getTransceivers()) {
    if (receiver.track.kind !== "video") continue;
    const parameters = sender.getParameters();
    // Nothing was negotiated for it: there is nothing to set.
    if (parameters.encodings.length === 0) continue;
    await sender.setParameters({ ...parameters, degradationPreference: "maintain-resolution" });
  }
}

/** Puts a codec first. Among H.264 forms the constrained baseline in packetization mode 1 is what every viewer decodes. */
export function prefer(transceiver: RTCRtpTransceiver, codec: PublishCodec): void {
  const capabilities = RTCRtpSender.getCapabilities("video")?.codecs;
  // Old Firefox has no setCodecPreferences; it then offers in its own order.
  if (!capabilities || typeof transceiver.setCodecPreferences !== "function") return;
  // Sorting is stable: what follows keeps the browser's order, retransmission included.
  transceiver.setCodecPreferences([...capabilities].sort((a, b) => rank(a, codec) - rank(b, codec)));
}

/** The lower, the sooner it is offered. */
export function rank({ mimeType, sdpFmtpLine = "" }: Pick<RTCRtpCodec, "mimeType" | "sdpFmtpLine">, codec: PublishCodec): number {
  if (mimeType.toLowerCase() !== `video/${codec}`) return 3;
  if (codec !== "h264") return 0;
  return (sdpFmtpLine.includes("packetization-mode=1") ? 0 : 1) + (/profile-level-id=42[ec]0/i.test(sdpFmtpLine) ? 0 : 1);
}
