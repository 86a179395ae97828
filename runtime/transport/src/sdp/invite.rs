//! Offers of our own, for those that only ever answer (RFC 3264 §5): sections in which we send.

use lockgate_media::VideoCodec;
use lockgate_ports::SignalError;

use super::{
    answer::write_candidates,
    codecs::OfferedCodec,
    extension::Numbers,
    offer::{Media, Offer, Section},
    purpose::Purpose,
    section::{Ours, Said, line, write_head, write_section},
};

/// The sections of an offer: so many for video, then so many for audio, named by their places.
pub(crate) fn invited(video: usize, audio: usize) -> Vec<Section> {
    (0..video + audio)
        .map(|at| {
            let is_video = at < video;
            Section {
                at,
                mid: Some(at.to_string()),
                sends: false,
                receives: true,
                media: if is_video { pictures() } else { sound() },
                numbers: Numbers {
                    transport_wide: Some(3),
                    playout: is_video.then_some(5),
                    level: None,
                },
            }
        })
        .collect()
}

/// Writes the offer.
pub(crate) fn invitation(sections: &[Section], ours: &Ours<'_>) -> String {
    let mut out = String::with_capacity(1024 + sections.len() * 2048);
    write_head(&mut out, ours);
    let mids: Vec<&str> = sections
        .iter()
        .filter_map(|section| section.mid.as_deref())
        .collect();
    line(
        &mut out,
        format_args!("a=extmap-allow-mixed\r\na=group:BUNDLE {}", mids.join(" ")),
    );
    let said = Said {
        protos: "UDP/TLS/RTP/SAVPF",
        setup: "actpass",
        reduced_size: true,
        feedback: &|_, _| true,
    };
    for (at, (section, source)) in sections.iter().zip(ours.sources).enumerate() {
        write_section(&mut out, ours, section, Some(source), &said);
        if at == 0 {
            write_candidates(&mut out, ours.candidates);
        }
    }
    out
}

/// Reads the answer: as an offer to receive in those of our sections that it takes up.
pub(crate) fn taken_up(answer: &str, sections: &[Section]) -> Result<Offer, SignalError> {
    let mut taken = Offer::check(answer, Purpose::Attend).map_err(of_an_answer)?;
    for section in &mut taken.sections {
        let ours = sections
            .iter()
            .find(|ours| ours.at == section.at && ours.mid == section.mid);
        let agreed = ours.and_then(|ours| common(&ours.media, &section.media));
        let (Some(ours), Some(media)) = (ours, agreed) else {
            return Err(SignalError::Malformed(format!(
                "section {} of the answer is not one of the offer with the same name and formats of it",
                section.at
            )));
        };
        section.media = media;
        let both = |ours: Option<u8>, theirs| ours.filter(|_| ours == theirs);
        section.numbers = Numbers {
            transport_wide: both(ours.numbers.transport_wide, section.numbers.transport_wide),
            playout: both(ours.numbers.playout, section.numbers.playout),
            level: None,
        };
    }
    Ok(taken)
}

/// The formats that both have, by the same numbers (RFC 3264 §6.1).
fn common(ours: &Media, theirs: &Media) -> Option<Media> {
    match (ours, theirs) {
        (Media::Video(ours), Media::Video(theirs)) => {
            let codecs: Vec<_> = theirs
                .iter()
                .filter_map(|codec| {
                    let mut ours = ours.iter();
                    let own = ours.find(|own| {
                        (own.codec, own.payload_type) == (codec.codec, codec.payload_type)
                    })?;
                    let mut codec = codec.clone();
                    codec.rtx = codec.rtx.filter(|rtx| own.rtx == Some(*rtx));
                    Some(codec)
                })
                .collect();
            (!codecs.is_empty()).then_some(Media::Video(codecs))
        }
        (Media::Audio { opus: own, red }, Media::Audio { opus, red: theirs }) => {
            let red = theirs.clone().filter(|theirs| {
                let number = red.as_ref().map(|red| red.payload_type);
                number == Some(theirs.payload_type)
            });
            (own.payload_type == opus.payload_type).then(|| Media::Audio {
                opus: opus.clone(),
                red,
            })
        }
        _ => None,
    }
}

/// The same rules hold for it; only the name differs.
fn of_an_answer(error: SignalError) -> SignalError {
    let renamed = |text: String| text.replace("the offer", "the answer");
    match error {
        SignalError::Malformed(text) => SignalError::Malformed(renamed(text)),
        SignalError::Unsupported(text) => SignalError::Unsupported(renamed(text)),
        other => other,
    }
}

/// What every browser decodes of what comes in, best first, by the numbers that Chromium has for them.
fn pictures() -> Media {
    let codec = |codec, payload_type, fmtp: &str| OfferedCodec {
        codec,
        payload_type,
        fmtp: fmtp.to_owned(),
        rtx: Some(payload_type + 1),
    };
    Media::Video(vec![
        codec(
            VideoCodec::H264,
            102,
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        ),
        codec(VideoCodec::Vp8, 96, ""),
        codec(VideoCodec::Vp9, 98, "profile-id=0"),
        codec(VideoCodec::Av1, 45, "level-idx=5;profile=0;tier=0"),
    ])
}

fn sound() -> Media {
    let codec = |payload_type, fmtp: &str| OfferedCodec {
        codec: (),
        payload_type,
        fmtp: fmtp.to_owned(),
        rtx: None,
    };
    Media::Audio {
        opus: codec(111, "minptime=10;useinbandfec=1"),
        red: Some(codec(63, "111/111")),
    }
}
