// Tables whose rows come, change and go, without what does not change being touched.

import { setText } from "./dom";

/** What stands in a cell: words, or an element that is kept as long as its row. */
export type Cell = string | { text: string; href?: string; tone?: "good" | "fair" | "bad"; title?: string };

/** A table with these columns, filled by [`fill`]. */
export class Table {
  private readonly body = document.createElement("tbody");
  private readonly empty = document.createElement("p");
  private readonly table = document.createElement("table");

  constructor(place: HTMLElement, label: string, columns: readonly string[], nothing: string) {
    const head = document.createElement("tr");
    for (const column of columns) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = column;
      head.append(cell);
    }
    const top = document.createElement("thead");
    top.append(head);
    this.table.append(top, this.body);
    this.table.setAttribute("aria-label", label);
    this.empty.className = "note";
    this.empty.textContent = nothing;
    // What scrolls can be scrolled by keyboard, too.
    place.tabIndex = 0;
    place.setAttribute("role", "group");
    place.setAttribute("aria-label", label);
    place.replaceChildren(this.empty, this.table);
    this.show();
  }

  /** The rows as they are now, each by its key. */
  fill(rows: readonly (readonly [string, readonly Cell[]])[]): void {
    const old = new Map([...this.body.rows].map((row) => [row.dataset["key"], row]));
    const now = rows.map(([key, cells]) => {
      const row = old.get(key) ?? blank(key, cells.length);
      cells.forEach((cell, at) => write(row.cells[at]!, cell));
      return row;
    });
    if (now.length !== this.body.rows.length || now.some((row, at) => this.body.rows[at] !== row)) {
      this.body.replaceChildren(...now);
    }
    this.show();
  }

  private show(): void {
    const none = this.body.rows.length === 0;
    this.table.hidden = none;
    this.empty.hidden = !none;
  }
}

function blank(key: string, cells: number): HTMLTableRowElement {
  const row = document.createElement("tr");
  row.dataset["key"] = key;
  for (let at = 0; at < cells; at += 1) row.append(document.createElement(at === 0 ? "th" : "td"));
  (row.cells[0] as HTMLTableCellElement).scope = "row";
  return row;
}

function write(place: HTMLTableCellElement, cell: Cell): void {
  const { tone = "", title = "" } = typeof cell === "string" ? {} : cell;
  place.className = tone;
  place.title = title;
  if (typeof cell === "string") {
    setText(place, cell);
  } else if (cell.href !== undefined) {
    let link = place.querySelector("a");
    if (!link) {
      link = document.createElement("a");
      place.replaceChildren(link);
    }
    link.href = cell.href;
    setText(link, cell.text);
  } else {
    setText(place, cell.text);
  }
}
