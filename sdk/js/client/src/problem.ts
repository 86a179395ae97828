// Requests to the server, and the two ways they can go wrong: it refuses in words, or it cannot be reached.

/** The server's refusal: RFC 9457 problem details, or what could be made of another error response. */
export class Problem extends Error {
  override readonly name = "Problem";

  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
    /** When to try again, if the server said so. */
    readonly retryAfterS: number | null,
    /** What kind of problem: a URI reference, as `/problems/full`; empty if it was not said. */
    readonly type = "",
  ) {
    super(detail || title);
  }
}

/** No answer: the server is down, the network is gone, or it took too long. */
export class Unreachable extends Error {
  override readonly name = "Unreachable";
}

export interface RequestOptions {
  method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Sent as `Authorization: Bearer …`. */
  token?: string | null;
  contentType?: string;
  body?: string | Blob;
  signal?: AbortSignal;
  timeoutMs?: number;
  /** Lets the request outlive the page. */
  keepalive?: boolean;
}

/** Sends a request; what comes back is a success. Throws [`Problem`] or [`Unreachable`]. */
export async function request(url: string | URL, options: RequestOptions = {}): Promise<Response> {
  const headers = new Headers({ accept: "application/json, application/problem+json, */*;q=0.5" });
  if (options.token) headers.set("authorization", `Bearer ${options.token}`);
  if (options.contentType) headers.set("content-type", options.contentType);

  const timeout = AbortSignal.timeout(options.timeoutMs ?? REQUEST_TIMEOUT_MS);
  let response: Response;
  try {
    response = await fetch(url, {
      method: options.method ?? "GET",
      headers,
      body: options.body ?? null,
      keepalive: options.keepalive ?? false,
      cache: "no-store",
      signal: options.signal ? AbortSignal.any([options.signal, timeout]) : timeout,
    });
  } catch (error) {
    options.signal?.throwIfAborted();
    throw new Unreachable(timeout.aborted ? "the server did not answer in time" : "the server cannot be reached", {
      cause: error,
    });
  }
  if (!response.ok) throw await problemFrom(response);
  return response;
}

/** Reads an error response as a problem, whatever its body is. */
export async function problemFrom(response: Response): Promise<Problem> {
  let title = response.statusText || `HTTP ${response.status}`;
  let detail = "";
  let kind = "";
  const type = response.headers.get("content-type") ?? "";
  if (type.includes("json")) {
    try {
      const body: unknown = await response.json();
      if (typeof body === "object" && body !== null) {
        if ("title" in body && typeof body.title === "string") title = body.title;
        if ("type" in body && typeof body.type === "string") kind = body.type;
        if ("detail" in body && typeof body.detail === "string") detail = body.detail;
      }
    } catch {
      // A body that is not what its type says adds nothing; the status says enough.
    }
  }
  return new Problem(response.status, title, detail, retryAfter(response.headers.get("retry-after")), kind);
}

/** `Retry-After` as seconds, from either of its two forms (RFC 9110 §10.2.3). */
function retryAfter(value: string | null): number | null {
  if (value === null) return null;
  const seconds = Number(value);
  if (Number.isFinite(seconds)) return Math.max(0, seconds);
  const date = Date.parse(value);
  return Number.isNaN(date) ? null : Math.max(0, (date - Date.now()) / 1000);
}

const REQUEST_TIMEOUT_MS = 10_000;
