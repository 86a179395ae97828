//! The task that carries a publisher's packets into the hub.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use lockgate_broadcast::{Broadcast, track::Demand};
use lockgate_media::{Format, TrackId, VideoCodec, stats::IngestStats};
use lockgate_ports::Muted;
use rtc::{
    rtcp::{
        payload_feedbacks::picture_loss_indication::PictureLossIndication,
        transport_feedbacks::transport_layer_nack::{
            TransportLayerNack, nack_pairs_from_sequence_numbers,
        },
    },
    rtp_transceiver::rtp_sender::RtpCodecKind,
};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};

use super::{
    Assembler, Coding, Event, Incoming, KeyframeGate, Layers, Level, Packet, StreamId, Sync, Unit,
    layers::{SILENT, Verdict},
    track::{Output, opus_duration_90k, opus_format},
};
use crate::feedback::Feedback;

/// What the task works with.
pub(crate) struct Ingest {
    pub(crate) broadcast: Broadcast,
    /// The negotiated video codecs by payload type.
    pub(crate) video: Vec<(u8, VideoCodec)>,
    /// The payload type of Opus.
    pub(crate) audio: Option<u8>,
    /// The publisher's tracks as they open.
    pub(crate) tracks: mpsc::Receiver<Arc<dyn Incoming>>,
    pub(crate) feedback: mpsc::Receiver<Feedback>,
    pub(crate) stats: Arc<Mutex<IngestStats>>,
    /// Of somebody in a room.
    pub(crate) floor: Option<Floor>,
}

/// What a room has to do with what is sent.
pub(crate) struct Floor {
    /// Who is told how loud it is.
    pub(crate) level: Level,
    /// What is not taken.
    pub(crate) muted: watch::Receiver<Muted>,
}

impl Floor {
    fn mutes(&self, coding: Coding) -> bool {
        let muted = self.muted.borrow();
        match coding {
            Coding::Opus => muted.audio,
            Coding::Video(_) => muted.video,
        }
    }
}

struct Received {
    kind: RtpCodecKind,
    track: Arc<dyn Incoming>,
    /// The layer it is of (RFC 8852 §3.1), where the publisher sends several.
    rid: Option<Arc<str>>,
    packet: rtc::rtp::Packet,
}

struct Source {
    coding: Coding,
    payload_type: u8,
    assembler: Assembler,
    stream: StreamId,
    track: Arc<dyn Incoming>,
    keyframes: KeyframeGate,
    retry: Option<Instant>,
    /// The track of this layer alone, where there are several.
    layer: Option<Output>,
    /// What came last was not taken.
    is_muted: bool,
    /// When its last packet came.
    heard: Instant,
}

struct State {
    broadcast: Broadcast,
    video_types: Vec<(u8, VideoCodec)>,
    audio_type: Option<u8>,
    sources: HashMap<u32, Source>,
    sync: Sync,
    layers: Layers,
    /// The best layer that arrives.
    video: Output,
    audio: Output,
    stats: IngestStats,
    floor: Option<Floor>,
    /// Told when readers want something else.
    wanted: Arc<Notify>,
    /// Carry what readers want to `wanted`.
    forwarders: JoinSet<()>,
}

/// Runs until dropped.
pub(crate) async fn run(ingest: Ingest) {
    let Ingest {
        broadcast,
        video,
        audio,
        mut tracks,
        mut feedback,
        stats,
        floor,
    } = ingest;
    let (sender, mut packets) = mpsc::channel(PACKETS_MAX);
    let mut readers = JoinSet::new();
    let mut state = State {
        video: Output::new(broadcast.clone(), TrackId::source()),
        audio: Output::new(broadcast.clone(), TrackId::opus()),
        broadcast,
        video_types: video,
        audio_type: audio,
        sources: HashMap::new(),
        sync: Sync::default(),
        layers: Layers::default(),
        stats: IngestStats::default(),
        floor,
        wanted: Arc::default(),
        forwarders: JoinSet::new(),
    };
    let wanted = Arc::clone(&state.wanted);
    loop {
        let deadline = state.deadline();
        tokio::select! {
            Some(track) = tracks.recv() => {
                readers.spawn(read(track, sender.clone()));
            }
            Some(received) = packets.recv() => {
                let now = Instant::now();
                state.packet(now, received);
                // Drain what came with it before the units are written: one wake-up for a burst.
                for _ in 0..BURST_MAX {
                    let Ok(received) = packets.try_recv() else { break };
                    state.packet(now, received);
                }
            }
            Some(told) = feedback.recv() => state.feedback(&told),
            () = wanted.notified() => {}
            () = sleep_until(deadline) => {}
        }
        let now = Instant::now();
        state.drain(now);
        state.attend(now);
        state.ask(now).await;
        if let Some(floor) = &mut state.floor {
            floor.level.tell(now);
        }
        *stats.lock().unwrap_or_else(PoisonError::into_inner) = state.stats();
    }
}

/// Empties one track as fast as it can: what does not fit its queue is lost.
async fn read(track: Arc<dyn Incoming>, out: mpsc::Sender<Received>) {
    let kind = track.kind().await;
    while let Some((packet, rid)) = track.next().await {
        let received = Received {
            kind,
            track: Arc::clone(&track),
            rid,
            packet,
        };
        if out.send(received).await.is_err() {
            return;
        }
    }
}

/// Tells of every change of what a track's readers want.
async fn forward(mut demand: watch::Receiver<Demand>, wanted: Arc<Notify>) {
    while demand.changed().await.is_ok() {
        wanted.notify_one();
    }
}

impl State {
    fn packet(&mut self, now: Instant, received: Received) {
        let Received {
            kind,
            track,
            rid,
            packet,
        } = received;
        self.stats.packets_received += 1;
        self.stats.bytes_received += packet.payload.len() as u64 + 12;
        let header = packet.header;
        let coding = match kind {
            RtpCodecKind::Audio => {
                (self.audio_type == Some(header.payload_type)).then_some(Coding::Opus)
            }
            _ => self
                .video_types
                .iter()
                .find(|(number, _)| *number == header.payload_type)
                .map(|(_, codec)| Coding::Video(*codec)),
        };
        let Some(coding) = coding else {
            return; // comfort noise, events, or what was never negotiated
        };
        if let Some(floor) = &mut self.floor {
            if floor.mutes(coding) {
                if let Some(source) = self.sources.get_mut(&header.ssrc) {
                    source.is_muted = true;
                }
                return;
            }
            if coding == Coding::Opus {
                let number = floor.level.number();
                let said = number.and_then(|number| header.get_extension(number));
                floor.level.heard(now, said.as_deref(), &packet.payload);
            }
        }
        let full = self.sources.len() >= SOURCES_MAX;
        let source = match self.sources.get_mut(&header.ssrc) {
            Some(source) => source,
            None if full => return,
            None => {
                let clock_hz = if coding == Coding::Opus {
                    48_000
                } else {
                    90_000
                };
                let stream = self.sync.add(clock_hz);
                let layer = rid
                    .and_then(|rid| TrackId::layer(&rid))
                    .filter(|_| coding != Coding::Opus)
                    .map(|id| Output::new(self.broadcast.clone(), id));
                self.sources.entry(header.ssrc).or_insert_with(|| {
                    let mut keyframes = KeyframeGate::default();
                    if coding != Coding::Opus {
                        keyframes.want();
                    }
                    Source {
                        coding,
                        payload_type: header.payload_type,
                        assembler: Assembler::new(coding),
                        stream,
                        track,
                        keyframes,
                        retry: None,
                        layer,
                        is_muted: false,
                        heard: now,
                    }
                })
            }
        };
        source.heard = now;
        if std::mem::take(&mut source.is_muted) {
            // What was not taken meanwhile is not missing.
            source.assembler = Assembler::new(coding);
            if coding != Coding::Opus {
                source.keyframes.want();
            }
        }
        if source.payload_type != header.payload_type {
            // The publisher changed its codec or profile within the negotiated ones.
            source.payload_type = header.payload_type;
            if source.coding != coding {
                source.coding = coding;
                source.assembler = Assembler::new(coding);
                source.keyframes.want();
            }
        }
        source.assembler.push(
            now,
            Packet {
                seq: header.sequence_number,
                timestamp: header.timestamp,
                marker: header.marker,
                payload: packet.payload,
            },
        );
    }

    fn feedback(&mut self, told: &Feedback) {
        if let Feedback::Sending {
            ssrc,
            ntp,
            timestamp,
        } = told
            && let Some(source) = self.sources.get(ssrc)
        {
            self.sync.report(source.stream, *ntp, *timestamp);
        }
    }

    /// Writes every unit that is complete.
    fn drain(&mut self, now: Instant) {
        let mut ready = Vec::new();
        for (ssrc, source) in &mut self.sources {
            let mut latest: Option<Instant> = None;
            while let Some(event) = source.assembler.poll(now) {
                match event {
                    Event::Unit(unit) => {
                        // A unit that was sent again came after those that waited for it, and yet is before them.
                        let came = latest.map_or(unit.arrived, |latest| latest.max(unit.arrived));
                        latest = Some(came);
                        ready.push((came, *ssrc, source.coding, source.stream, unit));
                    }
                    Event::KeyframeWanted => source.keyframes.want(),
                }
            }
        }
        // Several sources in one wake-up: into the order in which they came, each keeping its own.
        ready.sort_by_key(|(came, ..)| *came);
        for (_, ssrc, coding, stream, unit) in ready {
            let arrived = self.broadcast.origin().pts_at(unit.arrived);
            let place = self.sync.place(stream, unit.timestamp, arrived);
            match coding {
                Coding::Opus => {
                    let duration = opus_duration_90k(&unit.data);
                    self.audio.write(unit, place, duration, Some(opus_format()));
                }
                Coding::Video(codec) => self.picture(now, ssrc, codec, place, unit),
            }
        }
    }

    fn picture(
        &mut self,
        now: Instant,
        ssrc: u32,
        codec: VideoCodec,
        place: super::Place,
        unit: Unit,
    ) {
        let format = unit.keyframe.then(|| codec.format_of(&unit.data)).flatten();
        let pixels = format
            .as_ref()
            .map(|format| u64::from(format.width) * u64::from(format.height));
        if let Some(source) = self.sources.get_mut(&ssrc)
            && let Some(layer) = &mut source.layer
        {
            let format = format.clone().map(Format::Video);
            // An encoder that left out pictures for a while goes on without a keyframe, unless it is asked for one.
            if !layer.write(unit.clone(), place, 0, format) {
                source.keyframes.want();
            }
        }
        let written = match self.layers.unit(now, ssrc, unit.keyframe, pixels) {
            Verdict::Pass => self.video.write(unit, place, 0, format.map(Format::Video)),
            Verdict::WantKeyframe => false,
            Verdict::Drop => true,
        };
        if !written && let Some(source) = self.sources.get_mut(&ssrc) {
            source.keyframes.want();
        }
    }

    /// Looks what readers want, and takes layers that their sender switched off out of the hub.
    fn attend(&mut self, now: Instant) {
        let current = self.layers.current();
        let is_asked = self.video.wants_keyframe();
        let mut demands: Vec<_> = self.video.new_demand().into_iter().collect();
        for (ssrc, source) in &mut self.sources {
            if is_asked && current == Some(*ssrc) {
                source.keyframes.want();
            }
            let Some(layer) = &mut source.layer else {
                continue;
            };
            if layer.wants_keyframe() {
                source.keyframes.want();
            }
            if now.saturating_duration_since(source.heard) >= SILENT {
                layer.withdraw();
            }
            demands.extend(layer.new_demand());
        }
        for demand in demands {
            while self.forwarders.try_join_next().is_some() {}
            self.forwarders
                .spawn(forward(demand, Arc::clone(&self.wanted)));
        }
    }

    /// Sends the requests for keyframes that are due.
    async fn ask(&mut self, now: Instant) {
        let best = self.layers.best(now);
        for (ssrc, source) in &mut self.sources {
            if source.coding == Coding::Opus {
                continue;
            }
            let missing = source.assembler.asks(now);
            if !source.is_used() && best != Some(*ssrc) {
                // Whoever begins to read it asks for a keyframe first.
                source.keyframes.forget();
                source.retry = None;
                continue;
            }
            if !missing.is_empty() {
                self.stats.packets_asked += missing.len() as u64;
                let request = TransportLayerNack {
                    sender_ssrc: 0,
                    media_ssrc: *ssrc,
                    nacks: nack_pairs_from_sequence_numbers(&missing),
                };
                if let Err(error) = source.track.ask(Box::new(request)).await {
                    tracing::debug!(
                        error,
                        ssrc,
                        "a request for missing packets could not be sent"
                    );
                }
            }
            // A request or its keyframe may be lost too.
            if !source.assembler.awaits_keyframe() {
                source.retry = None;
            } else if source.retry.is_none_or(|retry| now >= retry) {
                source.retry = Some(now + RETRY);
                source.keyframes.want();
            }
            if source.keyframes.poll(now) {
                let request = PictureLossIndication {
                    sender_ssrc: 0,
                    media_ssrc: *ssrc,
                };
                if let Err(error) = source.track.ask(Box::new(request)).await {
                    tracing::debug!(error, ssrc, "a keyframe request could not be sent");
                }
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.sources
            .values()
            .flat_map(|source| {
                [
                    source.assembler.deadline(),
                    source.assembler.asks_deadline(),
                    source.keyframes.deadline(),
                    source.retry,
                    source.withdrawn(),
                ]
            })
            .chain([self.floor.as_ref().and_then(|floor| floor.level.deadline())])
            .flatten()
            .min()
    }

    fn stats(&self) -> IngestStats {
        let mut stats = self.stats.clone();
        for source in self.sources.values() {
            let counts = source.assembler.counts();
            stats.packets_lost += counts.packets_lost;
            stats.units_dropped += counts.units_dropped;
        }
        stats
    }
}

impl Source {
    /// Whether anybody needs it. Until its first keyframe came it is not known what it is, so that it is needed.
    fn is_used(&self) -> bool {
        let layer = self.layer.as_ref();
        layer.is_none_or(|layer| layer.is_read() || !layer.is_published())
    }

    /// When it is taken out of the hub if it stays silent.
    fn withdrawn(&self) -> Option<Instant> {
        let layer = self.layer.as_ref()?;
        layer.is_published().then(|| self.heard + SILENT)
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Between the readers and this task: a second of 10 Mbit/s, so that a pause of the machine loses nothing.
const PACKETS_MAX: usize = 1024;
/// Packets taken in one wake-up before units are written.
const BURST_MAX: usize = 256;
/// Three layers, audio, and changes of SSRC; a publisher that invents more is not followed.
const SOURCES_MAX: usize = 16;
/// How often a keyframe that does not come is asked for again.
const RETRY: Duration = Duration::from_secs(1);
