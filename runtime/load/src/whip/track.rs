//! Audio or video as it is sent: where its numbers and its time stand.

use std::time::{Duration, Instant};

use crate::{
    media::keyframe::Codec,
    sdp::{Answer, Format, Media},
};

/// What is sent of one kind.
pub(super) struct Track {
    pub(super) is_video: bool,
    pub(super) ssrc: u32,
    pub(super) payload_type: u8,
    /// The name of its section, a digit.
    pub(super) mid: u8,
    pub(super) sequence: u16,
    /// Of the first frame; the others follow by their number.
    pub(super) first: u32,
    pub(super) frames: u64,
    pub(super) due: Instant,
    pub(super) packets: u32,
    pub(super) octets: u32,
}

impl Track {
    /// The track of the first section of a kind that is sent, if the answer takes it.
    pub(super) fn of(
        now: Instant,
        sections: &[Media],
        answer: &Answer,
        is_video: bool,
    ) -> Option<Self> {
        let format = if is_video {
            Format::Video(Codec::H264)
        } else {
            Format::Audio
        };
        let payload_type = answer.payload_type(format)?;
        let mut sent = (b'0'..).zip(sections);
        sent.find_map(|(mid, section)| {
            let ssrc = section.sends.filter(|_| section.is_video == is_video)?;
            Some(Self::new(now, is_video, ssrc, payload_type, mid))
        })
    }

    fn new(now: Instant, is_video: bool, ssrc: u32, payload_type: u8, mid: u8) -> Self {
        Self {
            is_video,
            ssrc,
            payload_type,
            mid,
            sequence: rand::random::<u16>() >> 1,
            first: rand::random(),
            frames: 0,
            due: now,
            packets: 0,
            octets: 0,
        }
    }
}

/// When the frame after is due: on the grid, or from now on where that has been left far behind.
pub(super) fn next_due(due: Instant, now: Instant) -> Instant {
    if now.saturating_duration_since(due) > BEHIND_MAX {
        now
    } else {
        due
    }
}

/// What is later than that is not made up for.
const BEHIND_MAX: Duration = Duration::from_millis(500);
