// Numbers over the last two minutes, one small graph for each, with a line where something was decided.

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

export interface GraphSpec {
  id: string;
  title: string;
  /** A value with its unit, as people read it. */
  format: (value: number) => string;
}

const SPAN_S = 120;
const HEIGHT = 110;

interface Graph {
  spec: GraphSpec;
  plot: uPlot;
  place: HTMLElement;
  output: HTMLOutputElement;
  values: (number | null)[];
}

export class Graphs {
  readonly #times: number[] = [];
  readonly #marks: number[] = [];
  readonly #graphs: Graph[];

  constructor(root: HTMLElement, specs: readonly GraphSpec[]) {
    this.#graphs = specs.map((spec) => this.#make(root, spec));
    const resized = new ResizeObserver(() => {
      for (const { plot, place } of this.#graphs) plot.setSize({ width: place.clientWidth, height: HEIGHT });
    });
    resized.observe(root);
    // Colours are read when something is drawn.
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  /** Takes the numbers of a moment; `null` leaves a gap. */
  push(values: Readonly<Record<string, number | null>>): void {
    const now = Date.now() / 1000;
    this.#times.push(now);
    for (const graph of this.#graphs) graph.values.push(values[graph.spec.id] ?? null);
    while ((this.#times[0] ?? now) < now - SPAN_S) {
      this.#times.shift();
      for (const graph of this.#graphs) graph.values.shift();
    }
    while ((this.#marks[0] ?? now) < now - SPAN_S) this.#marks.shift();
    this.#draw();
  }

  /** Something was decided now. */
  mark(): void {
    this.#marks.push(Date.now() / 1000);
  }

  #draw(): void {
    const now = this.#times.at(-1) ?? Date.now() / 1000;
    for (const { spec, plot, place, output, values } of this.#graphs) {
      plot.setData([this.#times, values], false);
      plot.setScale("x", { min: now - SPAN_S, max: now });
      const last = values.at(-1);
      const words = last == null ? "unknown" : spec.format(last);
      output.textContent = last == null ? "–" : words;
      place.setAttribute("aria-label", `${spec.title} over the last two minutes, now ${words}`);
    }
  }

  #make(root: HTMLElement, spec: GraphSpec): Graph {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const output = document.createElement("output");
    // Read on demand: a value a second would drown everything else.
    output.setAttribute("aria-live", "off");
    caption.append(spec.title, output);
    const place = document.createElement("div");
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", `${spec.title} over the last two minutes`);
    figure.append(caption, place);
    root.append(figure);
    const values: (number | null)[] = [];
    const plot = new uPlot(
      {
        width: place.clientWidth || 260,
        height: HEIGHT,
        legend: { show: false },
        cursor: { show: false },
        padding: [8, 4, 8, 0],
        scales: { x: { time: true }, y: { range: (_plot, _min, max) => [0, max > 0 ? max * 1.15 : 1] } },
        axes: [
          { show: false },
          {
            size: 58,
            font: "12px system-ui, sans-serif",
            stroke: () => color("--muted"),
            grid: { stroke: () => color("--line"), width: 1 },
            ticks: { show: false },
            space: 34,
            values: (_plot, splits) => splits.map((value) => spec.format(value)),
          },
        ],
        series: [{}, { stroke: () => color("--accent"), width: 2, points: { show: false }, spanGaps: false }],
        hooks: { draw: [(plot) => this.#drawMarks(plot)] },
      },
      [this.#times, values],
      place,
    );
    return { spec, plot, place, output, values };
  }

  #drawMarks(plot: uPlot): void {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = color("--line-strong");
    ctx.setLineDash([4, 4]);
    for (const mark of this.#marks) {
      const x = Math.round(plot.valToPos(mark, "x", true)) + 0.5;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }
}

function color(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name);
}
