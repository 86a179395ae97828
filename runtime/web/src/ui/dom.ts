// The few things every page does with its document.

/** The element of this id, which the page is known to have. */
export function byId<T extends HTMLElement>(id: string, type: new () => T): T {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`the page has no ${type.name} #${id}`);
  return element;
}

/** Sets a text only when it changed, so that screen readers do not read it out again. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Fills a definition list. */
export function showFacts(list: HTMLElement, facts: readonly (readonly [string, string])[]): void {
  const terms = facts.flatMap(([term, value]) => {
    const dt = document.createElement("dt");
    dt.textContent = term;
    const dd = document.createElement("dd");
    dd.textContent = value;
    return [dt, dd];
  });
  list.replaceChildren(...terms);
}

/** Runs `step` now and then again after each interval while the page is seen; never two at once. */
export function whileVisible(intervalMs: number, step: () => Promise<void>): void {
  let busy = false;
  const run = async (): Promise<void> => {
    if (busy || document.hidden) return;
    busy = true;
    try {
      await step();
    } finally {
      busy = false;
    }
  };
  setInterval(() => void run(), intervalMs);
  document.addEventListener("visibilitychange", () => void run());
  void run();
}
