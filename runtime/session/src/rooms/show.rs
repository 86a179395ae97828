//! What a room does several times a second: who is there, who speaks, who is shown where and with how much of the link.

use std::{sync::Arc, time::Duration};

use lockgate_broadcast::track::{Role as TrackRole, Track};
use lockgate_ports::Muted;
use tokio::time::Instant;

use super::{
    ear::Ear,
    events::{PlaceInfo, RoomEvent, Speaker},
    participant::{Participant, ParticipantInfo, Role},
    placing::{self, Looker, Source, Stage, Target},
    room::{Inside, Room, RoomEnd},
    shares::{self, Claim},
    uplink::Uplink,
};
use crate::{EndReason, SessionId, Streams, audience::Audience, effect, info::quality_of};

/// What somebody sends, and where it can be read.
struct Sent {
    target: Target,
    audience: Arc<Audience>,
    audio: bool,
    video: bool,
}

impl Room {
    /// Brings everything up to date. Returns the connections of those who are gone.
    pub(crate) fn step(&self, streams: &Streams) -> Vec<Uplink> {
        let now = Instant::now();
        let config = streams.inner.config().rooms;
        let mut inside = self.lock();
        let mut gone = Vec::new();
        for id in inside.overdue(now) {
            gone.extend(inside.let_go(id, EndReason::Gone, "gone"));
        }
        for participant in &mut inside.participants {
            participant.uplinks.retain(|_, uplink| !uplink.is_gone());
            if let Some(attendance) = participant.attendance.take_if(|one| one.is_gone()) {
                attendance.close();
                participant.told_places.clear();
                participant.invites.lost();
            }
        }
        let sent = inside.sent(streams);
        inside.look(&sent);
        inside.listen(now);
        let stages = inside.stages(&sent);
        inside.show(&sent, &stages);
        inside.invite(&stages, streams.inner.rooms.conference.get());
        let over = if inside.participants.is_empty() {
            Some(RoomEnd::Empty)
        } else if (inside.hostless_since).is_some_and(|since| now - since >= config.host_grace) {
            Some(RoomEnd::HostLeft)
        } else {
            (now - self.started >= config.timeout).then_some(RoomEnd::TimedOut)
        };
        drop(inside);
        if let Some(why) = over {
            self.end(why);
        }
        gone
    }

    /// Tells the others who is there and how, at once.
    pub(crate) fn refresh(&self, streams: &Streams) {
        let mut inside = self.lock();
        let sent = inside.sent(streams);
        inside.look(&sent);
    }
}

impl Inside {
    /// What is sent by whom.
    fn sent(&self, streams: &Streams) -> Vec<Sent> {
        let mut sent = Vec::new();
        for participant in &self.participants {
            for source in [Source::Camera, Source::Screen] {
                let own = || participant.uplinks.get(&source)?.audience().cloned();
                // The host's camera is the broadcast that is named as the room, whoever sends it.
                let as_host = participant.role == Role::Host && source == Source::Camera;
                let of_room = as_host.then(|| streams.live(&self.name).ok()).flatten();
                let audience = of_room
                    .map(|stream| Arc::clone(&stream.audience))
                    .or_else(own);
                let Some(audience) = audience else { continue };
                let tracks = audience.broadcast.tracks();
                if source == Source::Camera {
                    participant.ledger.note(quality_of(&audience.broadcast));
                }
                sent.push(Sent {
                    target: (participant.id, source),
                    audio: is_sent(&tracks, false),
                    video: is_sent(&tracks, true),
                    audience,
                });
            }
        }
        sent
    }

    /// Tells all who came, and about whom something is different.
    fn look(&mut self, sent: &[Sent]) {
        let mut news = Vec::new();
        for participant in &mut self.participants {
            let info = info(participant, sent);
            let event = match &participant.told {
                None => RoomEvent::UserJoined(info.clone()),
                Some(told) if *told != info => RoomEvent::UserUpdated(info.clone()),
                Some(_) => continue,
            };
            let is_new = participant.told.is_none();
            participant.told = Some(info);
            // Whoever comes is told of all anyway.
            news.push((is_new.then_some(participant.id), event));
        }
        for (except, event) in news {
            self.tell(except, event);
        }
    }

    /// Finds out who speaks, and tells it when it changes, not too often.
    fn listen(&mut self, now: Instant) {
        for participant in &self.participants {
            let uplink = participant.uplinks.get(&Source::Camera);
            let speaks = participant.role != Role::Listener && !participant.muted.audio;
            match uplink.filter(|_| speaks) {
                Some(uplink) => self
                    .speakers
                    .hear(participant.id, *uplink.level.borrow(), now),
                None => self.speakers.hear(participant.id, None, now),
            }
        }
        self.speakers.settle(now);
        let active = self.speakers.active().into_iter();
        let active: Vec<Speaker> = active.map(|(id, level)| Speaker { id, level }).collect();
        let (told, at) = &self.told_speakers;
        let is_due = at.is_none_or(|at| now.saturating_duration_since(at) >= SPEAKERS_EVERY);
        if is_due && !is_like(told, &active) {
            self.told_speakers = (active.clone(), Some(now));
            self.tell(None, RoomEvent::Speakers(active));
        }
    }

    /// Puts everybody where they are to be seen and heard.
    fn show(&mut self, sent: &[Sent], stages: &[Stage]) {
        // Who speaks has the first turn, others those after it.
        let others: Vec<SessionId> = stages
            .iter()
            .map(|stage| stage.target.0)
            .filter(|id| self.speakers.rank(*id) != Some(0))
            .collect();
        for participant in &mut self.participants {
            let me = participant.id;
            let Some(attendance) = &mut participant.attendance else {
                continue;
            };
            let looker = Looker {
                me,
                wishes: &participant.wishes,
                video_max: participant.video_max.unwrap_or(usize::MAX),
            };
            for is_video in [true, false] {
                let places: Vec<usize> = (attendance.seen.iter().enumerate())
                    .filter(|(_, seen)| seen.place.is_video() == is_video)
                    .map(|(at, _)| at)
                    .collect();
                let of = |at: &usize| attendance.seen.get(*at);
                let mids: Vec<&str> = places
                    .iter()
                    .filter_map(of)
                    .map(|seen| seen.place.mid())
                    .collect();
                let now: Vec<Option<Target>> = places
                    .iter()
                    .filter_map(of)
                    .map(|seen| seen.target)
                    .collect();
                let targets = if is_video {
                    placing::video(looker, &mids, &now, stages)
                } else {
                    placing::audio(looker, &mids, &now, stages)
                };
                for (at, target) in places.into_iter().zip(targets) {
                    let is_shown = |target: &Target| {
                        let stage = stages.iter().find(|stage| stage.target == *target);
                        stage.is_some_and(|stage| if is_video { stage.video } else { stage.audio })
                    };
                    let audience = target.filter(is_shown).and_then(|target| {
                        let sent = sent.iter().find(|sent| sent.target == target);
                        sent.map(|sent| &sent.audience)
                    });
                    if let Some(seen) = attendance.seen.get_mut(at) {
                        seen.target = target;
                    }
                    attendance.show(at, audience, participant.cap_kbps);
                }
            }
            attendance.listen(participant.cap_kbps);
            share(participant, &others);
            participant.tell_places();
        }
    }

    /// What can be shown: who speaks first, then who spoke last, then who came first.
    fn stages(&self, sent: &[Sent]) -> Vec<Stage> {
        let mut stages: Vec<Stage> = sent
            .iter()
            .filter_map(|sent| {
                let participant = self.participant(sent.target.0).ok()?;
                let muted = match sent.target.1 {
                    Source::Camera => participant.muted,
                    Source::Screen => Muted::default(),
                };
                (participant.role != Role::Listener).then_some(Stage {
                    target: sent.target,
                    video: sent.video && !muted.video,
                    audio: sent.audio && !muted.audio,
                })
            })
            .collect();
        // Stable: those who never spoke stay in the order they came.
        stages.sort_by_key(|stage| self.speakers.rank(stage.target.0).unwrap_or(usize::MAX));
        stages
    }
}

impl Participant {
    /// What each of their places shows.
    pub(crate) fn places(&self) -> Vec<PlaceInfo> {
        let seen = self
            .attendance
            .iter()
            .flat_map(|attendance| &attendance.seen);
        seen.map(|seen| PlaceInfo {
            mid: seen.place.mid().to_owned(),
            kind: if seen.place.is_video() {
                "video"
            } else {
                "audio"
            },
            participant: seen.target.map(|(who, _)| who),
            source: seen.target.map(|(_, source)| source),
        })
        .collect()
    }

    fn tell_places(&mut self) {
        let places = self.places();
        if places != self.told_places {
            self.told_places.clone_from(&places);
            self.tell(&Arc::new(RoomEvent::Places(places)));
        }
    }
}

/// Says what of the connection is each place's, and how the sound is to be.
fn share(participant: &Participant, others: &[SessionId]) {
    let Some(attendance) = &participant.attendance else {
        return;
    };
    let mut claims = Vec::new();
    let mut viewers = Vec::new();
    let mut sounds: u32 = 0;
    for seen in &attendance.seen {
        sounds += u32::from(seen.sound().is_some());
        let Some((audience, viewer)) = seen.viewer() else {
            continue;
        };
        let wish = participant
            .wishes
            .iter()
            .find(|wish| wish.mid == seen.place.mid());
        let height_max = wish.and_then(|wish| wish.height_max);
        viewer.set_height_max(height_max);
        let (least_kbps, most_kbps) = audience.span_kbps(viewer.bounds()).unwrap_or(UNKNOWN_KBPS);
        let target = seen.target.map(|(who, _)| who);
        claims.push(Claim {
            least_kbps,
            most_kbps,
            height: height_max.unwrap_or(HEIGHT),
            turn: (others.iter().position(|one| Some(*one) == target)).map_or(0, |at| at + 1),
        });
        viewers.push(viewer);
    }
    let whole_kbps = attendance
        .peer
        .link()
        .bandwidth_kbps
        .unwrap_or(crate::viewer::START_KBPS);
    // Sound is sent before all else.
    let video_kbps = (whole_kbps - f64::from(sounds) * SOUND_KBPS).max(whole_kbps / 2.0);
    let part = if viewers.len() > 1 || attendance.peer.link().bandwidth_kbps.is_some() {
        video_kbps / whole_kbps.max(1.0)
    } else {
        1.0
    };
    for (viewer, share) in viewers.iter().zip(shares::shares(video_kbps, &claims)) {
        viewer.set_share(share * part);
    }
    // What was decided to save on the pictures of a link is saved on its sound, too.
    let effect = viewers
        .first()
        .map(|viewer| viewer.effect())
        .or_else(|| attendance.ear.as_ref().map(Ear::effect))
        .unwrap_or_default();
    for (audience, selection) in attendance.seen.iter().filter_map(|seen| seen.sound()) {
        let tracks = audience.broadcast.tracks();
        let Some(audio) = effect::sound(effect, &tracks) else {
            continue;
        };
        selection.send_if_modified(|current| {
            let audio_twice = effect.fec;
            let differs =
                current.audio.as_ref() != Some(&audio) || current.audio_twice != audio_twice;
            if differs {
                current.audio = Some(audio);
                current.audio_twice = audio_twice;
            }
            differs
        });
    }
}

/// A participant as the others are to know them.
fn info(participant: &Participant, sent: &[Sent]) -> ParticipantInfo {
    let of = |source| {
        sent.iter()
            .find(move |sent| sent.target == (participant.id, source))
    };
    let speaks = participant.role != Role::Listener;
    ParticipantInfo {
        id: participant.id,
        name: participant.name.clone(),
        role: participant.role,
        audio: speaks && of(Source::Camera).is_some_and(|sent| sent.audio),
        video: speaks && of(Source::Camera).is_some_and(|sent| sent.video),
        screen: speaks && of(Source::Screen).is_some_and(|sent| sent.video),
        muted: participant.muted,
        away: participant.away_since.is_some(),
        joined_at_ms: participant.joined_at_ms,
    }
}

/// Whether video, or else audio, comes now.
fn is_sent(tracks: &[Track], video: bool) -> bool {
    let of_kind = || {
        tracks
            .iter()
            .filter(|track| track.format().video().is_some() == video)
    };
    let comes = |track: &Track| track.quiet().is_none_or(|quiet| quiet < QUIET);
    let mut ingested = of_kind()
        .filter(|track| track.role() == TrackRole::Ingest)
        .peekable();
    if ingested.peek().is_some() {
        ingested.any(comes)
    } else {
        // Rungs rest while nobody watches them.
        of_kind().next().is_some()
    }
}

/// Whether anybody else can be shown to somebody.
pub(crate) fn is_sent_by_others(me: SessionId, stages: &[Stage]) -> bool {
    let mut others = stages.iter().filter(|stage| stage.target.0 != me);
    others.any(|stage| stage.video || stage.audio)
}

/// Whether nobody need be told of the difference: the same speak, about as loud.
fn is_like(told: &[Speaker], now: &[Speaker]) -> bool {
    let mut pairs = told.iter().zip(now);
    told.len() == now.len()
        && pairs
            .all(|(one, other)| one.id == other.id && one.level.abs_diff(other.level) < LEVEL_STEP)
}

/// Who speaks is told no more often.
const SPEAKERS_EVERY: Duration = Duration::from_millis(500);
/// A difference in loudness that is told, in dB.
const LEVEL_STEP: u8 = 6;
/// What nothing has come of for so long is not being sent.
const QUIET: Duration = Duration::from_secs(5);
/// What a place is taken to need whose renditions are not measured yet, in kbit/s: from the least to the most.
const UNKNOWN_KBPS: (f64, f64) = (100.0, 2500.0);
/// How high a place is taken to be that does not say it.
const HEIGHT: u32 = 720;
/// What a voice takes with its headers, in kbit/s.
const SOUND_KBPS: f64 = 40.0;
