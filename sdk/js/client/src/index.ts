// What a page needs to publish, to watch and to meet.

export { capture, devices, type CaptureChoice } from "./capture.ts";
export type { Playback, PlaybackStats, RungChoice, Transport } from "./playback.ts";
export { Player, type PlayerOptions, type PlayerState, type Via } from "./player.ts";
export { Problem, problemFrom, request, Unreachable, type RequestOptions } from "./problem.ts";
export { Publisher, type PublisherOptions, type PublisherState } from "./publisher.ts";
export { listStreams, streamDetail, type StreamDetail, type StreamSummary, type Track } from "./streams.ts";
export { PUBLISH_CODECS, type PublishCodec } from "./sending.ts";
export type { PublishStats } from "./whip.ts";
export type { RoomStats, Way } from "./room/media.ts";
export { joinRoom, Room, type Closing, type JoinOptions, type RoomEvents, type RoomState } from "./room/room.ts";
export { ask, connectError, openSocket, type SocketOptions } from "./room/socket.ts";
export type { ChatLine, Muted, Participant, Reaction, Role, Source, Speaker } from "./room/wire.ts";
