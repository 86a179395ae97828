//! Whole answers as text. What differs from run to run is replaced by a word for it.

use lockgate_media::VideoCodec;
use lockgate_ports::{Conference as _, SignalError, Signaller, ViewerFeed};
use tokio::sync::watch;

use crate::{
    publish::{broadcast, transport},
    view::{opus, rung, selection},
};

pub(crate) const OBS: &str = include_str!("../offers/obs.sdp");
const FFMPEG: &str = include_str!("../offers/ffmpeg.sdp");
const VIEWER: &str = include_str!("../offers/viewer.sdp");
const OBS_SIMULCAST: &str = include_str!("../offers/obs-simulcast.sdp");
const SIMULCAST: &str = include_str!("../offers/simulcast.sdp");

pub(crate) fn plain(answer: &str, port: u16) -> String {
    let mut out: Vec<String> = Vec::new();
    let stream = answer
        .split_once(" cname:")
        .and_then(|(_, rest)| rest.split_once("\r\n"))
        .map_or("-no-stream-", |(stream, _)| stream);
    for line in answer.replace(&format!(" {port} typ"), " PORT typ").lines() {
        let keep =
            |count: usize| -> String { line.split(' ').take(count).collect::<Vec<_>>().join(" ") };
        let line = match line.split_once(':') {
            _ if line.starts_with("o=") => "o=ORIGIN".to_owned(),
            Some(("a=ice-ufrag" | "a=ice-pwd", _)) => {
                format!("{}:RANDOM", line.split(':').next().unwrap_or_default())
            }
            Some(("a=fingerprint", _)) => format!("{} DIGEST", keep(1)),
            Some(("a=ssrc", rest)) => {
                format!(
                    "a=ssrc:SSRC {}",
                    rest.split_once(' ').map_or("", |(_, rest)| rest)
                )
            }
            Some(("a=ssrc-group", _)) => format!("{} SSRC SSRC", keep(1)),
            _ => line.to_owned(),
        };
        out.push(line.replace(stream, "STREAM"));
    }
    // The library writes header extensions in any order.
    for lines in out.split_mut(|line| !line.starts_with("a=extmap:")) {
        lines.sort();
    }
    out.join("\n")
}

async fn published(offer: &str) -> Result<String, SignalError> {
    let transport = transport().await;
    let accepted = transport.publish(offer.to_owned(), broadcast()).await?;
    Ok(plain(&accepted.answer, transport.local_addr().port()))
}

async fn viewed(codec: VideoCodec) -> String {
    let transport = transport().await;
    let broadcast = broadcast();
    let (_video, _audio) = (rung(&broadcast, "source", codec), opus(&broadcast));
    let feed = ViewerFeed {
        broadcast,
        selection: watch::channel(selection("source")).1,
        congested: Default::default(),
    };
    let accepted = transport.subscribe(VIEWER.to_owned(), feed).await.unwrap();
    plain(&accepted.answer, transport.local_addr().port())
}

#[tokio::test]
async fn obs_is_answered() {
    insta::assert_snapshot!(published(OBS).await.unwrap(), @r"
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
    a=recvonly
    a=candidate:1 1 udp 2130706431 127.0.0.1 PORT typ host
    a=candidate:2 1 tcp 1520435199 127.0.0.1 PORT typ host tcptype passive
    a=end-of-candidates
    m=video 9 UDP/TLS/RTP/SAVPF 96
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
    a=recvonly
    ");
}

#[tokio::test]
async fn ffmpeg_is_answered() {
    insta::assert_snapshot!(published(FFMPEG).await.unwrap(), @r"
    v=0
    o=ORIGIN
    s=-
    t=0 0
    a=msid-semantic:WMS *
    a=fingerprint:sha-256 DIGEST
    a=ice-lite
    a=ice-options:trickle ice2
    a=extmap-allow-mixed
    a=group:BUNDLE 0 1
    m=audio 9 UDP/TLS/RTP/SAVPF 111
    c=IN IP4 0.0.0.0
    a=setup:active
    a=mid:0
    a=ice-ufrag:RANDOM
    a=ice-pwd:RANDOM
    a=rtcp-mux
    a=rtcp-mux-only
    a=rtcp-rsize
    a=rtpmap:111 opus/48000/2
    a=recvonly
    a=candidate:1 1 udp 2130706431 127.0.0.1 PORT typ host
    a=candidate:2 1 tcp 1520435199 127.0.0.1 PORT typ host tcptype passive
    a=end-of-candidates
    m=video 9 UDP/TLS/RTP/SAVPF 106
    c=IN IP4 0.0.0.0
    a=setup:active
    a=mid:1
    a=ice-ufrag:RANDOM
    a=ice-pwd:RANDOM
    a=rtcp-mux
    a=rtcp-mux-only
    a=rtcp-rsize
    a=rtpmap:106 H264/90000
    a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42c00d
    a=recvonly
    ");
}

#[tokio::test]
async fn a_simulcast_publisher_is_answered() {
    insta::assert_snapshot!(published(SIMULCAST).await.unwrap(), @r"
    v=0
    o=ORIGIN
    s=-
    t=0 0
    a=msid-semantic:WMS *
    a=fingerprint:sha-256 DIGEST
    a=ice-lite
    a=ice-options:trickle ice2
    a=extmap-allow-mixed
    a=group:BUNDLE 0
    m=video 9 UDP/TLS/RTP/SAVPF 96 102
    c=IN IP4 0.0.0.0
    a=setup:active
    a=mid:0
    a=ice-ufrag:RANDOM
    a=ice-pwd:RANDOM
    a=rtcp-mux
    a=rtcp-mux-only
    a=rtcp-rsize
    a=rtpmap:96 VP8/90000
    a=rtcp-fb:96 ccm fir
    a=rtcp-fb:96 nack
    a=rtcp-fb:96 nack pli
    a=rtcp-fb:96 transport-cc
    a=rtpmap:102 H264/90000
    a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f
    a=rtcp-fb:102 ccm fir
    a=rtcp-fb:102 nack
    a=rtcp-fb:102 nack pli
    a=rtcp-fb:102 transport-cc
    a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id
    a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id
    a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
    a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
    a=rid:q recv
    a=rid:h recv
    a=rid:f recv
    a=simulcast:recv q;h;f
    a=recvonly
    a=candidate:1 1 udp 2130706431 127.0.0.1 PORT typ host
    a=candidate:2 1 tcp 1520435199 127.0.0.1 PORT typ host tcptype passive
    a=end-of-candidates
    ");
}

/// OBS ends its session if another number of layers is accepted than it offered (RFC 8853 §5.3.2).
#[tokio::test]
async fn every_layer_of_obs_is_accepted_in_its_order() {
    let answer = published(OBS_SIMULCAST).await.unwrap();
    let lines: Vec<&str> = answer
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("a=rid:") || line.starts_with("a=simulcast:"))
        .collect();
    assert_eq!(
        lines,
        [
            "a=rid:0 recv",
            "a=rid:1 recv",
            "a=rid:2 recv",
            "a=simulcast:recv 0;1;2"
        ]
    );
    // Without these two in each packet it cannot be told which layer it is of.
    for name in ["sdes:mid", "sdes:rtp-stream-id"] {
        assert!(answer.contains(&format!("urn:ietf:params:rtp-hdrext:{name}")));
    }
    assert!(!answer.to_lowercase().contains("rtx"), "{answer}");
}

#[tokio::test]
async fn a_viewer_of_h264_is_answered() {
    insta::assert_snapshot!(viewed(VideoCodec::H264).await, @r"
    v=0
    o=ORIGIN
    s=-
    t=0 0
    a=msid-semantic:WMS *
    a=fingerprint:sha-256 DIGEST
    a=ice-lite
    a=ice-options:trickle ice2
    a=extmap-allow-mixed
    a=group:BUNDLE 0 1
    m=audio 9 UDP/TLS/RTP/SAVPF 111 63
    c=IN IP4 0.0.0.0
    a=setup:active
    a=mid:0
    a=ice-ufrag:RANDOM
    a=ice-pwd:RANDOM
    a=rtcp-mux
    a=rtcp-mux-only
    a=rtcp-rsize
    a=rtpmap:111 opus/48000/2
    a=fmtp:111 minptime=10;useinbandfec=1
    a=rtcp-fb:111 transport-cc
    a=rtpmap:63 red/48000/2
    a=fmtp:63 111/111
    a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
    a=msid:STREAM audio
    a=ssrc:SSRC cname:STREAM
    a=ssrc:SSRC msid:STREAM audio
    a=sendonly
    a=candidate:1 1 udp 2130706431 127.0.0.1 PORT typ host
    a=candidate:2 1 tcp 1520435199 127.0.0.1 PORT typ host tcptype passive
    a=end-of-candidates
    m=video 9 UDP/TLS/RTP/SAVPF 108 96 45 109 97 46
    c=IN IP4 0.0.0.0
    a=setup:active
    a=mid:1
    a=ice-ufrag:RANDOM
    a=ice-pwd:RANDOM
    a=rtcp-mux
    a=rtcp-mux-only
    a=rtcp-rsize
    a=rtpmap:108 H264/90000
    a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
    a=rtcp-fb:108 ccm fir
    a=rtcp-fb:108 nack
    a=rtcp-fb:108 nack pli
    a=rtcp-fb:108 transport-cc
    a=rtpmap:96 VP8/90000
    a=rtcp-fb:96 ccm fir
    a=rtcp-fb:96 nack
    a=rtcp-fb:96 nack pli
    a=rtcp-fb:96 transport-cc
    a=rtpmap:45 AV1/90000
    a=fmtp:45 level-idx=5;profile=0;tier=0
    a=rtcp-fb:45 ccm fir
    a=rtcp-fb:45 nack
    a=rtcp-fb:45 nack pli
    a=rtcp-fb:45 transport-cc
    a=rtpmap:109 rtx/90000
    a=fmtp:109 apt=108
    a=rtpmap:97 rtx/90000
    a=fmtp:97 apt=96
    a=rtpmap:46 rtx/90000
    a=fmtp:46 apt=45
    a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
    a=msid:STREAM video
    a=ssrc-group:FID SSRC SSRC
    a=ssrc:SSRC cname:STREAM
    a=ssrc:SSRC msid:STREAM video
    a=ssrc:SSRC cname:STREAM
    a=ssrc:SSRC msid:STREAM video
    a=sendonly
    ");
}

#[tokio::test]
async fn a_viewer_of_vp8_is_answered() {
    insta::assert_snapshot!(viewed(VideoCodec::Vp8).await, @r"
    v=0
    o=ORIGIN
    s=-
    t=0 0
    a=msid-semantic:WMS *
    a=fingerprint:sha-256 DIGEST
    a=ice-lite
    a=ice-options:trickle ice2
    a=extmap-allow-mixed
    a=group:BUNDLE 0 1
    m=audio 9 UDP/TLS/RTP/SAVPF 111 63
    c=IN IP4 0.0.0.0
    a=setup:active
    a=mid:0
    a=ice-ufrag:RANDOM
    a=ice-pwd:RANDOM
    a=rtcp-mux
    a=rtcp-mux-only
    a=rtcp-rsize
    a=rtpmap:111 opus/48000/2
    a=fmtp:111 minptime=10;useinbandfec=1
    a=rtcp-fb:111 transport-cc
    a=rtpmap:63 red/48000/2
    a=fmtp:63 111/111
    a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
    a=msid:STREAM audio
    a=ssrc:SSRC cname:STREAM
    a=ssrc:SSRC msid:STREAM audio
    a=sendonly
    a=candidate:1 1 udp 2130706431 127.0.0.1 PORT typ host
    a=candidate:2 1 tcp 1520435199 127.0.0.1 PORT typ host tcptype passive
    a=end-of-candidates
    m=video 9 UDP/TLS/RTP/SAVPF 108 96 45 109 97 46
    c=IN IP4 0.0.0.0
    a=setup:active
    a=mid:1
    a=ice-ufrag:RANDOM
    a=ice-pwd:RANDOM
    a=rtcp-mux
    a=rtcp-mux-only
    a=rtcp-rsize
    a=rtpmap:108 H264/90000
    a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
    a=rtcp-fb:108 ccm fir
    a=rtcp-fb:108 nack
    a=rtcp-fb:108 nack pli
    a=rtcp-fb:108 transport-cc
    a=rtpmap:96 VP8/90000
    a=rtcp-fb:96 ccm fir
    a=rtcp-fb:96 nack
    a=rtcp-fb:96 nack pli
    a=rtcp-fb:96 transport-cc
    a=rtpmap:45 AV1/90000
    a=fmtp:45 level-idx=5;profile=0;tier=0
    a=rtcp-fb:45 ccm fir
    a=rtcp-fb:45 nack
    a=rtcp-fb:45 nack pli
    a=rtcp-fb:45 transport-cc
    a=rtpmap:109 rtx/90000
    a=fmtp:109 apt=108
    a=rtpmap:97 rtx/90000
    a=fmtp:97 apt=96
    a=rtpmap:46 rtx/90000
    a=fmtp:46 apt=45
    a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
    a=msid:STREAM video
    a=ssrc-group:FID SSRC SSRC
    a=ssrc:SSRC cname:STREAM
    a=ssrc:SSRC msid:STREAM video
    a=ssrc:SSRC cname:STREAM
    a=ssrc:SSRC msid:STREAM video
    a=sendonly
    ");
}

#[tokio::test]
async fn a_refused_offer_leaves_nothing_behind() {
    let transport = transport().await;
    for offer in [
        "",
        "v=0",
        &OBS.replace("H264", "H263"),
        &OBS.replace("sha-256", "sha-999"),
    ] {
        let refused = transport.publish(offer.to_owned(), broadcast()).await;
        assert!(refused.is_err());
    }
    assert_eq!((transport.peers(), transport.remote_addresses()), (0, 0));
}

/// Somebody in a room: sound, two pictures, and a section at rest.
fn room() -> String {
    let (head, media) = VIEWER.split_once("m=audio").unwrap();
    let (audio, video) = media.split_once("m=video").unwrap();
    let named = |kind: &str, section: &str, mid: &str| {
        let (before, rest) = section.split_once("a=mid:").unwrap();
        let (_, after) = rest.split_once("\r\n").unwrap();
        format!("m={kind}{before}a=mid:{mid}\r\n{after}")
    };
    let resting = named("video", video, "3").replace("a=recvonly", "a=inactive");
    [
        head.replace("BUNDLE 0 1", "BUNDLE 0 1 2 3"),
        named("audio", audio, "0"),
        named("video", video, "1"),
        named("video", video, "2"),
        resting,
    ]
    .concat()
}

#[tokio::test]
async fn somebody_in_a_room_is_answered() {
    let transport = transport().await;
    let attending = transport.attend(room()).await.unwrap();
    let places: Vec<_> = attending
        .places
        .iter()
        .map(|place| (place.mid(), place.is_video()))
        .collect();
    assert_eq!(places, [("0", false), ("1", true), ("2", true)]);
    let answer = plain(&attending.accepted.answer, transport.local_addr().port());
    insta::assert_snapshot!(answer, @r"
    v=0
    o=ORIGIN
    s=-
    t=0 0
    a=msid-semantic:WMS *
    a=fingerprint:sha-256 DIGEST
    a=ice-lite
    a=ice-options:trickle ice2
    a=extmap-allow-mixed
    a=group:BUNDLE 0 1 2
    m=audio 9 UDP/TLS/RTP/SAVPF 111 63
    c=IN IP4 0.0.0.0
    a=setup:active
    a=mid:0
    a=ice-ufrag:RANDOM
    a=ice-pwd:RANDOM
    a=rtcp-mux
    a=rtcp-mux-only
    a=rtcp-rsize
    a=rtpmap:111 opus/48000/2
    a=fmtp:111 minptime=10;useinbandfec=1
    a=rtcp-fb:111 transport-cc
    a=rtpmap:63 red/48000/2
    a=fmtp:63 111/111
    a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
    a=msid:place-0 audio-0
    a=ssrc:SSRC cname:STREAM
    a=ssrc:SSRC msid:place-0 audio-0
    a=sendonly
    a=candidate:1 1 udp 2130706431 127.0.0.1 PORT typ host
    a=candidate:2 1 tcp 1520435199 127.0.0.1 PORT typ host tcptype passive
    a=end-of-candidates
    m=video 9 UDP/TLS/RTP/SAVPF 108 96 45 109 97 46
    c=IN IP4 0.0.0.0
    a=setup:active
    a=mid:1
    a=ice-ufrag:RANDOM
    a=ice-pwd:RANDOM
    a=rtcp-mux
    a=rtcp-mux-only
    a=rtcp-rsize
    a=rtpmap:108 H264/90000
    a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
    a=rtcp-fb:108 ccm fir
    a=rtcp-fb:108 nack
    a=rtcp-fb:108 nack pli
    a=rtcp-fb:108 transport-cc
    a=rtpmap:96 VP8/90000
    a=rtcp-fb:96 ccm fir
    a=rtcp-fb:96 nack
    a=rtcp-fb:96 nack pli
    a=rtcp-fb:96 transport-cc
    a=rtpmap:45 AV1/90000
    a=fmtp:45 level-idx=5;profile=0;tier=0
    a=rtcp-fb:45 ccm fir
    a=rtcp-fb:45 nack
    a=rtcp-fb:45 nack pli
    a=rtcp-fb:45 transport-cc
    a=rtpmap:109 rtx/90000
    a=fmtp:109 apt=108
    a=rtpmap:97 rtx/90000
    a=fmtp:97 apt=96
    a=rtpmap:46 rtx/90000
    a=fmtp:46 apt=45
    a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
    a=msid:place-1 video-1
    a=ssrc-group:FID SSRC SSRC
    a=ssrc:SSRC cname:STREAM
    a=ssrc:SSRC msid:place-1 video-1
    a=ssrc:SSRC cname:STREAM
    a=ssrc:SSRC msid:place-1 video-1
    a=sendonly
    m=video 9 UDP/TLS/RTP/SAVPF 108 96 45 109 97 46
    c=IN IP4 0.0.0.0
    a=setup:active
    a=mid:2
    a=ice-ufrag:RANDOM
    a=ice-pwd:RANDOM
    a=rtcp-mux
    a=rtcp-mux-only
    a=rtcp-rsize
    a=rtpmap:108 H264/90000
    a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
    a=rtcp-fb:108 ccm fir
    a=rtcp-fb:108 nack
    a=rtcp-fb:108 nack pli
    a=rtcp-fb:108 transport-cc
    a=rtpmap:96 VP8/90000
    a=rtcp-fb:96 ccm fir
    a=rtcp-fb:96 nack
    a=rtcp-fb:96 nack pli
    a=rtcp-fb:96 transport-cc
    a=rtpmap:45 AV1/90000
    a=fmtp:45 level-idx=5;profile=0;tier=0
    a=rtcp-fb:45 ccm fir
    a=rtcp-fb:45 nack
    a=rtcp-fb:45 nack pli
    a=rtcp-fb:45 transport-cc
    a=rtpmap:109 rtx/90000
    a=fmtp:109 apt=108
    a=rtpmap:97 rtx/90000
    a=fmtp:97 apt=96
    a=rtpmap:46 rtx/90000
    a=fmtp:46 apt=45
    a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
    a=msid:place-2 video-2
    a=ssrc-group:FID SSRC SSRC
    a=ssrc:SSRC cname:STREAM
    a=ssrc:SSRC msid:place-2 video-2
    a=ssrc:SSRC cname:STREAM
    a=ssrc:SSRC msid:place-2 video-2
    a=sendonly
    m=video 0 UDP/TLS/RTP/SAVPF 96 97 102 103 104 105 108 109 45 46
    c=IN IP4 0.0.0.0
    a=mid:3
    a=inactive
    ");
}
