//! The library's answer made ours: our addresses, our order of codecs, nothing that was not offered.

use std::net::IpAddr;

/// What an answer has to tell.
pub(crate) struct Answer<'a> {
    /// The library's answer.
    pub(crate) sdp: &'a str,
    /// Our addresses, best first, with the port of the shared socket.
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) port: u16,
    /// The payload types of the video codecs, best first: a sender uses the first of the answer (RFC 9429 §5.3.1).
    pub(crate) video: &'a [u8],
    /// Whether reduced-size RTCP was offered (RFC 5506 §5).
    pub(crate) reduced_size: bool,
}

/// Writes the answer.
///
/// Candidates stand once, in the first section: all sections share one transport (RFC 9143 §7.1.2), and that is the
/// tagged one. The list is complete (`a=end-of-candidates`, RFC 8840 §4.1).
pub(crate) fn finished(answer: &Answer<'_>) -> String {
    let Answer {
        sdp,
        addresses,
        port,
        video,
        reduced_size,
    } = *answer;
    let mut out = String::with_capacity(sdp.len() + addresses.len() * 80);
    let mut sections = 0;
    for line in sdp.lines() {
        if line.starts_with("a=candidate:")
            || line == "a=end-of-candidates"
            || (line == "a=rtcp-rsize" && !reduced_size)
        {
            continue;
        }
        if line.starts_with("m=") {
            if sections == 1 {
                write_candidates(&mut out, addresses, port);
            }
            sections += 1;
        }
        if line.starts_with("m=video ") {
            out.push_str(&reordered(line, video));
        } else {
            out.push_str(line);
        }
        out.push_str("\r\n");
        if line == "a=ice-lite" {
            out.push_str(OPTIONS);
            out.push_str("\r\n");
        }
        if line == "a=rtcp-mux" {
            // RFC 9725 §4.4.1 wants it of both sides.
            out.push_str("a=rtcp-mux-only\r\n");
        }
    }
    if sections == 1 {
        write_candidates(&mut out, addresses, port);
    }
    out
}

/// A media line with these payload types first.
fn reordered(line: &str, first: &[u8]) -> String {
    let mut fields: Vec<&str> = line.split(' ').collect();
    // `m=video`, port and profile stay in front.
    if let Some(formats) = fields.get_mut(3..) {
        formats.sort_by_key(|format| {
            let number: Option<u8> = format.parse().ok();
            number
                .and_then(|number| first.iter().position(|wanted| *wanted == number))
                .unwrap_or(usize::MAX)
        });
    }
    fields.join(" ")
}

/// RFC 8840 §4.1.3, RFC 8445 §10: we take trickled candidates, and follow that ICE and not the one before.
pub(super) const OPTIONS: &str = "a=ice-options:trickle ice2";

pub(super) fn write_candidates(out: &mut String, addresses: &[IpAddr], port: u16) {
    for (at, address) in (0u32..).zip(addresses) {
        // RFC 8445 §5.1.2.1: type preference 126 for host, then the order of our list, then component 1.
        let priority = (126 << 24) | ((65_535 - at.min(65_535)) << 8) | 255;
        let foundation = at + 1;
        out.push_str(&format!(
            "a=candidate:{foundation} 1 udp {priority} {address} {port} typ host\r\n"
        ));
    }
    out.push_str("a=end-of-candidates\r\n");
}
