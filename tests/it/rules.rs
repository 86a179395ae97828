//! The rules of WHIP, WHEP, HLS, ICE, DTLS and RTP that are kept, and where each is tested: by HTTP and UDP alone, against
//! the running binary.
//!
//! P1 leaves an endpoint the choice between an answer and a counter-offer (406, draft-ietf-wish-whep-03 §4.3.2): ours answers,
//! or refuses with 422 and the reason. A limit on how often somebody may POST, PATCH or DELETE (the other half of W16)
//! belongs to the HTTP interface as a whole and is not here.

use std::collections::BTreeMap;

const RULES: [(&str, &str); 53] = [
    (
        "w01",
        "RFC 9725 §4.2: POST is answered with 201, Location and an answer",
    ),
    ("w02", "RFC 9725 §4.2: another type or malformed SDP is 4xx"),
    (
        "w03",
        "RFC 9725 §4.2, §4.4.1: recvonly, bundled, rtcp-mux-only; no partial success",
    ),
    (
        "w04",
        "RFC 9725 §4.4.2: more tracks or streams than supported are refused",
    ),
    ("w05", "RFC 9725 §4.3.1: a unique strong entity-tag"),
    ("w06", "RFC 9725 §4.3.1: no If-Match 428, a stale one 412"),
    (
        "w07",
        "RFC 9725 §4.3.2: trickle is 204 without ETag; odd candidates are skipped",
    ),
    (
        "w08",
        "RFC 9725 §4.3.3: a restart is 200; the old path holds until the new one is up",
    ),
    (
        "w09",
        "RFC 9725 §4.3.1, RFC 7675 §5.2: DELETE is 200 and revokes consent at once",
    ),
    ("w10", "RFC 9725 §4.1: GET has no content"),
    (
        "w11",
        "RFC 9725 §4.2: OPTIONS with Accept-Post; headers are exposed",
    ),
    (
        "w12",
        "RFC 9725 §4.5: no redirect of POST but 307; overload is 503 with Retry-After",
    ),
    ("w13", "RFC 9725 §4.3.2: the answer has all candidates"),
    (
        "w14",
        "RFC 9725 §4.6, §4.7.1: a bearer on every method but preflight; ice-server links",
    ),
    (
        "w15",
        "RFC 9725 §4.4.4, RFC 8842 §5.3: active and passive get the other role, holdconn is refused",
    ),
    ("w16", "RFC 9725 §5: session URLs cannot be guessed"),
    (
        "w17",
        "RFC 9725 §4.8, RFC 8853 §5.3.2: simulcast is answered as offered",
    ),
    ("p1", "WHEP-03 §4.3: 201 with a sendonly answer"),
    ("p2", "WHEP-03 §4.2: HEAD tells that it is an endpoint"),
    (
        "p3",
        "WHEP-03 §4.3.7: what is not live is 409 with Retry-After",
    ),
    ("p4", "WHEP-03 §4.3 to §5: W02 to W16 hold for viewers, too"),
    ("p5", "WHEP extensions: server-sent events and layers"),
    (
        "i01",
        "RFC 8445 §7.3, RFC 8489 §9.1.3: both halves of the username, and the signature",
    ),
    (
        "i02",
        "RFC 8122 §5: the certificate is the one of the fingerprint",
    ),
    (
        "i03",
        "RFC 8445 §12.1: no DTLS or SRTP from an address without a good check",
    ),
    ("i04", "RFC 8445 §8.1.1: no DTLS before a nominated pair"),
    ("i05", "RFC 8834 §4.2: no profile but SAVPF"),
    (
        "i06",
        "RFC 3711 §3.3: a packet that is not signed is dropped, and it alone",
    ),
    ("i07", "RFC 5761 §5.1.1: rtcp-mux is not assumed"),
    ("i08", "RFC 7675 §5.1: nothing is sent without consent"),
    (
        "i09",
        "RFC 8838, RFC 8840: twice is once, half a restart is none, candidates are capped",
    ),
    (
        "i10",
        "RFC 8835 §3.4: both families, ICE-TCP, no private address beside a public one",
    ),
    (
        "i11",
        "RFC 8842 §4.3: a new session has nothing of the one before",
    ),
    (
        "i12",
        "RFC 4585: keyframe requests are answered once an interval, losses mended, packets short",
    ),
    (
        "l01",
        "8216bis §6.2.5.2: _HLS_part alone is 400, and so is what is too far ahead",
    ),
    (
        "l02",
        "8216bis §6.2.5.2: a reload waits for the segment or part that it names",
    ),
    (
        "l03",
        "8216bis §6.2.5.2: an old _HLS_msn is answered at once with the whole playlist",
    ),
    (
        "l04",
        "8216bis §6.2.5.2: what does not come within three target durations is 503",
    ),
    (
        "l05",
        "8216bis §6.2.5.2: an ended playlist ignores directives and hints at nothing",
    ),
    (
        "l06",
        "8216bis §4.4.4.9: parts last at most PART-TARGET, and 85 % of it or more",
    ),
    (
        "l07",
        "8216bis §4.4.3.8: the hold-backs and the skip boundary are long enough",
    ),
    (
        "l08",
        "8216bis §6.2.6: a hinted part comes whole and is the one listed then, or is 404",
    ),
    (
        "l09",
        "8216bis §6.2.1, §6.2.2: parts come in time, leave in order, and stay fetchable",
    ),
    (
        "l10",
        "8216bis §4.4.5.4: one true report for each other rendition",
    ),
    (
        "l11",
        "8216bis §6.2.5.1: delta updates; tags of a segment before its first part",
    ),
    (
        "l12",
        "8216bis §4.4.4.9: the bytes of a segment are those of its parts",
    ),
    (
        "h01",
        "RFC 8216 §4.3.3.1: EXTINF within TARGETDURATION, which never changes",
    ),
    (
        "h02",
        "RFC 8216 §6.2.2: numbers count what was removed and keep their segments",
    ),
    (
        "h03",
        "RFC 8216 §6.2.1, §6.2.2: segments in time; a long enough playlist; removed ones live on",
    ),
    (
        "h04",
        "RFC 8216 §4.3.2.3: DISCONTINUITY where times or format break",
    ),
    (
        "h05",
        "RFC 8216 §4.3.2.5, §6.2.4: a MAP; renditions share times and discontinuity numbers",
    ),
    (
        "h06",
        "RFC 8216 §4.3.4.2: BANDWIDTH is the peak or more, CODECS what is in there",
    ),
    (
        "h07",
        "ISO/IEC 23000-19 §7.3: times run on, a keyframe first, none negative",
    ),
];

const SOURCES: [&str; 6] = [
    include_str!("hls_rules.rs"),
    include_str!("whip_rules.rs"),
    include_str!("whep_rules.rs"),
    include_str!("ice_rules.rs"),
    include_str!("peer_rules.rs"),
    include_str!("network.rs"),
];

#[test]
fn each_rule_has_its_test() {
    let mut tests: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let names = SOURCES
        .iter()
        .flat_map(|source| source.split("#[tokio::test]\nasync fn ").skip(1))
        .filter_map(|rest| rest.split_once('(').map(|(name, _)| name));
    for name in names {
        // The rules stand first in a name, one by one or from one `to` another.
        let place = |word: &str| RULES.iter().position(|(rule, _)| *rule == word);
        let mut words = name.split('_').peekable();
        let mut before = None;
        while let Some(word) = words.next() {
            let (from, to) = match (place(word), before) {
                (Some(at), _) => (at, at),
                (None, Some(before)) if word == "to" => {
                    let to = words.next().and_then(place);
                    (before, to.expect("a rule stands behind `to`"))
                }
                _ => break,
            };
            for (rule, _) in &RULES[from..=to] {
                let named = tests.entry(rule).or_default();
                if named.last() != Some(&name) {
                    named.push(name);
                }
            }
            before = Some(to);
        }
    }
    for (rule, says) in RULES {
        println!("{rule}  {says}");
        let named = tests
            .get(rule)
            .unwrap_or_else(|| panic!("{rule} has no test"));
        for name in named {
            println!("       {name}");
        }
    }
}
