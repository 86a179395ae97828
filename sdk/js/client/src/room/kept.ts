// A connection that is opened, and opened again whenever it is lost, until it is no longer wanted.

import { pause } from "../pause.ts";
import { Problem } from "../problem.ts";

/** What can be kept. */
export interface Keepable {
  /** Resolves, with why, when it is lost; never if it is closed. */
  readonly lost: Promise<string>;
  close(): void;
}

export interface KeptOptions<Thing extends Keepable> {
  /** Opens it; throws what went wrong. */
  open: (signal: AbortSignal) => Promise<Thing>;
  /** It is there, or no longer. */
  changed: (thing: Thing | null) => void;
  /** It could not be opened or was lost; it is tried again unless `final`. */
  trouble: (error: unknown, final: boolean) => void;
}

/** Keeps one thing open. */
export class Kept<Thing extends Keepable> {
  #thing: Thing | null = null;
  #run: AbortController | null = null;
  #retry = new AbortController();

  constructor(private readonly options: KeptOptions<Thing>) {}

  get thing(): Thing | null {
    return this.#thing;
  }

  /** Whether it is to be open. */
  get wanted(): boolean {
    return this.#run !== null;
  }

  /** Opens it unless it is open or being opened. */
  start(): void {
    if (this.#run) return;
    this.#run = new AbortController();
    void this.#keep(this.#run.signal);
  }

  /** Opens another in its place. What was there is closed once the other is up. */
  restart(): void {
    this.#run?.abort(new DOMException("another connection takes its place", "AbortError"));
    this.#run = new AbortController();
    void this.#keep(this.#run.signal);
  }

  /** Ends a pause between two tries, because now may be better. */
  retryNow(): void {
    this.#retry.abort();
  }

  /** Closes it. */
  stop(): void {
    this.#run?.abort(new DOMException("the connection is no longer wanted", "AbortError"));
    this.#run = null;
    this.#put(null);
  }

  async #keep(signal: AbortSignal): Promise<void> {
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        const thing = await this.options.open(signal);
        if (signal.aborted) return thing.close();
        this.#put(thing);
        const aborted = new Promise<null>((resolve) => signal.addEventListener("abort", () => resolve(null)));
        const why = await Promise.race([thing.lost, aborted]);
        // Stopped, or another is on its way.
        if (why === null) return;
        this.#put(null);
        attempt = 0;
        this.options.trouble(new Error(why), false);
      } catch (error) {
        if (signal.aborted) return;
        // What the server does not allow, it does not allow the next time either.
        const final = error instanceof Problem && [400, 401, 403, 404, 406, 415, 422, 501].includes(error.status);
        this.#put(null);
        this.options.trouble(error, final);
        if (final) {
          this.#run = null;
          return;
        }
      }
      this.#retry = new AbortController();
      await pause(Math.min(2 ** attempt * PAUSE_FIRST_S, PAUSE_MAX_S), AbortSignal.any([signal, this.#retry.signal]));
    }
  }

  #put(thing: Thing | null): void {
    if (this.#thing === thing) return;
    this.#thing?.close();
    this.#thing = thing;
    this.options.changed(thing);
  }
}

const PAUSE_FIRST_S = 0.25;
const PAUSE_MAX_S = 8;
