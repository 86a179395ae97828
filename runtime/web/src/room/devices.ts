// Camera and microphone of the person here: chosen, opened, exchanged, and remembered for the next time.

import { CaptureError, devices, openTrack, type Device } from "@lockgate/client";

/** The choice of a menu that is no device. */
const OFF = "off";

/** One device with its menus, before and in the room. */
export class DeviceChoice {
  track: MediaStreamTrack | null = null;
  error: CaptureError | null = null;
  #chosen: string;
  #turn = 0;

  constructor(
    readonly device: Device,
    private readonly selects: readonly HTMLSelectElement[],
    private readonly changed: () => void,
  ) {
    this.#chosen = remembered(device);
    for (const select of selects) {
      select.addEventListener("change", () => {
        remember(device, select.value);
        void this.choose(select.value);
      });
    }
    navigator.mediaDevices?.addEventListener("devicechange", () => void this.list());
  }

  get chosen(): string {
    return this.#chosen;
  }

  get isOff(): boolean {
    return this.#chosen === OFF;
  }

  /** Opens the device that was chosen the last time. */
  async open(): Promise<void> {
    await this.choose(this.#chosen);
  }

  /** Opens a device by its id, empty for the browser's default; `off` closes what is open. */
  async choose(chosen: string): Promise<void> {
    const turn = ++this.#turn;
    this.#chosen = chosen;
    this.close();
    this.error = null;
    if (chosen !== OFF) {
      try {
        const track = await openTrack(this.device, chosen);
        if (turn !== this.#turn) return track.stop();
        this.track = track;
        track.addEventListener("ended", () => this.#ended(track));
      } catch (error) {
        if (turn !== this.#turn) return;
        this.error = error instanceof CaptureError ? error : new CaptureError("unknown", String(error));
        // What was remembered from another day may not be there today.
        if (this.error.reason === "gone") return this.choose("");
      }
    }
    await this.list();
    this.changed();
  }

  close(): void {
    this.track?.stop();
    this.track = null;
  }

  async list(): Promise<void> {
    const kind = this.device === "camera" ? "videoinput" : "audioinput";
    const found = (await devices(kind)).filter(({ deviceId }) => deviceId !== "default");
    const options = [
      ["", "Default"],
      ...found.map(({ deviceId, label }, index) => [deviceId, label || `Device ${index + 1}`]),
      [OFF, `No ${this.device}`],
    ] as const;
    for (const select of this.selects) {
      select.replaceChildren(...options.map(([value = "", label]) => new Option(label, value)));
      select.value = options.some(([value]) => value === this.#chosen) ? this.#chosen : "";
    }
  }

  #ended(track: MediaStreamTrack): void {
    if (this.track !== track) return;
    this.track = null;
    this.error = new CaptureError("gone", `The ${this.device} was disconnected.`);
    this.changed();
  }
}

function remembered(device: Device): string {
  try {
    return localStorage.getItem(`lockgate.${device}`) ?? "";
  } catch {
    // Without storage nothing is remembered.
    return "";
  }
}

function remember(device: Device, chosen: string): void {
  try {
    localStorage.setItem(`lockgate.${device}`, chosen);
  } catch {
    // As above.
  }
}
