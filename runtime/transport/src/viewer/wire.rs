//! Packets on their way out: written, encrypted, and gathered into runs that one system call sends.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;

use super::srtp::{Order, Srtp};
use crate::net::{Mux, Slot};

/// Datagrams to one peer that leave together: all of one size, but for the last, which may be smaller. That is what
/// the kernel can cut up by itself (generic segmentation offload).
#[derive(Default)]
pub(crate) struct Run {
    bytes: Vec<u8>,
    segment: usize,
    count: usize,
    /// The last one is smaller.
    full: bool,
    /// What the socket had no room for, oldest first.
    late: VecDeque<Late>,
}

/// A run that waits for room.
struct Late {
    mux: Arc<Mux>,
    slot: Arc<Slot>,
    bytes: Vec<u8>,
    segment: usize,
}

impl Run {
    /// Whether one of so many bytes can join.
    fn takes(&self, len: usize, most: usize) -> bool {
        self.count == 0
            || (!self.full
                && len <= self.segment
                && self.count < most
                && self.bytes.len() + len <= RUN_MAX)
    }

    /// Whether something waits for room at the socket.
    pub(crate) fn is_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// Sends what waits, as the socket gets room. All of a shard waits for that together: there is one socket.
    pub(crate) async fn catch_up(&mut self) {
        while let Some(late) = self.late.front() {
            if late.mux.send_run(&late.slot, &late.bytes, late.segment) {
                self.late.pop_front();
            } else if tokio::time::timeout(LATE_MAX, late.mux.writable(&late.slot))
                .await
                .is_err()
            {
                tracing::debug!(runs = self.late.len(), "the socket has no room: dropped");
                for late in self.late.drain(..) {
                    late.mux
                        .dropped(late.bytes.len().div_ceil(late.segment.max(1)));
                }
            }
        }
    }

    /// One of so many bytes was appended.
    fn joined(&mut self, len: usize) {
        if self.count == 0 {
            self.segment = len;
        }
        self.full = len < self.segment;
        self.count += 1;
    }
}

/// Where the packets of one viewer go while something is done for it.
pub(crate) struct Wire<'a> {
    pub(crate) srtp: &'a mut Srtp,
    pub(crate) run: &'a mut Run,
    pub(crate) mux: &'a Arc<Mux>,
    pub(crate) slot: &'a Arc<Slot>,
}

/// An RTP header (RFC 3550 §5.1) with the extensions of one byte (RFC 8285 §4.2) that we send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) marker: bool,
    pub(crate) payload_type: u8,
    pub(crate) seq: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    pub(crate) extensions: Extensions,
}

/// What goes with a packet, each with its negotiated number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Extensions {
    /// The transport-wide number.
    pub(crate) number: Option<(u8, u16)>,
    /// The playout delay.
    pub(crate) playout: Option<(u8, [u8; 3])>,
}

impl Extensions {
    /// Bytes in a packet.
    pub(crate) fn len(&self) -> usize {
        let elements = self.number.map_or(0, |_| 3) + self.playout.map_or(0, |_| 4);
        if elements == 0 {
            0
        } else {
            4 + usize::next_multiple_of(elements, 4)
        }
    }
}

impl Head {
    /// Writes it and returns its bytes.
    fn write(&self, out: &mut Vec<u8>) -> usize {
        let extensions = self.extensions.len();
        let mut head = [0u8; HEAD_MAX];
        head[0] = if extensions > 0 { 0x90 } else { 0x80 };
        head[1] = (u8::from(self.marker) << 7) | (self.payload_type & 0x7f);
        head[2..4].copy_from_slice(&self.seq.to_be_bytes());
        head[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        head[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        if extensions > 0 {
            head[12..14].copy_from_slice(&[0xbe, 0xde]);
            head[15] = (extensions / 4 - 1) as u8;
        }
        let mut at = 16;
        if let Some((id, [a, b, c])) = self.extensions.playout {
            head[at..at + 4].copy_from_slice(&[(id << 4) | 2, a, b, c]);
            at += 4;
        }
        if let Some((id, number)) = self.extensions.number {
            let [high, low] = number.to_be_bytes();
            head[at..at + 3].copy_from_slice(&[(id << 4) | 1, high, low]);
        }
        let len = RTP_HEADER + extensions;
        out.extend_from_slice(head.get(..len).unwrap_or(&head));
        len
    }
}

impl Wire<'_> {
    /// A packet of media leaves; `before` stands in front of its payload.
    pub(crate) fn rtp(&mut self, order: &mut Order, head: &Head, before: &[u8], payload: &Bytes) {
        let overhead = self.srtp.overhead();
        let len = RTP_HEADER + head.extensions.len() + before.len() + payload.len() + overhead;
        if !self
            .run
            .takes(len, self.mux.segments_max().min(TOGETHER_MAX))
        {
            self.flush();
        }
        let bytes = &mut self.run.bytes;
        let begin = bytes.len();
        let header = head.write(bytes);
        bytes.extend_from_slice(before);
        bytes.extend_from_slice(payload);
        match self.srtp.seal(order, bytes, begin, header) {
            Ok(()) => self.run.joined(len),
            Err(error) => {
                tracing::debug!(%error, "a packet of a viewer cannot be encrypted");
                bytes.truncate(begin);
            }
        }
    }

    /// RTCP leaves at once.
    pub(crate) fn rtcp(&mut self, packets: &[u8]) {
        match self.srtp.seal_rtcp(packets) {
            // There is little of it, and it is said again.
            Ok(datagram) => {
                let _sent = self.mux.send_run(self.slot, &datagram, datagram.len());
            }
            Err(error) => tracing::debug!(%error, "RTCP to a viewer cannot be encrypted"),
        }
    }

    /// Sends what has gathered.
    pub(crate) fn flush(&mut self) {
        let run = &mut *self.run;
        // In order: behind what waits already.
        if run.count > 0
            && (run.is_late() || !self.mux.send_run(self.slot, &run.bytes, run.segment))
        {
            run.late.push_back(Late {
                mux: Arc::clone(self.mux),
                slot: Arc::clone(self.slot),
                bytes: std::mem::take(&mut run.bytes),
                segment: run.segment,
            });
        }
        self.run.bytes.clear();
        (self.run.count, self.run.segment, self.run.full) = (0, 0, false);
    }
}

const RTP_HEADER: usize = 12;
/// With both extensions.
const HEAD_MAX: usize = RTP_HEADER + 12;
/// What one call takes: an IP packet with its headers has 65535 bytes at most.
const RUN_MAX: usize = 64_000;
/// A queue on the way that is full drops a run as a whole: what is lost at once must be little enough to be mended.
const TOGETHER_MAX: usize = 3;
/// A socket that has no room for so long is not slow but stuck.
const LATE_MAX: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_the_rfcs() {
        let mut head = Head {
            marker: true,
            payload_type: 108,
            seq: 0x0102,
            timestamp: 0x0304_0506,
            ssrc: 0x0708_090a,
            extensions: Extensions::default(),
        };
        let mut out = Vec::new();
        assert_eq!(head.write(&mut out), 12);
        assert_eq!(out, [0x80, 0xec, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        out.clear();
        head.extensions.number = Some((3, 0xaabb));
        assert_eq!(head.write(&mut out), 20);
        assert_eq!(out[12..], [0xbe, 0xde, 0, 1, 0x31, 0xaa, 0xbb, 0]);
        assert_eq!(out[0], 0x90);
        out.clear();
        head.extensions.playout = Some((5, [1, 2, 3]));
        assert_eq!(head.write(&mut out), 24);
        assert_eq!(
            out[12..],
            [0xbe, 0xde, 0, 2, 0x52, 1, 2, 3, 0x31, 0xaa, 0xbb, 0]
        );
        out.clear();
        head.extensions.number = None;
        assert_eq!(head.write(&mut out), 20);
        assert_eq!(out[12..], [0xbe, 0xde, 0, 1, 0x52, 1, 2, 3]);
    }

    #[test]
    fn a_run_is_what_the_kernel_can_cut_up() {
        let mut run = Run::default();
        let mut push = |len: usize| {
            let takes = run.takes(len, 4);
            if takes {
                run.bytes.extend(std::iter::repeat_n(0, len));
                run.joined(len);
            }
            takes
        };
        assert!(push(1000) && push(1000));
        assert!(!push(1001), "larger than those before");
        assert!(
            push(10) && !push(10),
            "after a smaller one there is no other"
        );
        let mut run = Run::default();
        for _ in 0..4 {
            assert!(run.takes(100, 4));
            run.bytes.extend([0; 100]);
            run.joined(100);
        }
        assert!(!run.takes(100, 4), "as many as the kernel takes");
    }
}
