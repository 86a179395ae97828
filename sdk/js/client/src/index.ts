// What a page needs to publish, to watch and to meet.

export { capture, devices, type CaptureChoice, type CaptureSource } from "./capture.ts";
export { Emitter } from "./emitter.ts";
export type { PlaybackStats, RungChoice, Score, Transport } from "./playback.ts";
export { Player, watch, type PlayerEvents, type PlayerState, type Via, type WatchOptions } from "./player.ts";
export { Problem, problemFrom, request, Unreachable, type RequestOptions } from "./problem.ts";
export { publish, Publisher, type PublisherEvents, type PublisherState, type PublishOptions } from "./publisher.ts";
export type { RoomStats, Way } from "./room/media.ts";
export { joinRoom, Room, type Closing, type JoinOptions, type RoomEvents, type RoomState } from "./room/room.ts";
export { ask, connectError, openSocket, type SocketOptions } from "./room/socket.ts";
export type { ChatLine, Muted, Participant, Reaction, Role, Source, Speaker } from "./room/wire.ts";
export { PUBLISH_CODECS, type PublishCodec, type VideoSending } from "./sending.ts";
export { listStreams, streamDetail, type StreamDetail, type StreamSummary, type Track } from "./streams.ts";
export { CaptureError, openScreen, openTrack, type CaptureReason, type Device } from "./tracks.ts";
export type { PublishStats } from "./whip.ts";
