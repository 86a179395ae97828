// The media of one participant: what goes up, what comes down, and which of it is asked for.

import type { PublishCodec, VideoSending } from "../sending.ts";
import type { PublishStats } from "../whip.ts";
import { Downlink, type DownlinkStats, type ViewStats } from "./downlink.ts";
import { Kept } from "./kept.ts";
import type { PeerOptions } from "./peer.ts";
import { assign, merged, placesFor } from "./places.ts";
import { Sound } from "./sound.ts";
import { Stage } from "./stage.ts";
import { Uplink, type Tracks } from "./uplink.ts";
import type { Muted, Place, Role, Source, Wish } from "./wire.ts";

/** One of the connections with the server. */
export type Way = "signalling" | "uplink" | "screen" | "downlink";

/** How media goes; `null` where there is no connection. */
export interface RoomStats {
  uplink: PublishStats | null;
  screen: PublishStats | null;
  downlink: (DownlinkStats & { views: (ViewStats & { participant: string | null; source: Source | null })[] }) | null;
}

export interface MediaOptions {
  codec: PublishCodec;
  simulcast: boolean;
  /** Most to send of a camera, in bit/s, all sizes together. */
  videoBitrateMaxBps: number;
  /** How many pictures can be shown at first; more places are opened when they are needed. */
  videoPlaces: number;
  /** How many others can be heard at once. */
  audioPlaces: number;
}

interface Outside {
  ask: PeerOptions["ask"];
  iceServers: () => RTCIceServer[];
  said: (text: unknown) => void;
  trouble: (way: Way, error: unknown, final: boolean) => void;
  changed: () => void;
}

export class Media {
  camera: MediaStreamTrack | null = null;
  microphone: MediaStreamTrack | null = null;
  screen: MediaStream | null = null;
  readonly stage: Stage;
  readonly sound: Sound;
  #muted: Muted = { audio: false, video: false };
  #sends = false;
  #places: Place[] = [];
  #wishes: Wish[] = [];
  #asked = "";
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #up: Kept<Uplink>;
  readonly #screenUp: Kept<Uplink>;
  readonly #down: Kept<Downlink>;

  constructor(
    private readonly options: MediaOptions,
    private readonly outside: Outside,
  ) {
    const { ask, iceServers, said, trouble } = outside;
    const kept = (way: Way) => (error: unknown, final: boolean) => trouble(way, error, final);
    this.stage = new Stage(() => this.#plan());
    this.sound = new Sound(outside.changed);
    this.#up = new Kept({
      open: (signal) => Uplink.open({ ask, iceServers: iceServers(), signal, source: "camera", video: this.#cameraSending(), tracks: () => this.#cameraTracks(), said }),
      changed: () => this.#feed(),
      trouble: kept("uplink"),
    });
    this.#screenUp = new Kept({
      open: (signal) => Uplink.open({ ask, iceServers: iceServers(), signal, source: "screen", video: SCREEN, tracks: () => this.#screenTracks() }),
      changed: () => this.#feed(),
      trouble: kept("screen"),
    });
    this.#down = new Kept({
      open: (signal) => Downlink.open({ ask, iceServers: iceServers(), signal, video: options.videoPlaces, audio: options.audioPlaces }),
      changed: () => {
        this.#asked = "";
        this.#fill();
        this.#plan();
      },
      trouble: kept("downlink"),
    });
  }

  /** Signalling is up: opens what is not open, or all anew where the server has forgotten it. */
  joined(role: Role, places: Place[], resumed: boolean): void {
    this.#sends = role !== "listener";
    this.#asked = "";
    for (const one of [this.#up, this.#down, ...(this.screen ? [this.#screenUp] : [])]) {
      if (!resumed && one.wanted) one.restart();
      else one.start();
      one.retryNow();
    }
    this.placed(places);
    this.#plan();
  }

  /** A listener sends no media, and its connection has no place for any. */
  setRole(role: Role): void {
    const sends = role !== "listener";
    if (sends === this.#sends) return;
    this.#sends = sends;
    if (!sends) this.setScreen(null);
    this.#up.restart();
  }

  setMuted(muted: Muted): void {
    this.#muted = { audio: muted.audio, video: muted.video };
    this.#feed();
  }

  setTracks(tracks: { camera?: MediaStreamTrack | null; microphone?: MediaStreamTrack | null }): void {
    if (tracks.camera !== undefined) this.camera = tracks.camera;
    if (tracks.microphone !== undefined) this.microphone = tracks.microphone;
    this.#feed();
  }

  setScreen(screen: MediaStream | null): void {
    this.screen?.getTracks().forEach((track) => track.stop());
    this.screen = screen;
    if (!screen) this.#screenUp.stop();
    else if (this.#screenUp.wanted) this.#feed();
    else this.#screenUp.start();
    this.outside.changed();
  }

  /** The server says what it sends where. */
  placed(places: Place[]): void {
    this.#places = places;
    this.#fill();
  }

  /** Says something over the data channel; false: it is not open. */
  say(data: object): boolean {
    return this.#up.thing?.say(data) ?? false;
  }

  async stats(): Promise<RoomStats> {
    const [uplink, screen, down] = await Promise.all([
      this.#up.thing?.stats() ?? null,
      this.#screenUp.thing?.stats() ?? null,
      this.#down.thing?.stats() ?? null,
    ]);
    const who = (mid: string): Place | undefined => this.#places.find((place) => place.mid === mid);
    const views = (down?.views ?? []).map((view) => ({
      ...view,
      participant: who(view.mid)?.participant ?? null,
      source: who(view.mid)?.source ?? null,
    }));
    return { uplink, screen, downlink: down && { ...down, views } };
  }

  close(): void {
    clearTimeout(this.#timer);
    this.setScreen(null);
    for (const one of [this.#up, this.#down]) one.stop();
    this.stage.close();
    this.sound.play([]);
  }

  #cameraSending(): VideoSending | null {
    return this.#sends ? this.options : null;
  }

  #cameraTracks(): Tracks {
    const { audio, video } = this.#muted;
    return { video: video ? null : this.camera, audio: audio ? null : this.microphone };
  }

  #screenTracks(): Tracks {
    return { video: this.screen?.getVideoTracks()[0] ?? null, audio: this.screen?.getAudioTracks()[0] ?? null };
  }

  /** Puts into the connections what is to be sent now. */
  #feed(): void {
    const camera = this.#up.thing?.send(this.#cameraTracks());
    const screen = this.#screenUp.thing?.send(this.#screenTracks());
    camera?.catch((error: unknown) => this.outside.trouble("uplink", error, false));
    screen?.catch((error: unknown) => this.outside.trouble("screen", error, false));
    this.outside.changed();
  }

  /** Puts into the page's elements what comes down. */
  #fill(): void {
    const down = this.#down.thing;
    this.sound.play(down?.audio.values() ?? []);
    this.stage.fill((participant, source) => {
      const place = this.#places.find((one) => one.kind === "video" && one.participant === participant && one.source === source);
      return (place && down?.video.get(place.mid)) ?? null;
    });
    this.outside.changed();
  }

  /** Asks for what the page shows, soon: a page that is built anew changes a lot at once. */
  #plan(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#subscribe();
    }, PLAN_AFTER_MS);
  }

  async #subscribe(): Promise<void> {
    this.#fill();
    const down = this.#down.thing;
    if (!down) return;
    const wants = merged(this.stage.wants());
    const places = placesFor(wants.length, this.options.videoPlaces, VIDEO_PLACES_MAX);
    if (places > this.options.videoPlaces) {
      this.options.videoPlaces = places;
      this.#down.restart();
      return;
    }
    const wishes = assign([...down.video.keys()], this.#wishes, wants);
    const asked = JSON.stringify(wishes);
    if (asked === this.#asked) return;
    this.#wishes = wishes;
    this.#asked = asked;
    try {
      await this.outside.ask("subscribe", { places: wishes });
    } catch (error) {
      // Once signalling is up again it is asked for anew.
      if (this.#asked === asked) this.#asked = "";
      this.outside.trouble("signalling", error, false);
    }
  }
}

/** A screen has text: full size at few frames, in one size. */
const SCREEN: VideoSending = { codec: "h264", simulcast: false, videoBitrateMaxBps: 2_500_000 };
const VIDEO_PLACES_MAX = 49;
const PLAN_AFTER_MS = 50;
