// Publishing until told to stop: connects, reconnects when the connection is lost, and says how it goes.

import { Emitter } from "./emitter.ts";
import { pause } from "./pause.ts";
import { Problem, Unreachable } from "./problem.ts";
import type { VideoSending } from "./sending.ts";
import { at } from "./server.ts";
import { WhipSession, type PublishStats } from "./whip.ts";

export type PublisherState = "idle" | "connecting" | "live" | "reconnecting" | "failed";

export interface PublishOptions extends Partial<VideoSending> {
  /** What to send. Its tracks are the caller's: stopping does not end them. */
  stream: MediaStream;
  /** The broadcast's name: letters, digits, dot, dash and underscore. */
  name: string;
  token?: string | null;
  /** The server's origin; without one that of the page. */
  server?: string | URL;
}

/** What a publisher tells. */
export interface PublisherEvents {
  /** `reconnecting`: the connection was lost, and is tried again 4 times. `failed` is final. */
  state: PublisherState;
  /** Once a second while live: counters since the connection began. */
  stats: PublishStats;
}

/** One publication. */
export class Publisher extends Emitter<PublisherEvents> {
  state: PublisherState = "idle";
  /** What went wrong, in words for the person publishing; empty unless `state` is `failed`. */
  error = "";
  /** What went wrong: the server's refusal, no answer, or anything else. */
  cause: Problem | Unreachable | Error | null = null;
  #session: WhipSession | null = null;
  #ticker: ReturnType<typeof setInterval> | undefined;
  readonly #run = new AbortController();

  constructor(readonly options: PublishOptions) {
    super();
  }

  /** Publishes; resolves once live or failed. Called once. */
  async start(): Promise<void> {
    this.#set("connecting");
    this.#ticker = setInterval(() => void this.#tick(), STATS_EVERY_MS);
    try {
      await this.#connect();
    } catch (error) {
      this.#fail(error);
    }
  }

  stop(): void {
    clearInterval(this.#ticker);
    this.#run.abort(new DOMException("publishing was stopped", "AbortError"));
    this.#session?.close();
    this.#session = null;
    this.#set("idle");
  }

  async stats(): Promise<PublishStats | null> {
    return (await this.#session?.stats()) ?? null;
  }

  async #connect(): Promise<void> {
    const { stream, name, token = null, server, codec, simulcast, videoBitrateMaxBps } = this.options;
    const { signal } = this.#run;
    const session = await WhipSession.open(
      {
        url: at(server, `/whip/${encodeURIComponent(name)}`),
        token,
        stream,
        codec: codec ?? "h264",
        simulcast: simulcast ?? true,
        videoBitrateMaxBps: videoBitrateMaxBps ?? VIDEO_BITRATE_MAX_BPS,
        signal,
        onLost: () => void this.#reconnect(),
      },
      CONNECT_TIMEOUT_MS,
    );
    if (signal.aborted) {
      session.close();
      return;
    }
    this.#session = session;
    this.#set("live");
  }

  async #reconnect(): Promise<void> {
    this.#session?.close();
    this.#session = null;
    let last: unknown = new Unreachable("the connection was lost");
    for (const pauseS of RECONNECT_PAUSES_S) {
      if (this.#run.signal.aborted) return;
      this.#set("reconnecting");
      await pause(pauseS, this.#run.signal);
      if (this.#run.signal.aborted) return;
      try {
        await this.#connect();
        return;
      } catch (error) {
        last = error;
      }
    }
    this.#fail(last);
  }

  #fail(error: unknown): void {
    if (this.#run.signal.aborted) return;
    clearInterval(this.#ticker);
    this.error = explain(error, this.options);
    this.cause = error instanceof Error ? error : new Error(String(error));
    this.#set("failed");
  }

  #set(state: PublisherState): void {
    this.state = state;
    this.emit("state", state);
  }

  async #tick(): Promise<void> {
    if (this.state !== "live" || !this.listens("stats")) return;
    const stats = await this.stats().catch(() => null);
    if (stats) this.emit("stats", stats);
  }
}

/** Publishes from now on until `stop()`. */
export function publish(options: PublishOptions): Publisher {
  const publisher = new Publisher(options);
  void publisher.start();
  return publisher;
}

function explain(error: unknown, { name, token }: PublishOptions): string {
  if (!(error instanceof Problem)) {
    const why = error instanceof Error ? error.message : String(error);
    return error instanceof Unreachable ? `Not published: ${why}. Is the server running?` : `Not published: ${why}.`;
  }
  const words = [error.title, error.detail].filter(Boolean).join(": ");
  switch (error.status) {
    case 401:
      return token
        ? `The access token was refused: it is expired, or not of this server. ${words}`
        : `Publishing needs an access token. ${words}`;
    case 403:
      return `The access token does not allow publishing “${name}”. ${words}`;
    case 409:
      return `The name “${name}” is taken. Choose another, or end the other broadcast first. ${words}`;
    case 429:
      return `Too many tries. Wait ${error.retryAfterS ?? 60} s, then publish again. ${words}`;
    case 503:
      return error.type.endsWith("/full")
        ? `The server is full: it takes no more publishers now. Try again later. ${words}`
        : `The server cannot take the broadcast now. Try again in ${error.retryAfterS ?? 5} s. ${words}`;
    default:
      return words;
  }
}

const STATS_EVERY_MS = 1_000;
const VIDEO_BITRATE_MAX_BPS = 4_000_000;
const CONNECT_TIMEOUT_MS = 10_000;
const RECONNECT_PAUSES_S = [1, 2, 4, 8];
