//! What an answer tells of our own addresses.

use std::{fmt::Write, net::IpAddr};

/// Puts our addresses into an answer in place of the candidates the library wrote.
///
/// They stand once, in the first section: all sections share one transport (RFC 9143 §7.1.2), and that is the tagged
/// one. The list is complete (`a=end-of-candidates`, RFC 8840 §4.1).
pub(crate) fn with_candidates(answer: &str, addresses: &[IpAddr], port: u16) -> String {
    let mut out = String::with_capacity(answer.len() + addresses.len() * 80);
    let mut sections = 0;
    for line in answer.lines() {
        if line.starts_with("a=candidate:") || line == "a=end-of-candidates" {
            continue;
        }
        if line.starts_with("m=") {
            if sections == 1 {
                write_candidates(&mut out, addresses, port);
            }
            sections += 1;
        }
        out.push_str(line);
        out.push_str("\r\n");
    }
    if sections == 1 {
        write_candidates(&mut out, addresses, port);
    }
    out
}

fn write_candidates(out: &mut String, addresses: &[IpAddr], port: u16) {
    for (at, address) in (0u32..).zip(addresses) {
        // RFC 8445 §5.1.2.1: type preference 126 for host, then the order of our list, then component 1.
        let priority = (126 << 24) | ((65_535 - at.min(65_535)) << 8) | 255;
        let foundation = at + 1;
        // Writing to a `String` cannot fail.
        let _ = write!(
            out,
            "a=candidate:{foundation} 1 udp {priority} {address} {port} typ host\r\n"
        );
    }
    out.push_str("a=end-of-candidates\r\n");
}
