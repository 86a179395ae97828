//! What players say of themselves, and what is decided about them. To those of HLS and DASH the decision is advice, for they
//! fetch; to a viewer over WebRTC it is told how it stands.

use lockgate_broadcast::track::Role;
use lockgate_media::{BroadcastName, TrackId, VideoCodec, stats::LinkStats};
use lockgate_policy::{
    Kind, Tick, column,
    engine::{Cause, Mode},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    DeskError, Error, SessionId, Streams,
    control::{self, Bounds, Known},
    desk::About,
    hls,
    stream::Stream,
};

/// What a player says of itself. What it does not know it leaves out.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Report {
    /// Tells players apart that share an address and a program: letters of its own choice, at most 64.
    #[schema(max_length = 64)]
    pub player: Option<String>,
    /// The bandwidth it measures, in kbit/s.
    #[schema(minimum = 0.0)]
    pub bandwidth_kbps: Option<f64>,
    /// What it fetched in the last second, in kbit/s.
    #[schema(minimum = 0.0)]
    pub goodput_kbps: Option<f64>,
    /// Time to the first byte of the last fetch, in ms.
    #[schema(minimum = 0.0)]
    pub rtt_ms: Option<f64>,
    /// Media it has buffered ahead, in s.
    #[schema(minimum = 0.0)]
    pub buffer_s: Option<f64>,
    /// What it aims to buffer, in s.
    #[schema(minimum = 0.0)]
    pub buffer_target_s: Option<f64>,
    /// Its distance to live, in s.
    #[schema(minimum = 0.0)]
    pub latency_s: Option<f64>,
    /// The distance to live it aims at, in s.
    #[schema(minimum = 0.0)]
    pub latency_target_s: Option<f64>,
    /// Its playback rate; 1 is normal.
    #[schema(minimum = 0.0)]
    pub play_rate: Option<f64>,
    /// Stalls so far.
    #[schema(minimum = 0.0)]
    pub stalls: Option<f64>,
    /// Time stalled so far, in s.
    #[schema(minimum = 0.0)]
    pub stall_s: Option<f64>,
    /// Whether it is stalled now.
    pub in_stall: Option<bool>,
    /// The rung it plays, by its name in the playlist's URI.
    pub rung: Option<TrackId>,
    /// Time since it last changed its rung, in ms.
    #[schema(minimum = 0.0)]
    pub since_switch_ms: Option<f64>,
    /// Frames it dropped so far.
    #[schema(minimum = 0.0)]
    pub dropped_frames: Option<f64>,
    /// Width of the picture's place, in pixels.
    #[schema(minimum = 0.0)]
    pub screen_width: Option<f64>,
    /// Height of the picture's place, in pixels.
    #[schema(minimum = 0.0)]
    pub screen_height: Option<f64>,
    /// Whether it asks to save data.
    pub data_saver: Option<bool>,
}

/// What is decided about a player.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Advice {
    /// The rung to play; null to pause pictures, or while there is none.
    pub rung: Option<TrackId>,
    /// Why.
    pub reason: String,
    /// Most to fetch, in kbit/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap_kbps: Option<f64>,
    /// The playback rate to play at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub play_rate: Option<f64>,
    /// What to buffer, in s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer_target_s: Option<f64>,
}

/// What only a viewer's player can know. Nobody checks it, and it counts for that viewer alone.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Said {
    pub(crate) stalls: Option<f64>,
    pub(crate) stall_s: Option<f64>,
    pub(crate) in_stall: Option<f64>,
    pub(crate) dropped_frames: Option<f64>,
    pub(crate) screen_width: Option<f64>,
    pub(crate) screen_height: Option<f64>,
}

/// How it stands with a viewer over WebRTC.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Standing {
    /// The track that is really being sent.
    pub rung: Option<TrackId>,
    /// What was decided last; it plays from its next keyframe on.
    pub wanted: Option<TrackId>,
    /// Whether the `abr` policy chose it, not the viewer.
    pub automatic: bool,
    /// Why.
    pub reason: String,
    /// Network quality, 0 to 100, and what took how much off it.
    pub score: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A broadcast in a few numbers.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct StreamMetrics {
    /// How long it has been live, in s.
    pub duration_s: f64,
    /// Its WebRTC viewers now.
    pub viewers: usize,
    /// Bitrate of its source, on average since its start, in kbit/s.
    pub average_bitrate_kbps: f64,
    /// Bytes of media that came from its source; of its best rung where the source itself is no track.
    pub received_bytes: u64,
    /// Bytes sent to the WebRTC viewers that are there now.
    pub sent_bytes: u64,
    /// Network quality of its viewers on average, 0 to 100; null while no viewer has any.
    pub network_quality: Option<f64>,
}

/// Who reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Player {
    /// Its name in the decision log.
    pub name: String,
    /// Names it to policies from call to call.
    pub key: u64,
    /// Most it was granted, in kbit/s.
    pub cap_kbps: Option<u32>,
}

impl Report {
    /// The first thing in it that cannot be, as `field: what`.
    pub fn check(&self) -> Result<(), String> {
        let numbers = [
            ("bandwidth_kbps", self.bandwidth_kbps),
            ("goodput_kbps", self.goodput_kbps),
            ("rtt_ms", self.rtt_ms),
            ("buffer_s", self.buffer_s),
            ("buffer_target_s", self.buffer_target_s),
            ("latency_s", self.latency_s),
            ("latency_target_s", self.latency_target_s),
            ("play_rate", self.play_rate),
            ("stalls", self.stalls),
            ("stall_s", self.stall_s),
            ("since_switch_ms", self.since_switch_ms),
            ("dropped_frames", self.dropped_frames),
            ("screen_width", self.screen_width),
            ("screen_height", self.screen_height),
        ];
        for (name, number) in numbers {
            if number.is_some_and(|number| !number.is_finite() || number < 0.0) {
                return Err(format!("{name}: it is a number from 0 on"));
            }
        }
        match &self.player {
            Some(player) if player.chars().count() > PLAYER_LEN_MAX => Err(format!(
                "player: it has at most {PLAYER_LEN_MAX} characters"
            )),
            _ => Ok(()),
        }
    }

    /// What counts of a viewer over WebRTC: its link is measured at our end, and it has no segments ahead.
    pub(crate) fn said(&self) -> Said {
        Said {
            stalls: self.stalls,
            stall_s: self.stall_s,
            in_stall: self.in_stall.map(|on| f64::from(u8::from(on))),
            dropped_frames: self.dropped_frames,
            screen_width: self.screen_width,
            screen_height: self.screen_height,
        }
    }

    /// What policies of a player's HLS are told besides its link.
    fn columns(&self) -> [(&'static str, Option<f64>); 6] {
        [
            ("buffer_target_s", self.buffer_target_s),
            ("latency_s", self.latency_s),
            ("latency_target_s", self.latency_target_s),
            ("play_rate", self.play_rate),
            ("since_switch_ms", self.since_switch_ms),
            ("goodput_kbps", self.goodput_kbps),
        ]
    }
}

impl Advice {
    /// To go on as it does.
    fn hold(report: &Report, reason: &str) -> Self {
        Self {
            rung: report.rung.clone(),
            reason: reason.to_owned(),
            cap_kbps: None,
            play_rate: None,
            buffer_target_s: None,
        }
    }
}

impl Streams {
    /// Decides about a player by what it reports. Where the policies are late, what it plays holds.
    pub async fn advise(
        &self,
        name: &BroadcastName,
        player: &Player,
        report: &Report,
    ) -> Result<Advice, Error> {
        self.live(name)?.advise(player, report).await
    }

    /// Takes what a viewer over WebRTC says of itself, which counts from the next decision on, and tells it how it stands.
    pub fn hear(
        &self,
        name: &BroadcastName,
        session: SessionId,
        report: &Report,
    ) -> Result<Standing, Error> {
        let viewer = self.live(name)?.viewer(session)?;
        viewer.hear(report.said());
        let info = viewer.info();
        let (wanted, automatic, reason) = match info.decision {
            Some(verdict) => (Some(verdict.rung), verdict.automatic, verdict.reason),
            None => (None, true, String::new()),
        };
        Ok(Standing {
            rung: info.playing,
            wanted,
            automatic,
            reason,
            score: info.judged.score,
        })
    }

    /// A broadcast in a few numbers.
    pub fn metrics(&self, name: &BroadcastName) -> Result<StreamMetrics, Error> {
        let stream = self.live(name)?;
        let info = stream.info();
        let viewers = stream.audience.infos();
        let tracks = stream.broadcast.tracks();
        let bytes = |of_source: bool| {
            let wanted = tracks.iter();
            let wanted = wanted.filter(move |track| (track.role() != Role::Rung) == of_source);
            wanted.map(|track| track.counters().bytes)
        };
        // Where the source itself is not among the tracks, its best rung says most of it.
        let received_bytes = match bytes(true).sum() {
            0 => bytes(false).max().unwrap_or(0),
            received => received,
        };
        let scores: Vec<f64> = (viewers.iter())
            .filter_map(|viewer| viewer.judged.score.as_ref()?.get("score")?.as_f64())
            .collect();
        Ok(StreamMetrics {
            duration_s: info.duration_s,
            viewers: viewers.len(),
            average_bitrate_kbps: received_bytes as f64 * 8.0 / 1000.0 / info.duration_s.max(1.0),
            received_bytes,
            sent_bytes: viewers.iter().map(|viewer| viewer.link.bytes_sent).sum(),
            network_quality: (!scores.is_empty())
                .then(|| scores.iter().sum::<f64>() / scores.len() as f64),
        })
    }
}

impl Stream {
    async fn advise(&self, player: &Player, report: &Report) -> Result<Advice, Error> {
        let offered: Vec<_> = hls::packageable(self.broadcast.tracks()).collect();
        // Players take pictures in any order.
        let mut renditions = self.offered(&offered);
        for rendition in &mut renditions {
            rendition.reordered = false;
        }
        let known = Known {
            key: player.key,
            bounds: Bounds {
                codecs: &[VideoCodec::H264],
                cap_kbps: player.cap_kbps,
                height_max: None,
            },
            wanted: report.rung.clone(),
            data_saver: report.data_saver.unwrap_or(false),
            link: LinkStats {
                bandwidth_kbps: report.bandwidth_kbps,
                rtt_ms: report.rtt_ms,
                buffer_s: report.buffer_s,
                ..LinkStats::default()
            },
            said: report.said(),
        };
        let tick = Tick {
            now_ms: self.audience.desk.now_ms(),
            seed: rand::random(),
            mode: Mode::Hls,
            cause: if report.in_stall == Some(true) {
                Cause::Stall
            } else {
                Cause::Tick
            },
        };
        let Some(mut group) = control::questions(&renditions, &[known], tick).pop() else {
            return Ok(Advice::hold(report, "there is nothing to choose from yet"));
        };
        if group.rungs.is_empty() {
            return Ok(Advice::hold(report, "there is nothing to choose from yet"));
        }
        for (name, number) in report.columns() {
            let place = column::place(column::VIEWER, name);
            let cell = place.and_then(|at| group.batch.rows.get_mut(at));
            if let (Some(cell), Some(number)) = (cell, number) {
                *cell = number;
            }
        }
        let about = About {
            stream: self.name().as_str().into(),
            rows: vec![player.name.clone()],
        };
        let asked =
            self.audience
                .desk
                .decide(Kind::Abr, group.batch.clone(), group.keys.clone(), about);
        let decided = match asked.await {
            Ok(decided) => decided,
            Err(DeskError::Gone) => return Err(Error::ShuttingDown),
            Err(error) => {
                tracing::debug!(broadcast = %self.name(), %error, "a player keeps what it plays");
                return Ok(Advice::hold(
                    report,
                    "no decision in time: what plays holds",
                ));
            }
        };
        let said = |name| {
            let at = column::place(column::PICK, name)?;
            decided.rows.get(at).copied().filter(|one| one.is_finite())
        };
        let verdict = control::verdict(&group, &decided, &decided.rows);
        let reason = said("reason").unwrap_or(f64::NAN);
        Ok(Advice {
            reason: match &verdict {
                Some(verdict) => verdict.reason.clone(),
                None => decided.artifact.manifest().reason(Kind::Abr, reason),
            },
            rung: verdict.map(|verdict| verdict.rung),
            cap_kbps: said("cap_kbps"),
            play_rate: said("play_rate"),
            buffer_target_s: said("buffer_target_s"),
        })
    }
}

const PLAYER_LEN_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_taken_whole_or_refused_with_what_is_wrong() {
        let read = |text: &str| {
            let report: Report = serde_json::from_str(text).map_err(|error| error.to_string())?;
            report.check().map(|()| report)
        };
        assert_eq!(read("{}"), Ok(Report::default()));
        let full = read(r#"{"player":"a","bandwidth_kbps":800,"in_stall":true,"rung":"480p30"}"#);
        assert_eq!(full.unwrap().bandwidth_kbps, Some(800.0));
        for (bad, word) in [
            (r#"{"buffer":1}"#, "unknown field"),
            (r#"{"buffer_s":-1}"#, "buffer_s: "),
            (r#"{"rung":"../x"}"#, "a name is made of"),
            (r#"{"stalls":"1"}"#, "invalid type"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains(word), "{bad}: {error}");
        }
    }

    #[test]
    fn what_is_reported_has_a_column() {
        for (name, _) in Report::default().columns() {
            assert!(column::place(column::VIEWER, name).is_some(), "{name}");
        }
    }
}
