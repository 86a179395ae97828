// Streams, sessions, rooms and decisions as rows.

import { watchAddress } from "../lib/address";
import { Table, type Cell } from "../ui/table";
import { bitrate, count, duration } from "../ui/format";
import type { Decision, Metrics, Session, Stream } from "./feed";

export class Tables {
  private readonly streams: Table;
  private readonly sessions: Table;
  private readonly rooms: Table;

  constructor(place: (id: string) => HTMLElement) {
    this.streams = new Table(
      place("streams"),
      "Live streams",
      ["Stream", "Source", "For", "Viewers", "Network", "Ladder", "Encoder CPU", "Left out"],
      "Nothing is live.",
    );
    this.sessions = new Table(
      place("sessions"),
      "Sessions",
      ["Session", "Stream", "By", "Plays", "Why", "Score", "Taken off", "Bandwidth", "Sent", "Loss", "Round trip"],
      "Nobody watches.",
    );
    this.rooms = new Table(place("rooms"), "Rooms", ["Room", "For", "Participants", "Roles", "Speaking"], "Nobody meets.");
  }

  show(metrics: Metrics): void {
    this.streams.fill(metrics.streams.map((stream) => [stream.id, streamRow(stream)]));
    this.sessions.fill(metrics.sessions.map((session) => [session.id, sessionRow(session)]));
    this.rooms.fill(
      metrics.rooms.map(({ id, duration_s, participants, max_participants, roles, speakers }) => [
        id,
        [
          id,
          duration(duration_s),
          `${participants} of ${max_participants}`,
          [count(roles.host, "host"), count(roles.speaker, "speaker"), count(roles.listener, "listener")].join(", "),
          String(speakers.length),
        ],
      ]),
    );
  }
}

function streamRow(stream: Stream): Cell[] {
  const { ladder, load } = stream;
  const used = load.cpu_used === null ? "—" : load.cpu_used.toFixed(2);
  const hls = stream.hls_players > 0 ? ` + ${stream.hls_players} HLS` : "";
  const state = ladder ? (ladder.error ?? `${ladder.state}, ${ladder.rungs_active} encoded`) : "none";
  return [
    { text: stream.id, href: watchAddress(stream.id, null) },
    stream.publisher === "away" ? `${stream.source}, away` : stream.source,
    duration(stream.duration_s),
    `${stream.viewers}${hls}`,
    graded(stream.numbers?.network_quality),
    state,
    ladder ? `${used} of ${load.cpu_budget.toFixed(2)} cores` : "—",
    load.shed.length > 0 ? { text: `${load.shed.join(", ")}: ${load.reason ?? ""}`, tone: "bad" } : "nothing",
  ];
}

function sessionRow(session: Session): Cell[] {
  const { link, decision, score } = session;
  const number = (value: number | null | undefined, unit: string, digits = 0): string =>
    value === null || value === undefined ? "—" : `${value.toFixed(digits)} ${unit}`;
  const kbps = (value: number | null | undefined): string =>
    value === null || value === undefined ? "—" : bitrate(value * 1000);
  const whole = score?.["score"];
  const isScored = session.protocol === "whep";
  return [
    session.id.slice(0, 8),
    session.stream,
    session.protocol,
    session.playing ?? "—",
    decision ? `${decision.reason}${decision.automatic ? "" : " (the viewer's choice)"}` : "—",
    isScored ? graded(typeof whole === "number" ? whole : null) : UNSCORED,
    isScored ? takenOff(score) : UNSCORED,
    kbps(link?.bandwidth_kbps),
    kbps(link?.sent_kbps),
    number(link?.loss_pct, "%", 1),
    number(link?.rtt_ms, "ms"),
  ];
}

/** A score, and in which of the words' colours. */
function graded(score: number | null | undefined): Cell {
  if (score === null || score === undefined) return "—";
  return { text: score.toFixed(0), tone: score >= 70 ? "good" : score >= 50 ? "fair" : "bad" };
}

/** HLS and DASH come by plain HTTP: there is no link of theirs that could be measured here. */
const UNSCORED: Cell = { text: "—", title: "Only viewers over WebRTC are scored: the link of HLS and DASH players is not measured here." };

/** What took how much off a score. */
function takenOff(score: Session["score"]): string {
  const parts = Object.entries(score ?? {})
    .filter((part): part is [string, number] => part[0].endsWith("_part") && typeof part[1] === "number" && part[1] >= 0.05)
    .map(([name, value]) => `${name.slice(0, -"_part".length)} ${value.toFixed(1)}`);
  return parts.join(", ") || (score ? "nothing" : "—");
}

/** Decisions as they happen, newest first. */
export class Decisions {
  private readonly table: Table;
  private readonly all: [string, Decision][] = [];
  private count = 0;

  constructor(
    place: HTMLElement,
    private readonly kind: HTMLSelectElement,
    private readonly hold: HTMLInputElement,
  ) {
    const columns = ["Time", "Kind", "About", "Answer", "Why", "By", "Took"];
    this.table = new Table(place, "Decisions", columns, "Nothing was decided yet.");
    for (const name of ["abr", "optimize", "score", "ladder", "auth"]) kind.append(new Option(name, name));
    for (const control of [kind, hold]) control.addEventListener("change", () => this.show());
  }

  push(decisions: readonly Decision[]): void {
    for (const decision of decisions) this.all.unshift([String((this.count += 1)), decision]);
    this.all.splice(DECISIONS_MAX);
    if (decisions.length > 0 && !this.hold.checked) this.show();
  }

  private show(): void {
    const wanted = this.all.filter(([, decision]) => !this.kind.value || decision.kind === this.kind.value);
    this.table.fill(wanted.slice(0, DECISIONS_SHOWN).map(([key, decision]) => [key, decisionRow(decision)]));
  }
}

function decisionRow(decision: Decision): Cell[] {
  const shadow = decision.mode === "shadow" ? " (shadow)" : "";
  const instead = decision.level === "active" || decision.level === decision.name ? "" : `, ${decision.level.replace("_", " ")}`;
  return [
    new Date(decision.at_ms).toLocaleTimeString(),
    decision.kind,
    [decision.stream, decision.row === "source" ? "" : decision.row.slice(0, 8)].filter(Boolean).join(" · "),
    answer(decision),
    decision.reason,
    `${decision.name} ${decision.version}${instead}${shadow}`,
    `${(decision.took_us / 1000).toFixed(2)} ms${decision.late ? ", late" : ""}`,
  ];
}

/** The answer in a word or a few. */
function answer({ kind, output, rungs, verdict }: Decision): string {
  if (verdict !== undefined) return typeof verdict === "string" ? verdict : JSON.stringify(verdict).slice(0, 80);
  if (!output) return "—";
  if (kind === "abr") {
    const rung = output["rung"];
    return typeof rung === "number" ? (rungs?.[rung] ?? `rung ${rung}`) : "pause";
  }
  const encode = output["encode"];
  if (kind === "ladder" && Array.isArray(encode)) {
    return encode.map((on, at) => (on ? rungs?.[at] : null)).filter(Boolean).join(", ") || "nothing";
  }
  const numbers = Object.entries(output).filter(([name, value]) => name !== "reason" && typeof value === "number");
  return numbers.map(([name, value]) => `${name} ${Number((value as number).toFixed(1))}`).join(", ");
}

const DECISIONS_MAX = 500;
const DECISIONS_SHOWN = 100;
