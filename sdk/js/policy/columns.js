// The columns of the contract: generated from the runtime's own table, by the test that also checks it.

export const VIEWER = [
  ["bandwidth_kbps", 1],
  ["goodput_kbps", 1],
  ["loss_pct", 1],
  ["loss_repaired_pct", 1],
  ["jitter_ms", 1],
  ["rtt_ms", 1],
  ["rtt_min_ms", 1],
  ["queue_ms", 1],
  ["queue_trend", 1],
  ["app_limited", 1],
  ["buffer_s", 1],
  ["buffer_target_s", 1],
  ["latency_s", 1],
  ["latency_target_s", 1],
  ["play_rate", 1],
  ["stalls", 1],
  ["stall_s", 1],
  ["in_stall", 1],
  ["current", 1],
  ["since_switch_ms", 1],
  ["dropped_frames", 1],
  ["screen_width", 1],
  ["screen_height", 1],
  ["data_saver", 1],
  ["priority", 1],
  ["cap_kbps", 1],
  ["samples", 80],
];

export const SOURCE = [
  ["width", 1],
  ["height", 1],
  ["fps", 1],
  ["kbps", 1],
  ["passable", 1],
  ["cpu_budget", 1],
  ["cpu_used", 1],
  ["viewers", 1],
  ["speed", 1],
];

export const RUNG = [
  ["need_kbps", 1],
  ["kbps", 1],
  ["measured_kbps", 1],
  ["peak_kbps", 1],
  ["width", 1],
  ["height", 1],
  ["fps", 1],
  ["codec", 1],
  ["active", 1],
  ["next_keyframe_ms", 1],
  ["next_bytes", 1],
];

export const QUESTIONS = { abr: VIEWER, optimize: VIEWER, score: VIEWER, ladder: SOURCE };

export const ANSWERS = {
  abr: ["rung", "reason", "cap_kbps", "probe_kbps", "play_rate", "buffer_target_s"],
  optimize: ["level", "reduction_pct", "cap_kbps", "fps", "opus_kbps", "opus_hz", "opus_channels", "buffer_s", "fec", "reason"],
  score: ["score", "bandwidth_part", "loss_part", "jitter_part", "reason"],
  ladder: ["passthrough", "preset", "reason"],
};
