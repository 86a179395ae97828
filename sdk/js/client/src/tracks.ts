// One device at a time, for what turns them on and off while it goes on.

/** Why a device is not given. */
export type CaptureReason =
  /** The person, the browser or the system does not allow it. */
  | "denied"
  /** There is none. */
  | "missing"
  /** Another program has it, or it failed. */
  | "busy"
  /** The chosen one is gone. */
  | "gone"
  /** The page is neither https nor localhost. */
  | "insecure"
  | "unknown";

/** A device was not given; the message is for the person in front of it. */
export class CaptureError extends Error {
  override readonly name = "CaptureError";

  constructor(
    readonly reason: CaptureReason,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export type Device = "camera" | "microphone";

/** Opens a camera or microphone: the one of this id, or the browser's default. Throws [`CaptureError`]. */
export async function openTrack(device: Device, deviceId = "", video: MediaTrackConstraints = {}): Promise<MediaStreamTrack> {
  if (!isSecureContext || !navigator.mediaDevices) throw new CaptureError("insecure", INSECURE);
  const chosen = deviceId ? { deviceId: { exact: deviceId } } : {};
  try {
    const stream = await navigator.mediaDevices.getUserMedia(
      device === "camera"
        ? { video: { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 }, ...video, ...chosen } }
        : { audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, ...chosen } },
    );
    const [track] = stream.getTracks();
    if (!track) throw new CaptureError("missing", `The browser gave no ${device}.`);
    return track;
  } catch (error) {
    throw captureError(error, device);
  }
}

/** Opens a screen or window with what is heard of it; `null` if the person changed their mind. Throws [`CaptureError`]. */
export async function openScreen(): Promise<MediaStream | null> {
  if (!isSecureContext || !navigator.mediaDevices?.getDisplayMedia) {
    throw new CaptureError(isSecureContext ? "missing" : "insecure", isSecureContext ? NO_SCREENS : INSECURE);
  }
  try {
    const screen = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { ideal: 15 } }, audio: true });
    // Text is to stay sharp.
    for (const track of screen.getVideoTracks()) track.contentHint = "detail";
    return screen;
  } catch (error) {
    if (error instanceof DOMException && error.name === "NotAllowedError") return null;
    throw captureError(error, "screen");
  }
}

/** What an error of `getUserMedia` means for what is named so. */
export function captureError(error: unknown, device: string): CaptureError {
  if (error instanceof CaptureError) return error;
  const { name = "", message = String(error) } = error instanceof Error ? error : {};
  const of = (reason: CaptureReason, words: string): CaptureError => new CaptureError(reason, words, { cause: error });
  switch (name) {
    case "NotAllowedError":
      return of("denied", `The ${device} is blocked. Allow it for this page in the browser's address bar, then try again.`);
    case "NotFoundError":
      return of("missing", `No ${device} was found. Connect one, then try again.`);
    case "NotReadableError":
    case "AbortError":
      return of("busy", `The ${device} is in use by another program, or failed. Close what uses it, then try again.`);
    case "OverconstrainedError":
      return of("gone", `The chosen ${device} is gone. Choose another.`);
    case "SecurityError":
      return of("insecure", INSECURE);
    default:
      return of("unknown", `The ${device} could not be opened: ${message || name}`);
  }
}

export const INSECURE =
  "Browsers give camera, screen and microphone only to secure pages. Open this page by https, or on the server itself as http://localhost.";
const NO_SCREENS = "This browser shares no screens.";
