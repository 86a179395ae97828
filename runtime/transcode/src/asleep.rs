//! What has to be decoded again once somebody wants pictures, kept while nobody does.

use ffmpeg_next::Packet;

use crate::decode::VideoDecoder;

/// While no rung is wanted: the video packets that have to be decoded before the next one can be.
#[derive(Default)]
pub(crate) struct Asleep {
    packets: Vec<Packet>,
    bytes: usize,
    /// They start with a keyframe, so that the decoder forgets what was before.
    from_keyframe: bool,
    /// There were too many; decoding goes on at a keyframe only.
    lost: bool,
}

impl Asleep {
    /// Keeps a packet instead of decoding it.
    pub(crate) fn keep(&mut self, packet: Packet) {
        if packet.is_key() {
            *self = Self {
                from_keyframe: true,
                ..Self::default()
            };
        }
        self.bytes += packet.size();
        if self.lost || self.bytes > BYTES_MAX || self.packets.len() >= PACKETS_MAX {
            *self = Self {
                lost: true,
                ..Self::default()
            };
        } else {
            self.packets.push(packet);
        }
    }

    /// Whether what is kept can be decoded by itself.
    pub(crate) fn starts_with_keyframe(&self) -> bool {
        self.from_keyframe && !self.lost
    }

    /// Catches up without showing what is past. False if the next packet cannot be decoded.
    pub(crate) fn wake(&mut self, decoder: &mut VideoDecoder, next: &Packet) -> bool {
        if self.lost && !next.is_key() {
            return false;
        }
        if self.from_keyframe || self.lost {
            decoder.reset();
        }
        for packet in std::mem::take(self).packets {
            decoder.packet(&packet, &mut |_, _| {});
        }
        true
    }
}

/// At most so many packets are kept for waking up: 50 s at 60 frames a second.
const PACKETS_MAX: usize = 3_000;
/// At most so many bytes.
const BYTES_MAX: usize = 48 << 20;
