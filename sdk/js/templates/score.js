// How good a viewer's network is: 100 less what bandwidth, loss and jitter take off. What is not known takes nothing.

/** @import { Grade, Ladder, Memo, Tick, Viewer } from "@lockgate/policy" */

/**
 * @param {object} config
 * @param {Tick} tick @param {Ladder} ladder @param {Viewer} viewer @param {Memo} memo
 * @returns {Grade}
 */
export function score(config, tick, ladder, viewer, memo) {
  const within = (value, most) => Math.min(Math.max(value, 0), most);
  const bandwidth_part = within((10_000 - (viewer.bandwidth_kbps ?? 10_000)) / 250, 40);
  const loss_part = within((viewer.loss_pct ?? 0) * 6, 30);
  const jitter_part = within((viewer.jitter_ms ?? 0) / 5, 30);
  const score = Math.round(100 - bandwidth_part - loss_part - jitter_part);
  const reason = score >= 90 ? 0 : score >= 70 ? 1 : score >= 50 ? 2 : score >= 20 ? 3 : 4;
  return { score, bandwidth_part, loss_part, jitter_part, reason };
}
