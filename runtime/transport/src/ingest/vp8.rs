//! VP8 out of RTP (RFC 7741): the payload descriptor taken off.

use bytes::BytesMut;
use lockgate_media::vp8;

use super::assembler::{Broken, Built, UNIT_MAX};

/// One frame being put together.
#[derive(Debug, Default)]
pub(super) struct Builder {
    data: BytesMut,
    /// What its first packet says.
    says: Descriptor,
}

impl Builder {
    pub(super) fn push(&mut self, payload: &[u8]) -> Result<(), Broken> {
        if payload.is_empty() {
            return Ok(());
        }
        if self.data.is_empty() && !Self::is_start(payload) {
            return Err(Broken);
        }
        let descriptor = Descriptor::parse(payload).ok_or(Broken)?;
        let body = payload.get(descriptor.len..).ok_or(Broken)?;
        if self.data.len() + body.len() > UNIT_MAX {
            return Err(Broken);
        }
        if self.data.is_empty() {
            self.says = descriptor;
        }
        self.data.extend_from_slice(body);
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Option<Built> {
        let data = self.reset().freeze();
        (!data.is_empty()).then(|| Built {
            keyframe: vp8::is_keyframe(&data),
            discardable: self.says.discardable,
            temporal_layer: self.says.temporal_layer,
            layer_sync: self.says.layer_sync,
            data,
        })
    }

    pub(super) fn reset(&mut self) -> BytesMut {
        std::mem::take(&mut self.data)
    }

    /// S set and partition 0: the first packet of a frame (RFC 7741 §4.2).
    pub(super) fn is_start(payload: &[u8]) -> bool {
        payload.first().is_some_and(|byte| byte & 0x17 == 0x10)
    }
}

/// What matters of a payload descriptor (RFC 7741 §4.2).
#[derive(Debug, Default)]
struct Descriptor {
    len: usize,
    /// N: no other frame refers to this one.
    discardable: bool,
    temporal_layer: u8,
    layer_sync: bool,
}

impl Descriptor {
    fn parse(payload: &[u8]) -> Option<Self> {
        let first = payload.first()?;
        let mut says = Self {
            len: 1,
            discardable: first & 0x20 != 0,
            ..Self::default()
        };
        if first & 0x80 == 0 {
            return Some(says);
        }
        let extensions = payload.get(1)?;
        says.len += 1;
        if extensions & 0x80 != 0 {
            // PictureID: 7 bits, or 15 if M is set.
            says.len += if payload.get(says.len)? & 0x80 != 0 {
                2
            } else {
                1
            };
        }
        if extensions & 0x40 != 0 {
            says.len += 1; // TL0PICIDX
        }
        if extensions & 0x30 != 0 {
            let layers = payload.get(says.len)?;
            says.len += 1; // TID, Y, KEYIDX
            if extensions & 0x20 != 0 {
                says.temporal_layer = layers >> 6;
                says.layer_sync = layers & 0x20 != 0;
            }
        }
        Some(says)
    }
}
