#!/usr/bin/env node
// Builds a policy project (plugin.toml and policy.js) as a component that imports nothing:
// `lockgate-policy-build [PROJECT] [-o OUT.wasm]`.

import { cp, mkdtemp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { pathToFileURL, fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { manifestOf } from "./manifest.js";

const HERE = dirname(fileURLToPath(import.meta.url));
const API = "0.1.0";
const SECTION = "lockgate:manifest";
const LEFT_OUT = new Set(["node_modules", "build", "lockgate", "package-lock.json"]);

/** Builds the project in a folder; gives the component's bytes. */
export async function build(project) {
  const { componentize } = await import("componentize-qjs");
  const manifest = await manifestOf(project);
  const stage = await mkdtemp(join(tmpdir(), "lockgate-policy-"));
  try {
    const source = join(stage, "policy");
    await mkdir(source);
    for (const entry of await readdir(project)) {
      if (!LEFT_OUT.has(entry) && !entry.startsWith(".") && !entry.endsWith(".wasm")) {
        await cp(join(project, entry), join(source, entry), { recursive: true });
      }
    }
    for (const file of ["guest.js", "columns.js"]) await cp(join(HERE, file), join(stage, file));
    await mkdir(join(stage, "wit"));
    await cp(contract(), join(stage, "wit", "lockgate-policy.wit"));
    // A world of its own, beside the contract: what the manifest claims, and nothing else.
    const interfaces = ["lifecycle", ...Object.keys(manifest.kinds)];
    const exports = interfaces.map((name) => `export ${name};`).join(" ");
    const imports = (manifest.imports ?? []).map((name) => `import ${name};`).join(" ");
    const text = await readFile(join(stage, "wit", "lockgate-policy.wit"), "utf8");
    await writeFile(join(stage, "wit", "lockgate-policy.wit"), `${text}\nworld this-policy { ${imports} ${exports} }\n`);
    const main = join(stage, "main.js");
    const entry = [
      'import { component } from "./guest.js";',
      'import * as policy from "./policy/policy.js";',
      `const made = component(${JSON.stringify(manifest)}, policy);`,
      ...interfaces.map((name) => `export const ${name} = made.${name};`),
    ].join("\n");
    await writeFile(main, entry);
    const { component } = await componentize({
      witPath: join(stage, "wit"),
      jsSource: entry,
      jsPath: main,
      moduleRoot: stage,
      world: "this-policy",
      // The host links no WASI: what is left of it traps.
      stubWasi: true,
      sync: true,
      optSize: true,
    });
    return Buffer.concat([component, section(SECTION, JSON.stringify(manifest))]);
  } finally {
    await rm(stage, { recursive: true });
  }
}

function contract() {
  const found = [join(HERE, "lockgate-policy.wit"), join(HERE, "../../wit/lockgate-policy.wit")].find(existsSync);
  if (!found) throw new Error("lockgate-policy.wit is not beside the SDK; take the SDK as a whole");
  return found;
}

// A custom section: id 0, length, name, data (WebAssembly core specification 5.5.3).
function section(name, text) {
  const bytes = (text) => Buffer.concat([leb128(Buffer.byteLength(text)), Buffer.from(text)]);
  const body = Buffer.concat([bytes(name), Buffer.from(text)]);
  return Buffer.concat([Buffer.from([0]), leb128(body.length), body]);
}

function leb128(number) {
  const bytes = [];
  for (; number > 0x7f; number >>>= 7) bytes.push((number & 0x7f) | 0x80);
  return Buffer.from([...bytes, number]);
}

if (process.argv[1] && import.meta.url === pathToFileURL(await real(process.argv[1])).href) {
  const { values, positionals } = parseArgs({ options: { output: { type: "string", short: "o" } }, allowPositionals: true });
  const project = resolve(positionals[0] ?? ".");
  const output = resolve(values.output ?? join(project, `${basename(project)}.wasm`));
  try {
    const component = await build(project);
    await mkdir(dirname(output), { recursive: true });
    await writeFile(output, component);
    console.log(`${output}: ${component.length} bytes`);
  } catch (error) {
    console.error(`${project}: ${error.message}`);
    process.exitCode = 1;
  }
}

async function real(path) {
  const { realpath } = await import("node:fs/promises");
  return realpath(path);
}
