// A buffer-based rule: what the player has buffered says which rung it can afford, and the bandwidth is only asked where
// there is no buffer (WebRTC). After BBA-0 of Huang et al., "A Buffer-Based Approach to Rate Adaptation" (SIGCOMM 2014):
// a linear map from buffer to bitrate between a reservoir and the end of a cushion, and a switch only where the map
// passes the next rung, so that a buffer that sways does not make the picture sway.

/** @import { Config, Ladder, Memo, Pick, Tick, Viewer } from "@lockgate/policy" */

const STALLED = 0; // memo: when the viewer last stalled, in ms
const CALM_MS = 10_000; // for this long after a stall nothing goes up

/**
 * @param {{ reservoir_s: number, cushion_s: number, safety: number }} config
 * @param {Tick} tick @param {Ladder} ladder @param {Viewer} viewer @param {Memo} memo
 * @returns {Pick}
 */
export function recommend(config, tick, ladder, viewer, memo) {
  if (ladder.length === 0) return { rung: null, reason: "there is no rung" };
  const top = ladder.length - 1;
  const current = at(ladder, viewer.current);
  if (viewer.in_stall === 1) memo.set(STALLED, tick.now_ms);

  const buffer = viewer.buffer_s;
  if (buffer === undefined) return byBandwidth(config, ladder, viewer, current);
  if (buffer <= config.reservoir_s) return { rung: 0, reason: "buffer: below the reservoir, the lowest" };

  const isCalm = tick.now_ms - (memo.get(STALLED) ?? -Infinity) >= CALM_MS;
  const end = config.reservoir_s + config.cushion_s;
  if (buffer >= end && isCalm) return { rung: top, reason: "buffer: above the cushion, the highest" };

  const share = Math.min((buffer - config.reservoir_s) / config.cushion_s, 1);
  const lowest = need(ladder, 0);
  const kbps = lowest + share * (need(ladder, top) - lowest);
  if (current === undefined) return { rung: within(ladder, kbps), reason: "buffer: within the cushion, by its level" };
  // Up only where the map has passed the next rung, down only where it has fallen below this one.
  if (kbps >= need(ladder, Math.min(current + 1, top)) && current < top && isCalm) {
    return { rung: within(ladder, kbps), reason: "buffer: within the cushion, by its level" };
  }
  if (kbps < need(ladder, current)) {
    return { rung: within(ladder, kbps), reason: "buffer: within the cushion, by its level" };
  }
  return { rung: current, reason: "hold: between two rungs" };
}

function byBandwidth(config, ladder, viewer, current) {
  if (viewer.bandwidth_kbps === undefined) {
    return { rung: current ?? 0, reason: "nothing is known yet, the lowest" };
  }
  const arriving = 1 - Math.min(Math.max(viewer.loss_pct ?? 0, 0), 100) / 100;
  const kbps = viewer.bandwidth_kbps * arriving * config.safety;
  return { rung: within(ladder, kbps), reason: "link: no buffer to go by, what the bandwidth carries" };
}

function within(ladder, kbps) {
  return ladder.highestWithin(kbps) ?? 0;
}

function need(ladder, rung) {
  return ladder.rung(rung)?.need_kbps ?? 0;
}

// The rung that is sent, if it is one of the ladder's.
function at(ladder, current) {
  return Number.isInteger(current) && current >= 0 && current < ladder.length ? current : undefined;
}
