//! What a ladder costs: CPU seconds per second of media, unpaced, for a file and some rungs.
//!
//! ```sh
//! cargo run --release -p lockgate-transcode --example ladder-cost -- clip.mp4 superfast 1280x720@30:2500 854x480@30:1000
//! ```
//!
//! The same work by the `ffmpeg` command, to compare with: `-filter_complex split` with a `scale` for each rung, and
//! for each `-c:v libx264 -preset P -tune zerolatency -profile:v baseline -threads 1` with the same rates and GOP.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it is a report for a terminal")]

use std::{process::ExitCode, time::Instant};

use lockgate_media::{Rung, TrackId};
use lockgate_ports::transcoder::{Input, Plan, Settings};
use lockgate_transcode::cost::{self, Cost};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(url), Some(preset)) = (args.next(), args.next()) else {
        println!("usage: ladder-cost FILE|demo PRESET WIDTHxHEIGHT@FPS:KBPS…");
        return ExitCode::FAILURE;
    };
    let rungs: Vec<Rung> = args.filter_map(|text| rung(&text)).collect();
    let input = match url.as_str() {
        "demo" => Input::Demo {
            width: 1280,
            height: 720,
            fps: 30,
        },
        _ => Input::Url { url, looped: false },
    };
    let settings = Settings {
        encoder: "libx264".to_owned(),
        preset,
        gop_s: 2,
        on_demand: false,
        opus_bps: 96_000,
        aac_bps: 128_000,
        protocols: vec!["file".to_owned()],
        hosts: Vec::new(),
    };
    let plan = Plan {
        rungs,
        passthrough: false,
    };
    let began = Instant::now();
    match cost::measure(input, settings, plan) {
        Ok(Cost {
            media_s,
            cpu_s,
            tracks,
        }) => {
            println!(
                "{media_s:.2} s of media, {cpu_s:.2} CPU s, {:.4} CPU s per s of media",
                cpu_s / media_s
            );
            println!("{:.2}× real time", media_s / began.elapsed().as_secs_f64());
            for track in tracks {
                let kbps = track.bytes as f64 * 8.0 / 1000.0 / media_s;
                println!(
                    "track {:#05x}: {} units, {} keyframes, {kbps:.0} kbit/s",
                    track.number, track.units, track.keyframes
                );
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// `WIDTHxHEIGHT@FPS:KBPS`.
fn rung(text: &str) -> Option<Rung> {
    let (size, rest) = text.split_once('@')?;
    let (width, height) = size.split_once('x')?;
    let (fps, kbps) = rest.split_once(':')?;
    Some(Rung {
        name: TrackId::new(&format!("{height}p{fps}")).ok()?,
        width: width.parse().ok()?,
        height: height.parse().ok()?,
        fps: fps.parse().ok()?,
        kbps: kbps.parse().ok()?,
    })
}
