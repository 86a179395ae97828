// Chat and participants, with what the host can do about each.

import { Problem, type ChatLine, type Participant, type Role, type Room } from "@lockgate/client";

import { byId, setText } from "../ui/dom";
import { count } from "../ui/format";

type Sheet = "chat" | "people";

export class Side {
  #open: Sheet | null = null;
  #listed = "";
  readonly #side = byId("side", HTMLElement);
  readonly #sheets = { chat: byId("chat", HTMLElement), people: byId("people", HTMLElement) };
  readonly #buttons = { chat: byId("open-chat", HTMLButtonElement), people: byId("open-people", HTMLButtonElement) };
  readonly #lines = byId("lines", HTMLElement);
  readonly #list = byId("list", HTMLUListElement);
  readonly #text = byId("text", HTMLInputElement);

  constructor(
    private readonly room: Room,
    private readonly tell: (words: string) => void,
    private readonly sure: (question: string, yes: string) => Promise<boolean>,
    signal: AbortSignal,
  ) {
    this.#lines.replaceChildren();
    this.show(null);
    for (const sheet of ["chat", "people"] as const) {
      this.#buttons[sheet].addEventListener("click", () => this.show(this.#open === sheet ? null : sheet), { signal });
    }
    const form = byId("say", HTMLFormElement);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#say();
    }, { signal });
    byId("invite", HTMLButtonElement).addEventListener("click", () => void this.#invite(), { signal });
    byId("end", HTMLButtonElement).addEventListener("click", () => void this.#end(), { signal });
    this.#side.addEventListener("keydown", ({ key }) => {
      if (key !== "Escape" || !this.#open) return;
      const button = this.#buttons[this.#open];
      this.show(null);
      button.focus();
    }, { signal });
  }

  show(sheet: Sheet | null): void {
    this.#open = sheet;
    this.#side.hidden = sheet === null;
    for (const one of ["chat", "people"] as const) {
      this.#sheets[one].hidden = one !== sheet;
      this.#buttons[one].setAttribute("aria-pressed", String(one === sheet));
    }
    if (sheet) this.#buttons[sheet].classList.remove("news");
    if (sheet === "chat") this.#text.focus();
  }

  update(): void {
    const { room } = this;
    const iAmHost = room.me.role === "host";
    byId("end", HTMLButtonElement).hidden = !iAmHost;
    setText(this.#buttons.people.querySelector("span") as HTMLElement, count(room.participants.length, "participant"));
    const listed = JSON.stringify([iAmHost, room.participants]);
    // A button that is replaced loses the focus.
    if (listed === this.#listed) return;
    this.#listed = listed;
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset["key"] : undefined;
    this.#list.replaceChildren(...room.participants.map((one) => this.#person(one, iAmHost)));
    if (focused) this.#list.querySelector<HTMLElement>(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  hear(line: ChatLine): void {
    const who = document.createElement("b");
    who.textContent = line.from === this.room.me.id ? "You" : line.name;
    const item = document.createElement("p");
    item.append(who, line.text);
    const atEnd = this.#lines.scrollHeight - this.#lines.scrollTop - this.#lines.clientHeight < 40;
    this.#lines.append(item);
    while (this.#lines.childElementCount > LINES_MAX) this.#lines.firstElementChild?.remove();
    if (atEnd) this.#lines.scrollTop = this.#lines.scrollHeight;
    if (this.#open !== "chat") {
      this.#buttons.chat.classList.add("news");
      this.tell(`${line.name}: ${line.text.slice(0, 120)}`);
    }
  }

  async #say(): Promise<void> {
    const text = this.#text.value.trim();
    if (!text) return;
    this.#text.value = "";
    const said = await this.#try("The message was not sent", () => this.room.chat(text));
    if (!said && !this.#text.value) this.#text.value = text;
  }

  async #invite(): Promise<void> {
    const { origin, pathname } = location;
    // Without the token: whoever has that has the rights of whoever it is for.
    await navigator.clipboard.writeText(`${origin}${pathname}`);
    this.tell("The link is copied. It holds no access token.");
  }

  async #end(): Promise<void> {
    if (await this.sure("End the room for everyone?", "End it")) await this.#try("The room goes on", () => this.room.end());
  }

  #person(one: Participant, iAmHost: boolean): HTMLLIElement {
    const { room } = this;
    const item = document.createElement("li");
    const row = document.createElement("div");
    row.className = "row";
    const name = document.createElement("span");
    name.textContent = one.id === room.me.id ? `${one.name} (you)` : one.name;
    const about = document.createElement("small");
    about.textContent = [one.role, one.muted.audio ? "muted" : "", one.muted.video ? "camera off" : "", one.away ? "away" : ""]
      .filter(Boolean)
      .join(" · ");
    row.append(name, about);
    item.append(row);
    if (!iAmHost || one.id === room.me.id) return item;
    const controls = document.createElement("div");
    controls.className = "controls";
    const button = (key: string, words: string, act: () => Promise<unknown>): void => {
      const element = document.createElement("button");
      element.type = "button";
      element.className = "quiet";
      element.textContent = words;
      element.dataset["key"] = `${key} ${one.id}`;
      element.setAttribute("aria-label", `${words}: ${one.name}`);
      element.addEventListener("click", () => void this.#try(`“${words}” for ${one.name} did not work`, act));
      controls.append(element);
    };
    const role = (to: Role) => () => room.setRole(one.id, to);
    if (one.role !== "listener") {
      button("mute", one.muted.audio ? "Unmute" : "Mute", () => room.muteOther(one.id, { audio: !one.muted.audio }));
      button("camera", one.muted.video ? "Camera on" : "Camera off", () => room.muteOther(one.id, { video: !one.muted.video }));
      button("demote", "Make listener", role("listener"));
    } else {
      button("promote", "Make speaker", role("speaker"));
    }
    button("host", "Make host", async () => {
      const yes = await this.sure(`Make ${one.name} the host? You are a speaker then, and ${one.name} controls the room.`, "Make host");
      if (yes) await room.setRole(one.id, "host");
    });
    button("remove", "Remove", async () => {
      const yes = await this.sure(`Remove ${one.name}? They cannot come back as long as the room lasts.`, "Remove");
      if (yes) await room.remove(one.id);
    });
    item.append(controls);
    return item;
  }

  /** Does something; says what went wrong, if it did. */
  async #try(otherwise: string, act: () => Promise<unknown>): Promise<boolean> {
    try {
      await act();
      return true;
    } catch (error) {
      const why = error instanceof Problem ? [error.title, error.detail].filter(Boolean).join(": ") : String(error);
      this.tell(`${otherwise}. ${why}`);
      return false;
    }
  }
}

/** Lines of the chat that are kept. */
const LINES_MAX = 500;
