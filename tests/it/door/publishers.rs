//! The door for publishers over RTMP and SRT: they are ended, their passwords count, and so do their connections.

use std::time::Duration;

use hyper::Method;

use super::hash;
use crate::{
    ingest::PORTS,
    support::{H264_AAC, Over, PICTURE, Sender, Server, ffmpeg_5, until},
};

#[tokio::test]
async fn a_publisher_that_is_ended_is_gone_and_stays_out() {
    let server = Server::start(PORTS, &[]).await;
    let admin = server.mint("admin");
    for over in [Over::Rtmp, Over::Srt] {
        let name = over.name();
        let sender = Sender::publish(&server, over, name, &server.token);
        server.running(name).await;
        let path = format!("/api/streams/{name}/sessions");
        let listed = server.send_as(&admin, Method::GET, &path, "").await.json();
        let id = listed["publisher"].as_str().expect("an id").to_owned();
        let path = format!("/api/sessions/{id}");
        let ended = server.send_as(&admin, Method::DELETE, &path, "").await;
        assert_eq!(ended.status, 204, "{name}");
        // Its broadcast is gone with the answer, and the publisher is told.
        server
            .get(&format!("/api/streams/{name}"))
            .await
            .problem(404);
        let (went_well, said) = sender.ended().await;
        assert!(!went_well, "{name} was not told: {said}");
        // It may not come back by the same token for a while, nor by WHIP.
        let again = Sender::publish(&server, over, name, &server.token);
        assert!(!again.ended().await.0, "{name} came back");
        server
            .get(&format!("/api/streams/{name}"))
            .await
            .problem(404);
        // Somebody else may.
        let other = server.mint("publish:*");
        let _other = Sender::publish(&server, over, name, &other);
        server.running(name).await;
    }
}

/// Publishes with a password, and waits for the end.
async fn refused(server: &Server, over: Over, password: &str) {
    let output = match over {
        Over::Srt => {
            let url = format!(
                "{}?streamid=publish:x:ann:{password}",
                server.address("srt")
            );
            ["-f".to_owned(), "mpegts".to_owned(), url]
        }
        _ => {
            let url = format!("{}/live/x?user=ann&pass={password}", server.address("rtmp"));
            ["-f".to_owned(), "flv".to_owned(), url]
        }
    };
    let sender = Sender::start(ffmpeg_5(), &format!("{PICTURE} {H264_AAC}"), &output);
    let (went_well, said) = sender.ended().await;
    assert!(!went_well, "{over:?} was let in: {said}");
}

#[tokio::test]
async fn wrong_passwords_over_rtmp_and_srt_count() {
    let config = format!(
        "{PORTS}[[auth.users]]\nname = \"ann\"\npassword = \"{}\"\nscopes = [\"publish:*\"]\n",
        hash("north")
    );
    for over in [Over::Rtmp, Over::Srt] {
        let server = Server::start(&config, &["--set", "rate_limit.failed_logins=2"]).await;
        for _ in 0..3 {
            refused(&server, over, "south").await;
        }
        // Now not even the right one is looked at, over whatever protocol.
        refused(&server, over, "north").await;
        let basic = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "ann:north");
        let request = server
            .request(Method::POST, "/api/streams/x/verify")
            .header("authorization", format!("Basic {basic}"));
        let answer = server
            .send(request.body(Default::default()).expect("a request"))
            .await;
        answer.problem(429);
        assert!(server.log().contains("too many wrong tokens or passwords"));
    }
}

#[tokio::test]
async fn an_address_connects_so_often_and_no_more() {
    for over in [Over::Rtmp, Over::Srt] {
        let server = Server::start(PORTS, &["--set", "rate_limit.connects=3"]).await;
        for _ in 0..3 {
            let output = over.output(&server, "x", "no.token.atall");
            let sender = Sender::start(ffmpeg_5(), &format!("{PICTURE} {H264_AAC}"), &output);
            assert!(!sender.ended().await.0);
        }
        until(
            "three refusals by the door",
            Duration::from_secs(20),
            || async { (server.log().matches("publisher was refused").count() == 3).then_some(()) },
        )
        .await;
        // One more does not come as far, though its token is good.
        let sender = Sender::publish(&server, over, "x", &server.token);
        assert!(!sender.ended().await.0, "{over:?} was let in");
        assert_eq!(server.log().matches("publisher was refused").count(), 3);
        // HTTP is counted elsewhere.
        assert_eq!(server.get("/livez").await.status, 200);
    }
}
