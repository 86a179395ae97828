import { openFeed, type Metrics } from "../dashboard/feed";
import { Graphs } from "../dashboard/graphs";
import { Policies } from "../dashboard/policies";
import { Decisions, Tables } from "../dashboard/tables";
import { tokenFromAddress } from "../lib/address";
import { byId, setText, showFacts } from "../ui/dom";
import { bitrate, duration } from "../ui/format";

/** Where the token is until the tab is closed. */
const KEPT = "lockgate-admin-token";

const gate = byId("gate", HTMLFormElement);
const tokenInput = byId("token", HTMLInputElement);
const board = byId("board", HTMLElement);
const status = byId("status", HTMLElement);
const errorText = byId("error", HTMLElement);
const signOut = byId("sign-out", HTMLButtonElement);

const place = (id: string): HTMLElement => byId(id, HTMLElement);
const tables = new Tables(place);
const decisions = new Decisions(
  place("decisions"),
  byId("decisions-kind", HTMLSelectElement),
  byId("decisions-hold", HTMLInputElement),
);
const policies = new Policies(place("policies"), () => sessionStorage.getItem(KEPT) ?? "");
let graphs: Graphs | null = null;
let close: (() => void) | null = null;
/** Counts attempts, so that one that was given up meanwhile is closed as soon as it is there. */
let attempt = 0;

async function open(token: string): Promise<void> {
  const mine = (attempt += 1);
  close?.();
  close = null;
  sessionStorage.setItem(KEPT, token);
  gate.hidden = true;
  errorText.hidden = true;
  setText(status, "Connecting…");
  const opened = await openFeed(token, {
    metrics: show,
    lost: () => setText(status, "The connection was lost; connecting again…"),
    refused: (words) => {
      ask();
      setText(errorText, words || "The server does not take this token.");
      errorText.hidden = false;
    },
  });
  if (mine === attempt) close = opened;
  else opened();
}

/** Asks for a token. */
function ask(): void {
  attempt += 1;
  close?.();
  close = null;
  sessionStorage.removeItem(KEPT);
  board.hidden = true;
  signOut.hidden = true;
  gate.hidden = false;
  setText(status, "");
  document.documentElement.dataset["state"] = "asking";
}

function show(metrics: Metrics): void {
  board.hidden = false;
  signOut.hidden = false;
  setText(status, metrics.node.ready ? "Live, every second." : "The server is going down.");
  // They measure their place, which is there from now on.
  graphs ??= new Graphs(place("graphs"));
  graphs.push(metrics);
  tables.show(metrics);
  place("rooms-section").hidden = metrics.rooms.length === 0;
  decisions.push(metrics.decisions);
  policies.show(metrics.policies);
  const { node } = metrics;
  const unknown = "—";
  const health = metrics.network_health;
  showFigures([
    ["Live streams", String(metrics.active_streams)],
    ["Participants", String(metrics.total_participants)],
    ["Sent to a viewer", metrics.average_bitrate_kbps === null ? unknown : bitrate(metrics.average_bitrate_kbps * 1000)],
    ["Network health", health === null ? unknown : `${health.toFixed(0)} of 100`],
    ["Server CPU", node.cpu_pct === null ? unknown : `${node.cpu_pct.toFixed(0)} % of a core`],
    ["Encoders", `${node.budget.cpu_used.toFixed(2)} of ${node.budget.cpu_budget.toFixed(2)} cores`],
  ]);
  showFacts(place("node"), [
    ["Health", node.ready ? "ready" : "not ready"],
    ["Version", node.version],
    ["Up for", node.up_s === null ? unknown : duration(node.up_s)],
    ["Cores", String(node.cores)],
    ["Memory", node.rss_bytes === null ? unknown : `${(node.rss_bytes / 1e6).toFixed(0)} MB`],
    ["Open files", node.open_fds === null ? unknown : String(node.open_fds)],
    ["Publishers", String(node.publishers)],
    ["Sockets", String(node.sockets)],
    ["Tasks", String(node.tasks)],
    ["Late decisions", String(node.decisions_late)],
    ["Records that wait for the disk", node.records_waiting === null ? unknown : String(node.records_waiting)],
  ]);
  document.documentElement.dataset["state"] = "live";
}

/** Each in a box of its own. */
function showFigures(figures: [string, string][]): void {
  const list = place("figures");
  figures.forEach(([term, value], at) => {
    let tile = list.children[at];
    if (!tile) {
      tile = document.createElement("div");
      tile.append(document.createElement("dt"), document.createElement("dd"));
      list.append(tile);
    }
    setText(tile.children[0] as HTMLElement, term);
    setText(tile.children[1] as HTMLElement, value);
  });
}

gate.addEventListener("submit", (event) => {
  event.preventDefault();
  const token = tokenInput.value.trim();
  tokenInput.value = "";
  if (token) void open(token);
});
signOut.addEventListener("click", () => {
  ask();
  tokenInput.focus();
});

const given = tokenFromAddress();
if (given) {
  // It is not to stay in the address bar, nor in what is copied from there.
  history.replaceState(null, "", location.pathname);
}
const token = given ?? sessionStorage.getItem(KEPT);
if (token) void open(token);
else ask();
