// Who is asked for in which place. Plain functions.

import type { Source, Wish } from "./wire.ts";

/** A picture that the page shows, and how large. */
export interface Want {
  participant: string;
  source: Source;
  /** Height of its largest element, in device pixels. */
  heightPx: number;
}

/** Names a picture. */
export function keyOf(participant: string, source: Source): string {
  return `${source} ${participant}`;
}

/** One want for each picture, with the height of the largest; order is kept. */
export function merged(wants: readonly Want[]): Want[] {
  const byKey = new Map<string, Want>();
  for (const want of wants) {
    const key = keyOf(want.participant, want.source);
    const before = byKey.get(key);
    byKey.set(key, before ? { ...before, heightPx: Math.max(before.heightPx, want.heightPx) } : want);
  }
  return [...byKey.values()];
}

/**
 * What each place is to show, given what it was asked for before. Whatever is still wanted stays where it is, so that
 * nothing flickers; what is not needed is off. Wants beyond the number of places are left out, the last first.
 */
export function assign(mids: readonly string[], before: readonly Wish[], wants: readonly Want[]): Wish[] {
  const wanted = new Map(merged(wants).slice(0, mids.length).map((want) => [keyOf(want.participant, want.source), want]));
  const taken = new Map<string, Want>();
  for (const { mid, participant, source = "camera" } of before) {
    const key = participant === undefined ? null : keyOf(participant, source);
    const want = key === null ? undefined : wanted.get(key);
    if (key === null || !want || !mids.includes(mid)) continue;
    taken.set(mid, want);
    wanted.delete(key);
  }
  const waiting = [...wanted.values()];
  return mids.map((mid) => {
    const want = taken.get(mid) ?? waiting.shift();
    if (!want) return { mid, off: true };
    return { mid, participant: want.participant, source: want.source, height_max: heightStep(want.heightPx) };
  });
}

/** Rounds up to a usual height, so that a window that is resized asks anew now and then only. */
export function heightStep(heightPx: number): number {
  return HEIGHTS_PX.find((height) => height >= heightPx) ?? 2160;
}

/** How many places for video to open for so many pictures: a few more than needed, never fewer than there are. */
export function placesFor(wanted: number, now: number, most: number): number {
  if (wanted <= now) return now;
  return Math.min(most, Math.max(now, Math.ceil(wanted / GROW_BY) * GROW_BY));
}

const HEIGHTS_PX = [90, 180, 270, 360, 540, 720, 1080, 1440, 2160];
const GROW_BY = 8;
