//! The task that carries units of the hub to one viewer.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use lockgate_broadcast::Origin;
use lockgate_media::{TrackId, VideoCodec, stats::LinkStats};
use lockgate_ports::{Selection, ViewerFeed};
use rtc::rtcp::{
    Packet as RtcpPacket,
    sender_report::SenderReport,
    source_description::{
        SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem,
    },
};
use tokio::{
    sync::{mpsc, watch},
    time::MissedTickBehavior,
};
use webrtc::{
    error::Error,
    media_stream::track_local::{TrackLocal, static_rtp::TrackLocalStaticRTP},
};

use super::{
    Link, Outflow, Stream,
    feed::{Feed, Picture},
    gate::{Gate, Passage},
    packetise::{is_discardable, payloads},
    redundancy::Redundancy,
    sound::Sound,
    thin::Thin,
};
use crate::{feedback::Feedback, ingest::KeyframeGate};

/// One RTP stream of a viewer and the track of the library it goes into.
pub(crate) struct Leg {
    pub(crate) stream: Stream,
    pub(crate) track: Arc<TrackLocalStaticRTP>,
}

/// What the task works with.
pub(crate) struct Egress {
    pub(crate) feed: ViewerFeed,
    pub(crate) video: Option<Leg>,
    /// The negotiated codecs and their payload types.
    pub(crate) video_codecs: Vec<(VideoCodec, u8)>,
    pub(crate) audio: Option<Leg>,
    pub(crate) audio_type: u8,
    pub(crate) feedback: mpsc::Receiver<Feedback>,
    pub(crate) playing: watch::Sender<Option<TrackId>>,
    pub(crate) stats: Arc<Mutex<LinkStats>>,
    /// What the packets pass on their way out.
    pub(crate) outflow: Arc<Outflow>,
    /// The payload type of redundant audio (RFC 2198), where negotiated.
    pub(crate) audio_red: Option<u8>,
    /// The canonical name of the sender reports (RFC 7022 §4.2).
    pub(crate) cname: String,
}

/// Runs until the library's tracks are gone, or it is dropped.
pub(crate) async fn run(egress: Egress) {
    let Egress {
        feed:
            ViewerFeed {
                broadcast,
                mut selection,
                congested,
            },
        mut video,
        video_codecs,
        mut audio,
        audio_type,
        mut feedback,
        playing,
        stats,
        outflow,
        audio_red,
        cname,
    } = egress;
    let origin = broadcast.origin();
    let mut changes = broadcast.changes();
    let mut pictures = Feed::new(
        broadcast.clone(),
        video_codecs.iter().map(|(codec, _)| *codec).collect(),
    );
    let mut sound = Sound::new(broadcast);
    let mut link = Link::default();
    let mut keyframes = KeyframeGate::default();
    let mut tick = tokio::time::interval(REPORT_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut gate = Gate::default();
    let mut thin = Thin::default();
    let mut redundancy = audio_red.map(Redundancy::new);
    let mut selecting = true;
    let mut wanted = selection.borrow_and_update().clone();
    select(
        &wanted,
        (&mut pictures, video.is_some()),
        (&mut sound, audio.is_some()),
        &outflow,
    );
    loop {
        let result = tokio::select! {
            picture = pictures.next() => {
                announce(&playing, pictures.playing());
                match &mut video {
                    Some(_) if !is_kept(&mut thin, wanted.fps, &picture) => {
                        link.skipped(picture.skipped);
                        Ok(())
                    }
                    Some(leg) => {
                        match gate.judge(Instant::now(), outflow.waiting(), picture.unit.keyframe) {
                            Passage::Closed { ask } => {
                                link.skipped(1);
                                if ask {
                                    keyframes.want();
                                }
                                Ok(())
                            }
                            Passage::Open => {
                                if picture.unit.keyframe {
                                    outflow.keyframe_begins(leg.stream.next_seq());
                                }
                                send_picture(leg, &video_codecs, &picture, &mut link).await
                            }
                        }
                    }
                    None => Ok(()),
                }
            }
            item = sound.next() => match &mut audio {
                Some(leg) => {
                    link.skipped(item.skipped);
                    let (number, payload) = match &mut redundancy {
                        Some(redundancy) => redundancy.wrap(audio_type, item.unit.pts_90k, &item.unit.data),
                        None => (audio_type, item.unit.data.clone()),
                    };
                    send(leg, item.unit.pts_90k, number, &[payload], &mut link).await
                }
                None => Ok(()),
            },
            changed = selection.changed(), if selecting => {
                // A selection that nobody can change any more stays as it is.
                selecting = changed.is_ok();
                wanted = selection.borrow_and_update().clone();
                select(&wanted, (&mut pictures, video.is_some()), (&mut sound, audio.is_some()), &outflow);
                announce(&playing, pictures.playing());
                Ok(())
            }
            Ok(()) = changes.changed() => {
                pictures.look();
                sound.look();
                Ok(())
            }
            Some(told) = feedback.recv() => {
                match told {
                    Feedback::KeyframeWanted => {
                        link.keyframe_asked();
                        keyframes.want();
                    }
                    Feedback::Reception(report) => {
                        for (leg, is_video) in [(&video, true), (&audio, false)] {
                            if let Some(leg) = leg && leg.stream.ssrc() == report.ssrc {
                                let now = ntp_at(&origin, origin.pts_now());
                                link.report(&report, leg.stream.clock_hz(), now, is_video);
                            }
                        }
                    }
                    Feedback::Sending { .. } | Feedback::Goodbye => {}
                }
                Ok(())
            }
            _ = tick.tick() => {
                announce(&playing, pictures.playing());
                link.resent(outflow.packets_resent());
                let numbers = link.tick(Instant::now(), outflow.bandwidth_bps());
                if let Some(redundancy) = &mut redundancy {
                    redundancy.judge(wanted.audio_twice, numbers.loss_pct);
                }
                *stats.lock().unwrap_or_else(PoisonError::into_inner) = numbers;
                report(&origin, [&video, &audio], &cname).await
            }
            () = outflow.objected.notified() => {
                link.resent(outflow.packets_resent());
                let numbers = link.tick(Instant::now(), outflow.bandwidth_bps());
                *stats.lock().unwrap_or_else(PoisonError::into_inner) = numbers;
                congested.notify_one();
                Ok(())
            }
            () = sleep_until(keyframes.deadline()) => Ok(()),
        };
        if keyframes.poll(Instant::now()) {
            pictures.request_keyframe();
        }
        if let Err(error) = result {
            tracing::debug!(%error, "a viewer's tracks are gone");
            return;
        }
    }
}

/// Puts a selection into effect.
fn select(
    wanted: &Selection,
    (pictures, has_video): (&mut Feed, bool),
    (sound, has_audio): (&mut Sound, bool),
    outflow: &Outflow,
) {
    pictures.select(wanted.video.clone().filter(|_| has_video));
    sound.select(wanted.audio.clone().filter(|_| has_audio));
    if let Some(kbps) = wanted.useful_kbps {
        outflow.set_goal_kbps(kbps);
    }
    outflow.set_playout_delay(wanted.playout_delay_ms);
}

/// Whether a picture is sent to a viewer that is to get `fps` a second at most.
fn is_kept(thin: &mut Thin, fps: Option<u32>, picture: &Picture) -> bool {
    let discardable = fps.is_some() && is_discardable(picture.codec, &picture.unit);
    thin.keep(fps, &picture.unit, discardable)
}

fn announce(playing: &watch::Sender<Option<TrackId>>, now: Option<&TrackId>) {
    playing.send_if_modified(|current| {
        let differs = current.as_ref() != now;
        if differs {
            *current = now.cloned();
        }
        differs
    });
}

async fn send_picture(
    leg: &mut Leg,
    codecs: &[(VideoCodec, u8)],
    picture: &Picture,
    link: &mut Link,
) -> Result<(), Error> {
    link.skipped(picture.skipped);
    let Some((_, payload_type)) = codecs.iter().find(|(codec, _)| *codec == picture.codec) else {
        return Ok(()); // the feed opens no such track
    };
    let parts = payloads(picture.codec, &picture.unit);
    send(leg, picture.unit.pts_90k, *payload_type, parts, link).await
}

/// Hands a unit's packets to the library. Waits while its queue is full: this viewer then falls behind in the hub and
/// skips to a keyframe, and nobody else notices.
async fn send(
    leg: &mut Leg,
    pts_90k: i64,
    payload_type: u8,
    parts: &[Bytes],
    link: &mut Link,
) -> Result<(), Error> {
    let stamp = leg.stream.begin(pts_90k, payload_type);
    for (at, part) in parts.iter().enumerate() {
        let packet = leg
            .stream
            .packet(stamp, at + 1 == parts.len(), part.clone());
        link.sent(part.len() + RTP_HEADER);
        leg.track.write_rtp(packet).await?;
    }
    Ok(())
}

/// Sends a sender report for every stream that has sent something.
///
/// It ties RTP timestamps to the wall clock of the broadcast's timeline, the same for audio and video, not to the
/// moment of sending: what is captured together is then shown together however late one of them is sent.
async fn report(origin: &Origin, legs: [&Option<Leg>; 2], cname: &str) -> Result<(), Error> {
    let now = origin.pts_now();
    for leg in legs.into_iter().flatten() {
        let (packet_count, octet_count) = leg.stream.sent();
        if packet_count == 0 {
            continue;
        }
        let report = SenderReport {
            ssrc: leg.stream.ssrc(),
            ntp_time: ntp_at(origin, now),
            rtp_time: leg.stream.timestamp_at(now),
            packet_count,
            octet_count,
            ..SenderReport::default()
        };
        // RFC 3550 §6.1: a compound packet ends with the canonical name.
        let name = SourceDescription {
            chunks: vec![SourceDescriptionChunk {
                source: leg.stream.ssrc(),
                items: vec![SourceDescriptionItem {
                    sdes_type: SdesType::SdesCname,
                    text: Bytes::copy_from_slice(cname.as_bytes()),
                }],
            }],
        };
        let compound: Vec<Box<dyn RtcpPacket>> = vec![Box::new(report), Box::new(name)];
        leg.track.write_rtcp(compound).await?;
    }
    Ok(())
}

/// The wall clock of a moment of the timeline as NTP has it (RFC 5905 §6): 32.32 s since 1900.
fn ntp_at(origin: &Origin, pts_90k: i64) -> u64 {
    let unix_us = u64::try_from(origin.unix_us_of(pts_90k)).unwrap_or(0);
    let seconds = unix_us / 1_000_000 + UNIX_IN_NTP;
    let fraction = ((unix_us % 1_000_000) << 32) / 1_000_000;
    (seconds << 32) | fraction
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// RFC 3550 §6.2 asks for 5 s or less; browsers align audio and video after the first.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of an RTP header without extensions.
const RTP_HEADER: usize = 12;
/// Seconds from 1900 to 1970.
const UNIX_IN_NTP: u64 = 2_208_988_800;
