// A publisher on libdatachannel, the stack of OBS: its SDP, ICE, DTLS and SRTP, with RTP written as OBS does.

import datachannel from "node-datachannel";

import { clip } from "./clip.js";
import { FPS, HEIGHT, WIDTH } from "./signal.js";
import { publish } from "./whip.js";

const OPUS = 111;
const H264 = 96;
const MID = 1;
const RID = 2;
/** Of the first layer; the others follow. */
const VIDEO_SSRC = 2468;

/**
 * Publishes the signal until stopped. With `layers`, as many simulcast layers as it names sizes, largest first, the way
 * OBS 32 does.
 */
export async function publishByDatachannel({ server, name, layers = [] }) {
  const sizes = layers.length ? layers : [{ width: WIDTH, height: HEIGHT }];
  const clips = await Promise.all(sizes.map(clip));
  const pc = new datachannel.PeerConnection("publisher", { iceServers: [], bindAddress: "127.0.0.1" });
  const audio = new datachannel.Audio("0", "SendOnly");
  audio.addOpusCodec(OPUS);
  audio.addSSRC(1357, "obs", "stream", "audio");
  const video = new datachannel.Video("1", "SendOnly");
  video.addH264Codec(H264);
  if (layers.length) {
    for (const line of [
      `extmap:${MID} urn:ietf:params:rtp-hdrext:sdes:mid`,
      `extmap:${RID} urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id`,
      ...sizes.map((_, rid) => `rid:${rid} send`),
      `simulcast:send ${sizes.map((_, rid) => rid).join(";")}`,
    ]) {
      video.parseSdpLine(`a=${line}`);
    }
  }
  // By these it finds the track of what comes back, NACKs among it.
  for (const rid of sizes.keys()) video.addSSRC(VIDEO_SSRC + rid, "obs", "stream", "video");
  const tracks = { audio: pc.addTrack(audio), video: pc.addTrack(video) };
  // They answer NACKs and take what comes in.
  const responders = [new datachannel.RtcpNackResponder(), new datachannel.RtcpNackResponder()];
  tracks.audio.setMediaHandler(responders[0]);
  tracks.video.setMediaHandler(responders[1]);

  const asked = new Map();
  tracks.video.onMessage((message) => {
    for (const ssrc of keyframesAsked(message)) asked.set(ssrc - VIDEO_SSRC, (asked.get(ssrc - VIDEO_SSRC) ?? 0) + 1);
  });

  const gathered = new Promise((resolve) => pc.onGatheringStateChange((state) => state === "complete" && resolve()));
  const connected = new Promise((resolve, reject) =>
    pc.onStateChange((state) => {
      if (state === "connected") resolve();
      if (state === "failed" || state === "closed") reject(new Error(`libdatachannel is ${state}`));
    }),
  );
  pc.setLocalDescription();
  await gathered;
  const session = await publish({ server, name, offer: pc.localDescription().sdp });
  pc.setRemoteDescription(session.answer, "answer");
  await connected;

  const sending = sendAll(tracks, clips, layers.length > 0);
  return {
    answer: session.answer,
    /** How many keyframes were asked for of a layer so far. */
    keyframesAsked: (rid) => asked.get(rid) ?? 0,
    stop: async () => {
      clearInterval(sending);
      await session.leave();
      pc.close();
    },
  };
}

function sendAll(tracks, clips, isSimulcast) {
  const started = performance.now();
  const audio = new Stream(tracks.audio, { ssrc: 1357, type: OPUS });
  const videos = clips.map((_, rid) => new Stream(tracks.video, { ssrc: VIDEO_SSRC + rid, type: H264, rid: isSimulcast ? rid : null }));
  let [sounds, pictures] = [0, 0];
  return setInterval(() => {
    const second = (performance.now() - started) / 1000;
    for (; sounds < second * 50; sounds += 1) {
      const { packets } = clips[0];
      audio.send(sounds * 960, true, packets[sounds % (packets.length - (packets.length % 50))]);
    }
    for (; pictures < second * FPS; pictures += 1) {
      for (const [rid, { units }] of clips.entries()) videos[rid].picture(pictures * 3000, units[pictures % units.length]);
    }
  }, 5);
}

/** The sources of which a compound packet of RTCP asks keyframes (RFC 4585 §6.3.1). */
function keyframesAsked(message) {
  const packet = Buffer.from(message);
  const sources = [];
  for (let at = 0; at + 12 <= packet.length; at += 4 * (packet.readUInt16BE(at + 2) + 1)) {
    if (packet[at] >> 6 === 2 && packet[at + 1] === 206 && (packet[at] & 31) === 1) sources.push(packet.readUInt32BE(at + 8));
  }
  return sources;
}

/** One RTP stream (RFC 3550), with `mid` and `rid` in its packets where it is a layer (RFC 8285, one-byte headers). */
class Stream {
  #sequence = Math.floor(Math.random() * 65536);

  constructor(track, { ssrc, type, rid = null }) {
    Object.assign(this, { track, ssrc, type, rid });
  }

  send(timestamp, marker, payload) {
    const extension = this.rid === null ? null : Buffer.from([0xbe, 0xde, 0, 1, MID << 4, 0x31, RID << 4, 0x30 + this.rid]);
    const head = Buffer.alloc(12);
    head[0] = extension ? 0x90 : 0x80;
    head[1] = (marker ? 0x80 : 0) | this.type;
    head.writeUInt16BE(this.#sequence, 2);
    head.writeUInt32BE(timestamp >>> 0, 4);
    head.writeUInt32BE(this.ssrc, 8);
    this.#sequence = (this.#sequence + 1) % 65536;
    if (this.track.isOpen()) this.track.sendMessageBinary(Buffer.concat([head, ...(extension ? [extension] : []), payload]));
  }

  /** RFC 6184: NAL units alone, large ones in pieces. */
  picture(timestamp, nals) {
    const payloads = nals.flatMap((nal) => {
      if (nal.length <= PAYLOAD_MAX) return [nal];
      const pieces = [];
      for (let at = 1; at < nal.length; at += PAYLOAD_MAX - 2) {
        const last = at + PAYLOAD_MAX - 2 >= nal.length;
        const head = Buffer.from([(nal[0] & 0xe0) | 28, (at === 1 ? 0x80 : 0) | (last ? 0x40 : 0) | (nal[0] & 31)]);
        pieces.push(Buffer.concat([head, nal.subarray(at, at + PAYLOAD_MAX - 2)]));
      }
      return pieces;
    });
    payloads.forEach((payload, index) => this.send(timestamp, index + 1 === payloads.length, payload));
  }
}

const PAYLOAD_MAX = 1100;
