//! The answer to the offer of somebody who receives, written by us from its first line to its last.

use std::io::Cursor;

use lockgate_ports::SignalError;
use rtc::sdp::description::{media::MediaDescription, session::SessionDescription};

use super::{
    answer::write_candidates,
    offer::{Offer, mid},
    section::{Ours, Said, line, write_head, write_section},
};

/// Answers an offer that passed its checks.
pub(crate) fn agree(sdp: &str, offer: &Offer, ours: &Ours<'_>) -> Result<String, SignalError> {
    let session = SessionDescription::unmarshal(&mut Cursor::new(sdp))
        .map_err(|error| SignalError::Malformed(format!("the offer is not SDP: {error}")))?;
    let mut out = String::with_capacity(sdp.len() + 1024);
    write_head(&mut out, ours);
    if session.has_attribute("extmap-allow-mixed") {
        line(&mut out, format_args!("a=extmap-allow-mixed"));
    }
    write_bundle(&mut out, &session, offer);
    let mut transport_is_said = false;
    let mut used = offer.sections.iter().peekable();
    let mut sources = ours.sources.iter();
    for (at, section) in session.media_descriptions.iter().enumerate() {
        let Some(agreed_on) = used.next_if(|one| one.at == at) else {
            write_refused(&mut out, section);
            continue;
        };
        let source = if agreed_on.receives {
            sources.next()
        } else {
            None
        };
        let said = Said {
            protos: &section.media_name.protos.join("/"),
            setup: if offer.peer_is_dtls_client {
                "passive"
            } else {
                "active"
            },
            reduced_size: session.has_attribute("rtcp-rsize")
                || section.has_attribute("rtcp-rsize"),
            feedback: &|number, kind| has_feedback(section, number, kind),
        };
        write_section(&mut out, ours, agreed_on, source, &said);
        // All sections share one transport, that of the first (RFC 9143 §7.1.2).
        if !std::mem::replace(&mut transport_is_said, true) {
            write_candidates(&mut out, ours.candidates);
        }
    }
    Ok(out)
}

/// Whether a kind of feedback was offered for a format.
fn has_feedback(section: &MediaDescription, number: u8, wanted: &str) -> bool {
    let own = number.to_string();
    section.attributes.iter().any(|attribute| {
        attribute.key == "rtcp-fb"
            && attribute.value.as_deref().is_some_and(|value| {
                value.split_once(' ').is_some_and(|(number, kind)| {
                    (number == own || number == "*") && kind.trim() == wanted
                })
            })
    })
}

/// The used sections of the offered bundle (RFC 9143 §7.3), if there is one.
fn write_bundle(out: &mut String, session: &SessionDescription, offer: &Offer) {
    let groups = session.attributes.iter().filter(|one| one.key == "group");
    let mut groups = groups.filter_map(|group| group.value.as_deref());
    let Some(group) = groups.find_map(|group| group.trim().strip_prefix("BUNDLE")) else {
        return;
    };
    let used: Vec<&str> = offer
        .sections
        .iter()
        .filter_map(|section| section.mid.as_deref())
        .collect();
    let mids: Vec<&str> = group
        .split_whitespace()
        .filter(|mid| used.contains(mid))
        .collect();
    line(out, format_args!("a=group:BUNDLE {}", mids.join(" ")));
}

/// A section that the peer itself has switched off, or in which it does not receive (RFC 3264 §6).
fn write_refused(out: &mut String, section: &MediaDescription) {
    let name = &section.media_name;
    let (kind, protos, formats) = (&name.media, name.protos.join("/"), name.formats.join(" "));
    line(
        out,
        format_args!("m={kind} 0 {protos} {formats}\r\nc=IN IP4 0.0.0.0"),
    );
    if let Some(mid) = mid(section) {
        line(out, format_args!("a=mid:{mid}"));
    }
    line(out, format_args!("a=inactive"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        egress::PLAYOUT_DELAY,
        net::Credentials,
        sdp::{Media, Purpose, Source, extension::TRANSPORT_WIDE, offer::Section},
    };

    const OFFER: &str = include_str!("../../tests/offers/viewer.sdp");

    fn agreed(sdp: &str) -> (Offer, String) {
        let offer = Offer::check(sdp, Purpose::View).unwrap();
        let source = |(ssrc, section): (u32, &Section)| Source {
            ssrc,
            rtx: match &section.media {
                Media::Video(codecs) => codecs[0].rtx.map(|_| ssrc + 1000),
                Media::Audio { .. } => None,
            },
            stream: "name".to_owned(),
            track: "track".to_owned(),
        };
        let sources: Vec<Source> = (1..).zip(&offer.sections).map(source).collect();
        let ours = Ours {
            ice: &Credentials {
                ufrag: "us".to_owned(),
                password: "secret".to_owned(),
            },
            fingerprint: "sha-256 AA",
            candidates: &[],
            cname: "name",
            sources: &sources,
        };
        let answer = agree(sdp, &offer, &ours).unwrap();
        (offer, answer)
    }

    #[test]
    fn extensions_are_agreed_on_where_we_may_send_them() {
        let numbers = |sdp: &str| -> Vec<Option<u8>> {
            let sections = agreed(sdp).0.sections.into_iter();
            sections
                .map(|section| section.numbers.transport_wide)
                .collect()
        };
        assert_eq!(numbers(OFFER), [Some(3), Some(3)]);
        assert_eq!(agreed(OFFER).0.sections[1].numbers.playout, None);
        let map = format!("a=extmap:3 {TRANSPORT_WIDE}");
        let with = |other: &str| numbers(&OFFER.replace(&map, other));
        assert_eq!(
            with(&format!("a=extmap:7/recvonly {TRANSPORT_WIDE}")),
            [Some(7); 2]
        );
        assert_eq!(
            with(&format!("a=extmap:7/sendonly {TRANSPORT_WIDE}")),
            [None; 2]
        );
        // A number that needs the form of two bytes.
        assert_eq!(with(&format!("a=extmap:15 {TRANSPORT_WIDE}")), [None; 2]);
        assert_eq!(with("a=extmap:3"), [None; 2]);
        let playout = format!("{map}\r\na=extmap:5 {PLAYOUT_DELAY}");
        let (offer, answer) = agreed(&OFFER.replace(&map, &playout));
        let delays: Vec<_> = offer
            .sections
            .iter()
            .map(|one| one.numbers.playout)
            .collect();
        assert_eq!(delays, [None, Some(5)]);
        let line = format!("a=extmap:5 {PLAYOUT_DELAY}");
        assert_eq!(
            answer.matches(&line).count(),
            1,
            "audio has no playout delay"
        );
    }

    #[test]
    fn a_section_that_the_viewer_has_switched_off_stays_off_and_out_of_the_bundle() {
        let (head, video) = OFFER.split_once("m=video").unwrap();
        let off = format!("{}m=video{video}", head.replace("m=audio 9", "m=audio 0"));
        let answer = agreed(&off).1;
        assert!(answer.contains("m=audio 0 UDP/TLS/RTP/SAVPF 111 63 9 0 8\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=inactive\r\n"));
        assert!(answer.contains("a=group:BUNDLE 1\r\n"));
        assert_eq!(answer.matches("a=end-of-candidates").count(), 1);
        assert_eq!(answer.matches("a=sendonly").count(), 1);
    }

    #[test]
    fn what_was_not_offered_is_not_answered() {
        let mut offer = OFFER
            .replace("a=rtcp-rsize\r\n", "")
            .replace("a=rtcp-rsize\n", "");
        offer = offer.replace("a=extmap-allow-mixed", "a=x-nothing");
        offer = offer
            .replace("rtx/90000", "other/90000")
            .replace("nack pli", "x");
        let answer = agreed(&offer).1;
        for never in [
            "rtcp-rsize",
            "extmap-allow-mixed",
            "rtx",
            "FID",
            "nack pli",
            "goog-remb",
        ] {
            assert!(!answer.contains(never), "{never}: {answer}");
        }
    }
}
