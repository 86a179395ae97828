/** Something whose events are listened to; `Events` maps each event's name to what comes with it. */
export class Emitter<Events> {
  readonly #listeners = new Map<keyof Events, Set<(data: never) => void>>();

  /** Listens to an event from now on; call what is returned to stop listening. */
  on<Name extends keyof Events>(event: Name, listener: (data: Events[Name]) => void): () => void {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /** Whether anybody listens to an event. */
  protected listens(event: keyof Events): boolean {
    return (this.#listeners.get(event)?.size ?? 0) > 0;
  }

  /** Tells everyone who listens. What a listener throws is the page's error, and keeps nobody else from hearing. */
  protected emit<Name extends keyof Events>(event: Name, data: Events[Name]): void {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) {
      try {
        (listener as (data: Events[Name]) => void)(data);
      } catch (error) {
        reportError(error);
      }
    }
  }
}
