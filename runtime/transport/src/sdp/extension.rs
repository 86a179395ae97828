//! Header extensions of a section (RFC 8285 §5).

use rtc::sdp::description::media::MediaDescription;

/// Transport-wide numbers.
pub(super) const TRANSPORT_WIDE: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// How loud the sender is (RFC 6464).
pub(crate) const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";

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
