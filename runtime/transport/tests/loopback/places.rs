//! Somebody who watches several others: places that are filled, emptied and filled with somebody else, over one
//! connection that is negotiated once.

use std::{sync::Arc, time::Duration};

use lockgate_media::{TrackId, VideoCodec};
use lockgate_ports::{
    Selection,
    signaller::{CloseReason, PeerState},
};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;

use crate::{
    attendant::{attendant, narrow, selection, speaker},
    client::within,
    loss::lossy,
    publish::transport,
};

#[tokio::test(flavor = "multi_thread")]
async fn three_speakers_are_seen_and_two_of_them_heard_over_one_connection() {
    let transport = transport().await;
    let codec = VideoCodec::H264;
    let speakers =
        [1, 2, 3].map(|number| speaker(number, codec, Duration::from_secs(number.into())));
    let mut attendant = attendant(&transport, &[codec], [3, 2], None).await;
    assert_eq!(transport.peers(), 1);
    let shown: Vec<_> = (0..5)
        .map(|place| attendant.show(place, Some(&speakers[place % 3])))
        .collect();
    for place in 0..5 {
        let speaker = &speakers[place % 3];
        let first = attendant.next(place, speaker).await;
        for at in first.at + 1..first.at + 40 {
            let reached = within(attendant.reached[place].recv()).await.unwrap();
            assert_eq!((reached.speaker, reached.at), (speaker.number, at));
        }
    }
    let places = &attendant.attending.places;
    for place in &places[..3] {
        assert_eq!(*place.playing().borrow(), Some(TrackId::source()));
    }
    // What is known of the link is known for each place and for all together.
    let all = within(async {
        loop {
            let all = attendant.attending.accepted.peer.link();
            if all.bandwidth_kbps.is_some() && all.rtt_ms.is_some() {
                return all;
            }
            attendant.reached[0].recv().await.unwrap();
        }
    })
    .await;
    let each: Vec<_> = places.iter().map(|place| place.link()).collect();
    assert_eq!(
        each.iter().map(|one| one.bytes_sent).sum::<u64>(),
        all.bytes_sent
    );
    assert!(
        each.iter()
            .all(|one| one.packets_sent > 0 && one.bandwidth_kbps == all.bandwidth_kbps)
    );
    drop(shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_goes_from_one_to_another_at_a_keyframe_and_never_back_in_time() {
    let transport = transport().await;
    let codecs = [VideoCodec::H264, VideoCodec::Vp8];
    let old = speaker(1, VideoCodec::H264, Duration::from_secs(3600));
    let new = speaker(2, VideoCodec::Vp8, Duration::ZERO);
    let mut attendant = attendant(&transport, &codecs, [1, 1], None).await;
    for next in [&old, &new, &old, &new] {
        let shown = [0, 1].map(|place| attendant.show(place, Some(next)));
        for place in [0, 1] {
            let mut before = attendant.next(place, next).await;
            assert!(before.key);
            let clock_hz = [90_000, 48_000][place];
            for _ in 0..20 {
                let reached = within(attendant.reached[place].recv()).await.unwrap();
                assert_eq!(reached.speaker, next.number);
                let step = reached.timestamp.wrapping_sub(before.timestamp);
                assert!((1..clock_hz).contains(&step), "the timeline jumps: {step}");
                before = reached;
            }
        }
        drop(shown);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_place_and_a_paused_one_are_sent_nothing() {
    let transport = transport().await;
    let codec = VideoCodec::H264;
    let first = speaker(1, codec, Duration::ZERO);
    let second = speaker(2, codec, Duration::ZERO);
    let mut attendant = attendant(&transport, &[codec], [3, 0], None).await;
    let _emptied = attendant.show(0, Some(&first));
    let paused = attendant.show(1, Some(&first));
    let _other = attendant.show(2, Some(&second));
    for place in [0, 1] {
        attendant.next(place, &first).await;
    }
    let places = attendant.attending.places.clone();
    places[0].show(None);
    paused.selection.send_replace(Selection::default());
    let mut demand = first.demand.clone();
    for place in &places[..2] {
        within(place.playing().wait_for(Option::is_none))
            .await
            .unwrap();
    }
    within(demand.wait_for(|demand| demand.readers == 0))
        .await
        .unwrap();
    while attendant.reached[0].try_recv().is_ok() || attendant.reached[1].try_recv().is_ok() {}
    for _ in 0..50 {
        attendant.next(2, &second).await;
    }
    // What was on its way may have come after it was looked for; a second of pictures has not.
    for place in [0, 1] {
        let late = std::iter::from_fn(|| attendant.reached[place].try_recv().ok());
        assert!(late.count() < 5, "place {place}");
    }
    // Both go on, without negotiation.
    paused.selection.send_replace(selection());
    let _filled = attendant.show(0, Some(&second));
    attendant.next(0, &second).await;
    attendant.next(1, &first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_on_the_way_to_a_place_is_sent_again_there() {
    let transport = transport().await;
    let codec = VideoCodec::H264;
    let speakers = [1, 2].map(|number| speaker(number, codec, Duration::ZERO));
    let (relay, _relaying) = lossy(transport.local_addr()).await;
    let mut attendant = attendant(&transport, &[codec], [2, 0], Some(relay)).await;
    let _shown = [0, 1].map(|place| attendant.show(place, Some(&speakers[place])));
    let places = attendant.attending.places.clone();
    let resent = async {
        loop {
            for reached in &mut attendant.reached {
                reached.recv().await.unwrap();
            }
            if places.iter().all(|place| place.link().packets_resent >= 5) {
                return;
            }
        }
    };
    within(resent).await;
    let [first, second] = [0, 1].map(|place: usize| places[place].link().packets_resent);
    let all = attendant.attending.accepted.peer.link().packets_resent;
    assert!(all >= first.max(second) && first > 0 && second > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_for_a_keyframe_reaches_whom_the_place_shows() {
    let transport = transport().await;
    let codec = VideoCodec::H264;
    let speakers = [1, 2].map(|number| speaker(number, codec, Duration::ZERO));
    let mut attendant = attendant(&transport, &[codec], [2, 0], None).await;
    let _shown = [0, 1].map(|place| attendant.show(place, Some(&speakers[place])));
    for place in [0, 1] {
        attendant.next(place, &speakers[place]).await;
    }
    let asked = |at: usize| speakers[at].demand.borrow().keyframes_asked;
    let before = [asked(0), asked(1)];
    let ssrc = attendant.ssrcs[1];
    let tracks = attendant.tracks.borrow().clone();
    let (_, track) = tracks.iter().find(|(one, _)| *one == ssrc).unwrap();
    let wish = PictureLossIndication {
        sender_ssrc: 1,
        media_ssrc: ssrc,
    };
    track.write_rtcp(vec![Box::new(wish)]).await.unwrap();
    let mut demand = speakers[1].demand.clone();
    within(demand.wait_for(|demand| demand.keyframes_asked > before[1]))
        .await
        .unwrap();
    assert_eq!(asked(0), before[0], "nobody asked for that one");
    let places = attendant.attending.places.clone();
    let counted = async {
        while places[1].link().keyframe_requests == 0 {
            attendant.reached[1].recv().await.unwrap();
        }
    };
    within(counted).await;
    assert_eq!(places[0].link().keyframe_requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_codec_that_was_not_negotiated_leaves_its_place_empty() {
    let transport = transport().await;
    let vp8 = speaker(1, VideoCodec::Vp8, Duration::ZERO);
    let h264 = speaker(2, VideoCodec::H264, Duration::ZERO);
    let mut attendant = attendant(&transport, &[VideoCodec::H264], [2, 0], None).await;
    assert_eq!(
        attendant.attending.accepted.video_codecs,
        [VideoCodec::H264]
    );
    let _shown = [
        attendant.show(0, Some(&vp8)),
        attendant.show(1, Some(&h264)),
    ];
    for _ in 0..20 {
        attendant.next(1, &h264).await;
    }
    assert_eq!(*attendant.attending.places[0].playing().borrow(), None);
    assert!(attendant.reached[0].try_recv().is_err());
    let _shown = attendant.show(0, Some(&h264));
    attendant.next(0, &h264).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_who_fill_places_are_told_when_the_link_gets_narrow() {
    let transport = transport().await;
    let codec = VideoCodec::H264;
    let speakers = [1, 2].map(|number| speaker(number, codec, Duration::ZERO));
    let (relay, _relaying) = narrow(transport.local_addr(), 300e3).await;
    let attendant = attendant(&transport, &[codec], [2, 1], Some(relay)).await;
    let shown = [0, 1, 2].map(|place| attendant.show(place, Some(&speakers[place % 2])));
    for shown in &shown {
        within(shown.congested.notified()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn places_outlive_their_viewer_as_empty_ones() {
    let transport = transport().await;
    let codec = VideoCodec::H264;
    let speaker = speaker(1, codec, Duration::ZERO);
    let mut attendant = attendant(&transport, &[codec], [1, 0], None).await;
    let _shown = attendant.show(0, Some(&speaker));
    attendant.next(0, &speaker).await;
    let peer = Arc::clone(&attendant.attending.accepted.peer);
    peer.close();
    let mut state = peer.state();
    let closed = PeerState::Closed(CloseReason::Asked);
    within(state.wait_for(|state| *state == closed))
        .await
        .unwrap();
    let place = &attendant.attending.places[0];
    within(place.playing().wait_for(Option::is_none))
        .await
        .unwrap();
    let _shown = attendant.show(0, Some(&speaker));
    let mut demand = speaker.demand.clone();
    within(demand.wait_for(|demand| demand.readers == 0))
        .await
        .unwrap();
    assert_eq!(transport.peers(), 0);
}
