// Publishing until told to stop: connects, reconnects when the connection is lost, and says how it goes.

import { Problem, Unreachable } from "./problem.ts";
import type { PublishCodec } from "./sending.ts";
import { WhipSession, type PublishStats } from "./whip.ts";

export type PublisherState = "idle" | "connecting" | "live" | "reconnecting" | "failed";

export interface PublisherOptions {
  stream: MediaStream;
  name: string;
  token: string | null;
  codec: PublishCodec;
  simulcast: boolean;
  onChange: (publisher: Publisher) => void;
}

export class Publisher {
  state: PublisherState = "idle";
  /** What went wrong, for the person publishing. */
  error = "";
  #session: WhipSession | null = null;
  readonly #run = new AbortController();

  constructor(readonly options: PublisherOptions) {}

  /** Publishes; resolves once live or failed. Called once. */
  async start(): Promise<void> {
    this.#set("connecting");
    try {
      await this.#connect();
    } catch (error) {
      this.#fail(error);
    }
  }

  stop(): void {
    this.#run.abort(new DOMException("publishing was stopped", "AbortError"));
    this.#session?.close();
    this.#session = null;
    this.#set("idle");
  }

  async stats(): Promise<PublishStats | null> {
    return (await this.#session?.stats()) ?? null;
  }

  async #connect(): Promise<void> {
    const { stream, name, token, codec, simulcast } = this.options;
    const { signal } = this.#run;
    const session = await WhipSession.open(
      {
        url: `/whip/${encodeURIComponent(name)}`,
        token,
        stream,
        codec,
        simulcast,
        videoBitrateMaxBps: VIDEO_BITRATE_MAX_BPS,
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
      await new Promise((resolve) => setTimeout(resolve, pauseS * 1000));
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
    this.error = explain(error, this.options);
    this.#set("failed");
  }

  #set(state: PublisherState): void {
    this.state = state;
    this.options.onChange(this);
  }
}

function explain(error: unknown, { name, token }: PublisherOptions): string {
  if (!(error instanceof Problem)) {
    const why = error instanceof Error ? error.message : String(error);
    return error instanceof Unreachable ? `Not published: ${why}. Is the server running?` : `Not published: ${why}.`;
  }
  const words = [error.title, error.detail].filter(Boolean).join(": ");
  switch (error.status) {
    case 401:
    case 403:
      return token
        ? `The access token does not allow publishing “${name}”. ${words}`
        : `Publishing needs an access token. ${words}`;
    case 409:
      return `The name “${name}” is taken. Choose another, or end the other broadcast first. ${words}`;
    default:
      return words;
  }
}

const VIDEO_BITRATE_MAX_BPS = 4_000_000;
const CONNECT_TIMEOUT_MS = 10_000;
const RECONNECT_PAUSES_S = [1, 2, 4, 8];
