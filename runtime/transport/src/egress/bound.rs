//! One leg at the outlet: how far its stream has come, and what of it may be sent again.

use std::{sync::Arc, time::Duration};

use super::{
    Estimate,
    history::{Departures, History, Sent},
    pacer::Pacer,
    playout::Playout,
    stream::Packet,
    terms::{Coding, Terms, VideoType},
};
use crate::viewer::{Extensions, Head, Order, Wire};

/// What all legs of a viewer share: the link, and what is known of it.
#[derive(Debug)]
pub(super) struct Trunk {
    pub(super) pacer: Pacer,
    pub(super) departures: Departures,
    pub(super) estimate: Estimate,
}

impl Trunk {
    /// A packet of so many bytes leaves now: with its transport-wide number.
    fn numbered(&mut self, now: Duration, mut head: Head, bytes: usize) -> Head {
        if let Some((id, _)) = head.extensions.number {
            head.extensions.number = Some((id, self.departures.push(now, bytes)));
        }
        self.spend(bytes);
        head
    }

    fn spend(&mut self, bytes: usize) {
        self.pacer.spend(bytes);
        self.estimate.sent(bytes);
    }
}

/// A stream and how far it has come.
#[derive(Debug)]
pub(super) struct Bound {
    ssrc: u32,
    /// The number of the header extension for transport-wide numbers.
    number: Option<u8>,
    /// The number of the header extension for the playout delay.
    delay: Option<u8>,
    order: Order,
    rtx: Option<Rtx>,
    /// How far what leaves is behind what came: packets that were dropped while they waited.
    dropped: u16,
    /// The last packet that left ended a picture.
    whole: bool,
    pub(super) history: History,
    pub(super) playout: Playout,
    pub(super) playout_delay_ms: Option<u32>,
    pub(super) packets_resent: u64,
}

/// Where retransmissions go, and the next number there.
#[derive(Debug)]
struct Rtx {
    ssrc: u32,
    number: u16,
    order: Order,
    types: Arc<[VideoType]>,
}

impl Bound {
    pub(super) fn new(terms: &Terms) -> Self {
        let types = match &terms.coding {
            Coding::Video(types) => types.iter().any(|one| one.rtx.is_some()).then_some(types),
            Coding::Audio { .. } => None,
        };
        Self {
            ssrc: terms.ssrc,
            number: terms.number,
            delay: terms.playout,
            order: Order::default(),
            rtx: terms.rtx.zip(types).map(|(ssrc, types)| Rtx {
                ssrc,
                number: 0,
                order: Order::default(),
                types: Arc::clone(types),
            }),
            dropped: 0,
            whole: true,
            history: History::default(),
            playout: Playout::default(),
            playout_delay_ms: None,
            packets_resent: 0,
        }
    }

    pub(super) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Whether there is something that can be sent once more without being asked for.
    pub(super) fn can_fill(&self) -> bool {
        self.rtx.is_some() && !self.history.is_empty()
    }

    /// So many packets were dropped while they waited: what comes next can be decoded without anything before it.
    pub(super) fn cut(&mut self, dropped: usize) {
        // One number is left out where a picture was cut off, so that its rest is not taken for what follows.
        let gap = u16::from(!self.whole);
        self.dropped = self.dropped.wrapping_add(dropped as u16).wrapping_sub(gap);
        self.whole = true;
        self.history.clear();
    }

    /// The stream goes on with something else.
    pub(super) fn renew(&mut self) {
        self.history = History::default();
        // What was said for the pictures of before is taken back.
        self.playout_delay_ms = self.playout_delay_ms.map(|_| 0);
    }

    /// A packet leaves that is not sent again.
    pub(super) fn pass(
        &mut self,
        now: Duration,
        packet: &Packet,
        trunk: &mut Trunk,
        wire: &mut Wire<'_>,
    ) {
        let head = packet.head(self.ssrc, self.extensions());
        let bytes = bytes(&head, packet.payload.len());
        let head = trunk.numbered(now, head, bytes);
        wire.rtp(&mut self.order, &head, &[], &packet.payload);
    }

    /// A packet of video leaves.
    pub(super) fn depart(
        &mut self,
        now: Duration,
        mut packet: Packet,
        trunk: &mut Trunk,
        wire: &mut Wire<'_>,
    ) {
        packet.seq = packet.seq.wrapping_sub(self.dropped);
        self.whole = packet.marker;
        let told = self.delay.and_then(|id| {
            let delay = self.playout.with(packet.seq, self.playout_delay_ms)?;
            Some((id, delay))
        });
        let extensions = Extensions {
            playout: told,
            ..self.extensions()
        };
        let head = packet.head(self.ssrc, extensions);
        let bytes = bytes(&head, packet.payload.len());
        let head = trunk.numbered(now, head, bytes);
        wire.rtp(&mut self.order, &head, &[], &packet.payload);
        self.history.push(now, packet, head.extensions);
    }

    /// Sends a packet once more that lies so far back; its bytes.
    pub(super) fn fill(
        &mut self,
        now: Duration,
        back: usize,
        trunk: &mut Trunk,
        wire: &mut Wire<'_>,
    ) -> usize {
        let seq = self.history.filler(back);
        seq.map_or(0, |seq| self.send_again(now, seq, trunk, wire))
    }

    /// Sends a packet of video once more; its bytes, or 0 if it is not there any more.
    pub(super) fn send_again(
        &mut self,
        now: Duration,
        seq: u16,
        trunk: &mut Trunk,
        wire: &mut Wire<'_>,
    ) -> usize {
        let extensions = self.extensions();
        let Some(sent) = self.history.get(seq) else {
            return 0;
        };
        match &mut self.rtx {
            Some(rtx) => rtx.send(now, sent, extensions, trunk, wire),
            None => {
                // To the bit as it was: two packets under one number would give their key away (RFC 7714 §8.4).
                let head = sent.packet.head(self.ssrc, sent.extensions);
                let bytes = bytes(&head, sent.packet.payload.len());
                trunk.spend(bytes);
                wire.rtp(&mut self.order, &head, &[], &sent.packet.payload);
                bytes
            }
        }
    }

    fn extensions(&self) -> Extensions {
        Extensions {
            number: self.number.map(|id| (id, 0)),
            playout: None,
        }
    }
}

impl Rtx {
    /// RFC 4588 §4: a stream of its own, the original number before the payload.
    fn send(
        &mut self,
        now: Duration,
        sent: &Sent,
        extensions: Extensions,
        trunk: &mut Trunk,
        wire: &mut Wire<'_>,
    ) -> usize {
        let packet = &sent.packet;
        let mut types = self.types.iter();
        let of = types.find(|one| one.payload_type == packet.payload_type);
        let Some(payload_type) = of.and_then(|one| one.rtx) else {
            return 0;
        };
        let head = Head {
            payload_type,
            seq: self.number,
            ..packet.head(self.ssrc, extensions)
        };
        self.number = self.number.wrapping_add(1);
        let bytes = bytes(&head, 2 + packet.payload.len());
        let head = trunk.numbered(now, head, bytes);
        wire.rtp(
            &mut self.order,
            &head,
            &packet.seq.to_be_bytes(),
            &packet.payload,
        );
        bytes
    }
}

/// What a packet counts as.
fn bytes(head: &Head, payload: usize) -> usize {
    payload + head.extensions.len() + OVERHEAD
}

/// RTP header, and the authentication tag of SRTP.
const OVERHEAD: usize = 12 + 10;
