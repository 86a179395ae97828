//! The control step: a second's numbers in, a decision for each viewer out.

use std::{collections::HashMap, time::Duration};

use lockgate_broadcast::track::{Role, Track};
use lockgate_media::{TrackId, VideoCodec, stats::LinkStats};
use lockgate_policy::abr;
use tokio::time::Instant;

use crate::viewer::{Carried, Verdict};

/// What is known of the renditions of a broadcast from one step to the next.
#[derive(Debug, Default)]
pub struct Renditions {
    rates: HashMap<TrackId, Rate>,
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    bytes: u64,
    at: Instant,
    kbps: f64,
}

/// A video track that viewers can be given.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendition {
    /// Its track.
    pub id: TrackId,
    /// Its codec.
    pub codec: VideoCodec,
    /// What it is to its broadcast.
    pub role: Role,
    /// Pixels in a picture; 0 while unknown.
    pub pixels: u64,
    /// The higher of declared and measured bitrate, in kbit/s.
    pub kbps: f64,
}

impl Renditions {
    /// The video tracks there are, with their bitrates measured since the last step.
    pub fn measure(&mut self, tracks: &[Track], now: Instant) -> Vec<Rendition> {
        self.rates
            .retain(|id, _| tracks.iter().any(|track| track.id() == id));
        let mut renditions = Vec::with_capacity(tracks.len());
        for track in tracks {
            let format = track.format();
            let Some(video) = format.video() else {
                continue;
            };
            let measured = self.rate(track, now);
            let declared = video.bitrate_bps.map(|bps| bps as f64 / 1000.0);
            renditions.push(Rendition {
                id: track.id().clone(),
                codec: video.codec,
                role: track.role(),
                pixels: u64::from(video.width) * u64::from(video.height),
                kbps: match declared {
                    Some(declared) => measured.max(declared),
                    None if measured > 0.0 => measured,
                    None => UNKNOWN_KBPS,
                },
            });
        }
        renditions
    }

    fn rate(&mut self, track: &Track, now: Instant) -> f64 {
        let bytes = track.counters().bytes;
        let rate = self.rates.entry(track.id().clone()).or_insert(Rate {
            bytes,
            at: now,
            kbps: 0.0,
        });
        let elapsed = now.saturating_duration_since(rate.at);
        if elapsed >= RATE_INTERVAL_MIN {
            let kbps =
                bytes.saturating_sub(rate.bytes) as f64 * 8.0 / 1000.0 / elapsed.as_secs_f64();
            // Half of the new value each second: a GOP's keyframe does not look like a change of rate.
            let smoothed = if rate.kbps > 0.0 {
                rate.kbps + 0.5 * (kbps - rate.kbps)
            } else {
                kbps
            };
            *rate = Rate {
                bytes,
                at: now,
                kbps: smoothed,
            };
        }
        rate.kbps
    }
}

/// What a viewer that decodes these codecs can choose from. Where the source as published is among them, rungs of
/// its size or larger are left out: they would cost an encoding and look no better.
pub fn choices<'a>(renditions: &'a [Rendition], codecs: &[VideoCodec]) -> Vec<&'a Rendition> {
    let playable = || {
        renditions
            .iter()
            .filter(|rendition| codecs.contains(&rendition.codec))
    };
    let source =
        playable().find(|rendition| rendition.role == Role::Ingest && rendition.pixels > 0);
    playable()
        .filter(|rendition| match source {
            Some(source) => rendition.role != Role::Rung || rendition.pixels < source.pixels,
            None => true,
        })
        .collect()
}

/// Decides for one viewer. What it chose itself wins as long as it exists and can be decoded.
pub(crate) fn decide(
    config: &abr::Config,
    renditions: &[Rendition],
    codecs: &[VideoCodec],
    link: &LinkStats,
    wanted: Option<&TrackId>,
    carried: &mut Carried,
    now_ms: u64,
) -> Option<Verdict> {
    if let Some(chosen) = &carried.chosen
        && renditions
            .iter()
            .any(|rendition| rendition.id == *chosen && codecs.contains(&rendition.codec))
    {
        carried.memo = abr::Memo::default();
        let reason = "chosen by the viewer".to_owned();
        return Some(Verdict {
            rung: chosen.clone(),
            automatic: false,
            reason,
        });
    }
    let choices: Vec<abr::Choice> = choices(renditions, codecs)
        .into_iter()
        .map(|rendition| abr::Choice {
            id: rendition.id.clone(),
            kbps: rendition.kbps,
        })
        .collect();
    let decision = abr::recommend(config, &choices, link, wanted, &mut carried.memo, now_ms)?;
    // Never trust a policy: an answer that is no choice leaves the viewer where it is.
    if !choices.iter().any(|choice| choice.id == decision.rung) {
        tracing::warn!(rung = %decision.rung, "the abr policy named a rendition that does not exist");
        return None;
    }
    Some(Verdict {
        rung: decision.rung,
        automatic: true,
        reason: decision.reason,
    })
}

/// How often the control step runs.
pub const TICK: Duration = Duration::from_secs(1);

/// Below this the counted bytes say more about the scheduler than about the rate.
const RATE_INTERVAL_MIN: Duration = Duration::from_millis(500);

/// What a rendition is taken to need until it was measured, in kbit/s.
const UNKNOWN_KBPS: f64 = 1500.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn rendition(id: &str, codec: VideoCodec, role: Role, pixels: u64, kbps: f64) -> Rendition {
        Rendition {
            id: TrackId::new(id).unwrap(),
            codec,
            role,
            pixels,
            kbps,
        }
    }

    fn ladder(source: VideoCodec) -> Vec<Rendition> {
        vec![
            rendition("source", source, Role::Ingest, 1280 * 720, 1700.0),
            rendition("720p60", VideoCodec::H264, Role::Rung, 1280 * 720, 2500.0),
            rendition("480p30", VideoCodec::H264, Role::Rung, 854 * 480, 1000.0),
        ]
    }

    fn ids(choices: &[&Rendition]) -> Vec<String> {
        choices.iter().map(|choice| choice.id.to_string()).collect()
    }

    #[test]
    fn a_source_the_viewer_can_decode_replaces_the_rungs_of_its_size() {
        let renditions = ladder(VideoCodec::H264);
        assert_eq!(
            ids(&choices(&renditions, &[VideoCodec::H264])),
            ["source", "480p30"]
        );
    }

    #[test]
    fn a_source_the_viewer_cannot_decode_leaves_it_every_rung() {
        let renditions = ladder(VideoCodec::Vp8);
        assert_eq!(
            ids(&choices(&renditions, &[VideoCodec::H264])),
            ["720p60", "480p30"]
        );
        assert_eq!(ids(&choices(&renditions, &[VideoCodec::Vp8])), ["source"]);
        assert!(choices(&renditions, &[]).is_empty());
    }

    #[test]
    fn what_the_viewer_chose_wins_while_it_exists() {
        let mut renditions = ladder(VideoCodec::H264);
        let chosen = TrackId::new("720p60").unwrap();
        let mut carried = Carried {
            chosen: Some(chosen.clone()),
            ..Carried::default()
        };
        let mut step = |renditions: &[Rendition]| {
            decide(
                &abr::Config::default(),
                renditions,
                &[VideoCodec::H264],
                &LinkStats {
                    bandwidth_kbps: Some(300.0),
                    ..LinkStats::default()
                },
                None,
                &mut carried,
                0,
            )
            .unwrap()
        };
        let verdict = step(&renditions);
        assert_eq!((verdict.rung, verdict.automatic), (chosen, false));
        renditions.remove(1);
        let verdict = step(&renditions);
        assert_eq!((verdict.rung.as_str(), verdict.automatic), ("480p30", true));
    }
}
