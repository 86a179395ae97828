// Socket.IO as Lockgate speaks it: who connects with which token, and events whose answers are awaited.

import type { Socket } from "socket.io-client";

import { Problem, Unreachable } from "../problem.ts";

export interface SocketOptions {
  /** The server's origin; without one that of the page. */
  server?: string | URL;
  token?: string | null;
}

/** A socket that is not connected yet. socket.io-client is loaded when it is first needed. */
export async function openSocket({ server, token }: SocketOptions): Promise<Socket> {
  const { io } = await import("socket.io-client");
  return io(server === undefined ? location.origin : new URL(server).origin, {
    path: "/socket.io/",
    autoConnect: false,
    forceNew: true,
    // Polling only where a proxy lets no WebSocket through.
    transports: ["websocket", "polling"],
    tryAllTransports: true,
    reconnectionDelay: 500,
    reconnectionDelayMax: 5_000,
    timeout: 10_000,
    ...(token ? { auth: { token } } : {}),
  });
}

/** Sends an event and waits for its acknowledgement. Throws [`Problem`] for a refusal, [`Unreachable`] for silence. */
export async function ask<Answer extends object>(
  socket: Pick<Socket, "connected" | "timeout">,
  event: string,
  data: object,
  timeoutMs = ASK_TIMEOUT_MS,
): Promise<Answer> {
  // What is sent while there is no connection would wait for one, and come too late.
  if (!socket.connected) throw new Unreachable("the connection for signalling is down");
  let answer: unknown;
  try {
    answer = await socket.timeout(timeoutMs).emitWithAck(event, data);
  } catch (error) {
    throw new Unreachable(`the server did not answer “${event}” in time`, { cause: error });
  }
  if (typeof answer !== "object" || answer === null) throw new Problem(502, "Not an answer", `to “${event}”`, null);
  if ("ok" in answer && answer.ok === true) return answer as unknown as Answer;
  throw asProblem("error" in answer ? answer.error : null, 500, `“${event}” was refused`);
}

/** What a `connect_error` means: the server's refusal in words, or that it cannot be reached. */
export function connectError(error: Error): Problem | Unreachable {
  // A refusal by the namespace has its problem as text; one by HTTP as the body of the last request.
  const { description, context } = error as { description?: unknown; context?: { responseText?: unknown } };
  for (const text of [error.message, context?.responseText]) {
    const body = parsed(text);
    if (body !== null && "status" in body) return asProblem(body, 500, "The connection was refused");
  }
  if (typeof description === "number" && description >= 400) return new Problem(description, `HTTP ${description}`, "", null);
  return new Unreachable("the server cannot be reached", { cause: error });
}

/** The members of problem details, as far as they are there, in place of what is said otherwise. */
export function asProblem(body: unknown, status: number, title: string): Problem {
  const members: { status?: unknown; title?: unknown; detail?: unknown; type?: unknown } = typeof body === "object" && body !== null ? body : {};
  return new Problem(
    typeof members.status === "number" ? members.status : status,
    typeof members.title === "string" ? members.title : title,
    typeof members.detail === "string" ? members.detail : "",
    null,
    typeof members.type === "string" ? members.type : "",
  );
}

function parsed(text: unknown): object | null {
  if (typeof text !== "string" || !text.startsWith("{")) return null;
  try {
    return JSON.parse(text) as object;
  } catch {
    return null;
  }
}

const ASK_TIMEOUT_MS = 10_000;
