// How pictures are laid out. Plain functions.

/** How many columns make so many pictures of 16:9 largest in a space. */
export function columnsFor(pictures: number, width: number, height: number): number {
  let best = { columns: 1, area: 0 };
  for (let columns = 1; columns <= pictures; columns++) {
    const rows = Math.ceil(pictures / columns);
    const across = Math.min(width / columns, (height / rows) * (16 / 9));
    if (across > best.area) best = { columns, area: across };
  }
  return best.columns;
}

/** Whether that many would be too small, so that the list is to scroll instead. */
export function isCrowded(pictures: number, columns: number, height: number): boolean {
  return height / Math.ceil(pictures / columns) < TILE_HEIGHT_MIN_PX;
}

/** As many columns as have a width worth looking at. */
export function columnsThatScroll(width: number): number {
  return Math.max(2, Math.floor(width / TILE_WIDTH_PX));
}

const TILE_HEIGHT_MIN_PX = 90;
const TILE_WIDTH_PX = 220;
