//! AV1 out of RTP (AOMedia, *RTP Payload Format for AV1*, 1.0): OBU elements into a temporal unit.

use bytes::BytesMut;
use lockgate_media::av1::{self, Obu, SequenceHeader, leb128};

use super::assembler::{Broken, Built, UNIT_MAX};

/// One temporal unit being put together, and the sequence header that it is read by.
#[derive(Debug, Default)]
pub(super) struct Builder {
    /// Whole OBUs, each with its size.
    data: BytesMut,
    /// An OBU that goes on in the next packet.
    open: Option<BytesMut>,
    sequence: Option<SequenceHeader>,
}

impl Builder {
    pub(super) fn push(&mut self, payload: &[u8]) -> Result<(), Broken> {
        let Some((&head, mut rest)) = payload.split_first() else {
            return Ok(());
        };
        if (head & CONTINUES != 0) != self.open.is_some() {
            return Err(Broken);
        }
        let count = usize::from(head >> 4 & 3);
        let mut at = 0;
        while !rest.is_empty() {
            at += 1;
            // §4.4: the last of a known count takes up what is left, all others tell their size.
            let element;
            if at == count {
                (element, rest) = (rest, &[][..]);
            } else {
                let (len, after) = leb128(rest).ok_or(Broken)?;
                (element, rest) = after.split_at_checked(len).ok_or(Broken)?;
            }
            let is_open = head & GOES_ON != 0 && rest.is_empty();
            self.element(element, is_open)?;
        }
        if count != 0 && at != count {
            return Err(Broken);
        }
        Ok(())
    }

    fn element(&mut self, element: &[u8], is_open: bool) -> Result<(), Broken> {
        let begun = self.open.as_ref().map_or(0, BytesMut::len);
        if self.data.len() + begun + element.len() > UNIT_MAX {
            return Err(Broken);
        }
        match (self.open.take(), is_open) {
            (Some(mut begun), _) => {
                begun.extend_from_slice(element);
                if is_open {
                    self.open = Some(begun);
                    Ok(())
                } else {
                    self.obu(&begun)
                }
            }
            (None, true) => {
                self.open = Some(BytesMut::from(element));
                Ok(())
            }
            (None, false) => self.obu(element),
        }
    }

    fn obu(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        if bytes.is_empty() {
            return Ok(());
        }
        let obu = Obu::parse(bytes).ok_or(Broken)?;
        // §5: neither is to be sent; what is padded is of no use to anyone.
        if !matches!(
            obu.kind,
            av1::OBU_TEMPORAL_DELIMITER | av1::OBU_TILE_LIST | av1::OBU_PADDING
        ) {
            obu.write(&mut self.data);
        }
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<Option<Built>, Broken> {
        let is_open = self.open.is_some();
        let data = self.reset().freeze();
        if is_open {
            return Err(Broken);
        }
        if data.is_empty() {
            return Ok(None);
        }
        if let Some(sequence) = SequenceHeader::find(&data) {
            self.sequence = Some(sequence);
        }
        let sequence = self.sequence.as_ref();
        Ok(Some(Built {
            keyframe: av1::is_keyframe(&data),
            discardable: sequence.is_some_and(|sequence| sequence.is_discardable(&data)),
            temporal_layer: 0,
            layer_sync: false,
            data,
        }))
    }

    /// Forgets the unit begun, not the sequence header.
    pub(super) fn reset(&mut self) -> BytesMut {
        self.open = None;
        std::mem::take(&mut self.data)
    }

    /// Whether this payload is surely the first of a temporal unit: of a coded video sequence (N). That others begin
    /// one is not said, and after a loss nothing but a keyframe is of use.
    pub(super) fn is_start(payload: &[u8]) -> bool {
        payload
            .first()
            .is_some_and(|head| head & NEW_SEQUENCE != 0 && head & CONTINUES == 0)
    }
}

/// Z: the first element goes on from the packet before.
const CONTINUES: u8 = 0x80;
/// Y: the last element goes on in the next packet.
const GOES_ON: u8 = 0x40;
/// N: a coded video sequence begins.
const NEW_SEQUENCE: u8 = 0x08;
