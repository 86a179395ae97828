/** An address of a Lockgate server: `server` is its origin, without one that of the page. */
export function at(server: string | URL | undefined, path: string): string {
  return server === undefined ? path : new URL(path, server).href;
}
