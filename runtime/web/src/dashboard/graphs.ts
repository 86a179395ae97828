// What the figures have been over the last minutes.

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import { setText } from "../ui/dom";
import type { Metrics } from "./feed";

interface Line {
  label: string;
  /** The name of its colour among the properties of the style sheet. */
  color: string;
  of(metrics: Metrics): number | null;
}

interface Graph {
  title: string;
  unit: string;
  lines: Line[];
}

const GRAPHS: Graph[] = [
  {
    title: "Participants",
    unit: "",
    lines: [
      { label: "WebRTC viewers", color: "--line-1", of: ({ node }) => node.viewers },
      { label: "HLS players", color: "--line-2", of: ({ node }) => node.hls_sessions },
      { label: "Streams", color: "--line-3", of: (metrics) => metrics.active_streams },
    ],
  },
  {
    title: "Sent to a viewer",
    unit: "kb/s",
    lines: [{ label: "Average", color: "--line-1", of: (metrics) => metrics.average_bitrate_kbps }],
  },
  {
    title: "Network health",
    unit: "of 100",
    lines: [{ label: "Average score", color: "--line-1", of: (metrics) => metrics.network_health }],
  },
  {
    title: "CPU",
    unit: "cores",
    lines: [
      { label: "Server", color: "--line-1", of: ({ node }) => (node.cpu_pct === null ? null : node.cpu_pct / 100) },
      { label: "Encoders", color: "--line-2", of: ({ node }) => node.budget.cpu_used },
      { label: "Budget of encoders", color: "--line-3", of: ({ node }) => node.budget.cpu_budget },
    ],
  },
];

/** Keeps some minutes and draws them. */
export class Graphs {
  private readonly times: number[] = [];
  private readonly drawn: { graph: Graph; values: (number | null)[][]; plot: uPlot; said: HTMLElement }[];

  constructor(place: HTMLElement) {
    this.drawn = GRAPHS.map((graph) => {
      const figure = document.createElement("figure");
      const said = caption(graph);
      const canvas = document.createElement("div");
      canvas.setAttribute("aria-hidden", "true");
      figure.append(said, canvas);
      place.append(figure);
      const values = graph.lines.map((): (number | null)[] => []);
      return { graph, values, said, plot: this.plot(graph, canvas) };
    });
    new ResizeObserver(() => this.fit()).observe(place);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => this.drawn.forEach(({ plot }) => plot.redraw(false, true)));
  }

  push(metrics: Metrics): void {
    this.times.push(metrics.at_ms / 1000);
    const surplus = this.times.length - POINTS_MAX;
    if (surplus > 0) this.times.splice(0, surplus);
    for (const { graph, values, plot, said } of this.drawn) {
      graph.lines.forEach((line, at) => {
        const value = line.of(metrics);
        const series = values[at]!;
        series.push(value);
        if (surplus > 0) series.splice(0, surplus);
        const number = value === null ? "unknown" : Number(value.toPrecision(3)).toString();
        setText(said.children[at + 1] as HTMLElement, `${line.label} ${number}`);
      });
      plot.setData([this.times, ...values]);
    }
  }

  private plot(graph: Graph, place: HTMLElement): uPlot {
    const color = (name: string) => () => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const axis = { stroke: color("--muted"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false } };
    const options: uPlot.Options = {
      width: 300,
      height: HEIGHT_PX,
      legend: { show: false },
      cursor: { show: false },
      scales: {
        // Of the first point alone it would make years.
        x: { range: () => this.span() },
        y: { range: (_plot, _low, high) => [0, Math.max(high, 1) * 1.1] },
      },
      axes: [axis, { ...axis, size: 46 }],
      series: [
        {},
        ...graph.lines.map(({ label, color: name }): uPlot.Series => ({
          label,
          stroke: color(name),
          width: 2,
          spanGaps: false,
          points: { show: false },
        })),
      ],
    };
    return new uPlot(options, [[], ...graph.lines.map(() => [])], place);
  }

  /** What is shown, in s since 1970. */
  private span(): [number, number] {
    const [first = 0] = this.times;
    const last = this.times.at(-1) ?? SPAN_MIN_S;
    return [Math.min(first, last - SPAN_MIN_S), last];
  }

  private fit(): void {
    for (const { plot } of this.drawn) {
      const width = plot.root.parentElement?.clientWidth ?? 0;
      if (width > 0 && width !== plot.width) plot.setSize({ width, height: HEIGHT_PX });
    }
  }
}

/** The graph's name, and each line with its colour and its last value. */
function caption(graph: Graph): HTMLElement {
  const said = document.createElement("figcaption");
  const title = document.createElement("strong");
  title.textContent = graph.unit ? `${graph.title} (${graph.unit})` : graph.title;
  said.append(title);
  for (const { color } of graph.lines) {
    const key = document.createElement("span");
    key.className = color.slice(2);
    said.append(key);
  }
  return said;
}

/** Ten minutes. */
const POINTS_MAX = 600;
/** What a graph shows at least. */
const SPAN_MIN_S = 60;
const HEIGHT_PX = 150;
