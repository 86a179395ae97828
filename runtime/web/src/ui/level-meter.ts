// How loud the sound is that goes out.

const EVERY_MS = 100;
/** What a meter shows as silence: quieter is the noise of the device. */
const FLOOR_DB = -60;

export class LevelMeter {
  #context: AudioContext | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(private readonly meter: HTMLMeterElement) {}

  get isOn(): boolean {
    return this.#context !== null;
  }

  /** Shows the sound of a stream, if it has any. */
  start(stream: MediaStream): void {
    this.stop();
    if (stream.getAudioTracks().length === 0) return;
    const context = new AudioContext();
    // Opened without a click it may be held back; a second one costs nothing.
    void context.resume();
    const analyser = new AnalyserNode(context, { fftSize: 2048 });
    new MediaStreamAudioSourceNode(context, { mediaStream: stream }).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    this.#context = context;
    this.#timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
      const db = power > 0 ? 10 * Math.log10(power) : FLOOR_DB;
      this.meter.value = Math.max(0, 100 * (1 - db / FLOOR_DB));
    }, EVERY_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    void this.#context?.close();
    this.#context = null;
    this.meter.value = 0;
  }
}
