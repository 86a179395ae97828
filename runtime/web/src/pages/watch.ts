import { Player, type PlaybackStats, type PlayerState, type Via } from "@lockgate/client";

import { streamFromAddress, tokenFromAddress } from "../lib/address";
import { hlsWorker } from "../lib/hls-worker";
import { byId, setText, showFacts, whileVisible } from "../ui/dom";
import { bitrate } from "../ui/format";
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

const player = new Player({ video, stream, token: tokenFromAddress(), via, hlsWorker, onChange: show });
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
  video.controls = playing;
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
  showSize();
  showMute();

  const { dataset } = document.documentElement;
  dataset["state"] = state;
  dataset["transport"] = transport ?? "";
  dataset["rung"] = rung ?? "";
  dataset["automatic"] = String(automatic);
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

let last: { at: number; stats: PlaybackStats } | null = null;
async function showStats(): Promise<void> {
  if (!details.open) return;
  const stats = await player.stats();
  const at = performance.now();
  if (!stats) {
    last = null;
    showFacts(statsList, [["State", player.state]]);
    return;
  }
  const before = last?.stats.transport === stats.transport ? last : null;
  const seconds = before ? (at - before.at) / 1000 : 0;
  const perSecond = (now: number | null, then: number | null | undefined): number | null =>
    seconds > 0 && now !== null && then != null && now >= then ? (now - then) / seconds : null;
  const bytes = perSecond(stats.bytesReceived, before?.stats.bytesReceived);
  const frames = perSecond(stats.framesDecoded, before?.stats.framesDecoded);
  const facts: [string, string | null][] = [
    ["Picture", stats.width ? `${stats.width}×${stats.height}` : null],
    ["Frames", frames === null ? null : `${frames.toFixed(0)} a second, ${stats.framesDropped} dropped`],
    ["Codec", stats.videoCodec],
    ["Bitrate", bytes === null ? null : bitrate(bytes * 8)],
    ["Buffer", stats.bufferSeconds === null ? null : `${stats.bufferSeconds.toFixed(1)} s`],
    ["Round trip", stats.roundTripTimeMs === null ? null : `${stats.roundTripTimeMs.toFixed(0)} ms`],
    ["Jitter", stats.jitterMs === null ? null : `${stats.jitterMs.toFixed(0)} ms`],
    ["Packets lost", stats.packetsLost === null ? null : `${stats.packetsLost}`],
    ["Freezes", stats.freezes === null ? null : `${stats.freezes}, ${(stats.freezeSeconds ?? 0).toFixed(1)} s`],
  ];
  last = { at, stats };
  showFacts(statsList, facts.filter((fact): fact is [string, string] => fact[1] !== null));
}
details.addEventListener("toggle", () => void showStats());
whileVisible(1_000, showStats);

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
  stats: () => player.stats(),
  select: (rung) => player.select(rung),
  start: (via) => player.start(via),
  stop: () => player.stop(),
};

player.start();
