// What is saved for a viewer on a poor link. Level 0 saves least, 2 most.

/** @import { Ladder, Memo, Saving, Tick, Viewer } from "@lockgate/policy" */

/**
 * @param {{ fec_loss_pct: number }} config
 * @param {Tick} tick @param {Ladder} ladder @param {Viewer} viewer @param {Memo} memo
 * @returns {Saving}
 */
export function optimize(config, tick, ladder, viewer, memo) {
  const kbps = viewer.bandwidth_kbps ?? Infinity;
  const isPoor = kbps < 500;
  const isNarrow = kbps < 1000;
  const whole = ladder.length > 0 ? ladder.rung(ladder.length - 1).need_kbps : undefined;
  const reduction_pct = isPoor ? 70 : isNarrow ? 50 : 30;
  return {
    level: isPoor ? 2 : isNarrow ? 1 : 0,
    reduction_pct,
    cap_kbps: whole === undefined ? null : Math.min(whole * (1 - reduction_pct / 100), 1e6),
    fps: isPoor ? 15 : isNarrow ? 24 : 60,
    opus_kbps: isPoor ? 12 : isNarrow ? 24 : 128,
    opus_hz: isPoor ? 8000 : isNarrow ? 16000 : 48000,
    opus_channels: isNarrow ? 1 : 2,
    buffer_s: isNarrow ? 20 : 10,
    fec: (viewer.loss_pct ?? 0) >= config.fec_loss_pct,
    reason: isPoor ? POOR : isNarrow ? NARROW : GOOD,
  };
}

// Numbers of plugin.toml's reasons; their texts would do as well.
const [GOOD, NARROW, POOR] = [0, 2, 3];
