//! The generated source through the ladder.

use ffmpeg_next::{codec, color};
use lockgate_broadcast::track::{Role, Start};
use lockgate_media::{TrackId, h264};
use lockgate_ports::transcoder::{Plan, State};
use lockgate_transcode::code;

use crate::support::*;

#[tokio::test]
async fn three_rungs_aac_and_opus_come_out_aligned() {
    let (broadcast, transcode) = start(job(demo(), three_rungs()));
    let mut readers = Vec::new();
    for rung in three_rungs().rungs {
        readers.push((rung.clone(), reader(&broadcast, rung.name.as_str()).await));
    }
    let mut cuts = Vec::new();
    for (rung, reader) in &mut readers {
        let units = read_for(reader, 3 * 90_000).await;
        assert_rising(&units);
        let track = reader.track();
        assert_eq!(track.role(), Role::Rung);
        let format = track.format();
        let format = format.video().unwrap();
        assert_eq!((format.width, format.height), rung.size_for(640, 360));
        assert_eq!(format.bitrate_bps, Some(u64::from(rung.kbps) * 1000));
        assert!(format.codec_string().unwrap().starts_with("avc1.42c0"));
        for unit in &units {
            let nals: Vec<u8> = h264::nals(&unit.data).map(h264::nal_type).collect();
            assert_eq!(unit.keyframe, nals.contains(&h264::NAL_IDR));
            assert_eq!(unit.keyframe, nals.first() == Some(&h264::NAL_SPS));
            assert!(!nals.contains(&h264::NAL_AUD));
            assert_eq!(&unit.data[..4], [0, 0, 0, 1]);
        }
        let fps = (units.len() - 1) as f64 / 3.0;
        assert!(
            (fps - f64::from(rung.fps)).abs() < 1.5,
            "{fps} in {}",
            rung.name
        );
        cuts.push(keyframes(&units));
    }
    // The first picture of each cell is an IDR in every rung, at the same time.
    let last = *cuts.iter().filter_map(|cuts| cuts.last()).min().unwrap();
    for cuts in &mut cuts {
        cuts.retain(|cut| *cut <= last);
        for pair in cuts.windows(2) {
            assert_eq!(pair[1].div_euclid(90_000), pair[0].div_euclid(90_000) + 1);
            assert_eq!(pair[1] % 90_000, 0, "the demo's frames lie on the grid");
        }
    }
    assert!(cuts[0].len() >= 3);
    assert_eq!(cuts[0], cuts[1]);
    assert_eq!(cuts[0], cuts[2]);
    let status = status(&transcode, "a speed", |status| status.speed > 0.0).await;
    assert_eq!(status.state, State::Running);
    assert!((0.7..1.3).contains(&status.speed), "{}", status.speed);
    assert!(status.cpu_s > 0.0 && status.worker_pid.is_some());
    drop(transcode);
    assert!(readers[0].1.take().is_some() || broadcast.tracks().len() < 8);
}

#[tokio::test]
async fn the_frame_counter_survives_the_smallest_rung_and_tells_the_media_time() {
    let (broadcast, _transcode) = start(job(demo(), three_rungs()));
    let mut small = reader(&broadcast, "144p30").await;
    let units = read_for(&mut small, 2 * 90_000).await;
    let frames = decode_video(&units);
    assert_eq!(frames.len(), units.len());
    for (frame, unit) in frames.iter().zip(&units) {
        let number = code::read(
            frame.data(0),
            frame.stride(0),
            frame.width(),
            frame.height(),
        );
        assert_eq!(number.map(i64::from), Some(unit.pts_90k / 3000));
        assert_eq!((frame.width(), frame.height()), (256, 144));
        assert_eq!(frame.color_range(), color::Range::MPEG);
        assert_eq!(frame.color_space(), color::Space::BT709);
        assert_eq!(frame.aspect_ratio().reduce().numerator(), 1);
    }
    // What comes out is live: its time is now, but for the time of encoding.
    let behind = broadcast.origin().pts_now() - units.last().unwrap().pts_90k;
    assert!((-9_000..180_000).contains(&behind), "{behind}");
}

#[tokio::test]
async fn beep_and_flash_come_together_in_aac_and_opus() {
    let plan = Plan {
        rungs: vec![rung("360p30", 640, 360, 30, 600)],
        passthrough: false,
    };
    let (broadcast, _transcode) = start(job(demo(), plan));
    let mut video = reader(&broadcast, "360p30").await;
    let mut opus = reader(&broadcast, "opus").await;
    let mut aac = reader(&broadcast, "aac").await;
    let units = read_for(&mut video, 5 * 90_000 / 2).await;
    let flashes: Vec<i64> = decode_video(&units)
        .windows(2)
        .filter(|pair| !is_flashing(&pair[0]) && is_flashing(&pair[1]))
        .map(|pair| pair[1].timestamp().unwrap())
        .collect();
    assert!(!flashes.is_empty(), "no flash");
    for (reader, id, step) in [
        (&mut opus, codec::Id::OPUS, 1800),
        (&mut aac, codec::Id::AAC, 1920),
    ] {
        let track = reader.track();
        let format = track.format();
        let format = format.audio().unwrap().clone();
        assert_eq!((format.sample_rate, format.channels), (48_000, 2));
        let units = read_for(reader, 5 * 90_000 / 2).await;
        for pair in units.windows(2) {
            assert_eq!(
                pair[1].pts_90k - pair[0].pts_90k,
                step,
                "audio is continuous"
            );
            assert_eq!(i64::from(pair[0].duration_90k), step);
        }
        let beeps = if id == codec::Id::AAC {
            assert_eq!(format.codec_string().as_deref(), Some("mp4a.40.2"));
            beeps(&decode_aac(&units))
        } else {
            beeps(&decode_audio(&units, id))
        };
        assert!(!beeps.is_empty(), "no beep in {id:?}");
        for beep in &beeps {
            let near = flashes.iter().map(|flash| (flash - beep).abs()).min();
            let outside = *beep < units[0].pts_90k + 9_000
                || *beep > *flashes.last().unwrap() + 9_000
                || *beep < flashes[0] - 9_000;
            // A frame and a block of sound: 33 and 21 ms.
            assert!(
                outside || near < Some(5_400),
                "{id:?}: a beep {near:?} from a flash"
            );
        }
    }
}

fn is_flashing(frame: &ffmpeg_next::frame::Video) -> bool {
    let (x, y) = (640 - 360 / 6 / 4 - 30, 360 / 6 / 4 + 30);
    frame.data(0)[y * frame.stride(0) + x] > 210
}

/// AAC needs its configuration; ADTS headers carry it.
fn decode_aac(units: &[std::sync::Arc<lockgate_media::AccessUnit>]) -> Vec<(i64, Vec<f32>)> {
    let config = lockgate_media::aac::AudioSpecificConfig::parse(&[0x11, 0x90]).unwrap();
    let with_headers: Vec<_> = units
        .iter()
        .map(|unit| {
            let mut data = config.adts_header(unit.data.len()).unwrap().to_vec();
            data.extend_from_slice(&unit.data);
            std::sync::Arc::new(lockgate_media::AccessUnit::new(
                unit.pts_90k,
                true,
                data.into(),
            ))
        })
        .collect();
    decode_audio(&with_headers, codec::Id::AAC)
}

/// Where the sound becomes loud.
fn beeps(blocks: &[(i64, Vec<f32>)]) -> Vec<i64> {
    let mut beeps = Vec::new();
    let mut quiet_since = i64::MIN;
    for (start, samples) in blocks {
        for (at, sample) in samples.iter().enumerate() {
            let now = start + at as i64 * 15 / 8;
            if sample.abs() > 0.2 {
                if now - quiet_since > 45_000 && quiet_since != i64::MIN {
                    beeps.push(now);
                }
                quiet_since = now;
            } else if quiet_since == i64::MIN {
                quiet_since = now - 90_000;
            }
        }
    }
    beeps
}

#[tokio::test]
async fn a_rung_nobody_reads_is_not_encoded_and_starts_at_once_when_wanted() {
    let mut job = job(demo(), three_rungs());
    job.settings.on_demand = true;
    let (broadcast, _transcode) = start(job);
    let top = track(&broadcast, "360p30").await;
    let mut small = reader(&broadcast, "144p30").await;
    // Its first GOP is encoded all the same, so that its format is known.
    let mut formats = top.formats();
    let known = formats.wait_for(|format| format.codec_string().is_some());
    tokio::time::timeout(PATIENCE, known)
        .await
        .unwrap()
        .unwrap();
    let first = next(&mut small).await.pts_90k;
    // Past the second cell nothing is written to it any more, while the rung that is read goes on.
    while next(&mut small).await.pts_90k < first + 3 * 90_000 {}
    let before = top.counters().units;
    let until = next(&mut small).await.pts_90k + 90_000;
    while next(&mut small).await.pts_90k < until {}
    assert_eq!(top.counters().units, before);
    assert!(before < 70, "{before}");
    // A reader gets a keyframe at once, not at the next cell only.
    let asked_at = broadcast.origin().pts_now();
    let mut late = top.consume(Start::NextKeyframe);
    let unit = next(&mut late).await;
    assert!(unit.keyframe);
    assert!(
        unit.pts_90k - asked_at < 45_000,
        "{}",
        unit.pts_90k - asked_at
    );
    let units = read_for(&mut late, 2 * 90_000).await;
    assert!(keyframes(&units).iter().any(|cut| cut % 90_000 == 0));
    drop(late);
}

#[tokio::test]
async fn a_keyframe_asked_for_comes_between_the_cuts() {
    let mut job = job(demo(), three_rungs());
    job.settings.gop_s = 10;
    let (broadcast, _transcode) = start(job);
    let mut reader = reader(&broadcast, "240p15").await;
    next(&mut reader).await;
    for _ in 0..2 {
        reader.request_keyframe();
        let mut waited = 0;
        while !next(&mut reader).await.keyframe {
            waited += 1;
        }
        assert!(waited < 20, "{waited} pictures");
    }
}

#[tokio::test]
async fn dropping_the_handle_takes_worker_and_tracks_away() {
    let (broadcast, transcode) = start(job(demo(), three_rungs()));
    let mut reader = reader(&broadcast, "360p30").await;
    next(&mut reader).await;
    assert!(broadcast.track(&TrackId::aac()).is_some());
    let pid = transcode.status().borrow().worker_pid.unwrap();
    drop(transcode);
    let mut changes = broadcast.changes();
    tokio::time::timeout(PATIENCE, async {
        while !broadcast.tracks().is_empty() {
            changes.changed().await.unwrap();
        }
        while std::path::Path::new(&format!("/proc/{pid}")).exists() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("tracks and process go away");
    while let Some(item) = reader.next().await {
        assert!(item.unit.pts_90k > 0);
    }
}

#[tokio::test]
async fn opus_of_fewer_bits_is_mono_and_narrow_and_encoded_only_while_it_is_read() {
    let (broadcast, _handle) = start(job(demo(), three_rungs()));
    let mut aac = reader(&broadcast, "aac").await;
    read_for(&mut aac, 90_000).await;
    // Silk and Celt of a bandwidth (RFC 6716 §3.1): 8 kHz, then 16 kHz.
    for (id, kbps, configs) in [
        ("opus12", 12.0, [0..=3u8, 16..=19]),
        ("opus24", 24.0, [8..=11, 20..=23]),
    ] {
        let saving = track(&broadcast, id).await;
        assert_eq!(saving.counters().bytes, 0, "nobody reads {id}");
        let mut sound = saving.consume(Start::NextKeyframe);
        let units = read_for(&mut sound, 3 * 90_000).await;
        assert_rising(&units);
        for unit in &units {
            let toc = unit.data[0];
            let config = toc >> 3;
            assert!(
                configs.iter().any(|range| range.contains(&config)),
                "{id}: {config}"
            );
            assert_eq!(toc & 4, 0, "{id} is mono");
        }
        let bytes: usize = units.iter().map(|unit| unit.data.len()).sum();
        let span = units.last().unwrap().pts_90k - units[0].pts_90k;
        let measured = bytes as f64 * 8.0 / (span as f64 / 90_000.0) / 1000.0;
        assert!(
            measured > 0.2 * kbps && measured < 1.3 * kbps,
            "{id}: {measured}"
        );
    }
}
