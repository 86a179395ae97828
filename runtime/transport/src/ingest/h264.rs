//! H.264 out of RTP (RFC 6184): single NAL units, STAP-A and FU-A into Annex B.

use bytes::{BufMut, Bytes, BytesMut};
use lockgate_media::h264::{NAL_AUD, NAL_IDR, NAL_PPS, NAL_SPS, nal_type};

use super::assembler::Broken;

/// One picture being put together, and the parameter sets to put before those that lack them.
#[derive(Debug, Default)]
pub(super) struct Builder {
    /// Everything but the parameter sets, in Annex B.
    data: BytesMut,
    /// A fragmented NAL unit was begun and not ended.
    open: bool,
    idr: bool,
    /// A coded slice is in it.
    slice: bool,
    /// Parameter sets came with this picture.
    had_sets: bool,
    sets: Vec<Bytes>,
}

impl Builder {
    /// Takes the payload of the next packet of the picture.
    pub(super) fn push(&mut self, payload: &[u8]) -> Result<(), Broken> {
        let [head, rest @ ..] = payload else {
            return Ok(());
        };
        let kind = nal_type(payload);
        if self.open && kind != FU_A {
            return Err(Broken);
        }
        match kind {
            1..=23 => self.nal(payload),
            STAP_A => {
                let mut rest = rest;
                while let Some((len, tail)) = rest.split_first_chunk::<2>() {
                    let len = usize::from(u16::from_be_bytes(*len));
                    let (nal, tail) = tail.split_at_checked(len).ok_or(Broken)?;
                    self.nal(nal)?;
                    rest = tail;
                }
                Ok(())
            }
            FU_A => {
                let [fu, body @ ..] = rest else {
                    return Err(Broken);
                };
                let (start, end) = (fu & 0x80 != 0, fu & 0x40 != 0);
                if start == self.open {
                    return Err(Broken); // begins twice, or goes on without a beginning
                }
                if start {
                    self.begin(&[(head & 0xe0) | (fu & 0x1f)])?;
                }
                self.append(body)?;
                self.open = !end;
                Ok(())
            }
            // STAP-B, MTAP and FU-B belong to the interleaved mode, which is never negotiated (RFC 6184 §6.4).
            _ => Err(Broken),
        }
    }

    /// The picture in Annex B and whether it is an IDR; `None` if no slice came.
    pub(super) fn finish(&mut self) -> Result<Option<(Bytes, bool)>, Broken> {
        let (idr, slice, had_sets, open) = (self.idr, self.slice, self.had_sets, self.open);
        let data = self.reset();
        if open {
            return Err(Broken);
        }
        if !slice {
            return Ok(None); // parameter sets sent by themselves; they are remembered
        }
        if !idr && !had_sets {
            return Ok(Some((data.freeze(), false)));
        }
        let has = |kind| self.sets.iter().any(|set| nal_type(set) == kind);
        if idr && !(has(NAL_SPS) && has(NAL_PPS)) {
            return Err(Broken); // nobody could decode it
        }
        let sets = self.sets.iter().map(|set| set.len() + 4).sum::<usize>();
        let mut unit = BytesMut::with_capacity(sets + data.len());
        for set in &self.sets {
            unit.put_slice(&START_CODE);
            unit.put_slice(set);
        }
        unit.put_slice(&data);
        Ok(Some((unit.freeze(), idr)))
    }

    /// Forgets the picture begun, not the parameter sets.
    pub(super) fn reset(&mut self) -> BytesMut {
        self.open = false;
        self.idr = false;
        self.slice = false;
        self.had_sets = false;
        std::mem::take(&mut self.data)
    }

    /// Whether this payload is surely the first of a picture, apart from what decoding can do without.
    pub(super) fn is_start(payload: &[u8]) -> bool {
        let first_slice = |at: usize| payload.get(at).is_some_and(|byte| byte & 0x80 != 0);
        match nal_type(payload) {
            NAL_SPS | NAL_AUD => true,
            // `first_mb_in_slice` is 0 exactly if the first bit of the slice header is 1.
            1 | NAL_IDR => first_slice(1),
            STAP_A => payload
                .get(3)
                .is_some_and(|byte| matches!(byte & 0x1f, NAL_SPS | NAL_AUD)),
            FU_A => {
                payload
                    .get(1)
                    .is_some_and(|fu| fu & 0x80 != 0 && matches!(fu & 0x1f, 1 | NAL_IDR))
                    && first_slice(2)
            }
            _ => false,
        }
    }

    fn nal(&mut self, nal: &[u8]) -> Result<(), Broken> {
        match nal_type(nal) {
            0 => Err(Broken),
            NAL_AUD => Ok(()),
            kind @ (NAL_SPS | NAL_PPS) => {
                self.remember(kind, nal);
                Ok(())
            }
            _ => {
                self.begin(nal)?;
                Ok(())
            }
        }
    }

    /// Keeps a parameter set. The first SPS of a picture opens a new list: what came before it is out of date.
    fn remember(&mut self, kind: u8, set: &[u8]) {
        if kind == NAL_SPS && !self.had_sets {
            self.sets.clear();
        }
        self.had_sets = true;
        if self.sets.iter().any(|known| known == set) || set.len() > SET_LEN_MAX {
            return;
        }
        if self.sets.len() >= SETS_MAX {
            self.sets.pop();
        }
        self.sets.push(Bytes::copy_from_slice(set));
    }

    fn begin(&mut self, head: &[u8]) -> Result<(), Broken> {
        match nal_type(head) {
            NAL_IDR => (self.idr, self.slice) = (true, true),
            1..=4 => self.slice = true,
            _ => {}
        }
        self.append(&START_CODE)?;
        self.append(head)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        if self.data.len() + bytes.len() > super::assembler::UNIT_MAX {
            return Err(Broken);
        }
        self.data.put_slice(bytes);
        Ok(())
    }
}

const START_CODE: [u8; 4] = [0, 0, 0, 1];
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
/// One SPS and a few PPS; encoders with more do not exist in WebRTC.
const SETS_MAX: usize = 8;
const SET_LEN_MAX: usize = 1024;
