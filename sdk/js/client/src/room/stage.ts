// Which of the page's video elements shows whom, how large they are, and whether anybody sees them.

import type { Want } from "./places.ts";
import type { Source } from "./wire.ts";

interface Shown {
  participant: string;
  source: Source;
  inView: boolean;
}

/** The elements that the page gave. */
export class Stage {
  readonly #shown = new Map<HTMLVideoElement, Shown>();
  readonly #sizes: ResizeObserver;
  readonly #views: IntersectionObserver;
  readonly #look = (): void => this.changed();

  /** `changed` says that something else is to be sent. */
  constructor(private readonly changed: () => void) {
    this.#sizes = new ResizeObserver(() => changed());
    this.#views = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const shown = this.#shown.get(target as HTMLVideoElement);
        if (shown) shown.inView = isIntersecting;
      }
      changed();
    });
    document.addEventListener("visibilitychange", this.#look);
  }

  /** Shows somebody there from now on. */
  show(video: HTMLVideoElement, participant: string, source: Source): void {
    const before = this.#shown.get(video);
    if (before?.participant === participant && before.source === source) return;
    // Until it is known better, what the page shows is seen.
    this.#shown.set(video, { participant, source, inView: before?.inView ?? true });
    if (!before) {
      this.#sizes.observe(video);
      this.#views.observe(video);
    }
    this.changed();
  }

  /** Shows nobody there from now on. */
  hide(video: HTMLVideoElement): void {
    if (!this.#shown.delete(video)) return;
    this.#sizes.unobserve(video);
    this.#views.unobserve(video);
    put(video, null);
    this.changed();
  }

  /** What is seen, the largest first. */
  wants(): Want[] {
    const wants: Want[] = [];
    for (const [video, { participant, source, inView }] of this.#shown) {
      const floats = document.pictureInPictureElement === video;
      if (!floats && (document.hidden || !inView)) continue;
      // A floating picture is small, and its size is not told.
      const heightPx = floats ? FLOATING_PX : video.clientHeight * devicePixelRatio;
      if (heightPx > 0) wants.push({ participant, source, heightPx });
    }
    return wants.sort((a, b) => b.heightPx - a.heightPx);
  }

  /** Puts into each element what there is of whom it shows. */
  fill(find: (participant: string, source: Source) => MediaStream | null): void {
    for (const [video, { participant, source }] of this.#shown) put(video, find(participant, source));
  }

  close(): void {
    for (const video of this.#shown.keys()) put(video, null);
    this.#shown.clear();
    this.#sizes.disconnect();
    this.#views.disconnect();
    document.removeEventListener("visibilitychange", this.#look);
  }
}

function put(video: HTMLVideoElement, stream: MediaStream | null): void {
  if (video.srcObject === stream) return;
  video.srcObject = stream;
  // Sound is played elsewhere, and a picture alone plays without a click.
  video.muted = true;
  if (stream) void video.play().catch(() => undefined);
}

const FLOATING_PX = 360;
