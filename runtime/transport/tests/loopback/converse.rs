//! Somebody in a room with one connection for both ways.

use std::time::Duration;

use lockgate_media::{TrackId, VideoCodec};
use lockgate_ports::{Conference as _, signaller::CloseReason, signaller::PeerState};
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;

use crate::{
    answers::{OBS, plain},
    attendant::{attended, speaker},
    client::{Client, within},
    loss::{lossy, through},
    publish::{broadcast, consume, sends, transport},
};

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_carries_both_ways_and_what_either_loses_is_sent_again() {
    let transport = transport().await;
    let (broadcast, codec) = (broadcast(), VideoCodec::H264);
    let (relay, _relaying) = lossy(transport.local_addr()).await;
    let mut client = Client::new(&[codec]).await;
    let video = client.sends_video(codec).await;
    let audio = client.sends_audio().await;
    client.receives(RtpCodecKind::Video).await;
    client.receives(RtpCodecKind::Audio).await;
    let offer = client.offer().await;
    let mut speaking = transport.speak(offer, broadcast.clone()).await.unwrap();
    let answer = speaking.accepted.answer.clone();
    assert_eq!(answer.matches("a=recvonly").count(), 2);
    assert_eq!(answer.matches("a=sendonly").count(), 2);
    let heard = through(&answer, transport.local_addr(), relay);
    client.answer(&heard).await;
    let attending = speaking.attending.take().unwrap();
    let mut attendant = attended(client, attending, &answer).await;
    let _sending = sends(video, audio);
    let other = speaker(7, codec, Duration::from_secs(60));
    let _shown = [0, 1].map(|place| attendant.show(place, Some(&other)));

    // Up: nothing is missing.
    let mut pictures = consume(&broadcast, TrackId::source()).await;
    let mut last: Option<i64> = None;
    for _ in 0..200 {
        let unit = within(pictures.next()).await.unwrap().unit;
        let step = last.map_or(900, |last| unit.pts_90k - last);
        assert!((800..1000).contains(&step), "a picture is missing: {step}");
        last = Some(unit.pts_90k);
    }
    let mut sounds = consume(&broadcast, TrackId::opus()).await;
    within(sounds.next()).await.unwrap();
    let ingest = speaking.accepted.peer.ingest();
    assert_eq!((ingest.packets_lost, ingest.units_dropped), (0, 0));
    assert!(ingest.packets_asked > 0, "{ingest:?}");

    // Down, meanwhile: what is read follows what was read before it.
    let place = attendant.attending.places[0].clone();
    while place.link().packets_resent < 5 {
        attendant.next(0, &other).await;
    }
    attendant.next(1, &other).await;
    while speaking.accepted.peer.link().rtt_ms.is_none() {
        attendant.next(0, &other).await;
    }

    // It is one connection: when it ends, both are over.
    speaking.accepted.peer.close();
    let mut state = attendant.attending.accepted.peer.state();
    let over = PeerState::Closed(CloseReason::Asked);
    within(state.wait_for(|state| *state == over))
        .await
        .unwrap();
    let ended = async { while pictures.next().await.is_some() {} };
    within(ended).await;
}

#[tokio::test]
async fn somebody_who_sends_and_receives_over_one_connection_is_answered() {
    let transport = transport().await;
    let offer = OBS.replace("a=sendonly", "a=sendrecv");
    let speaking = transport.speak(offer, broadcast()).await.unwrap();
    let attending = speaking.attending.unwrap();
    let places: Vec<_> = attending
        .places
        .iter()
        .map(|place| (place.mid(), place.is_video()))
        .collect();
    assert_eq!(places, [("0", false), ("1", true)]);
    let answer = plain(&speaking.accepted.answer, transport.local_addr().port());
    insta::assert_snapshot!(answer, @r"
    v=0
    o=ORIGIN
    s=-
    t=0 0
    a=msid-semantic:WMS *
    a=fingerprint:sha-256 DIGEST
    a=ice-lite
    a=ice-options:trickle ice2
    a=group:BUNDLE 0 1
    m=audio 9 UDP/TLS/RTP/SAVPF 111
    c=IN IP4 0.0.0.0
    a=setup:active
    a=mid:0
    a=ice-ufrag:RANDOM
    a=ice-pwd:RANDOM
    a=rtcp-mux
    a=rtcp-mux-only
    a=rtpmap:111 opus/48000/2
    a=fmtp:111 minptime=10;maxaveragebitrate=96000;stereo=1;sprop-stereo=1;useinbandfec=1
    a=msid:place-0 audio-0
    a=ssrc:SSRC cname:STREAM
    a=ssrc:SSRC msid:place-0 audio-0
    a=sendrecv
    a=candidate:1 1 udp 2130706431 127.0.0.1 PORT typ host
    a=candidate:2 1 tcp 1520435199 127.0.0.1 PORT typ host tcptype passive
    a=end-of-candidates
    m=video 9 UDP/TLS/RTP/SAVPF 96 97
    c=IN IP4 0.0.0.0
    a=setup:active
    a=mid:1
    a=ice-ufrag:RANDOM
    a=ice-pwd:RANDOM
    a=rtcp-mux
    a=rtcp-mux-only
    a=rtpmap:96 H264/90000
    a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1
    a=rtcp-fb:96 nack
    a=rtcp-fb:96 nack pli
    a=rtpmap:97 rtx/90000
    a=fmtp:97 apt=96
    a=msid:place-1 video-1
    a=ssrc-group:FID SSRC SSRC
    a=ssrc:SSRC cname:STREAM
    a=ssrc:SSRC msid:place-1 video-1
    a=ssrc:SSRC cname:STREAM
    a=ssrc:SSRC msid:place-1 video-1
    a=sendrecv
    ");
}
