//! Offers as a browser would make them, without a peer behind them.

use rand::{
    Rng as _,
    distr::{Alphanumeric, SampleString as _},
};

use crate::Kind;

/// An offer that is written out by [`Offer::text`].
pub(crate) struct Offer {
    pub(crate) direction: &'static str,
    pub(crate) setup: &'static str,
    pub(crate) ufrag: String,
    pub(crate) password: String,
    /// How many video sections.
    pub(crate) videos: usize,
    /// Whether the video section offers two simulcast layers.
    pub(crate) simulcast: bool,
}

impl Offer {
    pub(crate) fn new(kind: Kind) -> Self {
        let (ufrag, password) = credentials();
        Self {
            direction: match kind {
                Kind::Whip => "sendonly",
                Kind::Whep => "recvonly",
            },
            setup: "actpass",
            ufrag,
            password,
            videos: 1,
            simulcast: false,
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut digest = [0u8; 32];
        rand::rng().fill(&mut digest);
        let digest: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        let mids: Vec<String> = (0..=self.videos).map(|mid| mid.to_string()).collect();
        let mut out = format!(
            "v=0\r\no=- {} 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=extmap-allow-mixed\r\n\
             a=ice-options:trickle ice2\r\na=msid-semantic: WMS stream\r\n",
            rand::rng().random::<u32>(),
            mids.join(" ")
        );
        for (at, mid) in mids.iter().enumerate() {
            let media = match at {
                0 => "m=audio 9 UDP/TLS/RTP/SAVPF 111",
                _ => "m=video 9 UDP/TLS/RTP/SAVPF 96 97",
            };
            out += &format!(
                "{media}\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n\
                 a=fingerprint:sha-256 {}\r\na=setup:{}\r\na=mid:{mid}\r\n\
                 a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na={}\r\na=rtcp-mux\r\na=rtcp-mux-only\r\na=rtcp-rsize\r\n",
                self.ufrag,
                self.password,
                digest.join(":"),
                self.setup,
                self.direction
            );
            if self.direction == "sendonly" {
                let ssrc = rand::rng().random_range(1..u32::MAX);
                out += &format!(
                    "a=msid:stream track{at}\r\na=ssrc:{ssrc} cname:check\r\na=ssrc:{ssrc} msid:stream track{at}\r\n"
                );
            }
            out += match at {
                0 => "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n",
                _ => {
                    "a=rtpmap:96 H264/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n\
                     a=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
                     a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n"
                }
            };
            if at > 0 && self.simulcast {
                out += "a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n\
                        a=rid:h send\r\na=rid:l send\r\na=simulcast:send h;l\r\n";
            }
        }
        out
    }

    /// A fragment about this offer's transport: these credentials, and candidates of all sorts.
    pub(crate) fn fragment(ufrag: &str, password: &str) -> String {
        format!(
            "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\n\
             a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\n\
             a=candidate:2 1 udp 2122194687 1b3e7a3c-0000-4000-8000-000000000000.local 61765 typ host\r\n\
             a=candidate:3 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active\r\n\
             a=candidate:4 1 quic 1518280447 192.0.2.1 9 typ host\r\na=end-of-candidates\r\n"
        )
    }
}

/// A new ufrag and password.
pub(crate) fn credentials() -> (String, String) {
    let random = |len| Alphanumeric.sample_string(&mut rand::rng(), len);
    (random(8), random(24))
}
