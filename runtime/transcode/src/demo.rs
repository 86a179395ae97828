//! The generated source: colour bars, a moving disc, a clock, a frame counter for eyes and one for machines, and a
//! tone with a beep each second while a white block flashes.
//!
//! The frame counter is the frame's number on the broadcast's timeline, `pts · fps / 90000`, so a picture alone tells
//! its media time.

use std::sync::atomic::Ordering;

use ffmpeg_next::{
    color::{Primaries, Range, Space, TransferCharacteristic},
    format::Pixel,
    frame::Video,
};
use lockgate_media::{FrameRate, time::CLOCK_90K};
use lockgate_ports::transcoder::{AudioSource, SourceInfo, VideoSource};

use crate::{
    buffers::Pool,
    code, font,
    pace::Pacer,
    pipeline::{Pipeline, WorkError},
    sound::RATE,
};

/// What the demo of a size is as a source.
pub(crate) fn source((width, height, fps): (u32, u32, u32)) -> Result<SourceInfo, WorkError> {
    if !(64..=8192).contains(&width) || !(64..=8192).contains(&height) || !(1..=240).contains(&fps)
    {
        return Err(WorkError::Source(format!(
            "a demo picture of {width}x{height} at {fps} frames a second is not possible"
        )));
    }
    Ok(SourceInfo {
        container: String::new(),
        video: Some(VideoSource {
            codec: "rawvideo".to_owned(),
            width,
            height,
            frame_rate: FrameRate::new(fps, 1),
            bitrate_bps: None,
            b_frames: false,
            gop_max_s: None,
        }),
        audio: Some(AudioSource {
            codec: "pcm_f32le".to_owned(),
            sample_rate: RATE,
            channels: 2,
        }),
    })
}

/// Draws and sounds until the process ends, or until `frames_max` frames were made.
pub(crate) fn run(
    pipeline: &mut Pipeline,
    (width, height, fps): (u32, u32, u32),
    (start_90k, zero_unix_us): (i64, i64),
    is_paced: bool,
    frames_max: Option<u64>,
) {
    let fps = i64::from(fps.max(1));
    let pts_of = |number: i64| (number * CLOCK_90K).div_euclid(fps);
    let first = (start_90k * fps + CLOCK_90K - 1).div_euclid(CLOCK_90K);
    let picture = Picture::new(width, height);
    let mut pool = Pool::new(Pixel::YUV420P, width, height);
    let mut pacer = Pacer::new(start_90k, is_paced);
    let mut tone_at = sample_at(pts_of(first));
    let (mut number, mut made) = (first, 0u64);
    while frames_max.is_none_or(|max| made < max) {
        let pts_90k = pts_of(number);
        let late_90k = pacer.wait(pts_90k);
        let frame_90k = CLOCK_90K / fps;
        let counts = pipeline.out.counts();
        if late_90k > 3 * frame_90k {
            let missed = late_90k / frame_90k;
            number += missed;
            let missed = u64::try_from(missed).unwrap_or(0);
            counts.source_dropped.fetch_add(missed, Ordering::Relaxed);
            continue;
        }
        counts.media_90k.store(pts_90k, Ordering::Relaxed);
        let wall_us = zero_unix_us + pts_90k * 100 / 9;
        if pipeline.wants_frames() {
            let drawn = pool.fill(|frame| {
                picture.draw(frame, number, wall_us);
                Ok::<(), ()>(())
            });
            if let Ok(Some(frame)) = drawn {
                pipeline.frame(&frame, pts_90k);
            }
        } else {
            pipeline.skip(pts_90k);
        }
        let until = sample_at(pts_of(number + 1));
        if until - tone_at > i64::from(RATE) {
            tone_at = until - i64::from(RATE);
        }
        let tone = tone(tone_at, until, zero_unix_us);
        pipeline.samples(&tone, tone_at * 15 / 8);
        tone_at = until;
        number += 1;
        made += 1;
    }
}

/// The sample at a media time, a multiple of eight so that it has an exact media time itself.
fn sample_at(pts_90k: i64) -> i64 {
    (pts_90k * 8).div_euclid(15).div_euclid(8) * 8
}

/// Samples from one position to another: 1 kHz in the first tenth of each second of the wall clock, else a low hum.
fn tone(from: i64, until: i64, zero_unix_us: i64) -> Vec<f32> {
    (from..until)
        .map(|at| {
            let us = zero_unix_us + at * 125 / 6;
            let (pitch_hz, level) = if is_flash(us) {
                (1000.0, 0.5)
            } else {
                (220.0, 0.03)
            };
            let second = at.rem_euclid(i64::from(RATE)) as f32 / RATE as f32;
            (second * pitch_hz * std::f32::consts::TAU).sin() * level
        })
        .collect()
}

/// Whether beep and flash are on.
fn is_flash(wall_us: i64) -> bool {
    wall_us.rem_euclid(1_000_000) < FLASH_US
}

/// What does not change from frame to frame.
struct Picture {
    width: usize,
    height: usize,
    background: [Vec<u8>; 3],
}

/// A colour as Y′CbCr of BT.709, limited range.
type Colour = [u8; 3];

impl Picture {
    fn new(width: u32, height: u32) -> Self {
        let (width, height) = (width as usize, height as usize);
        let plane = |at: usize| {
            let (columns, rows) = if at == 0 {
                (width, height)
            } else {
                (width.div_ceil(2), height.div_ceil(2))
            };
            let mut plane = Vec::with_capacity(columns * rows);
            for row in 0..rows {
                for column in 0..columns {
                    let colour = if row * 100 < rows * 60 {
                        BARS[column * BARS.len() / columns]
                    } else {
                        [16 + (column * 40 / columns) as u8, 138, 120]
                    };
                    plane.push(colour[at]);
                }
            }
            plane
        };
        Self {
            width,
            height,
            background: [plane(0), plane(1), plane(2)],
        }
    }

    fn draw(&self, frame: &mut Video, number: i64, wall_us: i64) {
        frame.set_color_range(Range::MPEG);
        frame.set_color_space(Space::BT709);
        frame.set_color_primaries(Primaries::BT709);
        frame.set_color_transfer_characteristic(TransferCharacteristic::BT709);
        for (at, background) in self.background.iter().enumerate() {
            let stride = frame.stride(at);
            let columns = frame.plane_width(at) as usize;
            let rows = background.chunks_exact(columns.max(1));
            for (to, from) in frame.data_mut(at).chunks_mut(stride).zip(rows) {
                if let Some(to) = to.get_mut(..from.len()) {
                    to.copy_from_slice(from);
                }
            }
        }
        self.disc(frame, number);
        if is_flash(wall_us) {
            let side = self.height / 6;
            let left = self.width.saturating_sub(side + side / 4);
            rectangle(frame, left, side / 4, left + side, side / 4 + side, WHITE);
        }
        let (hours, minutes, seconds, ms) = {
            let ms = wall_us.div_euclid(1000).rem_euclid(86_400_000);
            (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
        };
        // Small enough for the longest counter beside the clock: 27 letters in fifteen sixteenths of the width.
        let dot =
            (self.width * 15 / 16 / (27 * (font::COLUMNS + 1))).clamp(1, (self.height / 72).max(1));
        let clock = format!("{hours:02}:{minutes:02}:{seconds:02}.{ms:03} UTC");
        text(frame, &clock, self.width / 16, self.height * 62 / 100, dot);
        let left = self.width / 16 + 17 * (font::COLUMNS + 1) * dot;
        let counter = format!("#{number}");
        text(frame, &counter, left, self.height * 62 / 100, dot);
        let coded = u32::try_from(number.rem_euclid(1 << 24)).unwrap_or(0);
        for (cell, is_white) in (0..).zip(code::cells(coded)) {
            let (left, top, right, bottom) =
                code::cell_at(cell, self.width as u32, self.height as u32);
            let [left, top, right, bottom] = [left, top, right, bottom].map(|at| at as usize);
            let colour = if is_white { WHITE } else { BLACK };
            rectangle(frame, left, top, right, bottom, colour);
        }
    }

    /// A disc that goes to and fro over the bars, each way in two seconds of 30 frames.
    fn disc(&self, frame: &mut Video, number: i64) {
        let radius = (self.height / 10).max(2);
        let way = self.width.saturating_sub(2 * radius).max(1);
        let phase = usize::try_from(number.rem_euclid(120)).unwrap_or(0);
        let forth = if phase < 60 { phase } else { 120 - phase };
        let (x, y) = (radius + way * forth / 60, self.height * 3 / 10);
        for row in 0..2 * radius {
            let up = row.abs_diff(radius);
            let half = (radius * radius - up * up).isqrt();
            rectangle(
                frame,
                x - half,
                y + row - radius,
                x + half,
                y + row - radius + 1,
                DISC,
            );
        }
    }
}

/// Fills a rectangle; what lies outside the picture is left out.
fn rectangle(
    frame: &mut Video,
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
    colour: Colour,
) {
    for (plane, value) in colour.into_iter().enumerate() {
        let shift = usize::from(plane > 0);
        let stride = frame.stride(plane);
        let columns = frame.plane_width(plane) as usize;
        let (from, to) = (left >> shift, (right >> shift).min(columns));
        let rows = frame.data_mut(plane).chunks_mut(stride);
        for row in rows
            .skip(top >> shift)
            .take((bottom >> shift).saturating_sub(top >> shift))
        {
            if let Some(row) = row.get_mut(from..to) {
                row.fill(value);
            }
        }
    }
}

/// Writes white letters of `dot` pixels a dot.
fn text(frame: &mut Video, text: &str, left: usize, top: usize, dot: usize) {
    for (at, letter) in text.chars().enumerate() {
        let left = left + at * (font::COLUMNS + 1) * dot;
        for (row, bits) in font::glyph(letter).into_iter().enumerate() {
            for column in 0..font::COLUMNS {
                if bits >> (font::COLUMNS - 1 - column) & 1 == 1 {
                    let (x, y) = (left + column * dot, top + row * dot);
                    rectangle(frame, x, y, x + dot, y + dot, WHITE);
                }
            }
        }
    }
}

const WHITE: Colour = [235, 128, 128];
const BLACK: Colour = [16, 128, 128];
const DISC: Colour = [210, 16, 146];
/// White, yellow, cyan, green, magenta, red and blue at 75 %.
const BARS: [Colour; 7] = [
    [180, 128, 128],
    [168, 44, 136],
    [145, 147, 44],
    [133, 63, 52],
    [63, 193, 204],
    [51, 109, 212],
    [28, 212, 120],
];
/// How long beep and flash last in each second, in µs.
const FLASH_US: i64 = 100_000;
