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
  /** Send the picture in up to three sizes, as many as it has pixels for, so that viewers with a poor link need no encoder at the server. */
  simulcast: boolean;
}

/** The size of a picture, in pixels. */
export interface Size {
  width: number;
  height: number;
}

/**
 * One encoding, or three by their `rid`, smallest first as browsers have it (RFC 8853). A small picture fills only the first
 * one or two of them: browsers leave out the last where there are few pixels, and that must not be the full size.
 */
export function encodings({ codec, simulcast, videoBitrateMaxBps }: VideoSending, size: Size | null): RTCRtpEncodingParameters[] {
  if (!simulcast) return [{ maxBitrate: videoBitrateMaxBps }];
  // Without a mode, Chromium takes three encodings of VP9 for spatial layers of one stream.
  const mode = codec === "vp9" || codec === "av1" ? { scalabilityMode: "L1T2" } : {};
  const shares = SHARES[sizesOf(size) - 1] ?? [1];
  return RIDS.map((rid, at) => ({
    rid,
    active: at < shares.length,
    scaleResolutionDownBy: 2 ** Math.max(shares.length - 1 - at, 0),
    maxBitrate: Math.round(videoBitrateMaxBps * (shares[at] ?? 1)),
    ...mode,
  }));
}

/** The size of what a track carries; `null` where it is not known yet. */
export function sizeOf(track: MediaStreamTrack | null): Size | null {
  const { width, height } = track?.getSettings() ?? {};
  return width && height ? { width, height } : null;
}

/** In how many sizes browsers send a picture that is so large. */
function sizesOf(size: Size | null): number {
  const pixels = size ? size.width * size.height : Infinity;
  return pixels >= THREE_SIZES_PX ? 3 : pixels >= TWO_SIZES_PX ? 2 : 1;
}

const RIDS = ["q", "h", "f"];
/** What each size gets of the whole, where there are one, two or three. */
const SHARES = [[1], [0.25, 0.75], [0.06, 0.24, 0.7]];
const TWO_SIZES_PX = 480 * 270;
const THREE_SIZES_PX = 960 * 540;

/**
 * Sets how the track at hand is sent, once it is negotiated and whenever it is another. While the estimate of the network
 * still grows, a picture of full size and fewer frames: a ladder is cut to the size it first sees.
 */
export async function fit(sender: RTCRtpSender, sending: VideoSending): Promise<void> {
  const parameters = sender.getParameters();
  // Nothing was negotiated for it: there is nothing to set.
  if (parameters.encodings.length === 0) return;
  const wanted = encodings(sending, sizeOf(sender.track));
  const fitted = parameters.encodings.map((one, at) => ({ ...one, ...(wanted.length === parameters.encodings.length && wanted[at]) }));
  await sender.setParameters({ ...parameters, encodings: fitted, degradationPreference: "maintain-resolution" });
}

/** Does so for all video that a connection sends. */
export async function fitAll(pc: RTCPeerConnection, sending: VideoSending): Promise<void> {
  for (const { sender, receiver } of pc.getTransceivers()) {
    if (receiver.track.kind === "video") await fit(sender, sending);
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
