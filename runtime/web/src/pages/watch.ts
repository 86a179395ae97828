import { Player, type PlaybackStats, type PlayerState, type Score, type Via } from "@lockgate/client";

import { streamFromAddress, tokenFromAddress } from "../lib/address";
import { hlsWorker } from "../lib/hls-worker";
import { byId, setText, showFacts } from "../ui/dom";
import { bitrate, clock, gradeOf } from "../ui/format";
import type { Graphs } from "../ui/graphs";
import { showKeys } from "../ui/player-controls";
import { QualityMenu } from "../ui/quality-menu";

/** What embedders and tests can read and do. */
interface Lockgate {
  readonly state: PlayerState;
  readonly message: string;
  readonly transport: Player["transport"];
  readonly fallback: string;
  readonly rung: string | null;
  readonly rungs: Player["rungs"];
  readonly automatic: boolean;
  readonly reason: string;
  readonly score: Score | null;
  stats(): Promise<PlaybackStats | null>;
  select(rung: string | null): Promise<void>;
  start(via?: Via): void;
  stop(): void;
}

declare global {
  interface Window {
    lockgate?: Lockgate;
  }
}

const DECISIONS_MAX = 20;
const TRANSPORT_NAMES = { whep: "WebRTC", hls: "HLS" } as const;

const video = byId("video", HTMLVideoElement);
const cover = byId("cover", HTMLElement);
const spinner = byId("spinner", HTMLElement);
const message = byId("message", HTMLElement);
const retry = byId("retry", HTMLButtonElement);
const unmute = byId("unmute", HTMLButtonElement);
const liveBadge = byId("live", HTMLElement);
const transportBadge = byId("transport", HTMLElement);
const rungBadge = byId("rung", HTMLElement);
const scoreBadge = byId("score", HTMLElement);
const toLive = byId("to-live", HTMLElement);
const bar = byId("bar", HTMLElement);
const saver = byId("saver", HTMLInputElement);
const decisionsList = byId("decisions", HTMLOListElement);
const noDecisions = byId("no-decisions", HTMLElement);
const sizeText = byId("size", HTMLElement);
const reasonText = byId("reason", HTMLElement);
const viaSelect = byId("via", HTMLSelectElement);
const details = byId("details", HTMLDetailsElement);
const statsList = byId("stats", HTMLElement);

const stream = streamFromAddress() ?? "";
setText(byId("stream", HTMLElement), stream || "No stream");
document.title = `${stream || "Watch"} · Lockgate`;

const asked = new URLSearchParams(location.search).get("via");
const via: Via = asked === "whep" || asked === "hls" ? asked : "auto";
viaSelect.value = via;

const player = new Player({ video, stream, token: tokenFromAddress(), via, hlsWorker });
player.on("change", show);
player.on("stats", showStats);
const quality = new QualityMenu(byId("quality", HTMLSelectElement), async (rung) => {
  try {
    await player.select(rung);
  } catch (error) {
    quality.show(player.rungs, player.chosen);
    setText(reasonText, `The quality was not changed: ${error instanceof Error ? error.message : String(error)}`);
  }
});

function show(): void {
  const { state, transport, rung, automatic } = player;
  const playing = state === "playing";
  cover.hidden = playing;
  bar.inert = !playing;
  // A live MediaStream is never behind.
  toLive.hidden = transport !== "hls";
  spinner.hidden = state === "failed" || state === "refused" || state === "idle";
  retry.hidden = state !== "failed" && state !== "refused";
  setText(message, player.message);
  liveBadge.hidden = !playing;
  transportBadge.hidden = transport === null;
  setText(transportBadge, transport ? TRANSPORT_NAMES[transport] : "");
  rungBadge.hidden = rung === null;
  setText(rungBadge, rung ? (automatic ? `${rung} · auto` : rung) : "");
  const fallback = player.fallback && transport === "hls" ? `HLS because ${player.fallback}.` : "";
  setText(reasonText, fallback || (rung && player.reason ? `${rung}: ${player.reason}` : ""));
  quality.show(player.rungs, player.chosen);
  showScore();
  showSize();
  showMute();
  noteDecision();

  const { dataset } = document.documentElement;
  dataset["state"] = state;
  dataset["transport"] = transport ?? "";
  dataset["rung"] = rung ?? "";
  dataset["automatic"] = String(automatic);
}

function showScore(): void {
  const score = player.state === "playing" ? player.score : null;
  scoreBadge.hidden = score === null;
  if (!score) return;
  const grade = gradeOf(score.score);
  setText(scoreBadge, `${Math.round(score.score)} · ${grade}`);
  scoreBadge.dataset["grade"] = grade;
}

/** Keeps what was decided, newest first, and marks it in the graphs. */
let noted = "";
function noteDecision(): void {
  const { state, rung, reason, transport } = player;
  if (state !== "playing" || rung === null) return;
  const decision = [rung, reason].filter(Boolean).join(": ");
  if (decision === noted) return;
  noted = decision;
  const item = document.createElement("li");
  const time = document.createElement("time");
  const now = new Date();
  time.dateTime = now.toISOString();
  time.textContent = clock(now);
  item.append(time, ` ${decision}${transport === "hls" ? " (HLS)" : ""}`);
  decisionsList.prepend(item);
  while (decisionsList.childElementCount > DECISIONS_MAX) decisionsList.lastElementChild?.remove();
  noDecisions.hidden = true;
  graphs?.mark();
}

function showSize(): void {
  const known = player.state === "playing" && video.videoWidth > 0;
  setText(sizeText, known ? `${video.videoWidth}×${video.videoHeight}` : "");
}

function showMute(): void {
  unmute.hidden = !(video.muted && player.state === "playing");
}

unmute.addEventListener("click", () => {
  video.muted = false;
  void video.play();
});
video.addEventListener("volumechange", showMute);
video.addEventListener("resize", showSize);
retry.addEventListener("click", () => player.start());
viaSelect.addEventListener("change", () => {
  const chosen = viaSelect.value as Via;
  // The address keeps the choice, for a reload or to pass on.
  const url = new URL(location.href);
  if (chosen === "auto") url.searchParams.delete("via");
  else url.searchParams.set("via", chosen);
  history.replaceState(null, "", url);
  player.start(chosen);
});

// What the viewer asks of every page.
const { connection } = navigator as Navigator & { connection?: { saveData?: boolean } };
if (connection?.saveData) {
  saver.checked = true;
  void player.saveData(true);
}
saver.addEventListener("change", async () => {
  try {
    await player.saveData(saver.checked);
  } catch (error) {
    saver.checked = player.savesData;
    setText(reasonText, `Saving data was not changed: ${error instanceof Error ? error.message : String(error)}`);
  }
});
byId("keys", HTMLButtonElement).addEventListener("click", showKeys);

let last: { at: number; stats: PlaybackStats } | null = null;
let graphs: Graphs | null = null;

/** Once a second. */
function showStats(stats: PlaybackStats | null): void {
  // Nobody looks.
  if (document.hidden) return;
  const at = performance.now();
  const before = stats && last?.stats.transport === stats.transport ? last : null;
  last = stats && { at, stats };
  if (stats) showScore();
  const now = stats ? ratesOf(stats, before, at) : { bps: null, fps: null, loss: null };
  graphs?.push({
    bitrate: now.bps,
    loss: now.loss,
    rtt: stats?.roundTripTimeMs ?? null,
    buffer: stats?.bufferSeconds == null ? null : stats.bufferSeconds * 1000,
  });
  if (details.open) showNumbers(stats, now);
}

interface Rates {
  bps: number | null;
  fps: number | null;
  /** Of the packets of the last second, 0 to 100. */
  loss: number | null;
}

function ratesOf(stats: PlaybackStats, before: { at: number; stats: PlaybackStats } | null, at: number): Rates {
  const seconds = before ? (at - before.at) / 1000 : 0;
  const passed = (now: number | null, then: number | null | undefined): number | null =>
    seconds > 0 && now !== null && then != null && now >= then ? now - then : null;
  const bytes = passed(stats.bytesReceived, before?.stats.bytesReceived);
  const frames = passed(stats.framesDecoded, before?.stats.framesDecoded);
  const lost = passed(stats.packetsLost, before?.stats.packetsLost);
  const packets = passed(stats.videoPackets, before?.stats.videoPackets);
  return {
    bps: bytes === null ? null : (bytes * 8) / seconds,
    fps: frames === null ? null : frames / seconds,
    loss: lost === null || packets === null || lost + packets === 0 ? null : (100 * lost) / (lost + packets),
  };
}

function showNumbers(stats: PlaybackStats | null, { bps, fps }: Rates): void {
  if (!stats) {
    showFacts(statsList, [["State", player.state]]);
    return;
  }
  const { score } = player;
  const ms = (value: number | null): string | null => (value === null ? null : `${value.toFixed(0)} ms`);
  const facts: [string, string | null][] = [
    ["Network quality", score && qualityOf(score)],
    ["Picture", stats.width ? `${stats.width}×${stats.height}` : null],
    ["Frames", fps === null ? null : `${fps.toFixed(0)} a second, ${stats.framesDropped} dropped`],
    ["Codec", stats.videoCodec],
    ["Bitrate", bps === null ? null : bitrate(bps)],
    ["Buffer", stats.bufferSeconds === null ? null : `${stats.bufferSeconds.toFixed(2)} s`],
    ["Behind live", stats.latencySeconds === null ? null : `${stats.latencySeconds.toFixed(1)} s`],
    [stats.transport === "hls" ? "First byte after" : "Round trip", ms(stats.roundTripTimeMs)],
    ["Jitter", ms(stats.jitterMs)],
    ["Packets lost", stats.packetsLost === null ? null : `${stats.packetsLost}`],
    ["Freezes", stats.freezes === null ? null : `${stats.freezes}, ${(stats.freezeSeconds ?? 0).toFixed(1)} s`],
  ];
  showFacts(statsList, facts.filter((fact): fact is [string, string] => fact[1] !== null));
}

/** `75 of 100: bandwidth takes 24, jitter 1`. */
function qualityOf(score: Score): string {
  const parts = Object.entries(score).flatMap(([name, points]) => {
    const part = /^(.+)_part$/.exec(name)?.[1];
    return part && typeof points === "number" && Math.round(points) > 0 ? [`${part} takes ${Math.round(points)}`] : [];
  });
  return [`${Math.round(score.score)} of 100`, parts.join(", ")].filter(Boolean).join(": ");
}

details.addEventListener("toggle", async () => {
  if (!details.open || graphs) return;
  const { Graphs } = await import("../ui/graphs");
  graphs ??= new Graphs(byId("graphs", HTMLElement), [
    { id: "bitrate", title: "Bitrate", format: bitrate },
    { id: "loss", title: "Loss", format: (percent) => `${percent.toFixed(1)} %` },
    { id: "rtt", title: "Round trip", format: (ms) => `${ms.toFixed(0)} ms` },
    { id: "buffer", title: "Buffer", format: (ms) => (ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`) },
  ]);
});

window.lockgate = {
  get state() {
    return player.state;
  },
  get message() {
    return player.message;
  },
  get transport() {
    return player.transport;
  },
  get fallback() {
    return player.fallback;
  },
  get rung() {
    return player.rung;
  },
  get rungs() {
    return player.rungs;
  },
  get automatic() {
    return player.automatic;
  },
  get reason() {
    return player.reason;
  },
  get score() {
    return player.score;
  },
  stats: () => player.stats(),
  select: (rung) => player.select(rung),
  start: (via) => player.start(via),
  stop: () => player.stop(),
};

player.start();
