//! Offers.

use std::net::SocketAddr;

use super::{LEVEL_URI, MID_URI, TRANSPORT_URI};
use crate::peer::Credentials;

/// What an offer is made of.
pub(crate) struct Offer<'a> {
    pub(crate) ice: &'a Credentials,
    /// `sha-256` and a digest.
    pub(crate) fingerprint: &'a str,
    /// Our own address; what a server learns by our checks it learns sooner.
    pub(crate) address: Option<SocketAddr>,
    /// In their order; each is named by its place, counted from 0.
    pub(crate) sections: &'a [Media],
}

/// A section of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Media {
    /// Video, or else audio.
    pub(crate) is_video: bool,
    /// The SSRC of what we send there; `None` to receive.
    pub(crate) sends: Option<u32>,
    /// Whether each packet of audio says how loud it is (RFC 6464).
    pub(crate) says_level: bool,
}

impl Media {
    pub(crate) const AUDIO: Self = Self {
        is_video: false,
        sends: None,
        says_level: false,
    };
    pub(crate) const VIDEO: Self = Self {
        is_video: true,
        ..Self::AUDIO
    };

    /// The same, but we send.
    pub(crate) fn from(self, ssrc: u32) -> Self {
        Self {
            sends: Some(ssrc),
            ..self
        }
    }
}

impl Offer<'_> {
    pub(crate) fn text(&self) -> String {
        let session: u32 = rand::random();
        let mids: String = (0..self.sections.len())
            .map(|mid| format!(" {mid}"))
            .collect();
        let mut out = format!(
            "v=0\r\no=- {session} 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE{mids}\r\n\
             a=extmap-allow-mixed\r\na=msid-semantic: WMS load\r\n"
        );
        for (mid, section) in self.sections.iter().enumerate() {
            self.section(&mut out, mid, section);
        }
        out
    }

    fn section(&self, out: &mut String, mid: usize, section: &Media) {
        let (kind, formats, codecs): (_, _, &[&str]) = match (section.is_video, section.sends) {
            (false, _) => ("audio", "111", &[AUDIO]),
            (true, Some(_)) => ("video", "102", &[H264]),
            (true, None) => (
                "video",
                "102 103 104 105 106 107 108 109 96 97 98 99 100 101",
                &[H264, OTHERS],
            ),
        };
        let direction = if section.sends.is_some() {
            "sendonly"
        } else {
            "recvonly"
        };
        let Credentials { ufrag, password } = self.ice;
        *out += &format!(
            "m={kind} 9 UDP/TLS/RTP/SAVPF {formats}\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
             a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\na=ice-options:trickle\r\na=fingerprint:{}\r\n\
             a=setup:actpass\r\na=mid:{mid}\r\na=extmap:{MID} {MID_URI}\r\n\
             a=extmap:{TRANSPORT} {TRANSPORT_URI}\r\na={direction}\r\na=rtcp-mux\r\na=rtcp-mux-only\r\na=rtcp-rsize\r\n",
            self.fingerprint
        );
        if section.says_level {
            *out += &format!("a=extmap:{LEVEL} {LEVEL_URI}\r\n");
        }
        if let Some(ssrc) = section.sends {
            *out += &format!(
                "a=msid:load {kind}\r\na=ssrc:{ssrc} cname:load\r\na=ssrc:{ssrc} msid:load {kind}\r\n"
            );
        }
        *out += &codecs.concat();
        if let Some(address) = self.address {
            *out += &format!(
                "a=candidate:1 1 udp 2130706431 {} {} typ host\r\na=end-of-candidates\r\n",
                address.ip(),
                address.port()
            );
        }
    }
}

/// The numbers of the header extensions (RFC 8285 §5).
const MID: u8 = 4;
const TRANSPORT: u8 = 3;
const LEVEL: u8 = 1;
const AUDIO: &str = "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n\
                     a=fmtp:111 minptime=10;useinbandfec=1\r\n";
const H264: &str = "a=rtpmap:102 H264/90000\r\na=rtcp-fb:102 nack\r\na=rtcp-fb:102 nack pli\r\n\
    a=rtcp-fb:102 ccm fir\r\na=rtcp-fb:102 transport-cc\r\n\
    a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n";
/// What else browsers take.
const OTHERS: &str = "a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n\
    a=rtpmap:104 H264/90000\r\na=rtcp-fb:104 nack\r\na=rtcp-fb:104 nack pli\r\na=rtcp-fb:104 transport-cc\r\n\
    a=fmtp:104 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n\
    a=rtpmap:105 rtx/90000\r\na=fmtp:105 apt=104\r\n\
    a=rtpmap:106 H264/90000\r\na=rtcp-fb:106 nack\r\na=rtcp-fb:106 nack pli\r\na=rtcp-fb:106 transport-cc\r\n\
    a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f\r\n\
    a=rtpmap:107 rtx/90000\r\na=fmtp:107 apt=106\r\n\
    a=rtpmap:108 H264/90000\r\na=rtcp-fb:108 nack\r\na=rtcp-fb:108 nack pli\r\na=rtcp-fb:108 transport-cc\r\n\
    a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f\r\n\
    a=rtpmap:109 rtx/90000\r\na=fmtp:109 apt=108\r\n\
    a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 transport-cc\r\n\
    a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
    a=rtpmap:98 VP9/90000\r\na=rtcp-fb:98 nack\r\na=rtcp-fb:98 nack pli\r\na=rtcp-fb:98 transport-cc\r\n\
    a=fmtp:98 profile-id=0\r\na=rtpmap:99 rtx/90000\r\na=fmtp:99 apt=98\r\n\
    a=rtpmap:100 AV1/90000\r\na=rtcp-fb:100 nack\r\na=rtcp-fb:100 nack pli\r\na=rtcp-fb:100 transport-cc\r\n\
    a=rtpmap:101 rtx/90000\r\na=fmtp:101 apt=100\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_has_what_a_server_looks_for() {
        let ice = Credentials::random();
        let offer = Offer {
            ice: &ice,
            fingerprint: "sha-256 AA",
            address: Some(SocketAddr::from(([127, 0, 0, 1], 7))),
            sections: &[Media::AUDIO, Media::VIDEO],
        };
        let text = offer.text();
        assert_eq!(text.matches("a=recvonly").count(), 2);
        assert_eq!(text.matches("a=setup:actpass").count(), 2);
        assert!(text.contains("127.0.0.1 7 typ host"));
        assert!(text.contains("a=group:BUNDLE 0 1\r\n") && text.contains("a=mid:1\r\n"));
        let sent = Offer {
            sections: &[Media::VIDEO.from(6)],
            ..offer
        };
        let text = sent.text();
        assert!(text.contains("a=ssrc:6 cname") && !text.contains("m=audio"));
        assert!(!text.contains("audio-level"));
        let loud = Media {
            says_level: true,
            ..Media::AUDIO.from(5)
        };
        let sent = Offer {
            sections: &[loud],
            ..offer
        };
        assert!(sent.text().contains(LEVEL_URI));
    }
}
