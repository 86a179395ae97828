//! Delivery in virtual time: a network trace in, a session's quality of experience out, whoever chooses the rungs.
//!
//! Two models. [`hls`] fetches segments one after the other, on demand with a large buffer or live at a fixed latency;
//! [`rtc`] sends frames through a queue and lets the chooser decide once a second. A policy takes part as a [`Chooser`];
//! [`anchors`] are the known ones to compare it with, [`optimum`] and [`anchors::Clairvoyant`] what knowing the future
//! would give.
//!
//! Nothing here reads a clock or draws at random: the same trace and the same answers give the same bits. Only
//! [`traces`] touches files. Start reading at [`hls::run`].
#![forbid(unsafe_code)]

mod chooser;
mod content;
mod outcome;
mod trace;

pub mod hls;
pub mod optimum;
pub mod rtc;

pub mod anchors;
pub mod plot;
pub mod traces;

pub use chooser::{Chooser, LinkReport, Mode, Observation, Sample};
pub use content::Ladder;
pub use outcome::{Outcome, Step};
pub use trace::{Trace, TraceError};
