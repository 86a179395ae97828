//! One publisher: it sends the synthetic pictures and sound in time, and again what is asked for.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;

use super::track::{Track, next_due};
use crate::{
    crowd::Answered,
    engine::{Machine, Sink},
    media::{
        mark::Clock,
        rtcp::{self, Heard, Report},
    },
    peer::{Identity, Input, Out, Over, Peer},
    sdp::Media,
    synthetic::{FPS, Frame},
    tally::Tally,
};

/// What all publishers send.
pub(crate) struct Content {
    pub(crate) video: Vec<Frame>,
    pub(crate) audio: Option<Bytes>,
    pub(crate) clock: Clock,
    /// Whether each picture tells when it was sent; else keyframes alone do, since a mark is a packet more.
    pub(crate) marks_all: bool,
}

/// A light WHIP publisher, without its socket.
pub struct Client {
    peer: Peer,
    content: Arc<Content>,
    extensions: Extensions,
    /// In dB below full scale; `None` where it is not told.
    loudness: Option<Arc<AtomicU8>>,
    posted: Instant,
    connected: Option<Instant>,
    /// The wall clock at a moment, for sender reports.
    wall: (Instant, SystemTime),
    video: Option<Track>,
    audio: Option<Track>,
    /// The next picture of the clip.
    at: usize,
    wants_keyframe: bool,
    history: VecDeque<Sent>,
    transport: u16,
    report_due: Option<Instant>,
    packets: u64,
    bytes: u64,
    frames: u64,
    resent: u64,
    keyframes_asked: u64,
    reception: Option<Report>,
    rtt_ms: Option<f64>,
}

#[derive(Clone, Copy)]
struct Extensions {
    mid: Option<u8>,
    transport: Option<u8>,
    level: Option<u8>,
}

/// A packet of video that may be asked for again.
struct Sent {
    sequence: u16,
    timestamp: u32,
    marker: bool,
    payload: Bytes,
}

impl Client {
    /// A publisher whose offer, with these sections, was answered.
    pub(crate) fn new(
        identity: &Identity,
        answered: Answered,
        content: Arc<Content>,
        sections: &[Media],
        loudness: Option<Arc<AtomicU8>>,
    ) -> Self {
        let Answered {
            ice,
            answer,
            posted,
        } = answered;
        let now = Instant::now();
        let track = |is_video| Track::of(now, sections, &answer, is_video);
        let (video, audio) = (track(true), track(false));
        Self {
            extensions: Extensions {
                mid: answer.mid,
                transport: answer.transport,
                level: answer.level,
            },
            peer: Peer::new(now, identity, ice, answer.remote),
            loudness,
            posted,
            connected: None,
            wall: (now, SystemTime::now()),
            video,
            audio: audio.filter(|_| content.audio.is_some()),
            content,
            at: 0,
            wants_keyframe: false,
            history: VecDeque::new(),
            transport: 0,
            report_due: None,
            packets: 0,
            bytes: 0,
            frames: 0,
            resent: 0,
            keyframes_asked: 0,
            reception: None,
            rtt_ms: None,
        }
    }

    /// Sends the pictures and sounds that are due.
    fn send(&mut self, now: Instant, out: &mut Out) {
        while self.video.as_ref().is_some_and(|track| now >= track.due) {
            self.send_picture(now, out);
        }
        let content = Arc::clone(&self.content);
        while let Some(packet) = &content.audio
            && let Some(mut track) = self.audio.take_if(|track| now >= track.due)
        {
            let timestamp = track.first.wrapping_add((track.frames * 960) as u32);
            track.frames += 1;
            track.due = next_due(track.due + SOUND, now);
            self.send_packet(&mut track, timestamp, false, packet, out);
            self.audio = Some(track);
        }
    }

    fn send_picture(&mut self, now: Instant, out: &mut Out) {
        let content = Arc::clone(&self.content);
        // Two keyframes in a row would have to be told apart (H.264 §7.4.3).
        if std::mem::take(&mut self.wants_keyframe) {
            if self.at > KEYFRAME_PAUSE {
                self.at = 0;
            } else {
                self.wants_keyframe = self.at > 1;
            }
        }
        let (Some(frame), Some(mut track)) = (content.video.get(self.at), self.video.take()) else {
            return;
        };
        self.at = (self.at + 1) % content.video.len();
        let timestamp = track
            .first
            .wrapping_add((track.frames * 90_000 / FPS) as u32);
        track.frames += 1;
        track.due = next_due(track.due + PICTURE, now);
        self.frames += 1;
        let mark = (content.marks_all || frame.is_keyframe)
            .then(|| Bytes::from(content.clock.mark(Instant::now())));
        // User data stands behind the parameter sets and before the first slice (H.264 §7.4.1.2.3).
        let (sets, slices) = frame
            .payloads
            .split_at_checked(usize::from(frame.is_keyframe))
            .unwrap_or_default();
        let packets = sets.iter().chain(&mark).chain(slices);
        let count = packets.clone().count();
        for (at, payload) in packets.enumerate() {
            let marker = at + 1 == count;
            let sequence = track.sequence;
            self.send_packet(&mut track, timestamp, marker, payload, out);
            if self.history.len() >= HISTORY_MAX {
                self.history.pop_front();
            }
            self.history.push_back(Sent {
                sequence,
                timestamp,
                marker,
                payload: payload.clone(),
            });
        }
        self.video = Some(track);
    }

    fn send_packet(
        &mut self,
        track: &mut Track,
        timestamp: u32,
        marker: bool,
        payload: &[u8],
        out: &mut Out,
    ) {
        let sequence = track.sequence;
        track.sequence = sequence.wrapping_add(1);
        track.packets = track.packets.wrapping_add(1);
        track.octets = track.octets.wrapping_add(payload.len() as u32);
        self.write(track, sequence, timestamp, marker, payload, out);
    }

    fn write(
        &mut self,
        track: &Track,
        sequence: u16,
        timestamp: u32,
        marker: bool,
        payload: &[u8],
        out: &mut Out,
    ) {
        let mut packet = Vec::with_capacity(payload.len() + 48);
        packet.extend([0x90, track.payload_type | (u8::from(marker) << 7)]);
        packet.extend(sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(track.ssrc.to_be_bytes());
        // One-byte header extensions (RFC 8285 §4.2), always in two words.
        packet.extend([0xbe, 0xde, 0, 2]);
        let end = packet.len() + 8;
        if let Some(id) = self.extensions.mid {
            packet.extend([id << 4, track.mid]);
        }
        if let Some(id) = self.extensions.transport {
            packet.push((id << 4) | 1);
            packet.extend(self.transport.to_be_bytes());
            self.transport = self.transport.wrapping_add(1);
        }
        if let Some((id, loudness)) = self.extensions.level.zip(self.loudness.as_ref())
            && !track.is_video
        {
            // The upper bit is for speech.
            let level = loudness.load(Ordering::Relaxed);
            packet.extend([id << 4, level | 0x80]);
        }
        packet.resize(end, 0);
        packet.extend(payload);
        self.packets += 1;
        self.bytes += packet.len() as u64;
        self.peer.send_rtp(&packet, out);
    }

    fn rtcp(&mut self, now: Instant, compound: &[u8], out: &mut Out) {
        let mut all = Vec::new();
        rtcp::read(compound, &mut |heard| all.push(heard));
        let is_video = |ssrc: u32, track: &Option<Track>| {
            track.as_ref().is_some_and(|track| track.ssrc == ssrc)
        };
        for heard in all {
            match heard {
                Heard::KeyframeWanted => {
                    self.keyframes_asked += 1;
                    self.wants_keyframe = true;
                }
                Heard::Missing { ssrc, sequences } if is_video(ssrc, &self.video) => {
                    self.resend(&sequences, out);
                }
                Heard::Reception(report) => {
                    if report.last_sender_report != 0 {
                        let middle = (self.ntp(now) >> 16) as u32;
                        let round = middle
                            .wrapping_sub(report.last_sender_report)
                            .wrapping_sub(report.delay);
                        if round < ROUND_TRIP_MAX {
                            self.rtt_ms = Some(f64::from(round) * 1000.0 / 65_536.0);
                        }
                    }
                    if is_video(report.ssrc, &self.video) {
                        self.reception = Some(report);
                    }
                }
                _ => {}
            }
        }
    }

    /// The same packets again: with the same number they have the same keystream and are the same to the bit.
    fn resend(&mut self, sequences: &[u16], out: &mut Out) {
        let Some(track) = self.video.take() else {
            return;
        };
        for sequence in sequences.iter().take(rtcp::NACK_MAX) {
            let found = self
                .history
                .iter()
                .rev()
                .find(|one| one.sequence == *sequence);
            if let Some(Sent {
                timestamp,
                marker,
                payload,
                ..
            }) = found
            {
                let (timestamp, marker, payload) = (*timestamp, *marker, payload.clone());
                self.write(&track, *sequence, timestamp, marker, &payload, out);
                self.resent += 1;
            }
        }
        self.video = Some(track);
    }

    /// 32.32 s since 1900.
    fn ntp(&self, now: Instant) -> u64 {
        let (then, wall) = self.wall;
        let wall = wall + now.saturating_duration_since(then);
        let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = since.as_secs() + SECONDS_FROM_1900;
        let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
        (seconds << 32) | fraction
    }

    fn report(&mut self, now: Instant, out: &mut Out) {
        if self.report_due.is_none_or(|due| now < due) {
            return;
        }
        self.report_due = Some(now + REPORT_EVERY);
        let ntp = self.ntp(now);
        let mut said = Vec::new();
        let rates = [
            (&self.video, 90_000.0, PICTURE),
            (&self.audio, 48_000.0, SOUND),
        ];
        for (track, clock_hz, every) in rates {
            let Some(track) = track else {
                continue;
            };
            // `due` is when the next frame is, whose timestamp is known.
            let ahead = track.due.saturating_duration_since(now).min(every);
            let next = (track.frames as f64 * every.as_secs_f64() * clock_hz).round();
            let ticks = next - ahead.as_secs_f64() * clock_hz;
            let timestamp = track.first.wrapping_add(ticks.max(0.0) as u64 as u32);
            let (packets, octets) = (track.packets, track.octets);
            rtcp::sender_report(&mut said, track.ssrc, ntp, timestamp, packets, octets);
        }
        self.peer.send_rtcp(&said, out);
    }
}

impl Machine for Client {
    fn handle(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        out: &mut Out,
        _sink: &mut Sink,
    ) {
        match self.peer.handle(now, from, datagram, out) {
            Input::Inner | Input::Rtp => {}
            Input::Connected => {
                self.connected = Some(now);
                self.report_due = Some(now + FIRST_REPORT);
                // Publishers that came together do not send together.
                let phase = Duration::from_micros(u64::from(rand::random::<u16>() / 2));
                for track in [&mut self.video, &mut self.audio].into_iter().flatten() {
                    track.due = now + phase;
                }
            }
            Input::Rtcp(compound) => self.rtcp(now, &compound, out),
        }
    }

    fn timeout(&mut self, now: Instant, out: &mut Out) {
        if now >= self.peer.deadline() {
            self.peer.timeout(now, out);
        }
        if self.connected.is_some() && self.peer.over().is_none() {
            self.send(now, out);
            self.report(now, out);
        }
    }

    fn deadline(&self) -> Instant {
        let mut deadline = self.peer.deadline();
        if self.connected.is_some() {
            let tracks = [&self.video, &self.audio].into_iter().flatten();
            let dues = tracks.map(|track| track.due).chain(self.report_due);
            deadline = dues.fold(deadline, Instant::min);
        }
        deadline
    }

    fn over(&self) -> Option<&Over> {
        self.peer.over()
    }

    fn tally(&self, tally: &mut Tally) {
        let publishers = &mut tally.publishers;
        publishers.started += 1;
        publishers.connect_ms.extend(self.connected.map(|at| {
            let waited = at.saturating_duration_since(self.posted);
            waited.as_secs_f64() * 1000.0
        }));
        publishers.packets += self.packets;
        publishers.bytes += self.bytes;
        publishers.frames += self.frames;
        publishers.resent += self.resent;
        publishers.keyframes_asked += self.keyframes_asked;
        publishers.rtt_ms.extend(self.rtt_ms);
        let loss = self
            .reception
            .map(|report| f64::from(report.fraction_lost) / 2.56);
        publishers.loss_pct.extend(loss);
        if let Some(profile) = self.peer.profile() {
            *publishers.profiles.entry(profile).or_default() += 1;
        }
        if let Some(over) = self.over() {
            *tally.failures.entry(over.to_string()).or_default() += 1;
        }
    }
}

const PICTURE: Duration = Duration::from_nanos(1_000_000_000 / FPS);
const SOUND: Duration = Duration::from_millis(20);
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Receivers bring sound and picture together by it.
const FIRST_REPORT: Duration = Duration::from_millis(200);
/// Frames after a keyframe until the next may be asked for.
const KEYFRAME_PAUSE: usize = 8;
/// A second and more of 2 Mbit/s.
const HISTORY_MAX: usize = 512;
/// 60 s in 1/65536 s.
const ROUND_TRIP_MAX: u32 = 60 << 16;
/// From 1900 to 1970.
const SECONDS_FROM_1900: u64 = 2_208_988_800;
