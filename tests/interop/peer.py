"""aiortc as a publisher or a viewer: `peer.py publish|watch URL TOKEN`.

Says one line of JSON when it is connected, and one for each line it reads. Ends with its input.
"""

import array
import asyncio
import fractions
import json
import math
import sys
import time
import urllib.request

import aiortc.rtcrtpreceiver
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtcpSrPacket
from av import AudioFrame, VideoFrame

WIDTH, HEIGHT, FPS, TONE_HZ = 320, 240, 30, 1000


def is_on(second):
    return second % 1 < 0.2


class Picture(MediaStreamTrack):
    kind = "video"

    def __init__(self, started):
        super().__init__()
        self.started, self.count = started, 0

    async def recv(self):
        second = self.count / FPS
        self.count += 1
        await asyncio.sleep(max(0, self.started + second - time.monotonic()))
        frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
        for plane, level in zip(frame.planes, (235 if is_on(second) else 16, 128, 128)):
            plane.update(bytes([level]) * plane.buffer_size)
        frame.pts, frame.time_base = round(second * 90_000), fractions.Fraction(1, 90_000)
        return frame


class Sound(MediaStreamTrack):
    kind = "audio"

    def __init__(self, started):
        super().__init__()
        self.started, self.count = started, 0

    async def recv(self):
        first = self.count * 960
        self.count += 1
        await asyncio.sleep(max(0, self.started + first / 48_000 - time.monotonic()))
        level = lambda at: int(16_000 * math.sin(2 * math.pi * TONE_HZ * at / 48_000)) if is_on(at / 48_000) else 0
        frame = AudioFrame(format="s16", layout="mono", samples=960)
        frame.planes[0].update(array.array("h", map(level, range(first, first + 960))).tobytes())
        frame.pts, frame.time_base, frame.sample_rate = first, fractions.Fraction(1, 48_000), 48_000
        return frame


class Watch:
    """What was seen and heard, on the sender's clock."""

    def __init__(self):
        self.frames = 0
        self.configs = set()
        self.edges = {"video": [], "audio": []}
        # Of each kind: a moment of the sender's clock in s, and the same moment in RTP timestamps.
        self.reports = {}
        # Of each kind: what aiortc takes off the timestamps.
        self.mappers = {}

    def at(self, kind, pts, rate):
        if kind not in self.reports:
            return None
        ntp, rtp = self.reports[kind]
        step = (pts + self.mappers[kind]._origin - rtp) & 0xFFFFFFFF
        return ntp + (step - (1 << 32 if step >> 31 else 0)) / rate

    async def video(self, track):
        was_on = True
        while True:
            frame = await track.recv()
            self.frames += 1
            plane = bytes(frame.planes[0])
            is_bright = sum(plane[::997]) > 128 * len(plane[::997])
            self.edge("video", frame.pts, 90_000, is_bright and not was_on)
            was_on = is_bright

    async def audio(self, track):
        was_on = True
        while True:
            frame = await track.recv()
            samples = array.array("h", bytes(frame.planes[0])[: frame.samples * len(frame.layout.channels) * 2])
            channels = len(frame.layout.channels)
            loud = next((at for at, sample in enumerate(samples) if abs(sample) > 3000), None)
            first = frame.pts + (loud or 0) // channels
            self.edge("audio", first, 48_000, loud is not None and not was_on)
            was_on = loud is not None

    def edge(self, kind, pts, rate, is_one):
        moment = self.at(kind, pts, rate)
        if is_one and moment is not None:
            self.edges[kind].append(moment)

    def listen(self):
        receiver = aiortc.rtcrtpreceiver.RTCRtpReceiver
        (handle_rtcp, handle_rtp), watch = (receiver._handle_rtcp_packet, receiver._handle_rtp_packet), self

        async def rtcp(self, packet):
            if isinstance(packet, RtcpSrPacket):
                sent = packet.sender_info
                watch.reports[self._track.kind] = (sent.ntp_timestamp / (1 << 32), sent.rtp_timestamp)
            await handle_rtcp(self, packet)

        async def rtp(self, packet, *rest, **named):
            watch.mappers[self._track.kind] = self._RTCRtpReceiver__timestamp_mapper
            # The first byte of an Opus packet says how it is coded (RFC 6716 §3.1).
            if self._track.kind == "audio" and packet.payload:
                watch.configs.add(packet.payload[0])
            await handle_rtp(self, packet, *rest, **named)

        receiver._handle_rtcp_packet, receiver._handle_rtp_packet = rtcp, rtp


async def until_it_ends(reading):
    try:
        await reading
    except MediaStreamError:
        pass


def post(url, token, offer):
    headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, offer.encode(), headers, method="POST")
    with urllib.request.urlopen(request) as response:
        return response.read().decode()


async def main(what, url, token):
    pc, tasks, watch = RTCPeerConnection(), set(), Watch()
    if what == "publish":
        started = time.monotonic() + 0.5
        for track in (Picture(started), Sound(started)):
            pc.addTransceiver(track, "sendonly")
    else:
        watch.listen()
        for kind in ("video", "audio"):
            pc.addTransceiver(kind, "recvonly")
        pc.on("track", lambda track: tasks.add(asyncio.ensure_future(until_it_ends(getattr(watch, track.kind)(track)))))
    connected = asyncio.Event()
    pc.on("connectionstatechange", lambda: pc.connectionState == "connected" and connected.set())
    await pc.setLocalDescription(await pc.createOffer())
    answer = await asyncio.to_thread(post, url, token, pc.localDescription.sdp)
    await pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    await asyncio.wait_for(connected.wait(), 20)
    print(json.dumps("connected"), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        seen = {"frames": watch.frames, "flashes": watch.edges["video"], "beeps": watch.edges["audio"]}
        print(json.dumps({**seen, "configs": sorted(watch.configs)}), flush=True)
        watch.configs.clear()
    await pc.close()


asyncio.run(main(*sys.argv[1:]))
