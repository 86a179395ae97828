//! What the multivariant playlist says of the tracks.

use lockgate_media::FrameRate;

use crate::{
    AudioRendition, Container, Multivariant, Variant,
    track::{Track, Video},
};

/// The multivariant playlist of these tracks.
pub(crate) fn multivariant(container: Container, tracks: &[Track]) -> Multivariant {
    let audio: Vec<_> = tracks
        .iter()
        .filter_map(|track| Some((track, track.audio()?)))
        .collect();
    let codecs = audio
        .first()
        .and_then(|(_, audio)| audio.format.codec_string());
    let bps = |pick: fn(&Track) -> u64| {
        audio
            .iter()
            .map(|(track, _)| pick(track))
            .max()
            .unwrap_or(0)
    };
    let sound = Sound {
        peak_bps: bps(peak_bps),
        average_bps: bps(average_bps),
        codecs,
    };
    let mut variants: Vec<Variant> = tracks
        .iter()
        .filter_map(|track| variant(container, track, track.video()?, &sound))
        .collect();
    variants.sort_by_key(|variant| std::cmp::Reverse(quality(variant)));
    let has_video = tracks.iter().any(|track| track.video().is_some());
    if !has_video {
        variants.extend(audio.iter().filter_map(|(track, audio)| {
            Some(Variant {
                track: track.id.clone(),
                bandwidth_bps: peak_bps(track),
                average_bandwidth_bps: average_bps(track).min(peak_bps(track)),
                codecs: audio.format.codec_string()?,
                resolution: None,
                frame_rate: None,
            })
        }));
    }
    let demuxed = has_video && container == Container::Fmp4;
    let audio = audio
        .iter()
        .filter(|_| demuxed)
        .map(|(track, audio)| AudioRendition {
            track: track.id.clone(),
            channels: audio.format.channels,
        });
    Multivariant {
        container,
        audio: audio.collect(),
        variants,
    }
}

fn variant(container: Container, track: &Track, video: &Video, sound: &Sound) -> Option<Variant> {
    let (sets, info) = video.sets.as_ref()?;
    let measured_with_sound = container == Container::Ts && track.rate.peak_bps().is_some();
    let (peak, average) = if measured_with_sound {
        (0, 0)
    } else {
        (sound.peak_bps, sound.average_bps)
    };
    let bandwidth_bps = peak_bps(track) + peak;
    Some(Variant {
        track: track.id.clone(),
        bandwidth_bps,
        average_bandwidth_bps: (average_bps(track) + average).min(bandwidth_bps),
        codecs: [Some(sets.codec_string()), sound.codecs.clone()]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(","),
        resolution: Some((info.width, info.height)),
        frame_rate: frame_rate(track, video),
    })
}

/// Frames a second to list.
pub(crate) fn frame_rate(track: &Track, video: &Video) -> Option<f64> {
    let told = video.sets.as_ref().and_then(|(_, info)| info.frame_rate);
    let nominal = video.format.frame_rate.or(told).map(FrameRate::fps);
    match (track.rate.fps(), nominal) {
        // A segment's worth of frames is not an exact measure; a nominal rate near it is.
        (Some(measured), Some(nominal)) if (measured - nominal).abs() > nominal / 10.0 => {
            Some(measured)
        }
        (measured, nominal) => nominal.or(measured),
    }
}

/// What all variants say about audio.
struct Sound {
    peak_bps: u64,
    average_bps: u64,
    codecs: Option<String>,
}

/// Peak bitrate to list: measured, or declared with a quarter of headroom for an encoder's rate control and the
/// container, whichever is more.
pub(crate) fn peak_bps(track: &Track) -> u64 {
    let declared = track
        .declared_bps
        .map(|declared| declared.saturating_add(declared / 4));
    round_up(
        track
            .rate
            .peak_bps()
            .max(declared)
            .unwrap_or_else(|| guess_bps(track)),
    )
}

fn average_bps(track: &Track) -> u64 {
    round_up(
        track
            .rate
            .average_bps()
            .or(track.declared_bps)
            .unwrap_or_else(|| guess_bps(track)),
    )
}

/// A tenth of a bit for each pixel, until there is anything to go by.
fn guess_bps(track: &Track) -> u64 {
    match track.video().and_then(|video| video.sets.as_ref()) {
        Some((_, info)) => u64::from(info.width) * u64::from(info.height) * 3,
        None => 128_000,
    }
}

fn round_up(bps: u64) -> u64 {
    bps.div_ceil(1_000).saturating_mul(1_000)
}

/// Best first: size, then frame rate, then bitrate.
fn quality(variant: &Variant) -> (u64, u64, u64) {
    let (width, height) = variant.resolution.unwrap_or((0, 0));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a frame rate; `as` saturates"
    )]
    let millifps = (variant.frame_rate.unwrap_or(0.0) * 1_000.0) as u64;
    (
        u64::from(width) * u64::from(height),
        millifps,
        variant.bandwidth_bps,
    )
}
