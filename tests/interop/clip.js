// The signal as H.264 and Opus, encoded once, for senders that bring no encoder.

import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { FPS, TONE_HZ } from "./signal.js";

const run = promisify(execFile);

/** FFmpeg's input arguments for the signal. */
export function lavfi({ width, height, seconds = 0 }) {
  const length = seconds ? `:d=${seconds}` : "";
  return [
    ...["-f", "lavfi", "-i", `color=black:s=${width}x${height}:r=${FPS}${length},drawbox=color=white:t=fill:enable='lt(mod(t,1),0.2)'`],
    ...["-f", "lavfi", "-i", `aevalsrc='if(lt(mod(t,1),0.2),sin(2*PI*${TONE_HZ}*t)/2,0)':s=48000${length}`],
  ];
}

/** So many seconds of it: access units as lists of NAL units, a keyframe each second, and Opus packets of 20 ms. */
export async function clip({ width, height, seconds = 4, kbps = 300 }) {
  const folder = await mkdtemp(join(tmpdir(), "lockgate-interop-"));
  try {
    const [video, audio] = [join(folder, "v.h264"), join(folder, "a.ogg")];
    await run("ffmpeg", [
      ...["-v", "error", "-y", ...lavfi({ width, height, seconds })],
      ...["-map", "0:v", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "baseline", "-pix_fmt", "yuv420p"],
      ...["-g", String(FPS), "-bf", "0", "-b:v", `${kbps}k`, "-x264-params", "aud=1:scenecut=0", "-bsf:v", "h264_mp4toannexb", "-f", "h264", video],
      ...["-map", "1:a", "-c:a", "libopus", "-b:a", "48k", "-frame_duration", "20", "-f", "ogg", audio],
    ]);
    return { units: units(await readFile(video)), packets: oggPackets(await readFile(audio)).slice(2) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Annex B, cut at access unit delimiters. */
function units(stream) {
  const starts = [];
  for (let at = stream.indexOf("000001", 0, "hex"); at >= 0; at = stream.indexOf("000001", at + 3, "hex")) starts.push(at);
  const nals = starts.map((at, index) => {
    let end = starts[index + 1] ?? stream.length;
    while (stream[end - 1] === 0) end -= 1;
    return stream.subarray(at + 3, end);
  });
  const out = [];
  for (const nal of nals) {
    if ((nal[0] & 31) === 9) out.push([]);
    else out.at(-1)?.push(nal);
  }
  return out;
}

/** The packets of an Ogg stream (RFC 3533); those of Opus begin with two headers. */
function oggPackets(file) {
  const packets = [];
  let open = [];
  for (let page = 0; page < file.length; ) {
    const count = file[page + 26];
    let at = page + 27 + count;
    for (const size of file.subarray(page + 27, page + 27 + count)) {
      open.push(file.subarray(at, at + size));
      at += size;
      if (size < 255) packets.push(Buffer.concat(open.splice(0)));
    }
    page = at;
  }
  return packets;
}
