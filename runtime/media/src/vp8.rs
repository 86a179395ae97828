//! The little of VP8 (RFC 6386 §9.1) that forwarding needs: is it a keyframe, and how large is the picture.

/// Whether a frame is a keyframe. An empty frame is not.
pub fn is_keyframe(frame: &[u8]) -> bool {
    frame.first().is_some_and(|byte| byte & 1 == 0)
}

/// Width and height in pixels from a keyframe's header; `None` for other frames and for broken ones.
pub fn dimensions(frame: &[u8]) -> Option<(u32, u32)> {
    if !is_keyframe(frame) || frame.get(3..6)? != [0x9d, 0x01, 0x2a] {
        return None;
    }
    let side = |at: usize| {
        Some(u32::from(
            u16::from_le_bytes([*frame.get(at)?, *frame.get(at + 1)?]) & 0x3fff,
        ))
    };
    Some((side(6)?, side(8)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyframe_tells_its_size() {
        let frame = [0x50, 0x01, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01];
        assert!(is_keyframe(&frame));
        assert_eq!(dimensions(&frame), Some((640, 360)));
        assert_eq!(dimensions(&frame[..8]), None);
        assert_eq!(dimensions(&[0x51]), None);
        assert!(!is_keyframe(&[]));
    }
}
