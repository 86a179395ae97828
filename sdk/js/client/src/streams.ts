// The server's answers about streams.

import { request } from "./problem.ts";
import { at } from "./server.ts";

export interface StreamSummary {
  id: string;
  /** `live`, or `ended` for the short time before it is forgotten. */
  state: string;
  duration_s?: number;
  viewers?: number;
}

export interface Track {
  id: string;
  kind: "video" | "audio";
  codec: string;
  width?: number;
  height?: number;
  frame_rate?: number;
  bitrate_kbps?: number;
  role?: string;
  /** Who reads it now: viewers, and what the server makes of it. */
  readers?: number;
}

export interface StreamDetail extends StreamSummary {
  tracks?: Track[];
}

/** What is live. */
export async function listStreams(token: string | null, signal?: AbortSignal, server?: string | URL): Promise<StreamSummary[]> {
  const response = await request(at(server, "/api/streams"), { token, ...(signal ? { signal } : {}) });
  const body = (await response.json()) as { streams?: StreamSummary[] };
  return body.streams ?? [];
}

/** One broadcast with its tracks. */
export async function streamDetail(id: string, token: string | null, signal?: AbortSignal, server?: string | URL): Promise<StreamDetail> {
  const response = await request(at(server, `/api/streams/${encodeURIComponent(id)}`), { token, ...(signal ? { signal } : {}) });
  return (await response.json()) as StreamDetail;
}
