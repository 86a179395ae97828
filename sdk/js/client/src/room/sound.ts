// What is heard of the others: one audio element for each section, in no document.

/** Plays what is heard. */
export class Sound {
  readonly #elements = new Map<MediaStream, HTMLAudioElement>();
  #blocked = false;
  #output = "";

  /** `changed` says that the browser began to want a click first, or no longer does. */
  constructor(private readonly changed: () => void) {}

  /** The browser plays nothing before the person has clicked somewhere. */
  get blocked(): boolean {
    return this.#blocked;
  }

  /** Plays these from now on, and nothing else. */
  play(streams: Iterable<MediaStream>): void {
    const wanted = new Set(streams);
    for (const [stream, element] of this.#elements) {
      if (wanted.has(stream)) continue;
      element.srcObject = null;
      this.#elements.delete(stream);
    }
    for (const stream of wanted) {
      if (this.#elements.has(stream)) continue;
      const element = new Audio();
      element.srcObject = stream;
      this.#elements.set(stream, element);
      void this.#direct(element);
      void this.#start(element);
    }
  }

  /** Tries again; call it when the person clicked. */
  async resume(): Promise<void> {
    this.#set(false);
    await Promise.all([...this.#elements.values()].map((element) => this.#start(element)));
  }

  /** Plays through another loudspeaker; empty is the browser's default. Throws where the browser cannot. */
  async setOutput(deviceId: string): Promise<void> {
    this.#output = deviceId;
    await Promise.all([...this.#elements.values()].map((element) => element.setSinkId(deviceId)));
  }

  async #direct(element: HTMLAudioElement): Promise<void> {
    // A loudspeaker that is gone is no reason to hear nothing: the default plays on.
    if (this.#output) await element.setSinkId(this.#output).catch(() => undefined);
  }

  async #start(element: HTMLAudioElement): Promise<void> {
    try {
      await element.play();
    } catch (error) {
      if (error instanceof DOMException && error.name === "NotAllowedError") this.#set(true);
    }
  }

  #set(blocked: boolean): void {
    if (this.#blocked === blocked) return;
    this.#blocked = blocked;
    this.changed();
  }
}
