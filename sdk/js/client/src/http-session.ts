// What WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep) share: one offer by POST, an answer, a session to DELETE.

import { findLink, iceServers, parseLinks, type Link } from "./link.ts";
import { Problem, request } from "./problem.ts";

export interface Endpoint {
  url: string | URL;
  token: string | null;
  signal?: AbortSignal;
}

/** A peer connection and the HTTP resource that stands for it. */
export class HttpSession {
  #closed = false;
  readonly #watchers = new Set<() => void>();
  readonly #leave = (): void => this.close();

  private constructor(
    readonly pc: RTCPeerConnection,
    readonly url: URL,
    private readonly links: Link[],
    private readonly etag: string | null,
    private readonly endpoint: Endpoint,
  ) {
    // A page that goes away frees its seat at once; the DELETE outlives it.
    addEventListener("pagehide", this.#leave);
    pc.addEventListener("connectionstatechange", () => this.#watchers.forEach((watch) => watch()));
  }

  /**
   * Offers what `pc` holds and takes the answer. The offer goes out before it is set, without candidates: the answer may
   * name ICE servers, which count only for gathering that starts later (RFC 9725 §4.6), and a server on a public
   * address learns ours from the first packet.
   */
  static async open(pc: RTCPeerConnection, endpoint: Endpoint, munge = (sdp: string): string => sdp): Promise<HttpSession> {
    const offer = await pc.createOffer();
    const sdp = munge(offer.sdp ?? "");
    const response = await request(endpoint.url, {
      method: "POST",
      token: endpoint.token,
      contentType: "application/sdp",
      body: sdp,
      ...(endpoint.signal ? { signal: endpoint.signal } : {}),
    });
    const location = response.headers.get("location");
    const posted = response.url || endpoint.url;
    if (response.status !== 201 || location === null || !URL.canParse(location, posted)) {
      throw new Problem(response.status, "Not a WebRTC session", "the server's answer names no session", null);
    }
    const links = parseLinks(response.headers.get("link"));
    const session = new HttpSession(pc, new URL(location, posted), links, response.headers.get("etag"), endpoint);
    try {
      const answer = await response.text();
      const servers = iceServers(links);
      if (servers.length > 0) {
        pc.setConfiguration({ ...pc.getConfiguration(), iceServers: servers });
        session.#trickle();
      }
      await pc.setLocalDescription({ type: "offer", sdp });
      await pc.setRemoteDescription({ type: "answer", sdp: answer });
      endpoint.signal?.throwIfAborted();
      return session;
    } catch (error) {
      session.close();
      throw error;
    }
  }

  /** The address behind a Link of the answer. */
  link(rel: string): URL | null {
    return findLink(this.links, rel, this.url);
  }

  /** Resolves once media can flow; throws when it cannot in time. */
  connected(timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (settle: () => void): void => {
        clearTimeout(timer);
        this.#watchers.delete(look);
        settle();
      };
      const look = (): void => {
        const state = this.pc.connectionState;
        if (state === "connected") done(resolve);
        else if (state === "failed" || state === "closed") {
          done(() => reject(new Error(`the WebRTC connection ${state === "failed" ? "failed" : "was closed"}`)));
        }
      };
      const timer = setTimeout(
        () => done(() => reject(new Error("no WebRTC connection in time; is the server's UDP port reachable?"))),
        timeoutMs,
      );
      this.#watchers.add(look);
      look();
    });
  }

  /** Calls back once when an established connection is lost for good. */
  onLost(lost: () => void): void {
    const look = (): void => {
      if (this.#closed || this.pc.connectionState !== "failed") return;
      this.#watchers.delete(look);
      lost();
    };
    this.#watchers.add(look);
  }

  /** Ends the session here and there. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    removeEventListener("pagehide", this.#leave);
    this.pc.close();
    this.#watchers.forEach((watch) => watch());
    this.#watchers.clear();
    // Nobody waits for the answer: a server that is gone has forgotten the session anyway.
    request(this.url, { method: "DELETE", token: this.endpoint.token, keepalive: true }).catch(() => undefined);
  }

  /** Sends candidates as they are found (RFC 9725 §4.3.2); needed only where a TURN server relays. */
  #trickle(): void {
    this.pc.addEventListener("icecandidate", ({ candidate }) => {
      const local = this.pc.localDescription?.sdp;
      if (!candidate?.candidate || !local || this.#closed) return;
      const line = (name: string): string => new RegExp(`^a=${name}:.*$`, "m").exec(local)?.[0].trim() ?? "";
      const media = /^m=.*$/m.exec(local)?.[0].trim() ?? "";
      const fragment = [
        line("ice-ufrag"),
        line("ice-pwd"),
        media,
        `a=mid:${candidate.sdpMid ?? "0"}`,
        `a=${candidate.candidate}`,
        "",
      ].join("\r\n");
      void fetch(this.url, {
        method: "PATCH",
        headers: {
          "content-type": "application/trickle-ice-sdpfrag",
          ...(this.etag ? { "if-match": this.etag } : {}),
          ...(this.endpoint.token ? { authorization: `Bearer ${this.endpoint.token}` } : {}),
        },
        body: fragment,
      }).catch(() => undefined); // one candidate lost leaves the others
    });
  }
}
