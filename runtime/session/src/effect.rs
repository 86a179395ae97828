//! What of an `optimize` decision takes effect on what a WebRTC viewer is sent.

use std::time::Duration;

use lockgate_broadcast::track::Track;
use lockgate_media::{AudioCodec, TrackId};
use lockgate_policy::column;
use serde::Serialize;

/// The part of an `optimize` decision that is carried out. What the decision does not say is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Effect {
    /// Whether audio is sent twice (RFC 2198).
    pub fec: Option<bool>,
    /// Most frames a second. Met as far as frames can be left out, or by a rung that has no more.
    pub fps: Option<u32>,
    /// Most to send in kbit/s; only for viewers that ask to save data.
    pub cap_kbps: Option<u32>,
    /// Audio bitrate in kbit/s. Met by the rendition that has as much or a little more.
    pub opus_kbps: Option<u32>,
    /// Audio channels.
    pub opus_channels: Option<u32>,
    /// How long the viewer is to wait at least before it shows a picture, in ms.
    pub playout_delay_ms: Option<u32>,
}

impl Effect {
    /// What a row of the answer comes to, for a viewer that may or may not have asked to save data.
    pub(crate) fn of(row: &[f64], data_saver: bool, playout_delay_max: Duration) -> Self {
        let said = |name| {
            column::place(column::SAVING, name)
                .and_then(|at| row.get(at).copied())
                .filter(|number| number.is_finite())
        };
        Self {
            fec: said("fec").map(|fec| fec >= 0.5),
            fps: said("fps").filter(|fps| *fps >= 1.0).map(whole),
            cap_kbps: said("cap_kbps")
                .filter(|kbps| data_saver && *kbps > 0.0)
                .map(whole),
            opus_kbps: said("opus_kbps").filter(|kbps| *kbps > 0.0).map(whole),
            opus_channels: said("opus_channels").map(whole),
            playout_delay_ms: said("buffer_s")
                .filter(|_| !playout_delay_max.is_zero())
                .map(|buffer_s| {
                    let beyond = ((buffer_s - BUFFER_S) / BUFFER_S).clamp(0.0, 1.0);
                    whole(beyond * playout_delay_max.as_secs_f64() * 1000.0)
                }),
        }
    }
}

/// The Opus that a viewer is sent: of the renditions with fewer bits the least that has what was decided, or else the
/// ordinary one.
pub(crate) fn sound(effect: Effect, tracks: &[Track]) -> Option<TrackId> {
    let kbps = effect.opus_kbps.map(u64::from);
    let channels = effect.opus_channels.unwrap_or(1);
    let opus = tracks.iter().filter_map(|track| {
        let format = track.format();
        let audio = format.audio()?;
        let has = (audio.bitrate_bps, u32::from(audio.channels));
        (audio.codec == AudioCodec::Opus).then(|| (track.id(), has))
    });
    let ordinary = TrackId::opus();
    let fewer = opus
        .clone()
        .filter(|(id, _)| **id != ordinary)
        .filter_map(|(id, (bps, has))| (has >= channels).then_some((bps?, id)))
        .filter(|(bps, _)| kbps.is_some_and(|kbps| *bps >= kbps * 1000))
        .min();
    match fewer {
        Some((_, id)) => Some(id.clone()),
        None => opus.map(|(id, _)| id).find(|id| **id == ordinary).cloned(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to what fits"
)]
fn whole(number: f64) -> u32 {
    number.round().clamp(0.0, f64::from(u32::MAX)) as u32
}

/// What players of segments buffer on an ordinary link. For WebRTC that is no delay at all; twice as much is all of
/// the delay that the operator allows.
const BUFFER_S: f64 = 10.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn row(said: &[(&str, f64)]) -> Vec<f64> {
        let said: Vec<_> = said
            .iter()
            .map(|(name, number)| (*name, Some(*number)))
            .collect();
        let mut row = Vec::new();
        column::append(&mut row, column::SAVING, &said);
        row
    }

    #[test]
    fn a_cap_is_for_those_that_ask_to_save_data() {
        let row = row(&[("cap_kbps", 700.0), ("fps", 15.0), ("fec", 1.0)]);
        let of = |data_saver| Effect::of(&row, data_saver, Duration::from_millis(500));
        assert_eq!(of(false).cap_kbps, None);
        assert_eq!(of(true).cap_kbps, Some(700));
        assert_eq!((of(true).fps, of(true).fec), (Some(15), Some(true)));
    }

    #[test]
    fn what_is_buffered_beyond_the_ordinary_becomes_a_delay_within_the_limit() {
        let of = |buffer_s, max_ms| {
            let row = row(&[("buffer_s", buffer_s)]);
            Effect::of(&row, false, Duration::from_millis(max_ms)).playout_delay_ms
        };
        assert_eq!(of(5.0, 500), Some(0));
        assert_eq!(of(10.0, 500), Some(0));
        assert_eq!(of(15.0, 500), Some(250));
        assert_eq!(of(25.0, 500), Some(500));
        assert_eq!(of(25.0, 0), None);
    }

    #[test]
    fn what_is_not_said_has_no_effect() {
        let max = Duration::from_millis(500);
        assert_eq!(Effect::of(&row(&[]), true, max), Effect::default());
        assert_eq!(Effect::of(&[], true, max), Effect::default());
    }
}
