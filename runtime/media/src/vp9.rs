//! The little of VP9 that forwarding needs: keyframes, sizes, and which pictures nothing refers to.
//!
//! Sections are those of the *VP9 Bitstream & Decoding Process Specification*, version 0.6.

use bytes::{BufMut, Bytes, BytesMut};

use crate::bits::Bits;

/// What the uncompressed header (§6.2) of one frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    keyframe: bool,
    /// Width and height in pixels, where it states them.
    size: Option<(u32, u32)>,
    /// Whether it changes anything that a later frame reads.
    refers_on: bool,
}

/// Whether a picture is a keyframe: its lowest spatial layer is one. An empty or broken one is not.
pub fn is_keyframe(picture: &[u8]) -> bool {
    frames(picture)
        .next()
        .and_then(header)
        .is_some_and(|header| header.keyframe)
}

/// Width and height in pixels of a keyframe, of its largest spatial layer; `None` for other pictures and broken ones.
pub fn dimensions(keyframe: &[u8]) -> Option<(u32, u32)> {
    if !is_keyframe(keyframe) {
        return None;
    }
    frames(keyframe)
        .filter_map(|frame| header(frame)?.size)
        .max_by_key(|(width, height)| u64::from(*width) * u64::from(*height))
}

/// Whether no other picture refers to this one: it keeps neither pixels nor probabilities for later (§7.2). What
/// cannot be read counts as referred to.
pub fn is_discardable(picture: &[u8]) -> bool {
    let mut frames = frames(picture).peekable();
    frames.peek().is_some()
        && frames.all(|frame| header(frame).is_some_and(|header| !header.refers_on))
}

/// The frames of a superframe (Annex B), or the one frame that there is.
pub fn frames(picture: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut index = superframe_index(picture).unwrap_or(Index {
        sizes: &[],
        size_len: 1,
        whole: picture.len(),
    });
    let mut rest = picture;
    std::iter::from_fn(move || {
        let size = match index.sizes.split_at_checked(index.size_len) {
            Some((size, sizes)) => {
                index.sizes = sizes;
                number(size)
            }
            None => std::mem::take(&mut index.whole),
        };
        let (frame, tail) = rest.split_at_checked(size)?;
        rest = tail;
        // A frame of no bytes says "as before"; there is nothing in it to look at.
        (!frame.is_empty()).then_some(frame)
    })
}

/// Joins the frames of the spatial layers of one picture, each given by where it ends, into a superframe (Annex B).
/// Up to eight; a single frame stays as it is.
pub fn superframe(mut frames: BytesMut, ends: &[usize]) -> Bytes {
    let Ok(count) = u8::try_from(ends.len().min(FRAMES_MAX)) else {
        return frames.freeze();
    };
    if count < 2 || superframe_index(&frames).is_some() {
        return frames.freeze();
    }
    // Sizes of four bytes, lowest first.
    let head = 0b1100_0000 | 3 << 3 | (count - 1);
    frames.put_u8(head);
    let mut start = 0;
    for (at, end) in (1..).zip(ends.iter().take(FRAMES_MAX)) {
        let end = if at == count {
            ends.last().unwrap_or(end)
        } else {
            end
        };
        frames.put_u32_le(u32::try_from(end - start).unwrap_or(u32::MAX));
        start = *end;
    }
    frames.put_u8(head);
    frames.freeze()
}

/// The RFC 6381 string `vp09.PP.LL.DD` of profile 0, with the level that the size of the picture asks for.
pub(crate) fn codec_string(width: u32, height: u32) -> String {
    let pixels = u64::from(width) * u64::from(height);
    let level = LEVELS
        .iter()
        .find(|(_, most)| pixels <= *most)
        .map_or(62, |(level, _)| *level);
    format!("vp09.00.{level}.08")
}

struct Index<'a> {
    sizes: &'a [u8],
    size_len: usize,
    /// Bytes of the only frame, where there is no index.
    whole: usize,
}

fn superframe_index(picture: &[u8]) -> Option<Index<'_>> {
    let last = *picture.last()?;
    if last & 0xe0 != 0xc0 {
        return None;
    }
    let (count, size_len) = (usize::from(last & 7) + 1, usize::from(last >> 3 & 3) + 1);
    let index = picture.get(picture.len().checked_sub(2 + count * size_len)?..)?;
    if index.first() != Some(&last) {
        return None;
    }
    Some(Index {
        sizes: index.get(1..index.len() - 1)?,
        size_len,
        whole: 0,
    })
}

fn number(little_endian: &[u8]) -> usize {
    little_endian
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | usize::from(*byte))
}

fn header(frame: &[u8]) -> Option<Header> {
    let mut bits = Bits::new(frame);
    if bits.take(2)? != 2 {
        return None;
    }
    let profile = bits.take(1)? | bits.take(1)? << 1;
    if profile == 3 {
        bits.skip(1)?;
    }
    if bits.flag()? {
        // show_existing_frame: nothing is coded.
        return Some(Header {
            keyframe: false,
            size: None,
            refers_on: false,
        });
    }
    let keyframe = !bits.flag()?;
    let shown = bits.flag()?;
    let resilient = bits.flag()?;
    if keyframe {
        sync_code(&mut bits)?;
        color_config(&mut bits, profile)?;
        return Some(Header {
            keyframe: true,
            size: Some(frame_size(&mut bits)?),
            refers_on: true,
        });
    }
    let intra_only = !shown && bits.flag()?;
    if !resilient {
        bits.skip(2)?; // reset_frame_context
    }
    let (refreshes, size);
    if intra_only {
        sync_code(&mut bits)?;
        if profile > 0 {
            color_config(&mut bits, profile)?;
        }
        refreshes = bits.take(8)? != 0;
        size = Some(frame_size(&mut bits)?);
    } else {
        refreshes = bits.take(8)? != 0;
        bits.skip(3 * 4)?; // three references with their signs
        let mut found = false;
        for _ in 0..3 {
            found = bits.flag()?;
            if found {
                break;
            }
        }
        size = if found {
            render_size(&mut bits)?;
            None
        } else {
            Some(frame_size(&mut bits)?)
        };
        bits.skip(1)?; // allow_high_precision_mv
        if !bits.flag()? {
            bits.skip(2)?; // raw_interpolation_filter
        }
    }
    let keeps_probabilities = !resilient && bits.flag()?;
    Some(Header {
        keyframe: false,
        size,
        refers_on: refreshes || keeps_probabilities,
    })
}

fn sync_code(bits: &mut Bits<'_>) -> Option<()> {
    (bits.take(24)? == 0x49_8342).then_some(())
}

fn color_config(bits: &mut Bits<'_>, profile: u32) -> Option<()> {
    if profile >= 2 {
        bits.skip(1)?; // ten_or_twelve_bit
    }
    let is_rgb = bits.take(3)? == 7;
    let subsampled = profile & 1 == 1;
    match (is_rgb, subsampled) {
        (false, true) => bits.skip(4),
        (true, false) => Some(()),
        _ => bits.skip(1),
    }
}

/// The size in which a frame is coded, with the size in which it is shown passed over.
fn frame_size(bits: &mut Bits<'_>) -> Option<(u32, u32)> {
    let size = (bits.take(16)? + 1, bits.take(16)? + 1);
    render_size(bits)?;
    Some(size)
}

fn render_size(bits: &mut Bits<'_>) -> Option<()> {
    if bits.flag()? {
        bits.skip(32)
    } else {
        Some(())
    }
}

const FRAMES_MAX: usize = 8;
/// Annex A: levels ×10 and the most pixels of a picture.
const LEVELS: [(u32, u64); 9] = [
    (10, 36_864),
    (11, 73_728),
    (20, 122_880),
    (21, 245_760),
    (30, 552_960),
    (31, 983_040),
    (40, 2_228_224),
    (50, 8_912_896),
    (60, 35_651_584),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// libvpx, 640x360, first frame, cut after its header.
    const KEYFRAME: [u8; 12] = [
        0x82, 0x49, 0x83, 0x42, 0x00, 0x27, 0xf0, 0x16, 0x76, 0x00, 0x38, 0x24,
    ];

    #[test]
    fn a_keyframe_tells_its_size() {
        assert!(is_keyframe(&KEYFRAME));
        assert_eq!(dimensions(&KEYFRAME), Some((640, 360)));
        assert!(!is_discardable(&KEYFRAME));
        assert!(!is_keyframe(&[]));
        assert!(!is_discardable(&[]));
        assert_eq!(dimensions(&KEYFRAME[..7]), None);
        assert_eq!(codec_string(640, 360), "vp09.00.21.08");
        assert_eq!(codec_string(1920, 1080), "vp09.00.40.08");
    }

    /// libvpx with two temporal layers, 96x64; what is expected is what FFmpeg's `trace_headers` reads in it.
    #[test]
    fn the_upper_temporal_layer_of_libvpx_can_be_left_out() {
        let pictures = crate::ivf(include_bytes!("../vectors/vp9.ivf"));
        assert_eq!(pictures.len(), 9);
        for (at, picture) in pictures.iter().enumerate() {
            assert_eq!(is_keyframe(picture), at == 0);
            assert_eq!(is_discardable(picture), at % 2 == 1, "picture {at}");
            assert_eq!(dimensions(picture), (at == 0).then_some((96, 64)));
        }
    }

    /// An inter frame with these refresh flags, of 1.0.0.0 references, size as its first reference.
    fn inter(resilient: bool, refresh: u8, keeps_probabilities: bool) -> Vec<u8> {
        let mut bits = vec![1, 0, 0, 0, 0, 1, 1, u8::from(resilient)];
        if !resilient {
            bits.extend([0, 0]);
        }
        bits.extend((0..8).rev().map(|at| refresh >> at & 1));
        bits.extend([0; 12]);
        bits.extend([1, 0, 0, 1]);
        if !resilient {
            bits.extend([u8::from(keeps_probabilities), 1]);
        }
        bits.extend([0; 16]);
        bits.chunks_exact(8)
            .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | bit))
            .collect()
    }

    #[test]
    fn what_nothing_refers_to_is_known() {
        assert!(is_discardable(&inter(true, 0, false)));
        assert!(is_discardable(&inter(false, 0, false)));
        assert!(!is_discardable(&inter(false, 0, true)));
        assert!(!is_discardable(&inter(true, 2, false)));
        assert!(!is_keyframe(&inter(true, 0, false)));
        assert_eq!(dimensions(&inter(true, 1, false)), None);
    }

    #[test]
    fn layers_become_a_superframe_and_come_apart_again() {
        let mut larger = KEYFRAME;
        larger[5] = 0x4f; // 1272 wide: not a size anyone has, but larger
        let mut joined = BytesMut::from(&KEYFRAME[..]);
        joined.extend_from_slice(&larger);
        let picture = superframe(joined, &[KEYFRAME.len(), 2 * KEYFRAME.len()]);
        assert_eq!(frames(&picture).collect::<Vec<_>>(), [KEYFRAME, larger]);
        assert!(is_keyframe(&picture));
        assert!(dimensions(&picture).unwrap().0 > 640);
        let again = superframe(BytesMut::from(&picture[..]), &[3, picture.len()]);
        assert_eq!(again, picture, "an index is not written twice");
        let alone = superframe(BytesMut::from(&KEYFRAME[..]), &[KEYFRAME.len()]);
        assert_eq!(&alone[..], KEYFRAME);
    }

    proptest! {
        #[test]
        fn no_bytes_at_all_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = (is_keyframe(&bytes), dimensions(&bytes), is_discardable(&bytes), frames(&bytes).count());
        }
    }
}
