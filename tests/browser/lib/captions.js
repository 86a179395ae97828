// A film with captions in its pictures, as broadcasters send them: CEA-608 in SEI messages (ANSI/SCTE 128, ATSC A/53 part 4).

import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const RATE = 30;
const SECONDS = 4;
const START = Buffer.from([0, 0, 0, 1]);

/** Writes a film of some seconds, which says `words` and a number each second, into a folder. Returns its path. */
export async function captioned(folder, words) {
  const pictures = join(folder, "pictures.h264");
  const source = ["-f", "lavfi", "-i", `testsrc2=size=854x480:rate=${RATE}`, "-t", `${SECONDS}`];
  const coding = ["-c:v", "libx264", "-preset", "ultrafast", "-profile:v", "baseline", "-g", `${RATE}`, "-b:v", "500k", "-pix_fmt", "yuv420p"];
  await run("ffmpeg", ["-v", "error", "-y", ...source, ...coding, pictures]);
  await writeFile(pictures, withCaptions(await readFile(pictures), pairs(words)));
  const film = join(folder, "film.mp4");
  const sound = ["-f", "lavfi", "-i", "sine=sample_rate=48000", "-t", `${SECONDS}`, "-c:a", "aac"];
  await run("ffmpeg", ["-v", "error", "-y", "-r", `${RATE}`, "-i", pictures, ...sound, "-c:v", "copy", film]);
  return film;
}

/** The words and the number of the second as pairs of bytes of the first field, a line each second: each command twice (CEA-608-E §8.4). */
function pairs(words) {
  const command = (first, second) => [[first, second], [first, second]];
  const line = (second) => {
    const said = `${words} ${second}`;
    const letters = Buffer.from(said.length % 2 ? `${said} ` : said, "latin1");
    const text = Array.from({ length: letters.length / 2 }, (_, at) => [letters[2 * at], letters[2 * at + 1]]);
    // Roll-up of two lines, a carriage return, the last row.
    const all = [...command(0x14, 0x25), ...command(0x14, 0x2d), ...command(0x14, 0x70), ...text];
    return [...all, ...Array(RATE - all.length).fill([0, 0])];
  };
  return Array.from({ length: SECONDS }, (_, second) => line(second)).flat();
}

/** Puts one pair before each picture. */
function withCaptions(stream, pairs) {
  let at = 0;
  const out = [];
  for (const unit of units(stream)) {
    const type = unit[0] & 0x1f;
    // A picture is one slice here.
    if (type === 1 || type === 5) out.push(START, sei(pairs[at++ % pairs.length]));
    out.push(START, unit);
  }
  return Buffer.concat(out);
}

/** An SEI message with registered user data (H.264 D.1.6) that holds one pair. */
function sei([first, second]) {
  const captions = [0xc1, 0xff, 0xfc, odd(first), odd(second), 0xff];
  const payload = [0xb5, 0x00, 0x31, ...Buffer.from("GA94"), 0x03, ...captions];
  return Buffer.from([0x06, 0x04, payload.length, ...payload, 0x80]);
}

/** Seven bits with odd parity. */
function odd(byte) {
  const ones = byte.toString(2).replaceAll("0", "").length;
  return ones % 2 ? byte : byte | 0x80;
}

/** The units of an Annex B stream. */
function units(stream) {
  const found = [];
  let begin = -1;
  for (let at = stream.indexOf("\0\0\x01", 0, "latin1"); at >= 0; at = stream.indexOf("\0\0\x01", at + 3, "latin1")) {
    if (begin >= 0) found.push(stream.subarray(begin, stream[at - 1] === 0 ? at - 1 : at));
    begin = at + 3;
  }
  if (begin >= 0) found.push(stream.subarray(begin));
  return found;
}
