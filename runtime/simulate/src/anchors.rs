//! Known policies to compare with, written from what their authors published, in the shape of the models.

mod bola;
mod mpc;
mod rates;
mod webrtc;

use crate::{Chooser, Trace, hls};

pub use bola::{BolaBasic, BolaE};
pub use mpc::Mpc;
pub use rates::{Baseline, BufferBased, HlsJs, Lowest};
pub use webrtc::{Clairvoyant, Document, LiveKit, Mediasoup, Ome};

/// The names of the anchors for HLS, in the order of the tables.
pub const HLS: [&str; 10] = [
    "lowest",
    "baseline",
    "baseline+hyst",
    "hls.js-like",
    "BBA",
    "BOLA-basic",
    "BOLA-E",
    "DYNAMIC",
    "MPC",
    "RobustMPC",
];

/// The names of the anchors for WebRTC, in the order of the tables.
pub const RTC: [&str; 8] = [
    "lowest",
    "document",
    "document x0.8",
    "OME",
    "mediasoup-like",
    "LiveKit-like",
    "0.85 BWE, up 3 s",
    "clairvoyant",
];

/// A fresh anchor for HLS by name. A planner is told what the session is measured by.
pub fn hls(name: &str, config: &hls::Config) -> Option<Box<dyn Chooser>> {
    Some(match name {
        "lowest" => Box::new(Lowest),
        "baseline" => Box::new(Baseline::new(0)),
        "baseline+hyst" => Box::new(Baseline::new(3)),
        "hls.js-like" => Box::new(HlsJs::default()),
        "BBA" => Box::new(BufferBased),
        "BOLA-basic" => Box::new(BolaBasic::default()),
        "BOLA-E" => Box::new(BolaE::new(false)),
        "DYNAMIC" => Box::new(BolaE::new(true)),
        "MPC" => Box::new(Mpc::new(config, false)),
        "RobustMPC" => Box::new(Mpc::new(config, true)),
        _ => return None,
    })
}

/// A fresh anchor for WebRTC by name. The clairvoyant is shown the trace.
pub fn rtc(name: &str, config: &crate::rtc::Config, trace: &Trace) -> Option<Box<dyn Chooser>> {
    Some(match name {
        "lowest" => Box::new(Lowest),
        "document" => Box::new(Document::new(None, 0)),
        "document x0.8" => Box::new(Document::new(Some(0.8), 0)),
        "OME" => Box::new(Ome::default()),
        "mediasoup-like" => Box::new(Mediasoup::default()),
        "LiveKit-like" => Box::new(LiveKit::default()),
        "0.85 BWE, up 3 s" => Box::new(Document::new(Some(0.85), 3)),
        "clairvoyant" => Box::new(Clairvoyant::new(config, trace)),
        _ => return None,
    })
}

/// The place of the greatest value, the first of equals.
fn argmax(values: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (at, value) in values.enumerate() {
        if value > best.1 {
            best = (at, value);
        }
    }
    best.0
}
