//! The access unit: what every source makes and every egress reads.

use std::sync::OnceLock;

use bytes::Bytes;

/// One coded picture, or one coded audio frame, on the broadcast's timeline.
///
/// `data` is in the form the whole house agrees on:
/// - H.264: Annex B with four-byte start codes, no access unit delimiter, SPS and PPS in front of every IDR;
/// - VP8: the frame as RFC 6386 has it, without the RTP payload descriptor;
/// - VP9: the frame, or a superframe with its index where there are spatial layers;
/// - AV1: the OBUs of a temporal unit, each with its size, without temporal delimiter;
/// - AAC: one raw frame (no ADTS header); Opus: one packet.
///
/// Units of a track come in decoding order. `pts_90k` rises strictly for audio and for video without B-frames.
#[derive(Debug)]
pub struct AccessUnit {
    /// Presentation time in 1/90000 s.
    pub pts_90k: i64,
    /// Decoding time in 1/90000 s; equal to `pts_90k` without B-frames.
    pub dts_90k: i64,
    /// How long it is shown or heard, in 1/90000 s; 0 when its source does not say.
    pub duration_90k: u32,
    /// Decoding can start here. Always true for audio.
    pub keyframe: bool,
    /// Which unbroken timeline it belongs to. It rises when the source was restarted, so that what lies on the
    /// two sides does not continue; HLS puts a discontinuity there.
    pub epoch: u32,
    /// No other picture refers to this one, as the packets it came in said. H.264 says so itself and does not need it.
    pub discardable: bool,
    /// Its temporal layer, 0 for the lowest: pictures refer to their own layer and lower ones alone. VP8 says so.
    pub temporal_layer: u8,
    /// It refers to the lowest temporal layer alone, so that its layer can be taken up here.
    pub layer_sync: bool,
    /// The coded bytes.
    pub data: Bytes,
    /// RTP payloads, made by the first egress that sends this unit and shared by all others.
    payloads: OnceLock<Box<[Bytes]>>,
}

impl AccessUnit {
    /// A unit with `dts = pts`, no duration, epoch 0.
    pub fn new(pts_90k: i64, keyframe: bool, data: Bytes) -> Self {
        Self {
            pts_90k,
            dts_90k: pts_90k,
            duration_90k: 0,
            keyframe,
            epoch: 0,
            discardable: false,
            temporal_layer: 0,
            layer_sync: false,
            data,
            payloads: OnceLock::new(),
        }
    }

    /// The same unit with a decoding time of its own.
    #[must_use]
    pub fn with_dts(mut self, dts_90k: i64) -> Self {
        self.dts_90k = dts_90k;
        self
    }

    /// The same unit with a duration.
    #[must_use]
    pub fn with_duration(mut self, duration_90k: u32) -> Self {
        self.duration_90k = duration_90k;
        self
    }

    /// The same unit in another epoch.
    #[must_use]
    pub fn with_epoch(mut self, epoch: u32) -> Self {
        self.epoch = epoch;
        self
    }

    /// The same unit, to which no other picture refers if `discardable` is true.
    #[must_use]
    pub fn with_discardable(mut self, discardable: bool) -> Self {
        self.discardable = discardable;
        self
    }

    /// The same unit in a temporal layer, which can be taken up at it if `sync` is true.
    #[must_use]
    pub fn with_temporal_layer(mut self, layer: u8, sync: bool) -> Self {
        self.temporal_layer = layer;
        self.layer_sync = sync;
        self
    }

    /// The RTP payloads of this unit, made by `packetise` the first time they are asked for.
    pub fn payloads(&self, packetise: impl FnOnce(&Bytes) -> Box<[Bytes]>) -> &[Bytes] {
        self.payloads.get_or_init(|| packetise(&self.data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_made_once() {
        let unit = AccessUnit::new(0, true, Bytes::from_static(b"abc"));
        let mut made = 0;
        for _ in 0..3 {
            let payloads = unit.payloads(|data| {
                made += 1;
                Box::new([data.slice(..1), data.slice(1..)])
            });
            assert_eq!(payloads.len(), 2);
        }
        assert_eq!(made, 1);
    }
}
