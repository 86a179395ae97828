//! What viewers can choose from.

use lockgate_policy::engine::{Cause, Mode};

use super::*;

fn rendition(id: &str, codec: VideoCodec, role: Role, height: u32, kbps: f64) -> Rendition {
    Rendition {
        id: TrackId::new(id).unwrap(),
        codec,
        role,
        width: height * 16 / 9,
        height,
        fps: None,
        declared_kbps: Some(kbps),
        measured_kbps: None,
        kbps,
        reordered: false,
    }
}

fn ladder(source: VideoCodec) -> Vec<Rendition> {
    vec![
        rendition("source", source, Role::Ingest, 720, 1700.0),
        rendition("720p60", VideoCodec::H264, Role::Rung, 720, 2500.0),
        rendition("480p30", VideoCodec::H264, Role::Rung, 480, 1000.0),
    ]
}

fn all(codecs: &[VideoCodec]) -> Bounds<'_> {
    Bounds {
        codecs,
        cap_kbps: None,
        height_max: None,
    }
}

fn ids(choices: &[&Rendition]) -> Vec<String> {
    choices.iter().map(|choice| choice.id.to_string()).collect()
}

#[test]
fn a_source_the_viewer_can_decode_replaces_the_rungs_of_its_size() {
    let renditions = ladder(VideoCodec::H264);
    assert_eq!(
        ids(&choices(&renditions, all(&[VideoCodec::H264]))),
        ["source", "480p30"]
    );
}

#[test]
fn layers_are_chosen_from_like_rungs_and_replace_those_of_their_size() {
    let codec = VideoCodec::H264;
    let mut renditions = ladder(codec);
    renditions.extend([
        rendition("source-f", codec, Role::Ingest, 720, 1700.0),
        rendition("source-h", codec, Role::Ingest, 360, 500.0),
        rendition("source-q", codec, Role::Ingest, 180, 150.0),
        rendition("360p30", codec, Role::Rung, 360, 600.0),
    ]);
    let chosen_from = |codec| ids(&choices(&renditions, all(&[codec])));
    assert_eq!(
        chosen_from(codec),
        ["source", "480p30", "source-h", "source-q"]
    );
    // Who has no room for the source, or was not granted it, has the best layer of those that are left.
    let codecs = [codec];
    let small = Bounds {
        height_max: Some(400),
        ..all(&codecs)
    };
    assert_eq!(ids(&choices(&renditions, small)), ["source-h", "source-q"]);
    let capped = Bounds {
        cap_kbps: Some(600),
        ..all(&codecs)
    };
    assert_eq!(ids(&choices(&renditions, capped)), ["source-h", "source-q"]);
    // Who asks for the best layer itself is given it, although the policy knows it as the source.
    let best = TrackId::layer("f");
    assert!(chosen(&renditions, all(&[codec]), best.as_ref()).is_some());
    // Who cannot decode the layers has the rungs.
    for rendition in &mut renditions {
        if rendition.role == Role::Ingest {
            rendition.codec = VideoCodec::Vp9;
        }
    }
    let chosen_from = ids(&choices(&renditions, all(&[codec])));
    assert_eq!(chosen_from, ["720p60", "480p30", "360p30"]);
}

#[test]
fn what_needs_more_than_was_granted_is_left_out_but_never_the_least() {
    let renditions = ladder(VideoCodec::H264);
    let capped = |cap_kbps| Bounds {
        codecs: &[VideoCodec::H264],
        cap_kbps: Some(cap_kbps),
        height_max: None,
    };
    assert_eq!(ids(&choices(&renditions, capped(1200))), ["480p30"]);
    assert_eq!(ids(&choices(&renditions, capped(1))), ["480p30"]);
    assert_eq!(choices(&renditions, capped(1700)).len(), 2);
    let source = TrackId::new("source").unwrap();
    assert!(chosen(&renditions, capped(1200), Some(&source)).is_none());
    assert!(chosen(&renditions, capped(1700), Some(&source)).is_some());
}

#[test]
fn what_is_higher_than_there_is_room_for_is_left_out_but_never_the_least() {
    let renditions = ladder(VideoCodec::H264);
    let within = |height_max| {
        let bounds = Bounds {
            height_max: Some(height_max),
            ..all(&[VideoCodec::H264])
        };
        ids(&choices(&renditions, bounds.fitted(&renditions)))
    };
    assert_eq!(within(2160), ["source", "480p30"]);
    assert_eq!(within(720), ["source", "480p30"]);
    assert_eq!(within(719), ["480p30"]);
    assert_eq!(within(90), ["480p30"]);
    // Who has room for the same is alike.
    let fitted = |height_max| {
        let bounds = Bounds {
            height_max: Some(height_max),
            ..all(&[])
        };
        bounds.fitted(&renditions).height_max
    };
    assert_eq!([481, 600, 719].map(fitted), [Some(480); 3]);
}

#[test]
fn what_is_out_of_order_is_nothing_for_a_viewer_over_rtp() {
    let mut renditions = ladder(VideoCodec::H264);
    renditions[0].role = Role::Passthrough;
    renditions[0].reordered = true;
    assert_eq!(
        ids(&choices(&renditions, all(&[VideoCodec::H264]))),
        ["720p60", "480p30"]
    );
    let source = TrackId::new("source").unwrap();
    assert!(chosen(&renditions, all(&[VideoCodec::H264]), Some(&source)).is_none());
}

#[test]
fn a_source_the_viewer_cannot_decode_leaves_it_every_rung() {
    let renditions = ladder(VideoCodec::Vp8);
    assert_eq!(
        ids(&choices(&renditions, all(&[VideoCodec::H264]))),
        ["720p60", "480p30"]
    );
    assert_eq!(
        ids(&choices(&renditions, all(&[VideoCodec::Vp8]))),
        ["source"]
    );
    assert!(choices(&renditions, all(&[])).is_empty());
}

#[test]
fn what_the_viewer_chose_counts_while_it_exists() {
    let mut renditions = ladder(VideoCodec::H264);
    let id = TrackId::new("720p60").unwrap();
    let ask = |renditions: &[Rendition]| chosen(renditions, all(&[VideoCodec::H264]), Some(&id));
    assert!(ask(&renditions).is_some_and(|verdict| verdict.rung == id && !verdict.automatic));
    assert!(chosen(&renditions, all(&[VideoCodec::Vp8]), Some(&id)).is_none());
    renditions.remove(1);
    assert!(ask(&renditions).is_none());
}

#[test]
fn a_rung_with_fewer_frames_of_the_same_picture_stands_in() {
    let mut renditions = ladder(VideoCodec::Vp8);
    let mut half = rendition("480p15", VideoCodec::H264, Role::Rung, 480, 600.0);
    half.fps = Some(15.0);
    renditions[2].fps = Some(30.0);
    renditions.push(half);
    let after = |fps| {
        let verdict = Verdict {
            rung: TrackId::new("480p30").unwrap(),
            automatic: true,
            reason: "it fits".to_owned(),
        };
        thinned(&renditions, all(&[VideoCodec::H264]), verdict, fps)
    };
    assert_eq!(after(Some(15)).rung.as_str(), "480p15");
    assert_eq!(
        after(Some(15)).reason,
        "it fits; 15 frames a second are enough"
    );
    for kept in [None, Some(30), Some(60), Some(12)] {
        assert_eq!(after(kept).rung.as_str(), "480p30", "{kept:?}");
    }
}

#[test]
fn viewers_that_decode_the_same_share_a_batch_whose_rungs_rise() {
    let renditions = ladder(VideoCodec::Vp8);
    let (h264, both) = ([VideoCodec::H264], [VideoCodec::H264, VideoCodec::Vp8]);
    let known = |key, codecs| Known {
        key,
        bounds: all(codecs),
        wanted: TrackId::new("480p30").ok(),
        data_saver: false,
        said: Said {
            screen_height: Some(360.0),
            ..Said::default()
        },
        link: LinkStats::default(),
    };
    let viewers = [
        known(1, &h264[..]),
        known(2, &both[..]),
        known(3, &h264[..]),
    ];
    let tick = Tick {
        now_ms: 0,
        seed: 0,
        mode: Mode::Webrtc,
        cause: Cause::Tick,
    };
    let groups = questions(&renditions, &viewers, tick);
    assert_eq!(groups.len(), 2);
    assert_eq!(
        (&groups[0].keys, &groups[0].viewers),
        (&vec![1, 3], &vec![0, 2])
    );
    let named: Vec<&str> = groups[0].rungs.iter().map(TrackId::as_str).collect();
    assert_eq!(named, ["480p30", "720p60"]);
    let current = column::place(column::VIEWER, "current").unwrap();
    assert_eq!(groups[0].batch.rows[current], 0.0);
    let screen = column::place(column::VIEWER, "screen_height").unwrap();
    assert_eq!(groups[0].batch.rows[screen], 360.0);
    assert_eq!(
        groups[0].batch.rows.len(),
        2 * column::width(column::VIEWER)
    );
}
