// Which rungs are worth encoding: those that do not enlarge the source, from below, as far as the CPU budget carries.

/** @import { Ladder, Memo, Plan, Source, Tick } from "@lockgate/policy" */

/**
 * @param {{ megapixel_cost: number }} config
 * @param {Tick} tick @param {Ladder} ladder @param {Source} source @param {Memo} memo
 * @returns {Plan}
 */
export function plan(config, tick, ladder, source, memo) {
  const [width, height, fps] = [source.width ?? 0, source.height ?? 0, source.fps ?? 30];
  const encode = [];
  let cost = 0;
  let reason = "every rung that does not enlarge";
  for (const rung of ladder) {
    const enlarges = (rung.width ?? 0) > width && (rung.height ?? 0) > height;
    const pixels = Math.min(rung.width ?? 0, width) * Math.min(rung.height ?? 0, height);
    const own = ((pixels * Math.min(fps, rung.fps ?? fps)) / 1e6) * config.megapixel_cost;
    const isAffordable = source.cpu_budget === undefined || cost + own <= source.cpu_budget;
    if (!enlarges && !isAffordable) reason = "rungs were shed from the top for the CPU budget";
    const keep = !enlarges && isAffordable;
    if (keep) cost += own;
    encode.push(keep);
  }
  // One is always encoded.
  if (encode.length > 0 && !encode.includes(true)) encode[0] = true;
  return { passthrough: false, encode, reason };
}
