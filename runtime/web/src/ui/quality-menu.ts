// The choice of quality: automatic, or one of the rungs.

import type { RungChoice } from "@lockgate/client";

import { bitrate, count } from "./format";

export class QualityMenu {
  #listed = "";

  constructor(
    private readonly select: HTMLSelectElement,
    choose: (rung: string | null) => void,
  ) {
    select.addEventListener("change", () => choose(select.value || null));
  }

  show(rungs: readonly RungChoice[], chosen: string | null): void {
    this.select.disabled = rungs.length === 0;
    const list = JSON.stringify(rungs);
    // An open menu would close if its options were replaced.
    if (list !== this.#listed) {
      this.#listed = list;
      this.select.replaceChildren(new Option("Automatic", ""), ...rungs.map((rung) => new Option(label(rung), rung.id)));
    }
    this.select.value = chosen ?? "";
  }
}

function label({ id, width, height, frameRate, bitrateKbps }: RungChoice): string {
  const parts = [
    id,
    width && height ? `${width}×${height}` : "",
    // Most rungs already say their rate in their name.
    frameRate && !/p\d+$/.test(id) ? count(Math.round(frameRate), "frame") + "/s" : "",
    bitrateKbps ? bitrate(bitrateKbps * 1000) : "",
  ];
  return parts.filter(Boolean).join(" · ");
}
