// Camera, screen and microphone, and why they are not given.

/** What is to be published: pictures of a camera or of a screen, or sound alone. */
export type CaptureSource = "camera" | "screen" | "microphone";

export interface CaptureChoice {
  source: CaptureSource;
  /** A device id; empty for the browser's default. */
  camera: string;
  /** A device id; empty for the browser's default, `none` for no microphone. */
  microphone: string;
}

/** Opens what was chosen; throws an error whose message is for the person in front of it. */
export async function capture(choice: CaptureChoice): Promise<MediaStream> {
  if (!isSecureContext || !navigator.mediaDevices) throw new Error(INSECURE);
  try {
    return choice.source === "screen" ? await captureScreen(choice) : await captureDevices(choice);
  } catch (error) {
    throw new Error(explain(error, choice.source), { cause: error });
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

function explain(error: unknown, source: CaptureSource): string {
  if (!(error instanceof DOMException)) return String(error);
  const name = NAMES[source];
  switch (error.name) {
    case "NotAllowedError":
      return source === "screen"
        ? "The screen was not shared. Choose a screen or window in the browser's dialog, and allow the microphone, or choose none."
        : `The ${name} is blocked. Allow it for this page in the browser's address bar, then try again.`;
    case "NotFoundError":
      return `No ${name} was found. Connect one, then try again.`;
    case "NotReadableError":
    case "AbortError":
      return `The ${name} is in use by another program, or failed. Close what uses it, then try again.`;
    case "OverconstrainedError":
      return `The chosen ${name} is gone. Choose another.`;
    case "SecurityError":
      return INSECURE;
    default:
      return `The ${name} could not be opened: ${error.message || error.name}`;
  }
}

const INSECURE =
  "Browsers give camera, screen and microphone only to secure pages. Open this page by https, or on the server itself as http://localhost.";
