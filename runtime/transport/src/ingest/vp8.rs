//! VP8 out of RTP (RFC 7741): the payload descriptor taken off.

use bytes::{Bytes, BytesMut};

use super::assembler::{Broken, UNIT_MAX};

/// One frame being put together.
#[derive(Debug, Default)]
pub(super) struct Builder {
    data: BytesMut,
    discardable: bool,
}

impl Builder {
    pub(super) fn push(&mut self, payload: &[u8]) -> Result<(), Broken> {
        if payload.is_empty() {
            return Ok(());
        }
        if self.data.is_empty() && !Self::is_start(payload) {
            return Err(Broken);
        }
        let body = payload
            .get(descriptor_len(payload).ok_or(Broken)?..)
            .ok_or(Broken)?;
        if self.data.len() + body.len() > UNIT_MAX {
            return Err(Broken);
        }
        if self.data.is_empty() {
            // N: no other frame refers to this one (RFC 7741 §4.2).
            self.discardable = payload.first().is_some_and(|byte| byte & 0x20 != 0);
        }
        self.data.extend_from_slice(body);
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Option<(Bytes, bool)> {
        let data = self.reset().freeze();
        let keyframe = lockgate_media::vp8::is_keyframe(&data);
        (!data.is_empty()).then_some((data, keyframe))
    }

    pub(super) fn is_discardable(&self) -> bool {
        self.discardable
    }

    pub(super) fn reset(&mut self) -> BytesMut {
        std::mem::take(&mut self.data)
    }

    /// S set and partition 0: the first packet of a frame (RFC 7741 §4.2).
    pub(super) fn is_start(payload: &[u8]) -> bool {
        payload.first().is_some_and(|byte| byte & 0x17 == 0x10)
    }
}

/// How long the descriptor is (RFC 7741 §4.2).
fn descriptor_len(payload: &[u8]) -> Option<usize> {
    let mut len = 1;
    if payload.first()? & 0x80 != 0 {
        let extensions = payload.get(1)?;
        len += 1;
        if extensions & 0x80 != 0 {
            // PictureID: 7 bits, or 15 if M is set.
            len += if payload.get(len)? & 0x80 != 0 { 2 } else { 1 };
        }
        if extensions & 0x40 != 0 {
            len += 1; // TL0PICIDX
        }
        if extensions & 0x30 != 0 {
            len += 1; // TID, Y, KEYIDX
        }
    }
    Some(len)
}
