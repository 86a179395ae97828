// Waiting for a condition, with a deadline and with words for when it never comes true.

/** Calls `look` until it returns something truthy, and returns that. */
export async function until(what, look, deadlineMs = 15_000) {
  const end = performance.now() + deadlineMs;
  let last;
  for (;;) {
    try {
      const value = await look();
      if (value) return value;
      last = value;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end) {
      const seen = last instanceof Error ? last.message : JSON.stringify(last);
      throw new Error(`waited ${deadlineMs / 1000} s for ${what}; last seen: ${seen}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Watches `page`: waits until `look`, run inside it, returns something truthy. */
export async function untilPage(page, what, look, arg, deadlineMs = 15_000) {
  return until(what, () => page.evaluate(look, arg), deadlineMs);
}

const POLL_MS = 100;
