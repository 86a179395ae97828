// What a room's server and its participants say to one another over Socket.IO. Field names are as on the wire.

/** What somebody may do: the host also controls the room, a speaker sends and receives, a listener only receives. */
export type Role = "host" | "speaker" | "listener";

/** What somebody sends pictures from. With a camera goes the microphone, with a screen what is heard of it. */
export type Source = "camera" | "screen";

/** What of somebody the others are not sent. */
export interface Muted {
  audio: boolean;
  video: boolean;
}

/** Somebody in a room. */
export interface Participant {
  id: string;
  name: string;
  role: Role;
  /** Whether sound, a camera's picture, a screen's picture comes from them now. */
  audio: boolean;
  video: boolean;
  screen: boolean;
  muted: Muted;
  /** Their connection dropped; their seat is kept for 20 s. */
  away: boolean;
  /** When they came, in ms since 1970-01-01 UTC. */
  joined_at_ms: number;
}

/** Somebody who speaks. */
export interface Speaker {
  id: string;
  /** How loud, in dB below full scale: 0 is the loudest, 127 silence (RFC 6464). */
  level: number;
}

/** What one receiving section of one's connection is sent. */
export interface Place {
  mid: string;
  kind: "video" | "audio";
  participant: string | null;
  source: Source | null;
}

/** A line of the chat. */
export interface ChatLine {
  from: string;
  name: string;
  text: string;
  /** When, in ms since 1970-01-01 UTC. */
  at_ms: number;
  /** To whom alone; absent if to all. */
  to?: string;
}

/** A reaction. */
export interface Reaction {
  from: string;
  name: string;
  emoji: string;
  at_ms: number;
}

/** What joining is answered with. */
export interface Joined {
  room: string;
  you: Participant;
  /** The secret with which one comes back to the seat within 20 s. */
  seat: string;
  resumed: boolean;
  host: string | null;
  participants: Participant[];
  /** How many may be in the room. */
  max_participants: number;
  ice_servers: RTCIceServer[];
  places: Place[];
}

/** What an offer is answered with. */
export interface Answered {
  session: string;
  sdp: string;
}

/** What a place is to show; sent with `subscribe`. */
export interface Wish {
  mid: string;
  participant?: string;
  source?: Source;
  /** Most lines to be sent, in pixels. */
  height_max?: number;
  off?: true;
}

/** What is said over the data channel `room`. */
export type Said = ({ type: "chat" } & ChatLine) | ({ type: "reaction" } & Reaction) | { type: "error"; detail: string };

/** What the room's server tells, by the event's name. */
export interface Told {
  "user-joined": Participant;
  "user-left": { id: string; reason: string };
  "user-updated": Participant;
  speakers: Speaker[];
  places: Place[];
  /** `by` is the host who did it, or null for the server's operator. */
  muted: Muted & { by: string | null };
  removed: { reason: string };
  "room-ended": { reason: string };
  chat: ChatLine;
  reaction: Reaction;
}

/** Reads what came over the data channel; `null` for what is not known. */
export function readSaid(text: unknown): Said | null {
  if (typeof text !== "string") return null;
  try {
    const said: unknown = JSON.parse(text);
    if (typeof said !== "object" || said === null || !("type" in said)) return null;
    const known = said.type === "chat" || said.type === "reaction" || said.type === "error";
    return known ? (said as Said) : null;
  } catch {
    return null;
  }
}
