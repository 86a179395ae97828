// Camera and microphone, and why they are not given.

export interface CaptureChoice {
  /** A device id; empty for the browser's default. */
  camera: string;
  microphone: string;
}

/** Opens camera and microphone; throws an error whose message is for the person in front of it. */
export async function capture({ camera, microphone }: CaptureChoice): Promise<MediaStream> {
  if (!isSecureContext || !navigator.mediaDevices) throw new Error(INSECURE);
  try {
    return await navigator.mediaDevices.getUserMedia({
      video: {
        ...(camera ? { deviceId: { exact: camera } } : {}),
        width: { ideal: 1280 },
        height: { ideal: 720 },
        frameRate: { ideal: 30 },
      },
      audio: microphone ? { deviceId: { exact: microphone } } : true,
    });
  } catch (error) {
    throw new Error(explain(error), { cause: error });
  }
}

/** The devices of one kind, named once access was given. */
export async function devices(kind: MediaDeviceKind): Promise<MediaDeviceInfo[]> {
  if (!navigator.mediaDevices) return [];
  const all = await navigator.mediaDevices.enumerateDevices();
  return all.filter((device) => device.kind === kind && device.deviceId !== "");
}

function explain(error: unknown): string {
  if (!(error instanceof DOMException)) return String(error);
  switch (error.name) {
    case "NotAllowedError":
      return "Camera and microphone are blocked. Allow them for this page in the browser's address bar, then try again.";
    case "NotFoundError":
      return "No camera or microphone was found. Connect one, then try again.";
    case "NotReadableError":
      return "The camera or microphone is in use by another program, or failed. Close what uses it, then try again.";
    case "OverconstrainedError":
      return "The chosen camera or microphone is gone. Choose another.";
    case "SecurityError":
      return INSECURE;
    default:
      return `Camera and microphone could not be opened: ${error.message || error.name}`;
  }
}

const INSECURE =
  "Browsers give camera and microphone only to secure pages. Open this page by https, or on the server itself as http://localhost.";
