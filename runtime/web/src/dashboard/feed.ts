// The feed of the dashboard: `stream-metrics` over Socket.IO, once a second while the connection lasts, and again after it is back.

import { ask, connectError, openSocket, Problem } from "@lockgate/client";

/** What the server tells; what is not known is null. */
export interface Metrics {
  at_ms: number;
  active_streams: number;
  total_participants: number;
  average_bitrate_kbps: number | null;
  /** 0 to 100. */
  network_health: number | null;
  streams: Stream[];
  sessions: Session[];
  policies: Policy[];
  decisions: Decision[];
  decisions_lost: number;
  rooms: Room[];
  node: Node;
}

export interface Stream {
  id: string;
  source: string;
  publisher?: string;
  duration_s: number;
  viewers: number;
  hls_players: number;
  ladder: { state: string; speed: number; rungs_active: number; error: string | null; restarts: number } | null;
  load: { cpu_used: number | null; cpu_budget: number; shed: string[]; reason?: string };
  numbers?: { network_quality: number | null };
}

export interface Session {
  id: string;
  stream: string;
  protocol: string;
  playing?: string | null;
  decision?: { rung: string; automatic: boolean; reason: string } | null;
  score?: Record<string, number | string> | null;
  link?: { bandwidth_kbps: number | null; sent_kbps: number | null; loss_pct: number | null; rtt_ms: number | null };
  agent?: string;
}

/** A policy in its place. */
export interface Seat {
  name: string;
  version: string;
  digest: string;
  /** 0 is the built-in. */
  generation: number;
  since_at_ms: number;
  breaker: string;
  counters: { decisions: number; rows_refused: number; faults: Record<string, number>; last_fault: string | null };
}

export interface Policy {
  kind: string;
  active: Seat;
  before: Seat[];
  shadow: Seat | null;
  shadow_disagreements: number;
  rollbacks: number;
  level: string;
  took: { count: number; sum_s: number };
}

export interface Decision {
  at_ms: number;
  kind: string;
  stream: string;
  row: string;
  reason: string;
  output?: Record<string, number | number[] | null>;
  rungs?: string[];
  verdict?: unknown;
  mode: string;
  level: string;
  name: string;
  version: string;
  late: boolean;
  took_us: number;
}

export interface Room {
  id: string;
  duration_s: number;
  host: string | null;
  participants: number;
  max_participants: number;
  roles: { host: number; speaker: number; listener: number };
  speakers: unknown[];
}

export interface Node {
  version: string;
  ready: boolean;
  cores: number;
  /** Of one core. */
  cpu_pct: number | null;
  rss_bytes: number | null;
  open_fds: number | null;
  up_s: number | null;
  budget: { cpu_used: number; cpu_budget: number };
  viewers: number;
  publishers: number;
  hls_sessions: number;
  sockets: number;
  tasks: number;
  decisions_late: number;
  records_waiting: number | null;
}

export interface FeedEvents {
  metrics(metrics: Metrics): void;
  /** The connection is gone, and is tried again. */
  lost(): void;
  /** The server will not have this token. */
  refused(words: string): void;
}

/** Opens the feed; the function that is returned ends it. */
export async function openFeed(token: string, events: FeedEvents): Promise<() => void> {
  const socket = await openSocket({ token });
  const failed = (error: unknown): void => {
    // Anything but a refusal is a network that may come back.
    if (!(error instanceof Problem)) return events.lost();
    socket.close();
    events.refused([error.title, error.detail].filter(Boolean).join(": "));
  };
  socket.on("connect", () => void ask(socket, "stream-metrics", {}).catch(failed));
  socket.on("connect_error", (error) => failed(connectError(error)));
  socket.on("error", ({ status, title, detail }: { status: number; title: string; detail: string }) => {
    if (status === 401 || status === 403) failed(new Problem(status, title, detail, null));
  });
  socket.on("disconnect", () => events.lost());
  socket.on("stream-metrics", (metrics: Metrics) => events.metrics(metrics));
  socket.connect();
  return () => {
    // Whoever closes it is not to hear of it.
    socket.off();
    socket.close();
  };
}
