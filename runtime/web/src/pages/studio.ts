import {
  capture,
  devices,
  PUBLISH_CODECS,
  Publisher,
  type PublishCodec,
  type PublisherState,
  type PublishStats,
} from "@lockgate/client";

import { tokenFromAddress, watchAddress } from "../lib/address";
import { byId, setText, showFacts, whileVisible } from "../ui/dom";
import { bitrate } from "../ui/format";

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
const statsList = byId("stats", HTMLElement);

const STATES: Record<PublisherState, string> = {
  idle: "",
  connecting: "Connecting…",
  live: "You are live.",
  reconnecting: "The connection was lost; connecting again…",
  failed: "",
};

let stream: MediaStream | null = null;
let publisher: Publisher | null = null;

tokenInput.value = tokenFromAddress() ?? "";
const address = new URLSearchParams(location.search);
if (address.get("name")) nameInput.value = address.get("name") ?? "";
const asked = PUBLISH_CODECS.find((codec) => codec === address.get("codec"));
if (asked) codecSelect.value = asked;
simulcastBox.checked = address.has("simulcast");

function showError(words: string): void {
  setText(errorText, words);
  errorText.hidden = words === "";
}

function show(): void {
  const state = publisher?.state ?? "idle";
  const busy = state === "connecting" || state === "live" || state === "reconnecting";
  for (const control of [nameInput, tokenInput, cameraSelect, microphoneSelect, codecSelect, simulcastBox]) control.disabled = busy;
  publishButton.hidden = busy;
  previewButton.hidden = busy || stream !== null;
  stopButton.hidden = !busy && stream === null;
  setText(stopButton, busy ? "Stop" : "Stop preview");
  stopButton.className = busy ? "danger" : "quiet";
  setText(statusText, STATES[state]);
  watchText.hidden = state !== "live";
  statsList.hidden = state !== "live";
  cover.hidden = stream !== null;
  if (state === "failed") showError(publisher?.error ?? "");
  document.documentElement.dataset["state"] = state;
}

/** Opens the chosen devices unless they are open; says why not, if not. */
async function openDevices(): Promise<MediaStream | null> {
  if (stream) return stream;
  showError("");
  try {
    stream = await capture({ camera: cameraSelect.value, microphone: microphoneSelect.value });
  } catch (error) {
    showError(error instanceof Error ? error.message : String(error));
    return null;
  }
  preview.srcObject = stream;
  for (const track of stream.getTracks()) {
    track.addEventListener("ended", () => showError("The camera or microphone was disconnected."));
  }
  await listDevices();
  show();
  return stream;
}

function closeDevices(): void {
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
    select.replaceChildren(new Option("Default", ""), ...options);
    select.value = options.some(({ value }) => value === chosen) ? chosen : "";
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
      onChange: show,
    });
    watchLink.href = watchAddress(name, token);
    setText(watchLink, new URL(`/watch/${name}`, location.origin).href);
    await publisher.start();
  } finally {
    publishButton.disabled = false;
  }
}

function stop(): void {
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
  const limited = { cpu: "this computer's speed", bandwidth: "the network" }[stats.limitedBy ?? ""];
  const facts: [string, string | null][] = [
    ["Sending", bps === null || bps < 0 ? null : bitrate(bps)],
    ["Picture", stats.width ? `${stats.width}×${stats.height}, ${stats.framesPerSecond ?? 0} frames/s` : null],
    ["Codec", stats.codec],
    ["Round trip", stats.roundTripTimeMs === null ? null : `${stats.roundTripTimeMs.toFixed(0)} ms`],
    ["Loss", stats.lossFraction === null ? null : `${(stats.lossFraction * 100).toFixed(1)} %`],
    ["Held back by", limited ?? null],
  ];
  showFacts(statsList, facts.filter((fact): fact is [string, string] => fact[1] !== null));
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  void publish();
});
previewButton.addEventListener("click", () => void openDevices());
stopButton.addEventListener("click", stop);
cameraSelect.addEventListener("change", () => void reopen());
microphoneSelect.addEventListener("change", () => void reopen());
navigator.mediaDevices?.addEventListener("devicechange", () => void listDevices());
whileVisible(1_000, showStats);

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
