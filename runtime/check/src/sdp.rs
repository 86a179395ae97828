//! Just enough of SDP to look at answers.

/// The sections of a description: the session's lines, then those of each medium.
pub(crate) fn sections(sdp: &str) -> (Vec<&str>, Vec<Vec<&str>>) {
    let mut session = Vec::new();
    let mut media: Vec<Vec<&str>> = Vec::new();
    for line in sdp.lines().map(str::trim_end) {
        if line.starts_with("m=") {
            media.push(vec![line]);
        } else {
            media.last_mut().unwrap_or(&mut session).push(line);
        }
    }
    (session, media)
}

/// The value of the first line with this start.
pub(crate) fn value<'a>(sdp: &'a str, prefix: &str) -> Option<&'a str> {
    sdp.lines()
        .find_map(|line| line.trim_end().strip_prefix(prefix))
}

/// What a quick look at an answer misses in it; empty if nothing.
pub(crate) fn lacks(sdp: &str, direction: &str) -> Vec<String> {
    let (session, media) = sections(sdp);
    let mut missing = Vec::new();
    if media.is_empty() {
        missing.push("it has no media section".to_owned());
    }
    if media.len() > 1
        && !session
            .iter()
            .any(|line| line.starts_with("a=group:BUNDLE "))
    {
        missing.push("it does not bundle".to_owned());
    }
    for (at, section) in media.iter().enumerate() {
        if section
            .first()
            .is_some_and(|line| line.split(' ').nth(1) == Some("0"))
            && !section.contains(&"a=bundle-only")
        {
            missing.push(format!("section {at} is rejected"));
            continue;
        }
        for wanted in [direction, "a=rtcp-mux", "a=rtcp-mux-only"] {
            // RFC 9725's own example has RTCP multiplexing in the section that carries the transport alone.
            if (at == 0 || wanted == direction) && !section.contains(&wanted) {
                missing.push(format!("section {at} has no {wanted}"));
            }
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_lacks_is_named() {
        let good = "v=0\r\na=group:BUNDLE 0 1\r\nm=audio 9 x\r\na=recvonly\r\na=rtcp-mux\r\na=rtcp-mux-only\r\n\
                    m=video 9 x\r\na=recvonly\r\na=rtcp-mux\r\na=rtcp-mux-only\r\n";
        assert!(lacks(good, "a=recvonly").is_empty());
        assert_eq!(value(good, "m=video "), Some("9 x"));
        assert_eq!(lacks(good, "a=sendonly").len(), 2);
        assert_eq!(
            lacks(&good.replace("BUNDLE", "LS"), "a=recvonly"),
            ["it does not bundle"]
        );
        let rejected = good.replace("m=video 9", "m=video 0");
        assert_eq!(lacks(&rejected, "a=recvonly"), ["section 1 is rejected"]);
        assert_eq!(lacks("", "a=recvonly"), ["it has no media section"]);
    }
}
