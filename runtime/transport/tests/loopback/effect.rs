//! What an `optimize` decision comes to, read from what a viewer receives.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use lockgate_broadcast::track::{Producer, Role};
use lockgate_media::{AccessUnit, AudioFormat, Format, TrackId, VideoCodec, h264};
use lockgate_ports::{
    Selection,
    task::{Task, own},
};

use crate::{
    client::{PLAYOUT_DELAY, within},
    publish::{broadcast, transport},
    units::picture,
    view::{Shown, opus, play, rung, selection, viewer, viewer_with_sound},
};

/// Writes pictures at 100 a second, none of which refers to one with an odd number.
fn play_layers(producer: Producer) -> Task {
    own(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        for number in 0..u32::MAX {
            pace.tick().await;
            let keyframe = number % 30 == 0;
            let mut data = picture(VideoCodec::H264, keyframe, number).to_vec();
            if number % 2 == 1 {
                data[4] &= !0x60; // nal_ref_idc
            }
            let pts = i64::from(number) * 900 + 90_000;
            producer.push(AccessUnit::new(pts, keyframe, data.into()));
        }
    })
}

/// Whether others may refer to it.
fn is_reference(shown: &Shown) -> bool {
    h264::nals(&shown.data).all(|nal| nal[0] & 0x60 != 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_frames_are_sent_by_leaving_out_those_that_nothing_refers_to() {
    let transport = transport().await;
    let broadcast = broadcast();
    let sound = opus(&broadcast);
    let _player = play_layers(rung(&broadcast, "high", VideoCodec::H264));
    let mut viewer = viewer_with_sound(&transport, &broadcast, &sound, selection("high")).await;
    let steps = async |viewer: &mut crate::view::Viewer, count: usize| {
        let mut steps = Vec::new();
        let mut last = within(viewer.pictures.recv()).await.unwrap().timestamp;
        for _ in 0..count {
            let shown = within(viewer.pictures.recv()).await.unwrap();
            steps.push((shown.timestamp.wrapping_sub(last), is_reference(&shown)));
            last = shown.timestamp;
        }
        steps
    };
    let all = steps(&mut viewer, 40).await;
    assert!(all.iter().all(|(step, _)| *step == 900), "{all:?}");
    let at_most = |fps| Selection {
        fps: Some(fps),
        ..selection("high")
    };
    viewer.selection.send_replace(at_most(50));
    // What is on its way still comes. The reader checks that no number is missing.
    within(async { while steps(&mut viewer, 1).await[0].0 == 900 {} }).await;
    let half = steps(&mut viewer, 40).await;
    assert!(
        half.iter()
            .all(|(step, reference)| *step == 1800 && *reference),
        "{half:?}"
    );
    // Less than there are references cannot be had.
    viewer.selection.send_replace(at_most(10));
    let half = steps(&mut viewer, 40).await;
    assert!(half.iter().all(|(step, _)| *step == 1800), "{half:?}");
    viewer.selection.send_replace(selection("high"));
    within(async { while steps(&mut viewer, 1).await[0].0 != 900 {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_is_told_to_delay_until_it_reports_that_it_knows() {
    let transport = transport().await;
    let broadcast = broadcast();
    let sound = opus(&broadcast);
    let codec = VideoCodec::H264;
    let _player = play(rung(&broadcast, "high", codec), codec, 0, 0);
    let mut viewer = viewer_with_sound(&transport, &broadcast, &sound, selection("high")).await;
    let answer = &viewer.accepted.answer;
    let number: u8 = answer
        .lines()
        .find_map(|line| line.strip_prefix("a=extmap:")?.strip_suffix(PLAYOUT_DELAY))
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or_else(|| panic!("no {PLAYOUT_DELAY} in {answer}"));
    let told = async |viewer: &mut crate::view::Viewer| -> Option<Bytes> {
        let shown = within(viewer.pictures.recv()).await.unwrap();
        let mut extensions = shown.extensions.into_iter();
        extensions.find_map(|(id, payload)| (id == number).then_some(payload))
    };
    for _ in 0..10 {
        assert_eq!(told(&mut viewer).await, None);
    }
    // 250 ms at least, 40.95 s at most; then none again.
    for (ms, bytes) in [(250, [0x01, 0x9f, 0xff]), (0, [0x00, 0x0f, 0xff])] {
        viewer.selection.send_replace(Selection {
            playout_delay_ms: Some(ms),
            ..selection("high")
        });
        let said = within(async {
            loop {
                if let Some(said) = told(&mut viewer).await {
                    return said;
                }
            }
        })
        .await;
        assert_eq!(said[..], bytes);
        within(async { while told(&mut viewer).await.is_some() {} }).await;
        for _ in 0..20 {
            assert_eq!(told(&mut viewer).await, None);
        }
    }
}

/// Writes 20 ms of Opus at a time, numbered from `from`, the second byte of which says whose it is.
fn speak(producer: Producer, whose: u8, from: i64, now: Arc<AtomicI64>) -> Task {
    own(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        for number in from..i64::MAX {
            pace.tick().await;
            let data = Bytes::copy_from_slice(&[0xf8, whose, 0, 0]);
            producer.push(AccessUnit::new(number * 1800, true, data));
            now.store(number, Ordering::Relaxed);
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_goes_over_to_another_rendition_without_a_gap_in_numbers_or_time() {
    let transport = transport().await;
    let broadcast = broadcast();
    let codec = VideoCodec::H264;
    let _player = play(rung(&broadcast, "high", codec), codec, 0, 0);
    let saving = TrackId::new("opus12").unwrap();
    let format = Format::Audio(AudioFormat::opus(1, Some(12_000)));
    let least = broadcast
        .publish(saving.clone(), Role::Rung, format)
        .unwrap();
    let mut readers = least.demand();
    let now = Arc::<AtomicI64>::default();
    let _ordinary = speak(opus(&broadcast), 1, 0, Arc::clone(&now));
    let mut viewer = viewer(&transport, &broadcast, &[codec], selection("high")).await;
    let mut last = within(viewer.sounds.recv()).await.unwrap().header;
    viewer.selection.send_replace(Selection {
        audio: Some(saving),
        ..selection("high")
    });
    within(readers.wait_for(|demand| demand.readers == 1))
        .await
        .unwrap();
    // It is encoded from now on and lags behind: the ordinary one goes on until it comes.
    let mut least = Some(least);
    let mut speaking = None;
    let mut heard = [0; 2];
    while heard[1] < 20 {
        let packet = within(viewer.sounds.recv()).await.unwrap();
        let step = packet.header.timestamp.wrapping_sub(last.timestamp);
        assert_eq!(step % 960, 0);
        assert!((960..=9600).contains(&step), "{step}");
        let next = last.sequence_number.wrapping_add(1);
        assert_eq!(packet.header.sequence_number, next);
        last = packet.header;
        let whose = usize::from(packet.payload[1]) - 1;
        assert!(whose == 1 || heard[1] == 0, "it does not go back");
        heard[whose] += 1;
        if heard[0] == 10
            && let Some(producer) = least.take()
        {
            let behind = now.load(Ordering::Relaxed) - 3;
            speaking = Some(speak(producer, 2, behind, Arc::default()));
        }
    }
    assert!(heard[0] >= 10, "{heard:?}");
    drop(speaking);
}
