// The Link header (RFC 8288), as far as WHIP and WHEP use it.

export interface Link {
  target: string;
  /** Relation types, in lower case. */
  rels: string[];
  params: Map<string, string>;
}

/** Reads a Link header; what cannot be read ends it. */
export function parseLinks(header: string | null): Link[] {
  const links: Link[] = [];
  let rest = header ?? "";
  for (;;) {
    const target = /^[\s,]*<([^>]*)>/.exec(rest);
    if (!target) return links;
    rest = rest.slice(target[0].length);
    const params = new Map<string, string>();
    for (;;) {
      const param = /^\s*;\s*([^\s=;,]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,]*)))?/.exec(rest);
      if (!param) break;
      rest = rest.slice(param[0].length);
      const value = param[2]?.replace(/\\(.)/g, "$1") ?? param[3] ?? "";
      params.set((param[1] ?? "").toLowerCase(), value);
    }
    const rels = (params.get("rel") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    links.push({ target: target[1] ?? "", rels, params });
  }
}

/** The first link of this relation, resolved against the request's address. */
export function findLink(links: Link[], rel: string, base: string | URL): URL | null {
  const link = links.find((link) => link.rels.includes(rel));
  return link && URL.canParse(link.target, base) ? new URL(link.target, base) : null;
}

/** STUN and TURN servers the server offers (RFC 9725 §4.6). */
export function iceServers(links: Link[]): RTCIceServer[] {
  return links
    .filter((link) => link.rels.includes("ice-server"))
    .map((link) => {
      const username = link.params.get("username");
      const credential = link.params.get("credential");
      return {
        urls: link.target,
        ...(username === undefined ? {} : { username }),
        ...(credential === undefined ? {} : { credential }),
      };
    });
}
