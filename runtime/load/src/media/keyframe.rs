//! Where a keyframe begins, by codec; the frame is decrypted, not decoded.

/// A video codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    H264,
    Vp8,
    Vp9,
    Av1,
}

impl Codec {
    /// By its name in `a=rtpmap`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "H264" => Some(Self::H264),
            "VP8" => Some(Self::Vp8),
            "VP9" => Some(Self::Vp9),
            "AV1" => Some(Self::Av1),
            _ => None,
        }
    }

    /// Whether a payload is the beginning of a keyframe.
    pub(crate) fn begins_keyframe(self, payload: &[u8]) -> bool {
        let &[first, ref rest @ ..] = payload else {
            return false;
        };
        match self {
            Self::H264 => h264(first, rest),
            // RFC 7741 §4.2 and §4.3: the first partition starts here, and its inverse key frame flag is 0.
            Self::Vp8 => {
                first & 0x1f == 0x10 && vp8_frame(first, rest).is_some_and(|head| head & 1 == 0)
            }
            // RFC 9628 §4.2: not predicted from another frame, and the beginning of one.
            Self::Vp9 => first & 0x48 == 0x08,
            // The RTP payload format for AV1 §4.4: the first packet of a coded video sequence.
            Self::Av1 => first & 0x08 != 0,
        }
    }
}

/// RFC 6184 §5: an IDR slice or a sequence parameter set, alone, in a STAP-A, or in the first FU-A.
fn h264(first: u8, rest: &[u8]) -> bool {
    let is_key = |head: u8| matches!(head & 0x1f, 5 | 7);
    match first & 0x1f {
        24 => {
            let mut rest = rest;
            while let Some((len, tail)) = rest.split_first_chunk::<2>() {
                let len = usize::from(u16::from_be_bytes(*len));
                if tail.first().is_some_and(|head| is_key(*head)) {
                    return true;
                }
                rest = tail.get(len..).unwrap_or_default();
            }
            false
        }
        28 => rest.first().is_some_and(|fu| fu & 0x80 != 0 && is_key(*fu)),
        _ => is_key(first),
    }
}

/// The first byte of the frame behind a VP8 descriptor.
fn vp8_frame(first: u8, rest: &[u8]) -> Option<u8> {
    let mut at = 0;
    if first & 0x80 != 0 {
        let extended = rest.first()?;
        at += 1;
        if extended & 0x80 != 0 {
            at += if rest.get(at)? & 0x80 != 0 { 2 } else { 1 };
        }
        at += usize::from(extended & 0x40 != 0);
        at += usize::from(extended & 0x30 != 0);
    }
    rest.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyframes_of_each_codec_are_told() {
        let is = Codec::begins_keyframe;
        assert!(is(Codec::H264, &[0x65, 1]) && is(Codec::H264, &[0x7c, 0x85, 1]));
        assert!(is(Codec::H264, &[0x78, 0, 2, 0x68, 1, 0, 2, 0x67, 1]));
        assert!(!is(Codec::H264, &[0x41, 1]) && !is(Codec::H264, &[0x7c, 0x05, 1]));
        assert!(is(Codec::Vp8, &[0x10, 0x00]) && is(Codec::Vp8, &[0x90, 0x80, 0x81, 2, 0x10]));
        assert!(!is(Codec::Vp8, &[0x10, 0x01]) && !is(Codec::Vp8, &[0x00, 0x00]));
        assert!(is(Codec::Vp9, &[0x8a]) && !is(Codec::Vp9, &[0xca]));
        assert!(is(Codec::Av1, &[0x18]) && !is(Codec::Av1, &[0x10]));
        assert!(!is(Codec::H264, &[]));
    }
}
