// Starts the real binary on free ports, and makes sure that it is gone afterwards.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { until } from "./until.js";

/** The server's binary. */
export const BINARY = process.env.LOCKGATE_BIN ?? fileURLToPath(new URL("../../../target/debug/lockgate", import.meta.url));
/** An encoder starts and a ladder is warmed before the server calls itself ready. */
const READY_MS = 60_000;
/** How long a polite stop may take. */
const STOP_MS = 10_000;
const LOG_LINES_MAX = 400;

/** What every test server has: free ports, everyone may watch, publishing needs the token. */
const CONFIG = {
  http: { listen: "127.0.0.1:0" },
  webrtc: { udp_listen: "127.0.0.1:0" },
  // Tests ask more often than anybody.
  rate_limit: { requests: 0, admin_requests: 0, joins: 0, signals: 0 },
};

/**
 * A running server: `http` is its origin, `token` allows everything that tests do.
 *
 * @param {{ demo?: boolean, config?: Record<string, Record<string, unknown>> }} options
 */
export async function startServer({ demo = false, config = {} } = {}) {
  if (!existsSync(BINARY)) throw new Error(`no server at ${BINARY}: build it, or name it in LOCKGATE_BIN`);
  const folder = await mkdtemp(join(tmpdir(), "lockgate-browser-"));
  await writeFile(join(folder, "lockgate.toml"), toToml({ ...CONFIG, store: { path: join(folder, "data") }, ...config }));
  const log = [];
  let running = null;
  const end = async () => {
    await running?.end();
    await rm(folder, { recursive: true, force: true });
  };
  const server = {
    log,
    demo,
    stop: end,
    /** `kill -9`, and a start with the same store at the same addresses. */
    async crashAndStartAgain() {
      await running.crash();
      const { host } = new URL(server.http);
      const set = ["--set", `http.listen=${host}`];
      if (server.rtmp) set.push("--set", `ingest.rtmp.listen=${new URL(server.rtmp).host}`);
      running = await launch({ folder, demo, log, set });
      return Object.assign(server, running.told);
    },
  };
  try {
    running = await launch({ folder, demo, log });
    return Object.assign(server, running.told);
  } catch (error) {
    await end();
    throw new Error(`${error.message}\n${log.join("\n")}`, { cause: error });
  }
}

/** One life of a server: what it told when it was ready, a polite end, and one without a word. */
async function launch({ folder, demo, log, set = [] }) {
  const ready = join(folder, "ready.json");
  await rm(ready, { force: true });
  const arguments_ = ["serve", "--config", join(folder, "lockgate.toml"), ...(demo ? ["--demo"] : []), ...set];
  const child = spawn(BINARY, arguments_, {
    cwd: folder,
    // The browser and the encoders share few cores: no rung is to be lost over it.
    env: { ...process.env, LOCKGATE_READY_FILE: ready, LOCKGATE__LADDER__SHED: "false" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (text) => {
      log.push(...text.split("\n").filter(Boolean));
      log.splice(0, log.length - LOG_LINES_MAX);
    });
  }
  const exited = new Promise((resolve) => {
    child.once("exit", (code, signal) => resolve(`exit ${code ?? signal}`));
    child.once("error", (error) => resolve(String(error)));
  });
  let ending = null;
  void exited.then((how) => (ending = how));
  const killNow = () => child.kill("SIGKILL");
  process.once("exit", killNow);
  const gone = async () => {
    await exited;
    process.removeListener("exit", killNow);
  };
  const end = async () => {
    if (ending === null) child.kill("SIGTERM");
    const timer = setTimeout(killNow, STOP_MS);
    await gone();
    clearTimeout(timer);
  };
  const crash = async () => {
    killNow();
    await gone();
  };
  try {
    const told = await until(
      "the server to be ready",
      async () => {
        if (ending !== null) return { failed: ending };
        return existsSync(ready) ? JSON.parse(await readFile(ready, "utf8")) : null;
      },
      READY_MS,
    );
    if (told.failed) throw new Error(`the server ended at once: ${told.failed}`);
    return { told, end, crash };
  } catch (error) {
    await end();
    throw error;
  }
}

/** Tables of plain values; nothing more is needed here. */
function toToml(tables) {
  return Object.entries(tables)
    .map(([table, keys]) => {
      const lines = Object.entries(keys).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
      return [`[${table}]`, ...lines, ""].join("\n");
    })
    .join("\n");
}
