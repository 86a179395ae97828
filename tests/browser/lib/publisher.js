// FFmpeg as a publisher over RTMP that, like OBS, connects again whenever its connection is gone.

import { spawn } from "node:child_process";

const media = (size) =>
  `-re -f lavfi -i testsrc2=size=${size}:rate=30 -re -f lavfi -i sine=sample_rate=48000 ` +
  "-c:v libx264 -preset ultrafast -tune zerolatency -g 30 -keyint_min 30 -sc_threshold 0 -b:v 400k -pix_fmt yuv420p " +
  "-c:a aac -b:a 64k -f flv";
const AGAIN_AFTER_MS = 500;

/** Publishes moving pictures and a tone to the address that `url()` then says; `stop` ends it for good. */
export function publishRtmp(url, size = "640x360") {
  return publish(url, media(size).split(" "));
}

/** Publishes a film over and over, as it is. */
export function publishFilm(url, film) {
  return publish(url, ["-re", "-stream_loop", "-1", "-i", film, "-c", "copy", "-f", "flv"]);
}

function publish(url, options) {
  let child = null;
  let timer = null;
  let stopped = false;
  const start = () => {
    child = spawn("ffmpeg", ["-v", "error", "-nostdin", ...options, url()], { stdio: "ignore" });
    child.once("exit", () => {
      child = null;
      if (!stopped) timer = setTimeout(start, AGAIN_AFTER_MS);
    });
    child.once("error", () => {});
  };
  const stop = () => {
    stopped = true;
    clearTimeout(timer);
    child?.kill("SIGKILL");
    process.removeListener("exit", stop);
  };
  process.once("exit", stop);
  start();
  return { stop };
}
