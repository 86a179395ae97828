//! Session descriptions: what an offer must keep to, what an answer tells, and trickled fragments. All pure.

mod answer;
mod codecs;
mod extension;
mod fragment;
#[cfg(test)]
mod fuzz;
mod invite;
mod offer;
mod purpose;
mod restart;
mod section;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use answer::{Answer, finished};
pub(crate) use codecs::OfferedCodec;
pub(crate) use extension::{AUDIO_LEVEL, TRANSPORT_WIDE};
pub(crate) use fragment::Fragment;
pub(crate) use invite::{invitation, invited, taken_up};
pub(crate) use offer::{Media, Offer, PLACES_MAX, Section as OfferSection};
pub(crate) use purpose::Purpose;
pub(crate) use restart::{Section, restarted};

pub(crate) use section::{Ours, Source};
pub(crate) use view::agree;
