// The connection for signalling: joins, and comes back to the seat when it was down.

import type { Socket } from "socket.io-client";

import { Problem, Unreachable } from "../problem.ts";
import { ask, asProblem, connectError, openSocket, type SocketOptions } from "./socket.ts";
import type { Joined } from "./wire.ts";

export interface SignallingOptions extends SocketOptions {
  room: string;
  name?: string;
  seat?: string;
  /** Joined, for the first time or again. */
  joined: (joined: Joined) => void;
  /** Down; it is tried again. */
  down: (error: Problem | Unreachable) => void;
  /** Refused for good, or disconnected by the server. */
  refused: (error: Problem) => void;
  /** An event of the room. */
  heard: (event: string, data: unknown) => void;
}

/** One participant's signalling. */
export class Signalling {
  #seat: string | undefined;
  #joined = false;
  #ended = false;
  /** What the server said was wrong before it disconnected. */
  #why: Problem | null = null;
  #return: ReturnType<typeof setTimeout> | undefined;

  private constructor(
    private readonly socket: Socket,
    private readonly options: SignallingOptions,
  ) {
    this.#seat = options.seat;
    socket.on("connect", () => void this.#join());
    socket.on("connect_error", (error) => this.#failed(connectError(error)));
    socket.on("disconnect", (reason) => this.#dropped(reason));
    socket.on("error", (body: unknown) => (this.#why = asProblem(body, 500, "Something went wrong")));
    socket.onAny((event: string, data: unknown) => {
      // What is told before one has joined is told again then.
      if (event !== "joined" && event !== "error" && this.#joined) options.heard(event, data);
    });
  }

  static async open(options: SignallingOptions): Promise<Signalling> {
    const signalling = new Signalling(await openSocket(options), options);
    signalling.socket.connect();
    return signalling;
  }

  get isUp(): boolean {
    return this.#joined;
  }

  /** Sends an event and waits for its answer. */
  ask<Answer extends object>(event: string, data: object): Promise<Answer> {
    if (!this.#joined) return Promise.reject(new Unreachable("the connection for signalling is down"));
    return ask<Answer>(this.socket, event, data);
  }

  /** Leaves for good. */
  leave(): void {
    if (this.#joined) this.socket.emit("leave", {});
    this.end();
  }

  /** Ends without a goodbye: the server knows. */
  end(): void {
    this.#ended = true;
    this.#joined = false;
    clearTimeout(this.#return);
    this.socket.disconnect();
  }

  async #join(): Promise<void> {
    const { room, name } = this.options;
    const seat = this.#seat;
    try {
      // The connection to receive over is offered here, never by the server.
      const wish = { room, receive: "own", ...(name ? { name } : {}), ...(seat ? { seat } : {}) };
      const joined = await ask<Joined>(this.socket, "join", wish);
      if (this.#ended) return;
      this.#seat = joined.seat;
      this.#joined = true;
      this.#why = null;
      this.options.joined(joined);
    } catch (error) {
      this.#failed(error as Error);
    }
  }

  #dropped(reason: string): void {
    if (this.#ended || reason === "io client disconnect") return;
    this.#joined = false;
    const why = this.#why;
    // It was told what is wrong, or not to come back by itself.
    if (reason === "io server disconnect" && why && isFinal(why)) {
      this.end();
      this.options.refused(why);
      return;
    }
    this.options.down(new Unreachable("the connection for signalling was lost"));
    // socket.io-client takes a server that closes the connection for one that does not want it back.
    if (reason === "io server disconnect") this.#comeBack();
  }

  #failed(error: Error): void {
    if (this.#ended) return;
    if (error instanceof Problem && isFinal(error)) {
      this.end();
      this.options.refused(error);
      return;
    }
    this.options.down(error instanceof Problem || error instanceof Unreachable ? error : new Unreachable(error.message));
    if (this.socket.connected) {
      // Connected and not in the room: begin again from the start.
      this.socket.disconnect();
      this.#comeBack();
    } else if (!this.socket.active) {
      this.#comeBack();
    }
  }

  #comeBack(): void {
    clearTimeout(this.#return);
    this.#return = setTimeout(() => this.socket.connect(), RETURN_PAUSE_MS);
  }
}

/** Whether trying again is in vain: everything but a server that is busy or going down. */
export function isFinal({ status }: Problem): boolean {
  return status < 500 && status !== 408 && status !== 429;
}

const RETURN_PAUSE_MS = 1_000;
