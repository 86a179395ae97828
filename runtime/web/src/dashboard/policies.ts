// What decides each kind, with swap and roll back.

import { Problem, request } from "@lockgate/client";
import { setText, showFacts } from "../ui/dom";
import type { Policy, Seat } from "./feed";

/** A card for each kind. */
export class Policies {
  private readonly cards = new Map<string, Card>();

  constructor(
    private readonly place: HTMLElement,
    private readonly token: () => string,
  ) {}

  show(policies: readonly Policy[]): void {
    for (const policy of policies) {
      let card = this.cards.get(policy.kind);
      if (!card) {
        card = new Card(policy.kind, this.token);
        this.cards.set(policy.kind, card);
        this.place.append(card.element);
      }
      card.show(policy);
    }
  }
}

class Card {
  readonly element = document.createElement("article");
  private readonly facts = document.createElement("dl");
  private readonly result = document.createElement("p");
  private readonly back = document.createElement("button");
  private readonly file = document.createElement("input");
  private took: { count: number; sum_s: number } | null = null;
  private mean = "—";

  constructor(
    private readonly kind: string,
    private readonly token: () => string,
  ) {
    const title = document.createElement("h3");
    title.textContent = kind;
    title.id = `policy-${kind}`;
    this.element.setAttribute("aria-labelledby", title.id);
    this.element.className = "panel";
    this.facts.className = "facts";
    this.result.className = "note";
    this.result.setAttribute("role", "status");
    const label = document.createElement("label");
    label.textContent = `Swap ${kind} for a file`;
    this.file.type = "file";
    this.file.accept = ".luau,.lua,.wasm";
    label.append(this.file);
    this.back.type = "button";
    this.back.className = "quiet";
    this.back.textContent = `Roll back ${kind}`;
    this.file.addEventListener("change", () => void this.swap());
    this.back.addEventListener("click", () => void this.rollBack());
    this.element.append(title, this.facts, label, this.back, this.result);
  }

  show(policy: Policy): void {
    const { active, shadow, took } = policy;
    const decided = took.count - (this.took?.count ?? 0);
    if (this.took && decided > 0) this.mean = `${(((took.sum_s - this.took.sum_s) / decided) * 1e6).toFixed(0)} µs`;
    else if (!this.took && took.count > 0) this.mean = `${((took.sum_s / took.count) * 1e6).toFixed(0)} µs`;
    this.took = took;
    const faults = Object.entries(active.counters.faults).map(([fault, count]) => `${fault} ${count}`);
    showFacts(this.facts, [
      ["Decides", named(active)],
      ["Digest", active.digest.slice(0, 19)],
      ["Since", since(active)],
      ["Time per decision", this.mean],
      ["Decisions", String(active.counters.decisions)],
      ["Faults", faults.join(", ") || "none"],
      ["Rows refused", String(active.counters.rows_refused)],
      ["Answered last", { active: "itself", last_good: "the one before it", builtin: "the built-in" }[policy.level] ?? policy.level],
      ["Breaker", active.breaker.replace("_", " ")],
      ["Shadow", shadow ? `${named(shadow)}, ${policy.shadow_disagreements} differ` : "none"],
      ["Before it", policy.before.map(named).join(", ") || "nothing"],
    ]);
    this.back.disabled = active.generation === 0;
  }

  private async swap(): Promise<void> {
    const chosen = this.file.files?.[0];
    if (!chosen) return;
    await this.attempt(`${chosen.name} is checked…`, async () => {
      const response = await request(`/api/policies/${this.kind}`, {
        method: "PUT",
        token: this.token(),
        contentType: "application/octet-stream",
        body: chosen,
        timeoutMs: SWAP_WITHIN_MS,
      });
      const { name, version } = (await response.json()) as { name: string; version: string };
      return `${name} ${version} decides from now on.`;
    });
    // So that the same file, mended, can be chosen again.
    this.file.value = "";
  }

  private async rollBack(): Promise<void> {
    await this.attempt("Rolling back…", async () => {
      await request(`/api/policies/${this.kind}/rollback`, { method: "POST", token: this.token() });
      return "Rolled back.";
    });
  }

  private async attempt(meanwhile: string, step: () => Promise<string>): Promise<void> {
    this.tell(meanwhile, "note");
    try {
      this.tell(await step(), "note");
    } catch (error) {
      const words = error instanceof Problem ? [error.title, error.detail].filter(Boolean).join(": ") : String(error);
      this.tell(words, "error");
    }
  }

  private tell(words: string, tone: "note" | "error"): void {
    this.result.className = tone;
    setText(this.result, words);
  }
}

function named(seat: Seat): string {
  return seat.generation === 0 ? "built-in" : `${seat.name} ${seat.version}`;
}

function since(seat: Seat): string {
  return new Date(seat.since_at_ms).toLocaleString();
}

/** A policy is tried on its vectors before it may decide. */
const SWAP_WITHIN_MS = 60_000;
