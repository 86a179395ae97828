// What plugin.toml says.

import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { parse } from "smol-toml";

/** The manifest of a policy project. */
export async function manifestOf(project) {
  const path = join(project, "plugin.toml");
  const manifest = parse(await readFile(path, "utf8"));
  if (!manifest.kinds || Object.keys(manifest.kinds).length === 0) {
    throw new Error(`${path} has no [kinds.…]: name at least one of abr, optimize, score, ladder and auth`);
  }
  return manifest;
}
