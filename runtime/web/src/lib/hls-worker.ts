/** Where hls.js's worker is: a file of ours instead of a blob, so that the page's security policy stays strict. */
export async function hlsWorker(): Promise<string> {
  return (await import("hls.js/dist/hls.worker.js?url")).default;
}
