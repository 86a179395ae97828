// A folder of files over HTTP, as any static server has them: media types, byte ranges, nothing else.

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const TYPES = {
  ".m3u8": "application/vnd.apple.mpegurl",
  ".mpd": "application/dash+xml",
  ".mp4": "video/mp4",
  ".m4s": "video/iso.segment",
  ".html": "text/html",
};

/** Without an icon, which browsers ask for. */
const PAGE = `<!doctype html><link rel="icon" href="data:,">`;

/** Serves a folder, and a page without anything at `/`. */
export async function serveFiles(folder) {
  const server = createServer((request, response) => void answer(folder, request, response));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    http: `http://127.0.0.1:${server.address().port}/`,
    stop: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

async function answer(folder, request, response) {
  const path = normalize(decodeURIComponent(new URL(request.url, "http://localhost").pathname));
  if (path === "/") return response.writeHead(200, { "content-type": "text/html" }).end(PAGE);
  const file = join(folder, path);
  const found = await stat(file).catch(() => null);
  if (!found?.isFile()) return response.writeHead(404).end();
  const headers = { "content-type": TYPES[extname(file)] ?? "application/octet-stream", "accept-ranges": "bytes" };
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  const [from, to] = range
    ? [Number(range[1]), Math.min(range[2] ? Number(range[2]) : Infinity, found.size - 1)]
    : [0, found.size - 1];
  if (from > to) return response.writeHead(416, { "content-range": `bytes */${found.size}` }).end();
  headers["content-length"] = to - from + 1;
  if (range) headers["content-range"] = `bytes ${from}-${to}/${found.size}`;
  response.writeHead(range ? 206 : 200, headers);
  createReadStream(file, { start: from, end: to }).pipe(response);
}
