//! Writes CMAF (ISO/IEC 23000-19 over ISO/IEC 14496-12): initialization sections and fragments of one track.

use bytes::Bytes;
use lockgate_media::{aac::AudioSpecificConfig, h264};
use mp4_atom::{
    Audio, Avc1, Avcc, AvccExt, Codec, Dinf, Dref, Encode, Esds, FixedPoint, Ftyp, Hdlr, Mdhd,
    Mdia, Mfhd, Minf, Moof, Moov, Mp4a, Mvex, Mvhd, Smhd, Stbl, Stco, Stsd, Styp, Tfdt, Tfhd, Tkhd,
    Traf, Trak, Trex, Trun, TrunEntry, Url, Visual, Vmhd,
    esds::{DecoderConfig, DecoderSpecific, EsDescriptor, SLConfig},
};

use crate::sample::{OFFSET_S, Sample};

/// How samples of a track are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// H.264 from Annex B.
    Video,
    /// Raw AAC frames.
    Audio,
}

/// The initialization section of an H.264 track with the timescale 90000.
pub(crate) fn video_init(sets: &h264::ParameterSets, info: &h264::SpsInfo) -> Option<Bytes> {
    let mut avcc = Avcc::new(&sets.sps, &sets.pps).ok()?;
    // ISO/IEC 14496-15 §5.3.3.1.2: profiles from High on say their chroma format; High itself has 4:2:0 in 8 bits.
    avcc.ext = (info.profile_idc == 100).then(AvccExt::default);
    let (width, height) = (
        u16::try_from(info.width).ok()?,
        u16::try_from(info.height).ok()?,
    );
    let entry = Avc1 {
        visual: Visual {
            data_reference_index: 1,
            width,
            height,
            ..Visual::default()
        },
        avcc,
        ..Avc1::default()
    };
    let track = Track {
        timescale: 90_000,
        handler: b"vide",
        size: (width, height),
        codec: Codec::Avc1(entry),
        defaults: NOT_SYNC,
    };
    track.init()
}

/// The initialization section of an AAC track with its sample rate as timescale.
pub(crate) fn audio_init(
    asc: &AudioSpecificConfig,
    config: &[u8],
    channels: u8,
    bitrate_bps: u64,
) -> Option<Bytes> {
    let bitrate = u32::try_from(bitrate_bps).unwrap_or(0);
    let entry = Mp4a {
        audio: Audio {
            data_reference_index: 1,
            channel_count: u16::from(channels),
            sample_size: 16,
            sample_rate: FixedPoint::from(u16::try_from(asc.sample_rate).unwrap_or(0)),
        },
        esds: Esds {
            es_desc: EsDescriptor {
                es_id: 1,
                dec_config: DecoderConfig {
                    object_type_indication: 0x40, // ISO/IEC 14496-3
                    stream_type: 5,
                    max_bitrate: bitrate,
                    avg_bitrate: bitrate,
                    dec_specific: Some(DecoderSpecific {
                        raw: config.to_vec(),
                        ..DecoderSpecific::default()
                    }),
                    ..DecoderConfig::default()
                },
                sl_config: SLConfig::default(),
                ..EsDescriptor::default()
            },
        },
        btrt: None,
        taic: None,
    };
    let track = Track {
        timescale: asc.sample_rate,
        handler: b"soun",
        size: (0, 0),
        codec: Codec::Mp4a(entry),
        defaults: SYNC,
    };
    track.init()
}

/// The head of a segment's file (ISO/IEC 14496-12 §8.16.2).
pub(crate) fn styp() -> Option<Vec<u8>> {
    encode(&Styp {
        major_brand: b"msdh".into(),
        minor_version: 0,
        compatible_brands: vec![b"msdh".into(), b"msix".into(), b"cmfs".into()],
    })
}

/// One fragment: a `moof` and its `mdat`. `None` if no sample is left or it cannot be written.
pub(crate) fn fragment(
    sequence: u32,
    timescale: u32,
    kind: Kind,
    samples: &[Sample],
) -> Option<Vec<u8>> {
    let first = samples.first()?;
    let base = first
        .dts
        .checked_add(i64::from(timescale) * i64::from(OFFSET_S))?;
    let mut media = Vec::with_capacity(
        samples
            .iter()
            .map(|sample| sample.unit.data.len() + 16)
            .sum(),
    );
    let mut entries = Vec::with_capacity(samples.len());
    let reordered = samples.iter().any(|sample| sample.offset != 0);
    for sample in samples {
        let start = media.len();
        match kind {
            Kind::Video => media.extend_from_slice(&h264::to_avcc(&sample.unit.data, false)),
            Kind::Audio => media.extend_from_slice(&sample.unit.data),
        }
        let flags = if sample.unit.keyframe { SYNC } else { NOT_SYNC };
        entries.push(TrunEntry {
            duration: Some(sample.duration),
            size: Some(u32::try_from(media.len() - start).ok()?),
            flags: (kind == Kind::Video).then_some(flags),
            cts: reordered.then_some(i64::from(sample.offset)),
        });
    }
    let mut moof = Moof {
        mfhd: Mfhd {
            sequence_number: sequence,
        },
        traf: vec![Traf {
            tfhd: Tfhd {
                track_id: TRACK,
                default_base_is_moof: true,
                ..Tfhd::default()
            },
            tfdt: Some(Tfdt {
                base_media_decode_time: u64::try_from(base).ok()?,
            }),
            trun: vec![Trun {
                data_offset: Some(0),
                samples: entries.into(),
            }],
            ..Traf::default()
        }],
    };
    let data_offset = i32::try_from(encode(&moof)?.len() + MDAT_HEADER).ok()?;
    moof.traf.first_mut()?.trun.first_mut()?.data_offset = Some(data_offset);
    let mut out = encode(&moof)?;
    out.extend_from_slice(&u32::try_from(media.len() + MDAT_HEADER).ok()?.to_be_bytes());
    out.extend_from_slice(b"mdat");
    out.extend_from_slice(&media);
    Some(out)
}

struct Track {
    timescale: u32,
    handler: &'static [u8; 4],
    size: (u16, u16),
    codec: Codec,
    defaults: u32,
}

impl Track {
    fn init(self) -> Option<Bytes> {
        let is_video = self.handler == b"vide";
        let ftyp = Ftyp {
            major_brand: b"iso6".into(),
            minor_version: 0,
            compatible_brands: vec![b"iso6".into(), b"cmfc".into(), b"mp41".into()],
        };
        let moov = Moov {
            mvhd: Mvhd {
                timescale: 1_000,
                next_track_id: TRACK + 1,
                ..Mvhd::default()
            },
            mvex: Some(Mvex {
                mehd: None,
                trex: vec![Trex {
                    track_id: TRACK,
                    default_sample_description_index: 1,
                    default_sample_flags: self.defaults,
                    ..Trex::default()
                }],
            }),
            trak: vec![Trak {
                tkhd: Tkhd {
                    track_id: TRACK,
                    enabled: true,
                    in_movie: true,
                    volume: FixedPoint::from(u8::from(!is_video)),
                    width: self.size.0.into(),
                    height: self.size.1.into(),
                    ..Tkhd::default()
                },
                mdia: Mdia {
                    mdhd: Mdhd {
                        timescale: self.timescale,
                        language: "und".to_owned(),
                        ..Mdhd::default()
                    },
                    hdlr: Hdlr {
                        handler: self.handler.into(),
                        name: String::new(),
                    },
                    minf: Minf {
                        vmhd: is_video.then(Vmhd::default),
                        smhd: (!is_video).then(Smhd::default),
                        dinf: Dinf {
                            dref: Dref {
                                entries: vec![mp4_atom::DrefEntry::Url(Url::default())],
                            },
                        },
                        stbl: Stbl {
                            stsd: Stsd {
                                codecs: vec![self.codec],
                            },
                            stco: Some(Stco::default()),
                            ..Stbl::default()
                        },
                        ..Minf::default()
                    },
                },
                ..Trak::default()
            }],
            ..Moov::default()
        };
        let mut out = encode(&ftyp)?;
        out.extend_from_slice(&encode(&moov)?);
        Some(Bytes::from(out))
    }
}

fn encode(atom: &impl Encode) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    atom.encode(&mut out).ok()?;
    Some(out)
}

const TRACK: u32 = 1;
const MDAT_HEADER: usize = 8;
/// `sample_depends_on` 2: this one needs no other (ISO/IEC 14496-12 §8.8.3.1).
const SYNC: u32 = 2 << 24;
/// `sample_depends_on` 1 and `sample_is_non_sync_sample`.
const NOT_SYNC: u32 = 1 << 24 | 1 << 16;
