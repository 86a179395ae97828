//! Reads back what was written: boxes through `mp4-atom`, playlists through `m3u8-rs`.

use mp4_atom::{Any, DecodeMaybe, Moof, Moov, TrunSamples};

use crate::{Rendition, Segment};

/// What a fragment says about its samples.
#[derive(Debug)]
pub(super) struct Fragment {
    pub(super) sequence: u32,
    pub(super) base: u64,
    pub(super) durations: Vec<u32>,
    pub(super) keyframes: Vec<bool>,
    pub(super) offsets: Vec<i64>,
    pub(super) sizes: Vec<u32>,
}

impl Fragment {
    pub(super) fn end(&self) -> u64 {
        self.base
            + self
                .durations
                .iter()
                .map(|duration| u64::from(*duration))
                .sum::<u64>()
    }
}

/// The fragments of a segment as one; checks that its boxes fill the segment, that samples fill each `mdat`, that times
/// run on, and that each part is one chunk.
pub(super) fn fragment(segment: &Segment) -> Fragment {
    let parts = chunks(&segment.bytes);
    assert_eq!(parts.len(), segment.parts.len());
    let joined: Vec<u8> = segment
        .parts
        .iter()
        .flat_map(|part| part.bytes.to_vec())
        .collect();
    assert_eq!(joined, segment.bytes);
    let mut parts = parts.into_iter();
    let mut whole = parts.next().expect("a chunk");
    for next in parts {
        assert_eq!(next.base, whole.end());
        assert!(next.sequence > whole.sequence);
        whole.durations.extend(next.durations);
        whole.keyframes.extend(next.keyframes);
        whole.offsets.extend(next.offsets);
        whole.sizes.extend(next.sizes);
    }
    whole
}

/// The fragments of a segment or of a part.
pub(super) fn chunks(mut rest: &[u8]) -> Vec<Fragment> {
    let mut kinds = Vec::new();
    let mut moofs: Vec<Moof> = Vec::new();
    let mut chunks = Vec::new();
    while let Some(atom) = Any::decode_maybe(&mut rest).unwrap() {
        kinds.push(atom.kind().to_string());
        match atom {
            Any::Moof(found) => moofs.push(found),
            Any::Mdat(found) => chunks.push(chunk(&moofs[moofs.len() - 1], found.data.len())),
            _ => {}
        }
    }
    assert!(rest.is_empty());
    let pairs = kinds.strip_prefix(&["styp".to_owned()]).unwrap_or(&kinds);
    assert!(
        pairs.chunks(2).all(|pair| pair == ["moof", "mdat"]),
        "{kinds:?}"
    );
    chunks
}

fn chunk(moof: &Moof, media: usize) -> Fragment {
    let [traf] = &moof.traf[..] else {
        panic!("one track")
    };
    assert!(traf.tfhd.default_base_is_moof);
    let [trun] = &traf.trun[..] else {
        panic!("one run")
    };
    let TrunSamples::Explicit(entries) = &trun.samples else {
        panic!("explicit samples")
    };
    let sizes: Vec<u32> = entries.iter().map(|entry| entry.size.unwrap()).collect();
    assert_eq!(sizes.iter().sum::<u32>() as usize, media);
    Fragment {
        sequence: moof.mfhd.sequence_number,
        base: traf.tfdt.as_ref().unwrap().base_media_decode_time,
        durations: entries
            .iter()
            .map(|entry| entry.duration.unwrap())
            .collect(),
        keyframes: entries
            .iter()
            .map(|entry| entry.flags.is_none_or(|flags| flags & 1 << 16 == 0))
            .collect(),
        offsets: entries.iter().map(|entry| entry.cts.unwrap_or(0)).collect(),
        sizes,
    }
}

/// The movie box of an initialization section.
pub(super) fn moov(init: &[u8]) -> Moov {
    let mut rest = init;
    while let Some(atom) = Any::decode_maybe(&mut rest).unwrap() {
        if let Any::Moov(moov) = atom {
            return moov;
        }
    }
    panic!("no moov")
}

/// What another parser makes of a media playlist, checked against what it was made from.
pub(super) fn check_playlist(rendition: &Rendition) -> m3u8_rs::MediaPlaylist {
    let text = rendition.playlist(Some("token=t"));
    let (rest, parsed) = m3u8_rs::parse_media_playlist(text.as_bytes()).unwrap();
    assert!(
        rest.is_empty(),
        "left over: {:?}",
        String::from_utf8_lossy(rest)
    );
    assert_eq!(parsed.segments.len(), rendition.segments.len());
    assert_eq!(parsed.end_list, rendition.ended);
    assert_eq!(
        parsed.target_duration,
        u64::from(rendition.target_duration_s)
    );
    for (at, (read, made)) in parsed.segments.iter().zip(&rendition.segments).enumerate() {
        // RFC 8216 §6.2.1: a segment's number is its place.
        assert_eq!(made.number, parsed.media_sequence + at as u64);
        assert_eq!(
            read.uri,
            format!(
                "segment_{}.{}?token=t",
                made.number,
                rendition.container.extension()
            )
        );
        assert!((f64::from(read.duration) - made.duration_90k as f64 / 90_000.0).abs() < 1e-4);
        assert!(
            f64::from(read.duration).round() <= parsed.target_duration as f64,
            "{read:?}"
        );
        assert!(read.program_date_time.is_some());
        if at > 0 {
            let broke = made.discontinuity > rendition.segments[at - 1].discontinuity;
            assert_eq!(read.discontinuity, broke);
        }
    }
    assert_eq!(
        parsed.discontinuity_sequence,
        rendition
            .segments
            .first()
            .map_or(0, |first| first.discontinuity)
    );
    parsed
}
