//! VP9 out of RTP (RFC 9628): the payload descriptor taken off, spatial layers joined.

use bytes::BytesMut;
use lockgate_media::vp9;

use super::assembler::{Broken, Built, UNIT_MAX};

/// One picture being put together.
#[derive(Debug, Default)]
pub(super) struct Builder {
    data: BytesMut,
    /// Where each frame but the last ends: one for each spatial layer.
    ends: Vec<usize>,
}

impl Builder {
    pub(super) fn push(&mut self, payload: &[u8]) -> Result<(), Broken> {
        let Some(first) = payload.first() else {
            return Ok(());
        };
        let descriptor = Descriptor::parse(payload).ok_or(Broken)?;
        if self.data.is_empty() && !Self::is_start(payload) {
            return Err(Broken);
        }
        let body = payload.get(descriptor.len..).ok_or(Broken)?;
        if self.data.len() + body.len() > UNIT_MAX {
            return Err(Broken);
        }
        // B begins a frame: of the next spatial layer, if there is one already.
        if first & BEGINS != 0 && !self.data.is_empty() {
            if self.ends.len() >= LAYERS_MAX {
                return Err(Broken);
            }
            self.ends.push(self.data.len());
        }
        self.data.extend_from_slice(body);
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Option<Built> {
        let mut ends = std::mem::take(&mut self.ends);
        let data = self.reset();
        if data.is_empty() {
            return None;
        }
        ends.push(data.len());
        let data = vp9::superframe(data, &ends);
        Some(Built {
            keyframe: vp9::is_keyframe(&data),
            discardable: vp9::is_discardable(&data),
            temporal_layer: 0,
            layer_sync: false,
            data,
        })
    }

    pub(super) fn reset(&mut self) -> BytesMut {
        self.ends.clear();
        std::mem::take(&mut self.data)
    }

    /// The first packet of a picture: of the first frame of its lowest spatial layer.
    pub(super) fn is_start(payload: &[u8]) -> bool {
        payload.first().is_some_and(|first| first & BEGINS != 0)
            && Descriptor::parse(payload).is_some_and(|descriptor| descriptor.spatial_layer == 0)
    }
}

/// What matters of a payload descriptor (RFC 9628 §4.2).
#[derive(Debug, Default)]
struct Descriptor {
    len: usize,
    spatial_layer: u8,
}

impl Descriptor {
    fn parse(payload: &[u8]) -> Option<Self> {
        let mut at = 0;
        let mut next = || {
            let byte = payload.get(at).copied();
            at += 1;
            byte
        };
        let first = next()?;
        let has = |bit: u8| first & bit != 0;
        let is_flexible = has(0x10);
        let mut spatial_layer = 0;
        if has(0x80) && next()? & 0x80 != 0 {
            next()?; // picture ID of 15 bits
        }
        if has(0x20) {
            spatial_layer = next()? >> 1 & 7;
            if !is_flexible {
                next()?; // TL0PICIDX
            }
        }
        if is_flexible && has(0x40) {
            for left in (0..REFERENCES_MAX).rev() {
                // N: another reference follows.
                if next()? & 1 == 0 {
                    break;
                }
                if left == 0 {
                    return None;
                }
            }
        }
        if has(0x02) {
            // Scalability structure.
            let head = next()?;
            if head & 0x10 != 0 {
                for _ in 0..4 * (usize::from(head >> 5) + 1) {
                    next()?; // width and height of each spatial layer
                }
            }
            if head & 0x08 != 0 {
                for _ in 0..next()? {
                    for _ in 0..next()? >> 2 & 3 {
                        next()?; // references of a picture of the group
                    }
                }
            }
        }
        (at <= payload.len()).then_some(Self {
            len: at,
            spatial_layer,
        })
    }
}

const BEGINS: u8 = 0x08;
const REFERENCES_MAX: usize = 3;
/// As many as a superframe has room for.
const LAYERS_MAX: usize = 7;
