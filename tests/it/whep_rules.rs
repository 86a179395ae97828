//! WHEP (draft-ietf-wish-whep-03): one test for each rule, by HTTP alone.

use hyper::{Method, header};
use lockgate_check::Kind;

use crate::{
    refused::OFFER,
    support::{Lines, Server},
    whip_rules::kept,
};

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
async fn p5_an_event_type_that_there_is_not_is_400_and_no_stream() {
    whep_keeps("P5").await;
}

/// A viewer's session, which needs no media.
async fn watching(server: &Server) -> String {
    let offer = OFFER.replace("sendonly", "recvonly");
    let accepted = server.offer("/whep/demo", &offer).await;
    assert_eq!(accepted.status, 201, "{}", accepted.text());
    accepted.header(header::LOCATION).to_owned()
}

async fn event_stream(server: &Server, session: &str, kinds: &str) -> String {
    let made = server
        .send_as(
            &server.token,
            Method::POST,
            &format!("{session}/sse"),
            kinds.to_owned(),
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    made.header(header::LOCATION).to_owned()
}

/// The next event: its name and its data.
async fn event(lines: &mut Lines) -> Option<(String, serde_json::Value)> {
    let mut name = String::new();
    loop {
        let line = lines.next().await?;
        if let Some(event) = line.strip_prefix("event:") {
            event.trim().clone_into(&mut name);
        } else if let Some(data) = line.strip_prefix("data:") {
            let data = serde_json::from_str(data).expect("an event's data is JSON in one line");
            return Some((name, data));
        }
    }
}

async fn told_of_viewers(events: &mut Lines, count: u64) {
    loop {
        let (name, data) = event(events).await.expect("an event");
        if name == "viewercount" && data["viewercount"] == count {
            return;
        }
    }
}

#[tokio::test]
async fn p5_a_viewer_is_told_of_layers_viewers_and_the_end() {
    let server = live().await;
    let session = watching(&server).await;
    let all = event_stream(&server, &session, "").await;
    let few = event_stream(&server, &session, r#"["layers", "inactive"]"#).await;
    let (mut all, mut few) = (
        server.open(&server.token, &all).await,
        server.open(&server.token, &few).await,
    );
    assert_eq!(
        event(&mut all).await,
        Some(("active".to_owned(), serde_json::json!({})))
    );
    let (name, layers) = event(&mut few).await.expect("the layers");
    assert_eq!(name, "layers");
    let layers = layers["0"]
        .as_array()
        .expect("the video section is the first");
    let rung = layers
        .iter()
        .find(|layer| layer["rid"] == "360p30")
        .expect("the rung");
    assert_eq!(
        (&rung["width"], &rung["height"]),
        (&640.into(), &360.into()),
        "{rung}"
    );

    // Another viewer comes.
    told_of_viewers(&mut all, 1).await;
    watching(&server).await;
    told_of_viewers(&mut all, 2).await;
    let admin = server.mint("admin");
    let ended = server.send_as(&admin, Method::DELETE, "/api/streams/demo", "");
    assert_eq!(ended.await.status, 204);
    let mut last = None;
    while let Some((name, _)) = event(&mut few).await {
        assert!(["layers", "inactive"].contains(&name.as_str()), "{name}");
        last = Some(name);
    }
    assert_eq!(last.as_deref(), Some("inactive"));
}

#[tokio::test]
async fn p5_a_viewer_of_a_server_that_goes_down_is_to_come_again() {
    let mut server = live().await;
    let session = watching(&server).await;
    let events = event_stream(&server, &session, r#"["inactive", "reconnect"]"#).await;
    let mut events = server.open(&server.token, &events).await;
    let (code, told) = tokio::join!(server.terminate(), event(&mut events));
    assert_eq!(code, Some(0));
    assert_eq!(told, Some(("reconnect".to_owned(), serde_json::json!({}))));
    assert_eq!(event(&mut events).await, None);
}

#[tokio::test]
async fn p5_event_streams_end_with_their_session_and_the_oldest_when_there_are_too_many() {
    let server = live().await;
    let session = watching(&server).await;
    let first = event_stream(&server, &session, "[]").await;
    let mut reading = server.open(&server.token, &first).await;
    for _ in 0..4 {
        event_stream(&server, &session, "[]").await;
    }
    assert_eq!(event(&mut reading).await, None);
    assert_eq!(server.call(Method::GET, &first).await.status, 404);
    let next = event_stream(&server, &session, "[]").await;
    assert_eq!(server.call(Method::DELETE, &session).await.status, 200);
    assert_eq!(server.call(Method::GET, &next).await.status, 404);
}

#[tokio::test]
async fn p5_a_layer_is_chosen_by_its_rid_and_a_wish_that_cannot_be_kept_is_refused() {
    let server = live().await;
    let layer = format!("{}/layer", watching(&server).await);
    let choose = |wish: &'static str| server.send_as(&server.token, Method::POST, &layer, wish);
    for good in [
        r#"{"mediaId": "0", "rid": "360p30"}"#,
        r#"{"mediaId": "0"}"#,
        "{}",
    ] {
        assert_eq!(choose(good).await.status, 200, "{good}");
    }
    for bad in [
        r#"{"mediaId": "1"}"#,
        r#"{"maxWidth": 640}"#,
        r#"{"spatialLayerId": 1}"#,
    ] {
        choose(bad).await.problem(400);
    }
    choose(r#"{"rid": "no-such"}"#).await.problem(404);
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
