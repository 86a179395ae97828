//! Header extensions of a section (RFC 8285 §5).

use rtc::sdp::description::media::MediaDescription;

use super::section::line;
use crate::egress::PLAYOUT_DELAY;

/// Transport-wide numbers.
pub(crate) const TRANSPORT_WIDE: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// How loud the sender is (RFC 6464).
pub(crate) const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";

/// The numbers of the header extensions that go with what is sent in a section.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// That of transport-wide numbers.
    pub(crate) transport_wide: Option<u8>,
    /// That of the playout delay, of video.
    pub(crate) playout: Option<u8>,
    /// That by which the peer says how loud it is, of audio.
    pub(crate) level: Option<u8>,
}

impl Numbers {
    /// Those that the peer can read, and the one that we can.
    pub(super) fn of(section: &MediaDescription) -> Self {
        let is_video = section.media_name.media == "video";
        Self {
            transport_wide: number(section, TRANSPORT_WIDE, Sender::Us),
            playout: number(section, PLAYOUT_DELAY, Sender::Us).filter(|_| is_video),
            level: number(section, AUDIO_LEVEL, Sender::Them).filter(|_| !is_video),
        }
    }

    pub(super) fn write(self, out: &mut String) {
        for (id, uri) in [
            (self.transport_wide, TRANSPORT_WIDE),
            (self.playout, PLAYOUT_DELAY),
            (self.level, AUDIO_LEVEL),
        ] {
            if let Some(id) = id {
                line(out, format_args!("a=extmap:{id} {uri}"));
            }
        }
    }
}

/// Who sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    Us,
    Them,
}

/// The number of a header extension of an offer, if it is one that fits one byte and goes in this direction.
pub(super) fn number(section: &MediaDescription, uri: &str, sender: Sender) -> Option<u8> {
    let maps = section.attributes.iter().filter(|one| one.key == "extmap");
    let mut maps = maps.filter_map(|map| map.value.as_deref());
    maps.find_map(|map| {
        let mut words = map.split_whitespace();
        let first = words.next()?;
        let (number, direction) = first.split_once('/').unwrap_or((first, "sendrecv"));
        let number = number
            .parse()
            .ok()
            .filter(|number| (1..15).contains(number))?;
        let one_way = match sender {
            Sender::Us => "recvonly",
            Sender::Them => "sendonly",
        };
        let goes = direction == "sendrecv" || direction == one_way;
        (goes && words.next() == Some(uri)).then_some(number)
    })
}
