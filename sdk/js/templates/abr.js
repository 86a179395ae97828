// Which rung a viewer gets: the highest that fits the bandwidth with a factor by buffer; down at once, up one step after
// a higher rung has fitted for a while. memo 0: since when a higher rung has fitted, in ms.

/** @import { Ladder, Memo, Pick, Tick, Viewer } from "@lockgate/policy" */

/**
 * @param {{ up_after_s: number, start_kbps: number }} config
 * @param {Tick} tick @param {Ladder} ladder @param {Viewer} viewer @param {Memo} memo
 * @returns {Pick}
 */
export function recommend(config, tick, ladder, viewer, memo) {
  const since = memo.get(0) ?? tick.now_ms;
  memo.set(0, null);
  if (ladder.length === 0) return { rung: null, reason: "there is no rung" };
  const within = (kbps) => ladder.highestWithin(kbps) ?? 0;
  const current = ladder.rung(viewer.current) ? viewer.current : undefined;
  if (viewer.bandwidth_kbps === undefined) {
    return { rung: current ?? within(config.start_kbps), reason: "bandwidth not known yet" };
  }
  const arriving = 1 - Math.min(Math.max(viewer.loss_pct ?? 0, 0), 100) / 100;
  const factor = (viewer.buffer_s ?? 10) < 2 ? 0.5 : (viewer.buffer_s ?? 10) < 5 ? 0.7 : 0.8;
  const fits = within(viewer.bandwidth_kbps * arriving * factor);
  if (current === undefined) return { rung: fits, reason: "start: the highest that fits" };
  if (fits < current) return { rung: fits, reason: "down: the link carries less" };
  if (fits === current) return { rung: current, reason: "hold: this is what fits" };
  if (tick.now_ms - since < config.up_after_s * 1000) {
    memo.set(0, since);
    return { rung: current, reason: "wait: a higher rung fits, but not for long enough" };
  }
  memo.set(0, tick.now_ms);
  return { rung: current + 1, reason: "up: a higher rung has fitted for long enough" };
}
