// What the page's own address says: which stream, which token.

/** The access token: `#token=`, which no server sees, or `?token=`. */
export function tokenFromAddress(location: Location = window.location): string | null {
  const fragment = new URLSearchParams(location.hash.replace(/^#/, ""));
  return fragment.get("token") || new URLSearchParams(location.search).get("token") || null;
}

/** The stream of `/watch/{stream}`. */
export function streamFromAddress(location: Location = window.location): string | null {
  return named(/^\/watch\/([^/]+)\/?$/, location);
}

/** The room of `/rooms/{room}`. */
export function roomFromAddress(location: Location = window.location): string | null {
  return named(/^\/rooms\/([^/]+)\/?$/, location);
}

function named(path: RegExp, location: Location): string | null {
  const match = path.exec(location.pathname);
  try {
    return match?.[1] ? decodeURIComponent(match[1]) : null;
  } catch {
    return null;
  }
}

/** The watch page of a stream, with the token, if any, where no server and no referrer sees it. */
export function watchAddress(stream: string, token: string | null): string {
  const fragment = token ? `#token=${encodeURIComponent(token)}` : "";
  return `/watch/${encodeURIComponent(stream)}${fragment}`;
}
