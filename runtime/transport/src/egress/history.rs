//! What was sent to a viewer: for sending it again, and for understanding its reports.

use std::{collections::VecDeque, time::Duration};

use rtc::rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, SymbolTypeTcc, TransportLayerCc,
};

use super::{Arrival, stream::Packet};
use crate::viewer::Extensions;

/// A packet that may be asked for again.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) packet: Packet,
    /// What it was sent with.
    pub(super) extensions: Extensions,
    at: Duration,
    /// When it was last sent again.
    again: Option<Duration>,
    times: u8,
}

/// The packets of one stream that may be asked for again, by sequence number without gaps.
#[derive(Debug, Default)]
pub(super) struct History {
    packets: VecDeque<Option<Sent>>,
    /// The number of the first.
    first: u16,
}

impl History {
    /// Remembers a packet; its number follows that of the last, or leaves out a few.
    pub(super) fn push(&mut self, now: Duration, packet: Packet, extensions: Extensions) {
        let seq = packet.seq;
        let next = self.first.wrapping_add(self.packets.len() as u16);
        let skipped = seq.wrapping_sub(next);
        if self.packets.is_empty() || skipped > SKIP_MAX {
            self.packets.clear();
            self.first = seq;
        } else {
            self.packets.extend((0..skipped).map(|_| None));
        }
        self.packets.push_back(Some(Sent {
            packet,
            extensions,
            at: now,
            again: None,
            times: 0,
        }));
        while self.packets.len() > PACKETS_MAX
            || self.packets.front().is_some_and(|front| {
                front
                    .as_ref()
                    .is_none_or(|sent| now.saturating_sub(sent.at) > AGE_MAX)
            })
        {
            self.packets.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }

    /// Forgets everything: what comes next can be decoded without it.
    pub(super) fn clear(&mut self) {
        self.packets.clear();
    }

    /// Whether a packet is there and was not sent again within `pause`; it then counts as sent again.
    pub(super) fn claim(&mut self, seq: u16, now: Duration, pause: Duration) -> bool {
        let at = usize::from(seq.wrapping_sub(self.first));
        let Some(Some(sent)) = self.packets.get_mut(at) else {
            return false;
        };
        let last = sent.again.unwrap_or(sent.at);
        let due = sent.again.is_none() || now.saturating_sub(last) >= pause;
        let due = due && sent.times < TIMES_MAX;
        if due {
            sent.again = Some(now);
            sent.times += 1;
        }
        due
    }

    /// The number of a packet so far back from the newest, to fill a probe with.
    pub(super) fn filler(&self, back: usize) -> Option<u16> {
        let count = self.packets.len();
        let at = count.checked_sub(1 + back % count.max(1))?;
        self.packets.get(at)?.as_ref()?;
        Some(self.first.wrapping_add(at as u16))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// A packet as it was.
    pub(super) fn get(&self, seq: u16) -> Option<&Sent> {
        self.packets
            .get(usize::from(seq.wrapping_sub(self.first)))?
            .as_ref()
    }
}

/// When the packets left that the viewer will report about, by transport-wide number.
#[derive(Debug, Default)]
pub(super) struct Departures {
    packets: VecDeque<Departure>,
    /// The number of the first, counted on past 16 bits.
    first: u64,
}

#[derive(Debug, Clone, Copy)]
struct Departure {
    at: Duration,
    bytes: u16,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unknown,
    Lost,
    Arrived,
}

impl Departures {
    /// Numbers a packet that leaves now.
    pub(super) fn push(&mut self, now: Duration, bytes: usize) -> u16 {
        while self.packets.len() >= DEPARTURES_MAX
            || self
                .packets
                .front()
                .is_some_and(|front| now.saturating_sub(front.at) > DEPARTURE_AGE_MAX)
        {
            self.packets.pop_front();
            self.first += 1;
        }
        let number = self.first + self.packets.len() as u64;
        self.packets.push_back(Departure {
            at: now,
            bytes: u16::try_from(bytes).unwrap_or(u16::MAX),
            fate: Fate::Unknown,
        });
        number as u16
    }

    /// Reads a report into `out`, in the order the packets left
    /// (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).
    pub(super) fn report(&mut self, report: &TransportLayerCc, out: &mut Vec<Arrival>) {
        let newest = self.first + self.packets.len() as u64;
        let behind = (newest as u16).wrapping_sub(report.base_sequence_number);
        let Some(base) = newest.checked_sub(u64::from(behind)) else {
            return;
        };
        let mut at = i64::from(report.reference_time) * TICK_US;
        let mut deltas = report.recv_deltas.iter();
        let mut left = usize::from(report.packet_status_count);
        let mut number = base;
        let mut take = |symbol: SymbolTypeTcc, deltas: &mut std::slice::Iter<'_, _>| {
            let arrived = match symbol {
                SymbolTypeTcc::PacketNotReceived => Some(None),
                SymbolTypeTcc::PacketReceivedSmallDelta
                | SymbolTypeTcc::PacketReceivedLargeDelta => deltas.next().map(
                    |delta: &rtc::rtcp::transport_feedbacks::transport_layer_cc::RecvDelta| {
                        at += delta.delta;
                        Some(Duration::from_micros(u64::try_from(at).unwrap_or(0)))
                    },
                ),
                SymbolTypeTcc::PacketReceivedWithoutDelta => None,
            };
            let place = number.checked_sub(self.first);
            number += 1;
            let departure = place
                .and_then(|place| usize::try_from(place).ok())
                .and_then(|place| self.packets.get_mut(place));
            let (Some(arrived), Some(departure)) = (arrived, departure) else {
                return;
            };
            let fate = if arrived.is_some() {
                Fate::Arrived
            } else {
                Fate::Lost
            };
            if departure.fate == Fate::Arrived || departure.fate == fate {
                return; // said before
            }
            departure.fate = fate;
            out.push(Arrival {
                sent: departure.at,
                arrived,
                bytes: usize::from(departure.bytes),
            });
        };
        for chunk in &report.packet_chunks {
            match chunk {
                PacketStatusChunk::RunLengthChunk(run) => {
                    for _ in 0..usize::from(run.run_length).min(left) {
                        take(run.packet_status_symbol, &mut deltas);
                    }
                    left = left.saturating_sub(usize::from(run.run_length));
                }
                PacketStatusChunk::StatusVectorChunk(vector) => {
                    for symbol in vector.symbol_list.iter().take(left) {
                        take(*symbol, &mut deltas);
                    }
                    left = left.saturating_sub(vector.symbol_list.len());
                }
            }
        }
    }
}

/// A second of 10 Mbit/s; a viewer asks within a few round trips or not at all.
const PACKETS_MAX: usize = 1024;
const AGE_MAX: Duration = Duration::from_millis(1000);
/// A viewer that misses a packet for longer is waiting for a keyframe.
const TIMES_MAX: u8 = 5;
/// Numbers left out at a time; more is another numbering.
const SKIP_MAX: u16 = 16;
/// Two seconds of 20 Mbit/s.
const DEPARTURES_MAX: usize = 4096;
const DEPARTURE_AGE_MAX: Duration = Duration::from_secs(2);
/// The reference time counts 64 ms.
const TICK_US: i64 = 64_000;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rtc::rtcp::transport_feedbacks::transport_layer_cc::{
        RecvDelta, RunLengthChunk, StatusChunkTypeTcc,
    };

    use super::*;

    fn packet(seq: u16) -> Packet {
        Packet {
            seq,
            timestamp: 7,
            payload_type: 96,
            marker: false,
            payload: Bytes::from_static(b"picture"),
        }
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_was_sent_is_found_again_for_a_second_and_shares_its_payload() {
        let mut history = History::default();
        let numbered = Extensions {
            number: Some((3, 9)),
            playout: None,
        };
        let mut push = |ms, seq, with| history.push(at(ms), packet(seq), with);
        push(0, 65_534, numbered);
        push(1, 65_535, Extensions::default());
        push(2, 1, Extensions::default()); // 0 is left out
        assert!(history.claim(65_534, at(10), at(50)));
        assert!(
            !history.claim(65_534, at(20), at(50)),
            "asked for again too soon"
        );
        assert!(history.claim(65_534, at(60), at(50)));
        assert!(!history.claim(0, at(60), at(50)), "never sent");
        let sent = history.get(65_534).unwrap();
        assert_eq!(sent.packet, packet(65_534));
        assert_eq!(sent.extensions, numbered);
        assert!(history.get(0).is_none());
        history.push(at(1500), packet(2), Extensions::default());
        assert!(!history.claim(1, at(1500), at(50)), "too old");
        assert!(history.claim(2, at(1500), at(50)));
    }

    #[test]
    fn a_report_is_read_once_and_in_order() {
        let mut departures = Departures::default();
        for number in 0..5 {
            assert_eq!(departures.push(at(number), 100), number as u16);
        }
        let report = TransportLayerCc {
            base_sequence_number: 1,
            packet_status_count: 3,
            reference_time: 10,
            packet_chunks: vec![
                PacketStatusChunk::RunLengthChunk(RunLengthChunk {
                    type_tcc: StatusChunkTypeTcc::RunLengthChunk,
                    packet_status_symbol: SymbolTypeTcc::PacketReceivedSmallDelta,
                    run_length: 2,
                }),
                PacketStatusChunk::RunLengthChunk(RunLengthChunk {
                    type_tcc: StatusChunkTypeTcc::RunLengthChunk,
                    packet_status_symbol: SymbolTypeTcc::PacketNotReceived,
                    run_length: 1,
                }),
            ],
            recv_deltas: vec![
                RecvDelta {
                    type_tcc_packet: SymbolTypeTcc::PacketReceivedSmallDelta,
                    delta: 1000,
                },
                RecvDelta {
                    type_tcc_packet: SymbolTypeTcc::PacketReceivedSmallDelta,
                    delta: 2000,
                },
            ],
            ..TransportLayerCc::default()
        };
        let mut out = Vec::new();
        departures.report(&report, &mut out);
        let seen: Vec<_> = out
            .iter()
            .map(|arrival| (arrival.sent, arrival.arrived))
            .collect();
        assert_eq!(
            seen,
            [
                (at(1), Some(at(641))),
                (at(2), Some(at(643))),
                (at(3), None)
            ]
        );
        out.clear();
        departures.report(&report, &mut out);
        assert!(out.is_empty(), "said before");
        // A base from before the first, or from far ahead, names nothing that was sent.
        let strange = TransportLayerCc {
            base_sequence_number: 4000,
            ..report
        };
        departures.report(&strange, &mut out);
        assert!(out.is_empty());
    }
}
