// The HTTP of WHIP (RFC 9725), for peers that bring only their WebRTC.

/** Posts an offer; the answer, and how to leave. */
export async function publish({ server, name, offer }) {
  const headers = { authorization: `Bearer ${server.token}`, "content-type": "application/sdp" };
  const endpoint = new URL(`/whip/${name}`, server.http);
  const response = await fetch(endpoint, { method: "POST", headers, body: offer });
  const answer = await response.text();
  if (response.status !== 201) throw new Error(`WHIP said ${response.status}: ${answer}`);
  const session = new URL(response.headers.get("location"), endpoint);
  return { answer, leave: () => fetch(session, { method: "DELETE", headers }) };
}
