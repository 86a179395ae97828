// aiortc, in a process of its own.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const PYTHON = process.env.LOCKGATE_AIORTC ?? fileURLToPath(new URL("../../target/aiortc/bin/python", import.meta.url));

/** Starts it; resolves when it is connected. `read` asks for what it has seen. */
export async function aiortc(what, url, token) {
  const script = fileURLToPath(new URL("peer.py", import.meta.url));
  const child = spawn(PYTHON, [script, what, url, token], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout });
  const ended = once(child, "exit");
  const said = () =>
    Promise.race([
      once(lines, "line").then(([line]) => JSON.parse(line)),
      ended.then(([code]) => {
        throw new Error(`aiortc ended with ${code}`);
      }),
    ]);
  await said();
  return {
    read: async () => {
      const answer = said();
      child.stdin.write("read\n");
      return answer;
    },
    stop: async () => {
      child.stdin.end();
      await ended.catch(() => {});
    },
  };
}
