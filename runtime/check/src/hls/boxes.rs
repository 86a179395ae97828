//! Reads of ISO/IEC 14496-12 what the rules speak of: times, keyframes and how many fragments there are.

/// What an initialization section says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Init {
    pub(super) timescale: u32,
    pub(super) is_video: bool,
    /// RFC 6381, of H.264 only.
    pub(super) codec: Option<String>,
    duration: u32,
    flags: u32,
}

/// What a fragment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fragment {
    pub(super) base: u64,
    pub(super) duration: u64,
    pub(super) starts_with_keyframe: bool,
    pub(super) has_keyframe: bool,
    /// The earliest presentation time.
    pub(super) earliest: i64,
}

/// The boxes of some bytes: type and content. Ends where they make no sense.
fn boxes(mut rest: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (head, _) = rest.split_at_checked(8)?;
        let size = usize::try_from(u32::from_be_bytes(head[..4].try_into().ok()?)).ok()?;
        let size = if size == 0 { rest.len() } else { size };
        let (whole, after) = rest.split_at_checked(size)?;
        let content = whole.get(8..)?;
        rest = after;
        Some((&head[4..], content))
    })
}

fn find<'a>(content: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    let Some((first, rest)) = path.split_first() else {
        return Some(content);
    };
    let (_, inner) = boxes(content).find(|(kind, _)| kind == first)?;
    find(inner, rest)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

impl Init {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let moov = find(bytes, &[b"moov"])?;
        let mdia = find(moov, &[b"trak", b"mdia"])?;
        let mdhd = find(mdia, &[b"mdhd"])?;
        let timescale = word(mdhd, if mdhd.first() == Some(&1) { 20 } else { 12 })?;
        let is_video = find(mdia, &[b"hdlr"])?.get(8..12) == Some(b"vide");
        let trex = find(moov, &[b"mvex", b"trex"])?;
        let stsd = find(mdia, &[b"minf", b"stbl", b"stsd"])?;
        let (kind, entry) = boxes(stsd.get(8..)?).next()?;
        let codec = (kind == b"avc1" || kind == b"avc3").then(|| {
            let avcc = find(entry.get(78..)?, &[b"avcC"])?;
            let [_, profile, compatible, level, ..] = avcc else {
                return None;
            };
            let kind = String::from_utf8_lossy(kind);
            Some(format!("{kind}.{profile:02x}{compatible:02x}{level:02x}"))
        });
        Some(Self {
            timescale,
            is_video,
            codec: codec.flatten(),
            duration: word(trex, 12)?,
            flags: word(trex, 20)?,
        })
    }
}

/// The fragments of a segment or part. `None` if its boxes are no sequence of a `moof` and its `mdat`.
pub(super) fn fragments(bytes: &[u8], init: &Init) -> Option<Vec<Fragment>> {
    let mut found = Vec::new();
    let mut length = 0;
    let mut open = false;
    for (kind, content) in boxes(bytes) {
        length += content.len() + 8;
        match kind {
            b"moof" if open => return None,
            b"moof" => {
                found.push(fragment(content, init)?);
                open = true;
            }
            b"mdat" if !open => return None,
            b"mdat" => open = false,
            _ => {}
        }
    }
    (length == bytes.len() && !open && !found.is_empty()).then_some(found)
}

fn fragment(moof: &[u8], init: &Init) -> Option<Fragment> {
    let traf = find(moof, &[b"traf"])?;
    let tfdt = find(traf, &[b"tfdt"])?;
    let base = match tfdt.first()? {
        1 => u64::from(word(tfdt, 4)?) << 32 | u64::from(word(tfdt, 8)?),
        _ => word(tfdt, 4)?.into(),
    };
    let tfhd = find(traf, &[b"tfhd"])?;
    let has = word(tfhd, 0)? & 0xff_ffff;
    let mut at = 8;
    let mut optional = |bit: u32, bytes: usize| {
        let value = (has & bit != 0).then(|| word(tfhd, at)).flatten();
        at += if has & bit != 0 { bytes } else { 0 };
        value
    };
    optional(0x1, 8);
    optional(0x2, 4);
    let duration = optional(0x8, 4).unwrap_or(init.duration);
    optional(0x10, 4);
    let flags = optional(0x20, 4).unwrap_or(init.flags);
    let mut one = Fragment {
        base,
        duration: 0,
        starts_with_keyframe: false,
        has_keyframe: false,
        earliest: i64::MAX,
    };
    let mut first = true;
    for (_, trun) in boxes(traf).filter(|(kind, _)| kind == b"trun") {
        let has = word(trun, 0)? & 0xff_ffff;
        let count = word(trun, 4)?;
        let mut at = 8 + if has & 0x1 == 0 { 0 } else { 4 };
        let first_flags = (has & 0x4 != 0).then(|| word(trun, at)).flatten();
        at += if has & 0x4 == 0 { 0 } else { 4 };
        for sample in 0..count {
            let mut next = |bit: u32| {
                let value = (has & bit != 0).then(|| word(trun, at));
                at += if has & bit == 0 { 0 } else { 4 };
                value
            };
            let lasts = next(0x100).map_or(Some(duration), |value| value)?;
            next(0x200);
            let own = next(0x400).map_or(Some(flags), |value| value)?;
            let offset = next(0x800).map_or(Some(0), |value| value)?;
            let own = first_flags.filter(|_| sample == 0).unwrap_or(own);
            let is_keyframe = own & 0x1_0000 == 0;
            one.has_keyframe |= is_keyframe;
            one.starts_with_keyframe |= first && is_keyframe;
            first = false;
            let decoded = i64::try_from(base + one.duration).unwrap_or(i64::MAX);
            let shown = decoded.saturating_add(offset.cast_signed().into());
            one.earliest = one.earliest.min(shown);
            one.duration += u64::from(lasts);
        }
    }
    Some(one)
}
