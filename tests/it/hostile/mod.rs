//! The hostile corpus, played on a server that somebody watches.
//!
//! Each policy is put in charge while a WHEP viewer takes whole frames and an HLS reader takes playlists. What shows itself
//! when it is tried is refused; the same policy asleep is let in, fails in earnest, and the next in the chain decides.

mod stage;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::Method;
use lockgate_tests_hostile::{Ends, bombs, cunning, doors, modules, scripts};
use lockgate_tests_peer::{FPS, Publisher, Viewer, clip};

use crate::{
    refused::OFFER,
    support::{Playlist, Server, fixture, until},
};
use stage::{By, Case, GOOD, Stage, slot};

/// Every script, guest and bomb as it is: what it must say when it is refused.
fn awake() -> Vec<Case> {
    let scripts = scripts().into_iter().map(|script| Case {
        name: script.does,
        body: script.source.into_bytes(),
        says: script.says,
        ends: script.ends,
    });
    let modules = modules().into_iter().map(|module| Case {
        body: module.guest().build(),
        name: format!("wasm: {}", module.does),
        // How many rows it is tried with is the contract's affair.
        says: module.says.replace("18 are wanted", "are wanted"),
        ends: module.ends,
    });
    let bombs = bombs().into_iter().filter_map(|bomb| {
        Some(Case {
            name: format!("bomb: {}", bomb.of),
            body: bomb.source.into_bytes(),
            ends: Ends::Load,
            // The script has another name here.
            says: bomb
                .says
                .filter(|says| !says.contains("script"))?
                .to_owned(),
        })
    });
    let all = scripts.chain(modules).chain(bombs);
    all.filter(|case| case.ends != Ends::Fine).collect()
}

/// All of them for `make hostile`, else a share: each is decided about once a second.
fn share(all: Vec<Case>) -> Vec<Case> {
    let is_all = std::env::var_os("LOCKGATE_HOSTILE").is_some_and(|which| which == "all");
    all.into_iter()
        .step_by(if is_all { 1 } else { 5 })
        .collect()
}

/// Those that fail when they judge, asleep; and those that are cunning by themselves.
fn asleep() -> Vec<Case> {
    let judges = |ends: &Ends| !matches!(ends, Ends::Load | Ends::Start(_));
    let scripts = scripts().into_iter().filter(|script| judges(&script.ends));
    let scripts = scripts.map(|script| Case {
        name: format!("asleep: {}", script.does),
        body: script.asleep().into_bytes(),
        ends: script.ends,
        says: script.says,
    });
    let modules = modules().into_iter().filter(|module| judges(&module.ends));
    let modules = modules.map(|module| Case {
        name: format!("asleep, wasm: {}", module.does),
        body: module.guest().asleep().build(),
        // One viewer has a third of the numbers of three.
        says: module.says.replace("18", "6"),
        ends: module.ends,
    });
    let cunning = cunning().into_iter().filter(|script| script.kind == "abr");
    let cunning = cunning.map(|script| Case {
        name: format!("cunning: {}", script.does),
        body: script.source.into_bytes(),
        ends: script.ends,
        says: script.says,
    });
    scripts.chain(modules).chain(cunning).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_hostile_policy_ends_as_it_must_while_media_goes_on() {
    let mut stage = Stage::set().await;
    stage.good().await;
    let first = Playlist::with_segments(&stage.server, "demo", "360p30", 2).await;

    // How media comes while a good policy decides.
    let began = Instant::now();
    until(
        "three seconds of good media",
        Duration::from_secs(30),
        || async { (began.elapsed() > Duration::from_secs(3)).then_some(()) },
    )
    .await;
    stage.usual = stage.longest_gap(began);

    let began = Instant::now();
    let (awake, asleep) = (share(awake()), share(asleep()));
    for case in &awake {
        stage.refused(case).await;
    }
    let refused_in = began.elapsed();
    let mut last = stage.plays_on(&first).await;
    for batch in asleep.chunks(BATCH) {
        for case in batch {
            stage.admitted(case, By::Put, "last_good").await;
        }
        last = stage.plays_on(&last).await;
    }
    let script = asleep
        .iter()
        .find(|case| case.ends == Ends::Fault("budget".to_owned()));
    let script = script.expect("a share has one that takes too long");
    stage.admitted(script, By::Save, "last_good").await;
    // Candidates beside the good one have no effect at all.
    for case in asleep.iter().step_by(12) {
        stage.beside(case).await;
    }
    // And with nothing behind it but the built-in.
    stage.restore("builtin").await.expect("nothing is left");
    for case in asleep.iter().step_by(8) {
        stage.admitted(case, By::Put, "builtin").await;
    }
    let served_in = began.elapsed() - refused_in;
    let longest = stage.longest_gap(began);

    // The good one decides again, and HLS has gone on all the while.
    stage.good().await;
    let last = stage.plays_on(&last).await;
    println!(
        "{} refused in {refused_in:.1?}, {} served in {served_in:.1?}; longest wait for a frame {longest:?}, with a good policy {:?}",
        awake.len(),
        asleep.len(),
        stage.usual
    );
    assert!(stage.wrong.is_empty(), "\n{}", stage.verdict());
    assert!(
        last.parsed.media_sequence > first.parsed.media_sequence,
        "{}",
        last.text
    );
    assert!(
        longest < stage.gap_max() || !stage.has_kept_up(),
        "{longest:?}"
    );
}

/// After so many the playlist is looked at: it shows far more than they take.
const BATCH: usize = 10;

#[tokio::test]
async fn a_hostile_auth_policy_means_no_and_holds_nobody_else_up() {
    let config = "[policies]\nauth = \"auth.luau\"\n";
    let good = "return {authorize = function() return {allow = true} end}";
    let server = Server::start_with(config, &[], &[("auth.luau", good)]).await;
    let path = "/api/policies/auth";
    let mut wrong = Vec::new();
    let scripts = doors();
    for script in &scripts {
        let put = server
            .send_as(&server.token, Method::PUT, path, script.with_a_way_out())
            .await;
        if put.status != 200 {
            wrong.push(format!("{}: {}", script.does, put.text()));
            continue;
        }
        // Both are at the door at once: the one that is refused, and the one that needs nobody's leave.
        let name = format!("/whip/{}", script.does.replace([' ', ','], "-"));
        let (publish, other) = tokio::join!(server.offer(&name, OFFER), server.get("/api/streams"));
        let again = server.offer(&name, OFFER).await;
        if [&publish, &again].map(|answer| answer.status.as_u16()) != [403; 2] {
            let told = [publish.text(), again.text()];
            wrong.push(format!("{}: was not refused: {told:?}", script.does));
        }
        if !other.status.is_success() {
            wrong.push(format!("{}: others wait: {}", script.does, other.text()));
        }
        let active = slot(&server, &server.token, "auth").await["active"].clone();
        let faults = &active["counters"]["faults"];
        let is_as_said = match &script.ends {
            Ends::Fault(word) => faults[word.as_str()].as_u64() > Some(0),
            _ => *faults == serde_json::json!({}),
        };
        if !is_as_said {
            wrong.push(format!("{}: {faults}, not {:?}", script.does, script.ends));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let put = server.send_as(&server.token, Method::PUT, path, good).await;
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(server.offer("/whip/after", OFFER).await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_is_as_fast_while_a_policy_burns_all_its_steps() {
    let clip: Arc<[Bytes]> = clip::make(&fixture("bigbuckbunny.mp4"))
        .await
        .expect("a clip")
        .into();
    let server = Server::start("", &[]).await;
    let token = server.mint("admin");
    let publisher = Publisher::start(&server, "late", &clip)
        .await
        .expect("it publishes");
    let mut viewer = Viewer::join(&server, "late").await.expect("it joins");
    viewer.read().await.expect("media comes");
    let burns = cunning()
        .into_iter()
        .find(|script| script.does == "burns nearly all its steps at each call")
        .expect("it is in the corpus");
    let mut told = Vec::new();
    for (what, body, steps) in [("good", GOOD, 0), ("burning", &burns.source, 100_000)] {
        // The highest rung is the source itself, whose frames keep their marks.
        let body = body.replace("else 1,", "else #ladder,");
        let put = server
            .send_as(&token, Method::PUT, "/api/policies/abr", body)
            .await;
        assert_eq!(put.status, 200, "{}", put.text());
        // It has decided before anything is measured.
        until(what, Duration::from_secs(20), || async {
            let counters = slot(&server, &token, "abr").await["active"]["counters"].clone();
            (counters["steps"].as_u64() > Some(steps)).then_some(())
        })
        .await;
        let decided = publisher.newest();
        until("the source to be seen", Duration::from_secs(20), || async {
            let seen = viewer.seen();
            seen.iter().any(|seen| seen.number > decided).then_some(())
        })
        .await;
        let first = publisher.newest() + 1;
        let last = first + 5 * FPS;
        until(
            "five seconds of frames",
            Duration::from_secs(30),
            || async {
                let seen = viewer.seen();
                seen.iter().any(|seen| seen.number > last).then_some(())
            },
        )
        .await;
        let mut delays: Vec<Duration> = viewer
            .seen()
            .into_iter()
            .filter(|seen| (first..=last).contains(&seen.number))
            .filter_map(|seen| {
                let sent = publisher.sent_at(seen.number)?;
                Some(seen.arrived.saturating_duration_since(sent))
            })
            .collect();
        delays.sort_unstable();
        let at = |share: usize| delays[(delays.len() - 1) * share / 100];
        told.push(format!("{what}: median {:?}, p99 {:?}", at(50), at(99)));
        assert_eq!(
            delays.len() as u64,
            last - first + 1,
            "{what}: frames are lost"
        );
    }
    println!("{}", told.join("; "));
    viewer.leave(&server).await.expect("it leaves");
    publisher.leave(&server).await.expect("it leaves");
}
