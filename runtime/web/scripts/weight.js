// After a build: puts a gzip form beside each file that gains by it, and holds every page to its weight.

import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const DIST = new URL("../dist", import.meta.url).pathname;
/** What a page may weigh in all, without hls.js, which only a viewer who needs it loads. */
const PAGE_BYTES_MAX = 200_000;
/** Below this, headers outweigh what gzip saves. */
const GZIP_FROM_BYTES = 1_000;

const packed = new Map();
for (const folder of ["", "assets"]) {
  for (const entry of readdirSync(join(DIST, folder), { withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(folder, entry.name);
    if (path.endsWith(".gz")) {
      rmSync(join(DIST, path));
      continue;
    }
    const bytes = readFileSync(join(DIST, path));
    const gzip = gzipSync(bytes, { level: 9 });
    packed.set(path, Math.min(gzip.length, bytes.length));
    if (bytes.length >= GZIP_FROM_BYTES && gzip.length < bytes.length * 0.9) writeFileSync(join(DIST, `${path}.gz`), gzip);
  }
}

/** Every file a page loads, imports of imports included, hls.js left out. */
function loadedBy(page) {
  const seen = new Set([page]);
  for (const path of seen) {
    if (!/\.(html|js|css)$/.test(path)) continue;
    const text = readFileSync(join(DIST, path), "utf8");
    for (const other of packed.keys()) {
      const name = other.replace(/^assets\//, "");
      if (!/^hls\b/.test(name) && !name.endsWith(".html") && text.includes(name)) seen.add(other);
    }
  }
  return seen;
}

let heaviest = 0;
for (const page of [...packed.keys()].filter((path) => path.endsWith(".html"))) {
  const bytes = [...loadedBy(page)].reduce((sum, path) => sum + packed.get(path), 0);
  heaviest = Math.max(heaviest, bytes);
  console.log(`${page.padEnd(14)}${(bytes / 1000).toFixed(1).padStart(7)} kB gzip`);
}
for (const [path, bytes] of packed) {
  if (/^assets\/hls\b/.test(path)) console.log(`${path}: ${(bytes / 1000).toFixed(1)} kB gzip, when needed`);
}
if (heaviest > PAGE_BYTES_MAX) {
  console.error(`a page weighs ${heaviest} bytes; at most ${PAGE_BYTES_MAX} are allowed`);
  process.exit(1);
}
