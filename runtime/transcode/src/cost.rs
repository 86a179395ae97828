//! Runs the worker's pipeline inside this process, unpaced, and counts what it costs. For measurements only.

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc::sync_channel},
};

use lockgate_ports::transcoder::{Input, Plan, Settings};

use crate::{
    meter::cpu_s,
    out::{Message, Out},
    pipeline::{Desk, Inbound, Switchboard},
    wire::{Start, ToParent, ToWorker, Work, numbers},
    worker,
};

/// What a ladder cost.
#[derive(Debug, Clone, Default)]
pub struct Cost {
    /// Media encoded, in s.
    pub media_s: f64,
    /// User and system CPU seconds of this process meanwhile.
    pub cpu_s: f64,
    /// What came out.
    pub tracks: Vec<Track>,
}

/// What came out of one encoder.
#[derive(Debug, Clone, Copy, Default)]
pub struct Track {
    /// The number of the rung, or 256 and more for source, AAC and Opus.
    pub number: u16,
    /// Access units.
    pub units: u64,
    /// Of those, keyframes.
    pub keyframes: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Encodes a source as fast as it goes; the demo for ten seconds.
pub fn measure(input: Input, settings: Settings, plan: Plan) -> Result<Cost, String> {
    let before_s = cpu_s();
    let (out, messages) = Out::new();
    let (to_media, inbound) = sync_channel(4);
    let wanted = vec![true; plan.rungs.len()];
    let work = Work {
        tracks: numbers(&plan),
        plan,
        start_pts_90k: 0,
        zero_unix_us: 0,
        wanted,
        video_from_90k: None,
        not_before_90k: 0,
    };
    to_media
        .send(Inbound::Control(ToWorker::Plan(work)))
        .map_err(|error| error.to_string())?;
    let desk = Desk {
        stream: crate::stream::Pipe::default(),
        inbound,
        switchboard: Arc::new(Switchboard::default()),
        out,
    };
    let start = Start {
        input,
        settings,
        peer_video: None,
        peer_audio: false,
        paced: false,
        offline: false,
        container: None,
    };
    let media = std::thread::spawn(move || {
        ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Error);
        match worker::drive(&desk, &start, Some(DEMO_FRAMES)) {
            Ok(()) => desk.out.end(),
            Err(error) => desk.out.fail(error.to_string(), true),
        }
    });
    let mut tracks: BTreeMap<u16, Track> = BTreeMap::new();
    let (mut first_90k, mut last_90k) = (i64::MAX, i64::MIN);
    for message in messages {
        match message {
            Message::Unit(unit) => {
                first_90k = first_90k.min(unit.pts_90k);
                last_90k = last_90k.max(unit.pts_90k + i64::from(unit.duration_90k));
                let track = tracks.entry(unit.track).or_default();
                track.number = unit.track;
                track.units += 1;
                track.keyframes += u64::from(unit.keyframe);
                track.bytes += unit.data.len() as u64;
            }
            Message::Control(ToParent::Error { text, .. }) => return Err(text),
            Message::Control(_) => {}
            Message::Last => break,
        }
    }
    media.join().ok();
    Ok(Cost {
        media_s: last_90k.saturating_sub(first_90k).max(0) as f64 / 90_000.0,
        cpu_s: cpu_s() - before_s,
        tracks: tracks.into_values().collect(),
    })
}

/// Ten seconds of 30 frames.
const DEMO_FRAMES: u64 = 300;
