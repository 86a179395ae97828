import { listStreams, Problem, type StreamSummary } from "@lockgate/client";

import { tokenFromAddress, watchAddress } from "../lib/address";
import { byId, setText, whileVisible } from "../ui/dom";
import { count, duration } from "../ui/format";

/** Often enough to feel live, seldom enough for a server that counts requests. */
const REFRESH_MS = 15_000;

const token = tokenFromAddress();
const list = byId("streams", HTMLUListElement);
const status = byId("status", HTMLElement);

function show(streams: StreamSummary[]): void {
  streams.sort((a, b) => a.id.localeCompare(b.id));
  // Kept where they are, so that focus stays on the link someone is on.
  const old = new Map([...list.children].map((item) => [(item as HTMLElement).dataset["stream"], item]));
  list.replaceChildren(
    ...streams.map((stream) => {
      const item = (old.get(stream.id) as HTMLLIElement | undefined) ?? entry(stream.id);
      setText(item.querySelector<HTMLElement>(".meta")!, meta(stream));
      return item;
    }),
  );
  setText(status, streams.length === 0 ? "Nothing is live. A stream appears here as soon as it is." : "");
}

function entry(id: string): HTMLLIElement {
  const item = document.createElement("li");
  item.dataset["stream"] = id;
  const link = document.createElement("a");
  link.href = watchAddress(id, token);
  for (const [className, text] of [["dot", ""], ["name", id], ["meta", ""]] as const) {
    const part = document.createElement("span");
    part.className = className;
    part.textContent = text;
    link.append(part);
  }
  item.append(link);
  return item;
}

function meta({ state, duration_s, viewers }: StreamSummary): string {
  return [
    state === "live" ? "" : state,
    viewers === undefined ? "" : count(viewers, "viewer"),
    duration_s === undefined ? "" : duration(duration_s),
  ]
    .filter(Boolean)
    .join(" · ");
}

async function refresh(): Promise<void> {
  try {
    show(await listStreams(token));
  } catch (error) {
    list.replaceChildren();
    if (error instanceof Problem) setText(status, [error.title, error.detail].filter(Boolean).join(": "));
    else setText(status, "The server cannot be reached; trying again.");
  }
}

const whipAddress = `${location.origin}/whip/my-stream`;
setText(byId("whip-address", HTMLElement), whipAddress);
const ffmpegLine = byId("ffmpeg-line", HTMLElement);
setText(ffmpegLine, ffmpegLine.textContent.replace("ADDRESS", whipAddress));
if (token) byId("studio-link", HTMLAnchorElement).href = `/studio#token=${encodeURIComponent(token)}`;

const copy = byId("copy-address", HTMLButtonElement);
// Browsers give the clipboard to secure origins only.
copy.hidden = !navigator.clipboard;
copy.addEventListener("click", async () => {
  await navigator.clipboard.writeText(whipAddress);
  copy.textContent = "Copied";
  setTimeout(() => (copy.textContent = "Copy"), 2000);
});

whileVisible(REFRESH_MS, refresh);

