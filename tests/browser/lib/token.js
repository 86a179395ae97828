// Tokens of a server whose secret the test chose.

import { execFileSync } from "node:child_process";

import { BINARY } from "./server.js";

/** What tests give servers that they mint tokens for. */
export const SECRET = "a secret that outlives the server's process";

/** A token with a scope, as the operator makes one. */
export function mint(scope, ...more) {
  const told = execFileSync(BINARY, ["token", "mint", "--scope", scope, ...more], {
    env: { ...process.env, LOCKGATE__AUTH__SECRET: SECRET },
    encoding: "utf8",
  });
  return told.trim();
}
