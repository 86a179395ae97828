//! The library's answer made ours: our addresses, our order of codecs, nothing that was not offered.

use crate::{config::Wire, net::Candidate};

/// What an answer has to tell.
pub(crate) struct Answer<'a> {
    /// The library's answer.
    pub(crate) sdp: &'a str,
    /// Where peers reach us.
    pub(crate) candidates: &'a [Candidate],
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
        candidates,
        video,
        reduced_size,
    } = *answer;
    let mut out = String::with_capacity(sdp.len() + candidates.len() * 80);
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
                write_candidates(&mut out, candidates);
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
        write_candidates(&mut out, candidates);
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

pub(super) fn write_candidates(out: &mut String, candidates: &[Candidate]) {
    for (foundation, candidate) in (1..).zip(candidates) {
        let (address, port) = (candidate.address.ip(), candidate.address.port());
        let priority = priority(candidate);
        let wire = match candidate.wire {
            Wire::Udp => "udp",
            Wire::Tcp => "tcp",
        };
        out.push_str(&format!(
            "a=candidate:{foundation} 1 {wire} {priority} {address} {port} typ host"
        ));
        if candidate.wire == Wire::Tcp {
            out.push_str(" tcptype passive");
        }
        out.push_str("\r\n");
    }
    out.push_str("a=end-of-candidates\r\n");
}

/// RFC 8445 §5.1.2.1: the kind, then the order of our list, then component 1. RFC 6544 §4.2: TCP is of a lesser kind
/// (90 with browsers, too), and its direction comes before the order.
fn priority(candidate: &Candidate) -> u32 {
    let rank = u32::from(candidate.rank);
    let (kind, order) = match candidate.wire {
        Wire::Udp => (126, 65_535 - rank),
        Wire::Tcp => (90, (PASSIVE << 13) | (8191 - rank.min(8191))),
    };
    (kind << 24) | (order << 8) | 255
}

/// RFC 6544 §4.2: the preference of a host candidate that waits for connections.
const PASSIVE: u32 = 4;
