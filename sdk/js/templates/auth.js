// Who may enter: the scopes of the token decide. A scope is an action, or an action and a stream: `play`, `play:demo`,
// `publish:team-*`; `admin` may do everything. What throws denies.

/** @import { Request, Verdict } from "@lockgate/policy" */

/** @param {object} config @param {Request} request @returns {Verdict} */
export function authorize(config, request) {
  if (Object.keys(request.claims).length === 0) return { deny: true, status: 401, reason: "no token" };
  const scopes = request.claims.scope;
  if (typeof scopes !== "string") return { deny: true, status: 403, reason: "the token has no scopes" };
  const isCovered = scopes.split(" ").some((scope) => {
    const [kind, pattern = "*"] = scope.split(":", 2);
    if (kind === "admin") return true;
    const covers = pattern.endsWith("*") ? request.stream.startsWith(pattern.slice(0, -1)) : pattern === request.stream;
    return kind === request.action && covers;
  });
  if (isCovered) return { allow: true, ttl_s: 300 };
  return { deny: true, status: 403, reason: "no scope covers this" };
}
