use lockgate_media::VideoCodec;
use lockgate_ports::SignalError;
use proptest::prelude::*;

use super::*;
use crate::{
    config::Wire,
    net::{Candidate, Credentials},
};

const OBS: &str = include_str!("../../tests/offers/obs.sdp");
const FFMPEG: &str = include_str!("../../tests/offers/ffmpeg.sdp");
const VIEWER: &str = include_str!("../../tests/offers/viewer.sdp");

fn publish(sdp: &str) -> Result<Offer, SignalError> {
    Offer::check(sdp, Purpose::Publish)
}

fn candidate(wire: Wire, rank: u16, address: &str) -> Candidate {
    Candidate {
        address: address.parse().unwrap(),
        wire,
        rank,
    }
}

fn tell(sdp: &str, candidates: &[Candidate]) -> String {
    finished(&Answer {
        sdp,
        candidates,
        video: &[102],
        reduced_size: false,
    })
}

/// The viewer's offer, sent the other way: each section then declares its source.
fn publisher() -> String {
    let sending = "a=sendonly\r\na=ssrc:1 cname:x";
    VIEWER.replace("a=recvonly", sending)
}

#[track_caller]
fn refused(sdp: &str, purpose: Purpose, expected: &str) {
    let error = Offer::check(sdp, purpose).unwrap_err();
    let kind = match &error {
        SignalError::Malformed(_) => "malformed",
        SignalError::Unsupported(_) => "unsupported",
        _ => "other",
    };
    assert_eq!(format!("{kind}: {error}"), expected);
}

#[test]
fn offers_of_real_publishers_are_taken() {
    let obs = publish(OBS).unwrap();
    assert_eq!(obs.audio().unwrap().payload_type, 111);
    assert_eq!(obs.video()[0].codec, VideoCodec::H264);
    assert_eq!(
        (obs.video()[0].payload_type, obs.video()[0].rtx),
        (96, Some(97))
    );
    assert!(!obs.peer_is_dtls_client);
    assert_eq!(obs.ice.ufrag, "oBsU");

    let ffmpeg = publish(FFMPEG).unwrap();
    assert_eq!(ffmpeg.video().len(), 1);
    assert!(!ffmpeg.peer_is_dtls_client);
    let active = publish(&FFMPEG.replace("setup:passive", "setup:active")).unwrap();
    assert!(active.peer_is_dtls_client);
}

#[test]
fn only_the_profiles_that_everyone_decodes_are_taken() {
    let offered = |name: &str, fmtp: &str| {
        let offer = OBS.replace("H264/", &format!("{name}/")).replace(
            "a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1\r\n",
            fmtp,
        );
        publish(&offer).map(|offer| offer.video()[0].codec).ok()
    };
    assert_eq!(offered("VP9", ""), Some(VideoCodec::Vp9));
    assert_eq!(
        offered("VP9", "a=fmtp:96 profile-id=0\r\n"),
        Some(VideoCodec::Vp9)
    );
    assert_eq!(offered("VP9", "a=fmtp:96 profile-id=2\r\n"), None);
    assert_eq!(offered("AV1", ""), Some(VideoCodec::Av1));
    assert_eq!(
        offered("AV1", "a=fmtp:96 level-idx=5;profile=0;tier=0\r\n"),
        Some(VideoCodec::Av1)
    );
    assert_eq!(offered("AV1", "a=fmtp:96 profile=1\r\n"), None);
}

#[test]
fn a_publisher_keeps_its_order_of_codecs() {
    let kinds = |offer: Offer| {
        offer
            .video()
            .iter()
            .map(|codec| codec.codec)
            .collect::<Vec<_>>()
    };
    // The same sections as a viewer's, sent the other way: VP8 stands first in them.
    let offered = kinds(publish(&publisher()).unwrap());
    assert_eq!(offered.first(), Some(&VideoCodec::Vp8));
    assert!(offered.contains(&VideoCodec::H264), "{offered:?}");
}

#[test]
fn a_viewers_codecs_are_one_each_and_h264_first() {
    let viewer = Offer::check(VIEWER, Purpose::View).unwrap();
    let codecs: Vec<_> = viewer
        .video()
        .iter()
        .map(|codec| (codec.codec, codec.payload_type))
        .collect();
    assert_eq!(
        codecs,
        [
            (VideoCodec::H264, 108),
            (VideoCodec::Vp8, 96),
            (VideoCodec::Av1, 45)
        ]
    );
}

#[test]
fn what_cannot_be_used_is_refused_with_its_reason() {
    use Purpose::{Publish, View};
    refused("", Publish, "malformed: the offer is empty");
    refused(" \r\n", View, "malformed: the offer is empty");
    assert!(matches!(
        publish("hello"),
        Err(SignalError::Malformed(text)) if text.starts_with("the offer is not SDP")
    ));
    let head: String = OBS.split_inclusive("\r\n").take(4).collect();
    refused(&head, Publish, "malformed: the offer has no media section");
    for (line, expected) in [
        (
            "a=ice-ufrag:oBsU",
            "malformed: the audio section has no ICE user fragment (a=ice-ufrag)",
        ),
        (
            "a=ice-pwd:",
            "malformed: the audio section has no ICE password (a=ice-pwd)",
        ),
        (
            "a=fingerprint:",
            "malformed: the audio section has no certificate fingerprint (a=fingerprint)",
        ),
        (
            "a=setup:",
            "malformed: the audio section has no DTLS role (a=setup)",
        ),
        (
            "a=rtcp-mux",
            "unsupported: the audio section does not multiplex RTCP (a=rtcp-mux)",
        ),
        (
            "a=group:",
            "unsupported: the offer does not bundle its sections (a=group:BUNDLE); one transport is supported",
        ),
    ] {
        let without: String = OBS
            .split_inclusive("\r\n")
            .filter(|text| !text.starts_with(line))
            .collect();
        refused(&without, Publish, expected);
    }
    refused(
        &OBS.replace("setup:actpass", "setup:holdconn"),
        Publish,
        "malformed: the audio section has a=setup:holdconn, which an offer must not have",
    );
    refused(
        &OBS.replace("a=sendonly", "a=recvonly"),
        Publish,
        "unsupported: the audio section is recvonly; a publisher's sections must send",
    );
    refused(
        OBS,
        View,
        "unsupported: the audio section is sendonly; a viewer's sections must receive",
    );
    refused(
        &OBS.replace("H264/", "H265/"),
        Publish,
        "unsupported: no usable video codec: the offer has H265; supported is H.264 (baseline, main or high), VP8, VP9 (profile 0) and AV1 (main profile)",
    );
    refused(
        &OBS.replace("opus/", "PCMU/"),
        Publish,
        "unsupported: no usable audio codec: the offer has PCMU; supported is Opus",
    );
    refused(
        &OBS.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"),
        Publish,
        "unsupported: the audio section has the profile RTP/AVP; UDP/TLS/RTP/SAVPF is supported",
    );
    refused(
        &OBS.replace("m=audio", "m=video"),
        Publish,
        "unsupported: the offer has more than one video section; one of each kind is supported",
    );
    for digest in ["sha-999 00", "sha-256 00:11", "sha-256"] {
        let start = OBS.find("a=fingerprint:").unwrap();
        let end = start + OBS[start..].find("\r\n").unwrap();
        let bad = OBS.replace(&OBS[start..end], &format!("a=fingerprint:{digest}"));
        refused(
            &bad,
            Publish,
            "malformed: the audio section has a certificate fingerprint that cannot be checked",
        );
    }
    let data = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n";
    refused(
        data,
        Publish,
        "unsupported: the offer has a section of the kind application; audio and video are supported",
    );
    let many = format!("{OBS}{}", "m=application 9 UDP/DTLS/SCTP x\r\n".repeat(20));
    refused(
        &many,
        Publish,
        "malformed: the offer has 22 media sections; at most 16 are read",
    );
    let many = format!(
        "{OBS}{}",
        "a=candidate:1 1 udp 1 10.0.0.1 1 typ host\r\n".repeat(300)
    );
    refused(
        &many,
        Publish,
        "malformed: the offer has 301 candidates; at most 256 are read",
    );
}

#[test]
fn h264_without_fragments_is_for_publishers_only() {
    let mode_0 = |offer: &str| {
        offer
            .replace("packetization-mode=1", "packetization-mode=0")
            .replace("VP8/", "H265/")
            .replace("AV1/", "H266/")
    };
    assert!(matches!(
        Offer::check(&mode_0(VIEWER), Purpose::View),
        Err(SignalError::Unsupported(_))
    ));
    assert!(publish(&mode_0(&publisher())).is_ok());
}

#[test]
fn candidates_stand_once_and_are_ours() {
    let answer = "v=0\r\nm=audio 9 x\r\na=mid:0\r\na=candidate:1 1 udp 2 10.1.1.1 4000 typ host\r\n\
        a=end-of-candidates\r\nm=video 9 x 96 102 97\r\na=rtcp-rsize\r\na=mid:1\r\na=candidate:1 2 udp 2 10.1.1.1 4000 typ host\r\n";
    let candidates = [
        candidate(Wire::Udp, 1, "203.0.113.7:8189"),
        candidate(Wire::Udp, 0, "[2001:db8::7]:8189"),
        candidate(Wire::Tcp, 1, "203.0.113.7:443"),
    ];
    insta::assert_snapshot!(tell(answer, &candidates), @r"
    v=0
    m=audio 9 x
    a=mid:0
    a=candidate:1 1 udp 2130706175 203.0.113.7 8189 typ host
    a=candidate:2 1 udp 2130706431 2001:db8::7 8189 typ host
    a=candidate:3 1 tcp 1520434943 203.0.113.7 443 typ host tcptype passive
    a=end-of-candidates
    m=video 9 x 102 96 97
    a=mid:1
    ");
    let single = "v=0\r\nm=audio 9 x\r\n";
    assert!(tell(single, &candidates[..1]).ends_with("typ host\r\na=end-of-candidates\r\n"));
}

#[test]
fn a_fragment_gives_its_usable_candidates() {
    let text = "a=ice-ufrag:abcd\r\na=ice-pwd:x\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
        a=candidate:1 1 UDP 2 192.0.2.1 5000 typ host generation 0\r\n\
        a=candidate:2 1 udp 2 1b3e.local 5000 typ host\r\n\
        a=candidate:3 1 tcp 2 192.0.2.1 9 typ host tcptype active\r\n\
        a=candidate:4 1 udp 2 192.0.2.9 5001 typ srflx raddr 10.0.0.1 rport 5000\r\n\
        a=candidate:5 1 udp 2 192.0.2.9 5001 typ wormhole\r\na=end-of-candidates\r\n";
    let fragment = Fragment::parse(text).unwrap();
    assert_eq!(fragment.ufrag.as_deref(), Some("abcd"));
    assert_eq!(
        (fragment.password.as_deref(), fragment.candidates),
        (Some("x"), 2)
    );
    assert!(Fragment::parse("").is_err());
    assert!(Fragment::parse("{\"candidate\": 1}").is_err());
    assert!(Fragment::parse("a=ice-ufrag:a\r\na=ice-ufrag:b\r\n").is_err());
}

#[test]
fn new_credentials_are_a_restart_and_half_of_them_a_mistake() {
    let credentials = |ufrag: &str, password: &str| Credentials {
        ufrag: ufrag.to_owned(),
        password: password.to_owned(),
    };
    let current = credentials("abcd", "0123456789012345678901");
    let restart = |text: &str| Fragment::parse(text).unwrap().restart(&current);
    assert_eq!(restart("a=mid:0\r\n"), Ok(None));
    assert_eq!(restart("a=ice-ufrag:abcd\r\n"), Ok(None));
    assert_eq!(
        restart("a=ice-ufrag:efgh\r\na=ice-pwd:1123456789012345678901\r\n"),
        Ok(Some(credentials("efgh", "1123456789012345678901")))
    );
    for half in [
        "a=ice-ufrag:efgh\r\n",
        "a=ice-pwd:1123456789012345678901\r\n",
        "a=ice-ufrag:efgh\r\na=ice-pwd:0123456789012345678901\r\n",
        "a=ice-ufrag:e:fgh\r\na=ice-pwd:1123456789012345678901\r\n",
        "a=ice-ufrag:efgh\r\na=ice-pwd:short\r\n",
    ] {
        assert!(
            matches!(restart(half), Err(SignalError::Malformed(_))),
            "{half}"
        );
    }
}

#[test]
fn a_restart_is_answered_with_our_half_alone() {
    let section = Section::of(
        "v=0\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\nm=video 9 x\r\na=mid:1\r\n",
    );
    let ours = Credentials {
        ufrag: "ours".to_owned(),
        password: "secret".to_owned(),
    };
    let candidates = [candidate(Wire::Udp, 0, "203.0.113.7:8189")];
    insta::assert_snapshot!(restarted(&section, &ours, &candidates), @r"
    a=ice-lite
    a=ice-options:trickle ice2
    a=group:BUNDLE 0 1
    m=audio 9 UDP/TLS/RTP/SAVPF 111
    a=mid:0
    a=ice-ufrag:ours
    a=ice-pwd:secret
    a=candidate:1 1 udp 2130706431 203.0.113.7 8189 typ host
    a=end-of-candidates
    ");
}

proptest! {
    /// Whatever is cut out of, doubled in, or scribbled over a good offer, the checks end with a verdict.
    #[test]
    fn no_offer_makes_the_checks_panic(
        which in 0usize..3,
        edits in proptest::collection::vec((0u8..5, any::<u16>(), any::<u8>()), 1..12),
    ) {
        let mut lines: Vec<Vec<u8>> = [OBS, FFMPEG, VIEWER][which]
            .split_inclusive("\r\n")
            .map(|line| line.as_bytes().to_vec())
            .collect();
        for (kind, place, value) in edits {
            if lines.is_empty() {
                break;
            }
            let at = usize::from(place) % lines.len();
            match kind {
                0 => { lines.remove(at); }
                1 => { let line = lines[at].clone(); lines.insert(at, line); }
                2 => { let line = &mut lines[at]; let len = line.len(); line[usize::from(value) % len] = value; }
                3 => { lines[at].truncate(usize::from(value)); if lines[at].is_empty() { lines.remove(at); } }
                _ => { let other = usize::from(value) % lines.len(); lines.swap(at, other); }
            }
        }
        let text = String::from_utf8_lossy(&lines.concat()).into_owned();
        drop(Offer::check(&text, Purpose::Publish));
        drop(Offer::check(&text, Purpose::View));
        drop(Offer::check(&text, Purpose::Attend));
        drop(Offer::check(&text, Purpose::of_speaker(&text)));
        drop(Offer::check(&text, Purpose::Converse));
        drop(Fragment::parse(&text));
        let _ = tell(&text, &[candidate(Wire::Udp, 0, "192.0.2.1:1")]);
    }
}

/// Somebody in a room with places of these directions.
fn room(directions: &[&str]) -> String {
    let (head, media) = VIEWER.split_once("m=audio").unwrap();
    let (_, video) = media.split_once("m=video").unwrap();
    let mut out = head.to_owned();
    for (mid, direction) in directions.iter().enumerate() {
        let section = video.replace("a=mid:1", &format!("a=mid:m{mid}"));
        out.push_str("m=video");
        out.push_str(&section.replace("recvonly", direction));
    }
    out
}

#[test]
fn each_section_that_receives_is_a_place() {
    let places = |sdp: &str| -> Result<Vec<String>, SignalError> {
        let offer = Offer::check(sdp, Purpose::Attend)?;
        Ok(offer
            .sections
            .into_iter()
            .filter_map(|section| section.mid)
            .collect())
    };
    let offer = room(&["recvonly", "inactive", "sendrecv", "sendonly"]);
    assert_eq!(places(&offer).unwrap(), ["m0", "m2"]);
    assert_eq!(places(VIEWER).unwrap(), ["0", "1"]);
    assert_eq!(places(&room(&["recvonly"; 64])).unwrap().len(), 64);
    refused(
        &room(&["recvonly"; 65]),
        Purpose::Attend,
        "malformed: the offer has 65 media sections; at most 64 are read",
    );
    refused(
        &room(&["inactive", "sendonly"]),
        Purpose::Attend,
        "unsupported: the offer has no section that receives",
    );
    for bad in ["a=mid:m0", "a=mid:", "a=mid:a b", "a=x:y", "a=mid:\"x\""] {
        refused(
            &room(&["recvonly"; 2]).replace("a=mid:m1", bad),
            Purpose::Attend,
            "malformed: section 1 of the offer needs a name of its own (a=mid) of 1 to 32 characters",
        );
    }
}

#[test]
fn who_speaks_may_have_a_data_channel_and_sections_at_rest() {
    let speak = |sdp: &str| Offer::check(sdp, Purpose::Speak);
    let data = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:data\r\n\
                a=ice-ufrag:vIew\r\na=ice-pwd:0123456789abcdef01234567\r\na=setup:actpass\r\na=sctp-port:5000\r\n";
    let fingerprint = OBS
        .lines()
        .find(|line| line.starts_with("a=fingerprint"))
        .unwrap();
    let data = format!("{data}{fingerprint}\r\n");
    let sending = publisher();
    let both = speak(&format!("{sending}{data}")).unwrap();
    assert_eq!(both.sections.len(), 2);
    assert_eq!(both.level(), Some(1));
    let (head, _) = VIEWER.split_once("m=audio").unwrap();
    let alone = speak(&format!("{head}{data}")).unwrap();
    assert!(alone.sections.is_empty() && alone.video_section().is_none());
    // What only receives is passed over; a number that the peer does not send goes for nothing.
    let (audio, video) = sending.split_once("m=video").unwrap();
    let quiet = audio.replace("a=extmap:1 ", "a=extmap:1/recvonly ");
    let receiving = format!(
        "{quiet}m=video{}",
        video.replace("a=sendonly", "a=recvonly")
    );
    let sound = speak(&receiving).unwrap();
    assert_eq!((sound.sections.len(), sound.level()), (1, None));
    assert_eq!(
        publish(&sending).unwrap().level(),
        None,
        "nobody asks there"
    );
    refused(
        VIEWER,
        Purpose::Speak,
        "unsupported: the offer has no section that sends, and no data channel",
    );
    refused(
        &format!("{sending}{data}").replace("webrtc-datachannel", "x"),
        Purpose::Speak,
        "unsupported: the offer has a section of the kind application; audio, video and a data channel are supported",
    );
    refused(
        &format!("{sending}{data}{data}"),
        Purpose::Speak,
        "unsupported: the offer has more than one application section; one of each kind is supported",
    );
    refused(
        &format!("{sending}{data}"),
        Purpose::Publish,
        "unsupported: the offer has a section of the kind application; audio and video are supported",
    );
}

/// Somebody in a room who sends and receives in these sections, sound first.
fn both_ways(directions: [&str; 2]) -> String {
    let sending = publisher();
    let (audio, video) = sending.split_once("m=video").unwrap();
    let [sound, pictures] = directions.map(|direction| format!("a={direction}"));
    let audio = audio.replace("a=sendonly", &sound);
    format!("{audio}m=video{}", video.replace("a=sendonly", &pictures))
}

#[test]
fn who_sends_and_receives_over_one_connection_converses() {
    let ways = |sdp: &str| -> Vec<(bool, bool)> {
        assert_eq!(Purpose::of_speaker(sdp), Purpose::Converse);
        let offer = Offer::check(sdp, Purpose::Converse).unwrap();
        let sections = offer.sections.iter();
        sections.map(|one| (one.sends, one.receives)).collect()
    };
    assert_eq!(ways(&both_ways(["sendrecv"; 2])), [(true, true); 2]);
    assert_eq!(
        ways(&both_ways(["sendonly", "recvonly"])),
        [(true, false), (false, true)]
    );
    assert_eq!(ways(&both_ways(["sendrecv", "inactive"])), [(true, true)]);
    let speaks = |sdp: &str| assert_eq!(Purpose::of_speaker(sdp), Purpose::Speak, "{sdp}");
    speaks(&both_ways(["sendonly"; 2]));
    speaks(&format!(
        "{}m=video 0 UDP/TLS/RTP/SAVPF 96\r\n",
        both_ways(["sendonly"; 2])
    ));
    speaks("");
    // What the library is for.
    let both = both_ways(["sendrecv"; 2]);
    speaks(&format!(
        "{both}m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
    ));
    speaks(&both.replace("a=mid:1", "a=mid:1\r\na=rid:f send"));

    let offer = Offer::check(&both, Purpose::Converse).unwrap();
    assert_eq!(offer.level(), Some(1));
    let sound = &offer.sections[0];
    assert!(
        matches!(&sound.media, Media::Audio { red: None, .. }),
        "what is redundant is not read: {sound:?}"
    );
    let (head, video) = both.split_once("m=video").unwrap();
    let another = |direction: &str| {
        let video = video.replace("a=mid:1", "a=mid:2");
        format!(
            "{head}m=video{video}m=video{}",
            video
                .replace("a=sendrecv", direction)
                .replace("mid:2", "mid:3")
        )
    };
    let places = Offer::check(&another("a=recvonly"), Purpose::Converse).unwrap();
    assert_eq!(places.only(|section| section.receives).sections.len(), 3);
    assert_eq!(places.only(|section| section.sends).sections.len(), 2);
    refused(
        &another("a=sendonly"),
        Purpose::Converse,
        "unsupported: the offer has more than one video section that sends; one of each kind is supported",
    );
    refused(
        &both_ways(["inactive"; 2]),
        Purpose::Converse,
        "unsupported: the offer has no section that sends or receives",
    );
    refused(
        &both.replace("a=mid:1", "a=mid:0"),
        Purpose::Converse,
        "malformed: section 1 of the offer needs a name of its own (a=mid) of 1 to 32 characters",
    );
}
