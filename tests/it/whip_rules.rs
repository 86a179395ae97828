//! WHIP (RFC 9725): one test for each rule, by HTTP alone, as `lockgate check whip` looks at any server.

use http_body_util::Full;
use hyper::{Method, header};
use lockgate_check::{Kind, Outcome, Target, run};

use crate::{refused::OFFER, support::Server};

/// Checks that a rule is kept at a path, not just passed over; returns what was seen.
pub(crate) async fn kept(server: &Server, kind: Kind, path: &str, rule: &str) -> String {
    let target = Target::new(&server.url(path), Some(server.token.clone())).expect("a URL");
    let report = run(kind, target, |one| one.id == rule).await;
    let finding = report.findings.first().expect("there is such a rule");
    assert_eq!(finding.outcome, Outcome::Pass, "{rule}: {}", finding.seen);
    finding.seen.clone()
}

async fn whip_keeps(rule: &str) -> String {
    let server = Server::start("", &[]).await;
    kept(&server, Kind::Whip, "/whip/live", rule).await
}

#[tokio::test]
async fn w01_an_offer_is_answered_with_201() {
    whip_keeps("W01").await;
}

#[tokio::test]
async fn w02_another_type_or_malformed_sdp_is_a_client_error() {
    whip_keeps("W02").await;
}

#[tokio::test]
async fn w03_the_answer_is_recvonly_bundled_and_rtcp_mux_only() {
    whip_keeps("W03").await;
}

#[tokio::test]
async fn w03_a_section_that_is_not_supported_refuses_the_whole_offer() {
    let server = Server::start("", &[]).await;
    let offer = format!("{OFFER}m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:1\r\n");
    let detail = server.offer("/whip/live", &offer).await.problem(422);
    assert!(detail.contains("application"), "{detail}");
}

#[tokio::test]
async fn w04_more_tracks_or_streams_than_supported_are_422() {
    assert!(whip_keeps("W04").await.starts_with("422"));
    let server = Server::start("", &[]).await;
    let audio = OFFER
        .split_once("m=video")
        .map_or(String::new(), |(_, section)| {
            let section = section
                .replace(" 96\r\n", " 111\r\n")
                .replace("a=mid:0", "a=mid:1");
            let codec = section.find("a=rtpmap").expect("there is a codec");
            format!(
                "m=audio{}a=rtpmap:111 opus/48000/2\r\na=msid:two a\r\na=ssrc:2 cname:c\r\n",
                &section[..codec]
            )
        });
    let offer = format!("{OFFER}a=msid:one v\r\na=ssrc:1 cname:c\r\n{audio}")
        .replace("BUNDLE 0", "BUNDLE 0 1");
    let detail = server.offer("/whip/live", &offer).await.problem(422);
    assert!(detail.contains("MediaStream"), "{detail}");
    let one = server
        .offer("/whip/live", &offer.replace("msid:two", "msid:one"))
        .await;
    assert_eq!(one.status, 201, "{}", one.text());
}

#[tokio::test]
async fn w05_the_etag_is_strong_and_unique() {
    whip_keeps("W05").await;
}

#[tokio::test]
async fn w06_patch_without_if_match_is_428_and_with_a_stale_one_412() {
    let seen = whip_keeps("W06").await;
    assert_eq!(seen, "missing 428, stale 412, text/plain 415");
}

#[tokio::test]
async fn w07_candidates_are_answered_with_204_without_etag() {
    whip_keeps("W07").await;
}

#[tokio::test]
async fn w08_a_restart_is_answered_with_200_and_a_failed_one_ends_nothing() {
    assert!(whip_keeps("W08").await.starts_with("200"));
}

#[tokio::test]
async fn w09_delete_is_200_and_frees_the_name() {
    whip_keeps("W09").await;
}

#[tokio::test]
async fn w10_get_has_no_content() {
    whip_keeps("W10").await;
}

#[tokio::test]
async fn w11_options_name_what_is_accepted_and_expose_the_headers() {
    whip_keeps("W11").await;
    let server = Server::start("", &[]).await;
    let session = server.call(Method::OPTIONS, "/whip/live/x").await;
    assert_eq!(
        session.header("accept-patch"),
        "application/trickle-ice-sdpfrag"
    );
}

#[tokio::test]
async fn w12_nothing_is_redirected_and_a_full_server_says_when_to_come_again() {
    whip_keeps("W12").await;
    let server = Server::start("peers_max = 1\n", &[]).await;
    let first = server.offer("/whip/one", OFFER).await;
    assert_eq!(first.status, 201);
    let second = server.offer("/whip/two", OFFER).await;
    second.problem(503);
    assert_eq!(second.header(header::RETRY_AFTER), "10");
    let location = first.header(header::LOCATION);
    assert_eq!(server.call(Method::DELETE, location).await.status, 200);
    assert_eq!(server.offer("/whip/two", OFFER).await.status, 201);
}

#[tokio::test]
async fn w13_the_answer_has_all_candidates() {
    whip_keeps("W13").await;
}

#[tokio::test]
async fn w14_every_method_but_preflight_wants_its_token() {
    whip_keeps("W14").await;
}

#[tokio::test]
async fn w14_turn_servers_come_with_their_credentials() {
    // The test server's own configuration ends within [webrtc].
    let servers = "ice_servers = [{ url = \"stun:stun.example.org\" }, \
                   { url = \"turn:turn.example.org?transport=udp\", username = \"u\", credential = \"p\\\"w\" }]\n";
    let server = Server::start(servers, &[]).await;
    let created = server.offer("/whip/live", OFFER).await;
    assert_eq!(created.status, 201);
    let links: Vec<&str> = created
        .headers
        .get_all(header::LINK)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    assert_eq!(
        links,
        [
            "<stun:stun.example.org>; rel=\"ice-server\"",
            "<turn:turn.example.org?transport=udp>; rel=\"ice-server\"; username=\"u\"; credential=\"p\\\"w\"; \
             credential-type=\"password\"",
        ]
    );
    // A preflight is anybody's, so that it must not hand out credentials (RFC 9725 §4.6).
    let options = server.call(Method::OPTIONS, "/whip/live").await;
    assert_eq!(options.header(header::LINK), "");
}

#[tokio::test]
async fn w15_active_and_passive_get_the_other_role_and_holdconn_is_refused() {
    let seen = whip_keeps("W15").await;
    assert!(
        seen.starts_with("active: 201 passive, passive: 201 active"),
        "{seen}"
    );
}

#[tokio::test]
async fn w16_session_urls_cannot_be_guessed() {
    whip_keeps("W16").await;
    let server = Server::start("", &[]).await;
    assert_eq!(server.offer("/whip/live", OFFER).await.status, 201);
    let guessed = format!("/whip/live/{}", "0".repeat(32));
    server.call(Method::DELETE, &guessed).await.problem(404);
    server.offer("/whip/live", OFFER).await.problem(409);
}

#[tokio::test]
async fn w17_simulcast_layers_are_answered_as_offered() {
    let seen = whip_keeps("W17").await;
    assert_eq!(seen, "a=simulcast:recv h;l");
}

#[tokio::test]
async fn w06_a_weak_or_unquoted_tag_is_not_the_sessions() {
    let server = Server::start("", &[]).await;
    let created = server.offer("/whip/live", OFFER).await;
    let tag = created.header(header::ETAG);
    let location = created.header(header::LOCATION);
    for (given, status) in [
        (format!("W/{tag}"), 412),
        (tag.trim_matches('"').to_owned(), 412),
        (format!("\"other\", {tag}"), 204),
        ("*".to_owned(), 204),
    ] {
        let request = server
            .request(Method::PATCH, location)
            .header(header::CONTENT_TYPE, "application/trickle-ice-sdpfrag")
            .header(header::AUTHORIZATION, format!("Bearer {}", server.token))
            .header(header::IF_MATCH, &given)
            .body(Full::from("a=mid:0\r\na=end-of-candidates\r\n"))
            .expect("a request");
        assert_eq!(server.send(request).await.status, status, "{given}");
    }
}
