import {
  capture,
  type CaptureSource,
  devices,
  PUBLISH_CODECS,
  Publisher,
  type PublishCodec,
  type PublisherState,
  type PublishStats,
  streamDetail,
} from "@lockgate/client";

import { tokenFromAddress, watchAddress } from "../lib/address";
import { byId, setText, showFacts, whileVisible } from "../ui/dom";
import { bitrate, count } from "../ui/format";
import { LevelMeter } from "../ui/level-meter";
import { health } from "../ui/link-health";

/** What embedders and tests can read. */
interface LockgateStudio {
  readonly state: PublisherState;
  readonly error: string;
  stats(): Promise<PublishStats | null>;
}

declare global {
  interface Window {
    lockgateStudio?: LockgateStudio;
  }
}

const form = byId("form", HTMLFormElement);
const nameInput = byId("name", HTMLInputElement);
const tokenInput = byId("token", HTMLInputElement);
const sourceSelect = byId("source", HTMLSelectElement);
const cameraRow = byId("camera-row", HTMLElement);
const cameraSelect = byId("camera", HTMLSelectElement);
const microphoneSelect = byId("microphone", HTMLSelectElement);
const codecSelect = byId("codec", HTMLSelectElement);
const simulcastBox = byId("simulcast", HTMLInputElement);
const previewButton = byId("preview-button", HTMLButtonElement);
const publishButton = byId("publish", HTMLButtonElement);
const stopButton = byId("stop", HTMLButtonElement);
const watchText = byId("watch", HTMLElement);
const watchLink = byId("watch-link", HTMLAnchorElement);
const preview = byId("preview", HTMLVideoElement);
const cover = byId("cover", HTMLElement);
const statusText = byId("status", HTMLElement);
const errorText = byId("error", HTMLElement);
const levelRow = byId("level-row", HTMLElement);
const level = new LevelMeter(byId("level", HTMLMeterElement));
const linkSection = byId("link", HTMLElement);
const healthText = byId("health", HTMLElement);
const madeSection = byId("made", HTMLElement);
const viewersText = byId("viewers", HTMLElement);
const ladderRows = byId("ladder", HTMLTableSectionElement);
const statsList = byId("stats", HTMLElement);

const STATES: Record<PublisherState, string> = {
  idle: "",
  connecting: "Connecting…",
  live: "You are live.",
  reconnecting: "The connection was lost; connecting again…",
  failed: "",
};

/** Seldom enough for a server that counts requests; soon after the start it changes most. */
const LOOK_EVERY_MS = 12_000;
const LOOK_FIRST_MS = [1_500, 4_000, 8_000];
const SOURCES: readonly CaptureSource[] = ["camera", "screen", "microphone"];

let stream: MediaStream | null = null;
let publisher: Publisher | null = null;

tokenInput.value = tokenFromAddress() ?? "";
const address = new URLSearchParams(location.search);
if (address.get("name")) nameInput.value = address.get("name") ?? "";
const asked = PUBLISH_CODECS.find((codec) => codec === address.get("codec"));
if (asked) codecSelect.value = asked;
simulcastBox.checked = address.has("simulcast");
const source = SOURCES.find((source) => source === address.get("source"));
if (source) sourceSelect.value = source;

function showError(words: string): void {
  setText(errorText, words);
  errorText.hidden = words === "";
}

function show(): void {
  const state = publisher?.state ?? "idle";
  const busy = state === "connecting" || state === "live" || state === "reconnecting";
  for (const control of [nameInput, tokenInput, sourceSelect, cameraSelect, microphoneSelect, codecSelect, simulcastBox]) {
    control.disabled = busy;
  }
  cameraRow.hidden = sourceSelect.value !== "camera";
  publishButton.hidden = busy;
  previewButton.hidden = busy || stream !== null;
  stopButton.hidden = !busy && stream === null;
  setText(stopButton, busy ? "Stop" : "Stop preview");
  stopButton.className = busy ? "danger" : "quiet";
  setText(statusText, STATES[state]);
  watchText.hidden = state !== "live";
  linkSection.hidden = state !== "live";
  if (state !== "live") madeSection.hidden = true;
  levelRow.hidden = !level.isOn;
  cover.hidden = stream !== null;
  if (state === "failed") showError(publisher?.error ?? "");
  document.documentElement.dataset["state"] = state;
}

/** Opens the chosen devices unless they are open; says why not, if not. */
async function openDevices(): Promise<MediaStream | null> {
  if (stream) return stream;
  showError("");
  try {
    stream = await capture({
      source: sourceSelect.value as CaptureSource,
      camera: cameraSelect.value,
      microphone: microphoneSelect.value,
    });
  } catch (error) {
    showError(error instanceof Error ? error.message : String(error));
    return null;
  }
  preview.srcObject = stream;
  level.start(stream);
  for (const track of stream.getTracks()) {
    track.addEventListener("ended", lost);
  }
  await listDevices();
  show();
  return stream;
}

/** A device was pulled out, or the browser's own "stop sharing" was pressed. */
function lost(): void {
  stop();
  showError(
    sourceSelect.value === "screen" ? "The screen is not shared any more." : "The camera or microphone was disconnected.",
  );
}

function closeDevices(): void {
  level.stop();
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  preview.srcObject = null;
}

async function listDevices(): Promise<void> {
  for (const [select, kind] of [[cameraSelect, "videoinput"], [microphoneSelect, "audioinput"]] as const) {
    const chosen = select.value;
    const options = (await devices(kind))
      .filter(({ deviceId }) => deviceId !== "default")
      .map(({ label, deviceId }, index) => new Option(label || `Device ${index + 1}`, deviceId));
    const none = kind === "audioinput" ? [new Option("None", "none")] : [];
    const all = [new Option("Default", ""), ...none, ...options];
    select.replaceChildren(...all);
    select.value = all.some(({ value }) => value === chosen) ? chosen : "";
  }
}

async function publish(): Promise<void> {
  publishButton.disabled = true;
  try {
    const media = await openDevices();
    if (!media) return;
    showError("");
    const name = nameInput.value.trim();
    const token = tokenInput.value.trim() || null;
    publisher = new Publisher({
      stream: media,
      name,
      token,
      codec: codecSelect.value as PublishCodec,
      simulcast: simulcastBox.checked,
    });
    publisher.on("state", show);
    watchLink.href = watchAddress(name, token);
    setText(watchLink, new URL(`/watch/${name}`, location.origin).href);
    await publisher.start();
    for (const ms of LOOK_FIRST_MS) setTimeout(() => void showMade(), ms);
  } finally {
    publishButton.disabled = false;
  }
}

function stop(): void {
  // What is being asked about the broadcast would find it gone.
  asking.abort();
  asking = new AbortController();
  publisher?.stop();
  publisher = null;
  closeDevices();
  show();
}

/** Another device was chosen: the preview follows. */
async function reopen(): Promise<void> {
  if (!stream) return;
  closeDevices();
  show();
  await openDevices();
}

let last: { at: number; stats: PublishStats } | null = null;
async function showStats(): Promise<void> {
  const stats = publisher?.state === "live" ? await publisher.stats() : null;
  if (!stats) {
    last = null;
    return;
  }
  const at = performance.now();
  const bps = last ? ((stats.bytesSent - last.stats.bytesSent) * 8000) / (at - last.at) : null;
  last = { at, stats };
  const facts: [string, string | null][] = [
    ["Sending", bps === null || bps < 0 ? null : bitrate(bps)],
    ["Picture", stats.width ? `${stats.width}×${stats.height}, ${stats.framesPerSecond ?? 0} frames/s` : null],
    ["Codec", stats.codec],
    ["Round trip", stats.roundTripTimeMs === null ? null : `${stats.roundTripTimeMs.toFixed(0)} ms`],
    ["Loss", stats.lossFraction === null ? null : `${(stats.lossFraction * 100).toFixed(1)} %`],
    ["The network takes", stats.availableBps === null ? null : bitrate(stats.availableBps)],
  ];
  showFacts(statsList, facts.filter((fact): fact is [string, string] => fact[1] !== null));
  const { grade, words } = health(stats);
  setText(healthText, words);
  healthText.dataset["grade"] = grade;
}

let asking = new AbortController();
/** What the server made of it: its tracks and who reads them. */
async function showMade(): Promise<void> {
  if (publisher?.state !== "live") return;
  const { name, token = null } = publisher.options;
  try {
    const { tracks = [], viewers = 0 } = await streamDetail(name, token, asking.signal);
    const rows = tracks
      .filter(({ kind }) => kind === "video")
      .sort((a, b) => (b.height ?? 0) - (a.height ?? 0))
      .map(({ id, width, height, bitrate_kbps: kbps, readers = 0 }) => {
        const row = document.createElement("tr");
        const cells = [id, width ? `${width}×${height}` : "–", kbps ? bitrate(kbps * 1000) : "–", `${readers}`];
        for (const [at, text] of cells.entries()) {
          const cell = document.createElement(at === 0 ? "th" : "td");
          if (at === 0) cell.setAttribute("scope", "row");
          cell.textContent = text;
          row.append(cell);
        }
        return row;
      });
    ladderRows.replaceChildren(...rows);
    setText(viewersText, `${count(viewers, "viewer")} by WebRTC. Qualities that nobody watches cost nothing.`);
    madeSection.hidden = publisher?.state !== "live";
  } catch {
    // A token that may publish need not be one that may look.
    madeSection.hidden = true;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  void publish();
});
previewButton.addEventListener("click", () => void openDevices());
stopButton.addEventListener("click", stop);
sourceSelect.addEventListener("change", () => {
  // A screen is asked for by a click, never by a choice in a menu.
  if (sourceSelect.value === "screen") closeDevices();
  show();
  void reopen();
});
cameraSelect.addEventListener("change", () => void reopen());
microphoneSelect.addEventListener("change", () => void reopen());
navigator.mediaDevices?.addEventListener("devicechange", () => void listDevices());
whileVisible(1_000, showStats);
whileVisible(LOOK_EVERY_MS, showMade);

window.lockgateStudio = {
  get state() {
    return publisher?.state ?? "idle";
  },
  get error() {
    return errorText.hidden ? "" : errorText.textContent;
  },
  stats: async () => (await publisher?.stats()) ?? null,
};

show();
void listDevices();
