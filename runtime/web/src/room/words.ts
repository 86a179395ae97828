// Words for everything that keeps somebody out of a room, or ends it.

import { Problem, Unreachable, type Closing } from "@lockgate/client";

/** Why somebody could not join, and what to do. */
export function refusal(error: unknown, token: string | null): string {
  if (error instanceof Unreachable) return "The server cannot be reached. Check the network, then join again.";
  if (!(error instanceof Problem)) return error instanceof Error ? error.message : String(error);
  const words = sentence([error.title, error.detail].filter(Boolean).join(": "));
  switch (kindOf(error)) {
    case "room-full":
      return `The room is full. ${words} Try again when somebody has left.`;
    case "sent-out":
      return `You were removed from this room, and cannot come back as long as it lasts. ${words}`;
    default:
  }
  switch (error.status) {
    case 401:
      return token
        ? `The access token was refused: it is expired, or not of this server. ${words}`
        : `This room needs an access token. Ask whoever invited you for a link. ${words}`;
    case 403:
      return token
        ? `The access token does not allow joining this room. ${words}`
        : `This room needs an access token. Ask whoever invited you for a link. ${words}`;
    case 404:
      return `The room is not open. It opens when somebody comes who may speak. ${words}`;
    case 429:
      return `Too many tries. Wait a minute, then join again. ${words}`;
    case 503:
      return `The server takes nobody else now. Try again later. ${words}`;
    default:
      return words;
  }
}

/** Heading and words for the end. */
export function closing({ kind, reason }: Closing): { title: string; words: string } {
  switch (kind) {
    case "left":
      return { title: "You left the room", words: "" };
    case "removed":
      return { title: "You were removed from the room", words: sentence(reason) };
    case "ended":
      return { title: "The room is over", words: sentence(reason) };
    case "refused":
      return { title: "You are no longer in the room", words: sentence(reason) };
  }
}

/** `a reason` as `A reason.` */
export function sentence(text: string): string {
  const trimmed = text.trim();
  if (!trimmed) return "";
  const whole = trimmed[0]?.toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}

/** The last part of a problem's type. */
function kindOf(problem: Problem): string {
  return problem.type.split("/").at(-1) ?? "";
}
