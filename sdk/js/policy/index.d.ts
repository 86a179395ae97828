// What a policy in JavaScript sees and answers. A policy is a module of plain functions; which of them answers which kind is
// in `Policy`. It runs without clock, randomness, files or network: the tick has a time and a seed.

/** What is known of a viewer. It is moved along the batch: do not keep it. What is unknown is undefined, never zero. */
export interface Viewer {
  /** Estimated bandwidth towards the viewer. */
  readonly bandwidth_kbps: number | undefined;
  /** What was delivered in the last second. */
  readonly goodput_kbps: number | undefined;
  /** Packets lost before repair, 0 to 100. */
  readonly loss_pct: number | undefined;
  /** Packets still lost after repair, 0 to 100. */
  readonly loss_repaired_pct: number | undefined;
  /** Interarrival jitter. */
  readonly jitter_ms: number | undefined;
  /** Round-trip time now. */
  readonly rtt_ms: number | undefined;
  /** Least round-trip time seen. */
  readonly rtt_min_ms: number | undefined;
  /** One-way queueing delay. */
  readonly queue_ms: number | undefined;
  /** Change of the queueing delay in ms a second. */
  readonly queue_trend: number | undefined;
  /** 1 if less was sent than the link would carry. */
  readonly app_limited: number | undefined;
  /** Media buffered ahead by the player. */
  readonly buffer_s: number | undefined;
  /** What the player aims to buffer. */
  readonly buffer_target_s: number | undefined;
  /** Distance to live. */
  readonly latency_s: number | undefined;
  /** Distance to live that is aimed at. */
  readonly latency_target_s: number | undefined;
  /** Playback rate, 1 is normal. */
  readonly play_rate: number | undefined;
  /** Stalls so far. */
  readonly stalls: number | undefined;
  /** Time stalled so far. */
  readonly stall_s: number | undefined;
  /** 1 while stalled. */
  readonly in_stall: number | undefined;
  /** The rung being sent, counted from 0. */
  readonly current: number | undefined;
  /** Time since the last switch. */
  readonly since_switch_ms: number | undefined;
  /** Frames dropped by the viewer so far. */
  readonly dropped_frames: number | undefined;
  /** Width of the picture's place in pixels. */
  readonly screen_width: number | undefined;
  /** Height of the picture's place in pixels. */
  readonly screen_height: number | undefined;
  /** 1 if the viewer asks to save data. */
  readonly data_saver: number | undefined;
  /** 0 is ordinary, more is more important. */
  readonly priority: number | undefined;
  /** Most the viewer may be sent. */
  readonly cap_kbps: number | undefined;
  /** The last throughput samples, oldest first. */
  readonly samples: Sample[];
}

/** What is known of a source. What is unknown is undefined, never zero. */
export interface Source {
  /** In pixels. */
  readonly width: number | undefined;
  /** In pixels. */
  readonly height: number | undefined;
  /** Frames a second. */
  readonly fps: number | undefined;
  /** Bitrate. */
  readonly kbps: number | undefined;
  /** 1 if its own coding may stand in for a rung. */
  readonly passable: number | undefined;
  /** CPU seconds a second that encoding may take. */
  readonly cpu_budget: number | undefined;
  /** CPU seconds a second that encoding takes now. */
  readonly cpu_used: number | undefined;
  /** Viewers now. */
  readonly viewers: number | undefined;
  /** Media seconds encoded per second of real time, 1 is live. */
  readonly speed: number | undefined;
}

/** What is known of a rung. What is unknown is undefined, never zero. */
export interface Rung {
  /** The higher of declared and measured bitrate. */
  readonly need_kbps: number | undefined;
  /** Declared bitrate. */
  readonly kbps: number | undefined;
  /** Measured bitrate. */
  readonly measured_kbps: number | undefined;
  /** Highest segment or second so far. */
  readonly peak_kbps: number | undefined;
  /** In pixels. */
  readonly width: number | undefined;
  /** In pixels. */
  readonly height: number | undefined;
  /** Frames a second. */
  readonly fps: number | undefined;
  /** 0 H.264, 1 VP8, 2 VP9, 3 AV1. */
  readonly codec: number | undefined;
  /** 1 while it is encoded. */
  readonly active: number | undefined;
  /** Until its next keyframe. */
  readonly next_keyframe_ms: number | undefined;
  /** Size of its next segment, as far as known. */
  readonly next_bytes: number | undefined;
}

/** One delivery as a player measured it. */
export interface Sample {
  start_ms: number | undefined;
  bytes: number;
  transfer_ms: number;
  /** Time to first byte. */
  ttfb_ms: number | undefined;
  rung: number | undefined;
}

/** When and why a question is asked. */
export interface Tick {
  /** The time in ms on a clock that never goes back. */
  readonly now_ms: number;
  /** A number that differs from call to call. */
  readonly seed: number;
  /** 0 WebRTC, 1 HLS, 2 low-latency HLS. */
  readonly mode: number;
  /** 0 a second has passed, 1 segment, 2 stall, 3 congestion, 4 keyframe due, 5 layout. */
  readonly cause: number;
}

/** The rungs there are, lowest bitrate first. */
export interface Ladder extends Iterable<Rung> {
  readonly length: number;
  rung(at: number | undefined): Rung | undefined;
  /** The number of the highest rung that needs no more than this. */
  highestWithin(kbps: number): number | undefined;
}

/** Numbers that the host carries from one call about a row to the next; `memo` in plugin.toml says how many. */
export interface Memo {
  readonly length: number;
  get(at: number): number | undefined;
  set(at: number, value: number | null | undefined): void;
}

/** What a viewer gets. */
export interface Pick {
  /** The rung to send; absent pauses video. */
  rung: number | null;
  /** A text of the manifest's reasons, or its number. */
  reason?: number | string;
  /** Most to send; absent leaves it. */
  cap_kbps?: number | null;
  /** Probe the link up to this; absent does not. */
  probe_kbps?: number | null;
  /** Playback rate; absent leaves it. */
  play_rate?: number | null;
  /** What to buffer; absent leaves it. */
  buffer_target_s?: number | null;
}

/** What is saved for a viewer. */
export interface Saving {
  /** Compression: 0 low, 1 medium, 2 high. */
  level: number;
  /** Data saved, 0 to 100. */
  reduction_pct: number;
  /** Most to send. */
  cap_kbps?: number | null;
  /** Frames a second to keep. */
  fps: number;
  /** Audio bitrate. */
  opus_kbps: number;
  /** Audio sample rate. */
  opus_hz: number;
  /** Audio channels. */
  opus_channels: number;
  /** What to buffer. */
  buffer_s: number;
  /** 1 to add forward error correction. */
  fec: number | boolean;
  /** A text of the manifest's reasons, or its number. */
  reason?: number | string;
}

/** How good a network is. */
export interface Grade {
  /** 0 to 100. */
  score: number;
  /** What bandwidth takes off. */
  bandwidth_part?: number | null;
  /** What loss takes off. */
  loss_part?: number | null;
  /** What jitter takes off. */
  jitter_part?: number | null;
  /** A text of the manifest's reasons, or its number. */
  reason?: number | string;
}

/** Which rungs to encode. */
export interface Plan {
  /** 1 to publish the source's own coding. */
  passthrough: number | boolean;
  /** 0 ultrafast to 8 veryslow; absent leaves it. */
  preset?: number | null;
  /** A text of the manifest's reasons, or its number. */
  reason?: number | string;
  /** Whether to encode each rung, as many as the ladder has. */
  encode: boolean[];
}

/** A request to be let in. The host has checked the token's signature and times already. */
export interface Request {
  action: "publish" | "play" | "join" | "admin";
  /** The broadcast or room; empty for admin. */
  stream: string;
  /** The address of the caller, without a port. */
  peer: string;
  /** The claims of the token; empty without one. */
  claims: Record<string, unknown>;
  /** The time in s since 1970-01-01 UTC. */
  now_s: number;
  /** What the URL of an `ask` answered, on the second call; status 0 if nothing answered. */
  answered: { status: number; body: string } | undefined;
}

/** What is said to a request. */
export type Verdict =
  | { allow: true; ttl_s?: number; role?: string; cap_kbps?: number | null }
  | { deny: true; status?: 401 | 403; reason?: string }
  | { ask: string };

/** The functions of a policy: those of the kinds its plugin.toml names. */
export interface Policy<Config = any> {
  /** Answers `abr`. */
  recommend?(config: Config, tick: Tick, ladder: Ladder, viewer: Viewer, memo: Memo): Pick;
  /** Answers `optimize`. */
  optimize?(config: Config, tick: Tick, ladder: Ladder, viewer: Viewer, memo: Memo): Saving;
  /** Answers `score`. */
  score?(config: Config, tick: Tick, ladder: Ladder, viewer: Viewer, memo: Memo): Grade;
  /** Answers `ladder`. */
  plan?(config: Config, tick: Tick, ladder: Ladder, source: Source, memo: Memo): Plan;
  /** Answers `auth`. */
  authorize?(config: Config, request: Request): Verdict;
}

/** plugin.toml. */
export type Manifest = Record<string, any>;

/** Reads a project's plugin.toml. */
export function manifestOf(project: string): Promise<Manifest>;

/** Builds a project as a component. */
export function build(project: string): Promise<Uint8Array>;

type Asked<Row> = { [column in keyof Row]?: Row[column] };

/** Asks a policy by column names, without a component: for tests. */
export function tester(
  manifest: Manifest,
  policy: Policy,
  config?: object,
): {
  ask(
    kind: "abr" | "optimize" | "score" | "ladder",
    question: {
      tick?: Partial<Tick>;
      rungs?: Asked<Rung>[];
      rows: (Asked<Viewer & Source> & { memo?: (number | undefined)[] })[];
    },
  ): any[];
};
