// Sockets of the reference client.

import { io } from "socket.io-client";

/** Connects, or throws what it was told; closed at the end of the test. */
export async function connect(context, http, options = {}) {
  const socket = io(http, { reconnection: false, forceNew: true, ...options });
  context.after(() => socket.close());
  await new Promise((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("connect_error", reject);
  });
  return socket;
}

/** Asks, and returns the acknowledgement. */
export const ask = (socket, event, ...args) => socket.timeout(10_000).emitWithAck(event, ...args);

/** The next of an event. */
export function next(socket, event, deadlineMs = 15_000) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no ${event} in ${deadlineMs / 1000} s`)), deadlineMs);
    socket.once(event, (value) => {
      clearTimeout(late);
      resolve(value);
    });
  });
}
