//! WHEP (draft-ietf-wish-whep-03): one test for each rule, by HTTP alone.

use hyper::{Method, header};
use lockgate_check::Kind;

use crate::{refused::OFFER, support::Server, whip_rules::kept};

async fn live() -> Server {
    // Nothing here depends on how much is encoded.
    let server = Server::start(
        "[ladder]\nmax_quality = \"360p30\"\n[auth]\nanonymous = []\n",
        &["--demo"],
    )
    .await;
    server.running_as("demo").await;
    server
}

async fn whep_keeps(rule: &str) -> String {
    kept(&live().await, Kind::Whep, "/whep/demo", rule).await
}

#[tokio::test]
async fn p1_an_offer_is_answered_with_201() {
    whep_keeps("P1").await;
}

#[tokio::test]
async fn p1_an_offer_without_a_codec_of_ours_is_refused_with_the_reason() {
    let server = live().await;
    let offer = OFFER
        .replace("sendonly", "recvonly")
        .replace("H264", "H265");
    let detail = server.offer("/whep/demo", &offer).await.problem(422);
    assert!(detail.contains("H265"), "{detail}");
}

#[tokio::test]
async fn p2_head_tells_that_it_is_an_endpoint() {
    whep_keeps("P2").await;
    let server = Server::start("", &[]).await;
    let get = server.call(Method::GET, "/whep/nothing").await;
    let seen = (get.status.as_u16(), get.header(header::CONTENT_TYPE));
    assert_eq!(seen, (200, "application/sdp"));
}

#[tokio::test]
async fn p3_what_is_not_live_is_409_with_retry_after() {
    let server = Server::start("", &[]).await;
    kept(&server, Kind::Whep, "/whep/nothing", "P3").await;
}

#[tokio::test]
async fn p4_w02_another_type_or_malformed_sdp_is_a_client_error() {
    whep_keeps("W02").await;
}

#[tokio::test]
async fn p4_w03_the_answer_is_sendonly_bundled_and_rtcp_mux_only() {
    whep_keeps("W03").await;
}

#[tokio::test]
async fn p4_w05_the_etag_is_strong_and_unique() {
    whep_keeps("W05").await;
}

#[tokio::test]
async fn p4_w06_patch_without_if_match_is_428_and_with_a_stale_one_412() {
    whep_keeps("W06").await;
}

#[tokio::test]
async fn p4_w07_candidates_are_answered_with_204_without_etag() {
    whep_keeps("W07").await;
}

#[tokio::test]
async fn p4_w08_a_restart_is_answered_with_200_and_a_failed_one_ends_nothing() {
    whep_keeps("W08").await;
}

#[tokio::test]
async fn p4_w09_delete_is_200() {
    whep_keeps("W09").await;
}

#[tokio::test]
async fn p4_w10_to_w13_get_options_redirects_and_candidates() {
    let server = live().await;
    for rule in ["W10", "W11", "W12", "W13"] {
        kept(&server, Kind::Whep, "/whep/demo", rule).await;
    }
}

#[tokio::test]
async fn p4_w12_a_full_broadcast_says_when_to_come_again() {
    let server = Server::start("viewers_max = 0\n", &["--demo"]).await;
    server.running("demo").await;
    let offer = OFFER.replace("sendonly", "recvonly");
    let answer = server.offer("/whep/demo", &offer).await;
    answer.problem(503);
    assert_eq!(answer.header(header::RETRY_AFTER), "10");
}

#[tokio::test]
async fn p4_w14_every_method_but_preflight_wants_its_token() {
    whep_keeps("W14").await;
}

#[tokio::test]
async fn p4_w15_active_and_passive_get_the_other_role_and_holdconn_is_refused() {
    whep_keeps("W15").await;
}

#[tokio::test]
async fn p4_w16_session_urls_cannot_be_guessed() {
    whep_keeps("W16").await;
}
