// Camera, screen and microphone, and why they are not given.

import { captureError, CaptureError, INSECURE } from "./tracks.ts";

/** What is to be published: pictures of a camera or of a screen, or sound alone. */
export type CaptureSource = "camera" | "screen" | "microphone";

export interface CaptureChoice {
  source: CaptureSource;
  /** A device id; empty for the browser's default. */
  camera: string;
  /** A device id; empty for the browser's default, `none` for no microphone. */
  microphone: string;
}

/** Opens what was chosen; throws [`CaptureError`]. */
export async function capture(choice: CaptureChoice): Promise<MediaStream> {
  if (!isSecureContext || !navigator.mediaDevices) throw new CaptureError("insecure", INSECURE);
  try {
    return choice.source === "screen" ? await captureScreen(choice) : await captureDevices(choice);
  } catch (error) {
    throw explain(error, choice.source);
  }
}

/** The devices of one kind, named once access was given. */
export async function devices(kind: MediaDeviceKind): Promise<MediaDeviceInfo[]> {
  if (!navigator.mediaDevices) return [];
  const all = await navigator.mediaDevices.enumerateDevices();
  return all.filter((device) => device.kind === kind && device.deviceId !== "");
}

async function captureDevices({ source, camera, microphone }: CaptureChoice): Promise<MediaStream> {
  return navigator.mediaDevices.getUserMedia({
    video:
      source === "camera" && {
        ...(camera ? { deviceId: { exact: camera } } : {}),
        width: { ideal: 1280 },
        height: { ideal: 720 },
        frameRate: { ideal: 30 },
      },
    audio: source === "microphone" && microphone === "none" ? true : audio(microphone),
  });
}

/** The screen with its own sound where that is shared, else with the microphone. */
async function captureScreen({ microphone }: CaptureChoice): Promise<MediaStream> {
  const screen = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { ideal: 30 } }, audio: true });
  if (screen.getAudioTracks().length > 0 || microphone === "none") return screen;
  try {
    const voice = await navigator.mediaDevices.getUserMedia({ audio: audio(microphone) });
    voice.getTracks().forEach((track) => screen.addTrack(track));
    return screen;
  } catch (error) {
    screen.getTracks().forEach((track) => track.stop());
    throw error;
  }
}

function audio(microphone: string): boolean | MediaTrackConstraints {
  if (microphone === "none") return false;
  return microphone ? { deviceId: { exact: microphone } } : true;
}

const NAMES: Record<CaptureSource, string> = {
  camera: "camera or microphone",
  screen: "screen or microphone",
  microphone: "microphone",
};

function explain(error: unknown, source: CaptureSource): CaptureError {
  const why = captureError(error, NAMES[source]);
  return why.reason === "denied" && source === "screen" ? new CaptureError("denied", NOT_SHARED, { cause: error }) : why;
}

const NOT_SHARED =
  "The screen was not shared. Choose a screen or window in the browser's dialog, and allow the microphone, or choose none.";
