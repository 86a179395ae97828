//! RTP and RTCP as a client sees them, without sockets and without a clock.

pub(crate) mod keyframe;
pub(crate) mod mark;
pub(crate) mod rtcp;
pub(crate) mod rtp;
pub(crate) mod stream;
pub(crate) mod twcc;
