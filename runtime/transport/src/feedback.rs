//! RTCP of publishers on its way in, copied out for us.
//!
//! The `webrtc` crate keeps received RTCP to itself, and its statistics never see receiver reports. This interceptor
//! stands next to the wire, takes out what the house needs, and lets everything pass on unchanged.

use std::{collections::VecDeque, time::Instant};

use rtc::{
    interceptor::{Interceptor, Packet, Slot, StreamInfo, TaggedPacket},
    rtcp::{self, goodbye::Goodbye, sender_report::SenderReport},
    sansio::Protocol,
    shared::error::Error,
};
use tokio::sync::mpsc;

/// What a publisher told us by RTCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Feedback {
    /// How the timestamps of one of its streams stand to its wall clock (RFC 3550 §6.4.1).
    Sending {
        /// The stream.
        ssrc: u32,
        /// Its wall clock, 32.32 s since 1900.
        ntp: u64,
        /// The same moment in its RTP timestamps.
        timestamp: u32,
    },
    /// It stops sending (RFC 3550 §6.6).
    Goodbye,
}

/// The interceptor; one per peer.
pub(crate) struct Tap {
    out: mpsc::Sender<Feedback>,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl Tap {
    /// Where it stands: before every interceptor of the library, so that none can hold anything back.
    pub(crate) const SLOT: Slot = Slot::Custom(500);

    /// A tap and what comes out of it.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Feedback>) {
        let (out, receiver) = mpsc::channel(QUEUE_MAX);
        let tap = Self {
            out,
            reads: VecDeque::new(),
            writes: VecDeque::new(),
        };
        (tap, receiver)
    }
}

/// Takes out of a packet what the house needs. When nobody reads, the newest is dropped: all of this is said again.
pub(crate) fn give(packet: &dyn rtcp::Packet, out: &mpsc::Sender<Feedback>) {
    let packet = packet.as_any();
    let give = |feedback| {
        if out.try_send(feedback).is_err() {
            tracing::trace!("RTCP of a peer is dropped: its session is busy or gone");
        }
    };
    if let Some(report) = packet.downcast_ref::<SenderReport>() {
        give(Feedback::Sending {
            ssrc: report.ssrc,
            ntp: report.ntp_time,
            timestamp: report.rtp_time,
        });
    } else if packet.is::<Goodbye>() {
        give(Feedback::Goodbye);
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Tap {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(packets) = &message.message.packet {
            for packet in packets {
                give(packet.as_ref(), &self.out);
            }
        }
        self.reads.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.reads.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.writes.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.writes.pop_front()
    }
}

impl Interceptor for Tap {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}

/// A second of reports of a peer with a few streams.
pub(crate) const QUEUE_MAX: usize = 64;
