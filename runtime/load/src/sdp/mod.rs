//! Offers as a browser would make them, and what a client needs of the answer.

mod answer;
mod offer;

pub(crate) use self::{
    answer::{Answer, Format, Section},
    offer::{Media, Offer},
};

/// The header extensions that we offer.
const MID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const TRANSPORT_URI: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
const LEVEL_URI: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
