//! A ladder that is too much for its machine, and one that nobody watches.

use std::time::Duration;

use crate::support::{Playlist, Server, fixture, until, variants};

fn names(list: &serde_json::Value) -> Vec<String> {
    let all = list.as_array().into_iter().flatten();
    all.filter_map(|one| one["name"].as_str().or(one.as_str()))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn rungs_are_shed_from_the_top_and_live_stays_live() {
    // A preset that no machine of two cores, or of many, encodes 720p with in real time on one thread.
    let server = Server::start(
        "[ladder]\npreset = \"placebo\"\n",
        &["--demo", "--set", "ladder.shed=true"],
    )
    .await;
    server.running("demo").await;
    let load = until("a rung to be shed", Duration::from_secs(60), || async {
        let load = server.stream("demo").await["load"].clone();
        (!names(&load["shed"]).is_empty()).then_some(load)
    })
    .await;
    let planned = names(&server.stream("demo").await["ladder"]["plan"]["rungs"]);
    let shed = names(&load["shed"]);
    assert!(
        planned.starts_with(&shed) && shed.len() < planned.len(),
        "{shed:?} is not the top of {planned:?}"
    );
    assert!(
        load["reason"]
            .as_str()
            .is_some_and(|reason| !reason.is_empty()),
        "{load}"
    );
    assert!(server.log().contains("rungs are shed from the top"));
    // Viewers are no longer offered it.
    until("the rung to be gone", Duration::from_secs(20), || async {
        let stream = server.stream("demo").await;
        let tracks = stream["tracks"].as_array().cloned().unwrap_or_default();
        let gone = !tracks.iter().any(|track| track["id"] == shed[0].as_str());
        let listed = variants(&server, "demo", 1).await;
        let unlisted = !listed.iter().any(|one| one.uri.starts_with(&shed[0]));
        (gone && unlisted).then_some(())
    })
    .await;
    // What is left is dropped from rather than delayed: the newest segment is of just now.
    let last = planned.last().expect("a rung");
    let lag = until("a segment of just now", Duration::from_secs(40), || async {
        let playlist = Playlist::with_segments(&server, "demo", last, 2).await;
        let segment = playlist.parsed.segments.last()?;
        let begun = segment.program_date_time?.timestamp_millis();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let lag = i64::try_from(now.ok()?.as_millis()).ok()? - begun;
        (lag < 8_000).then_some(lag)
    })
    .await;
    assert!(lag > 0, "{lag}");
}

#[tokio::test]
async fn a_ladder_that_nobody_watches_only_reads() {
    let bunny = fixture("bigbuckbunny.mp4");
    let source = format!(
        "[[ingest.source]]\nname = \"bunny\"\nurl = \"{}\"\nloop = true\n",
        bunny.display()
    );
    let server = Server::start(&source, &[]).await;
    server.running("bunny").await;
    let units = || async {
        let stream = server.stream("bunny").await;
        let tracks = stream["tracks"].as_array().cloned().unwrap_or_default();
        let all = tracks.iter().filter_map(|track| track["units"].as_u64());
        all.sum::<u64>()
    };
    // Every rung is encoded until its second cut, so that it can be listed; then all rest, sound included.
    let resting = until("everything to rest", Duration::from_secs(30), || async {
        let before = units().await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        (before > 0 && units().await == before).then_some(before)
    })
    .await;
    assert_eq!(server.stream("bunny").await["ladder"]["rungs_active"], 0);
    // Somebody comes, and it goes on.
    let variants = variants(&server, "bunny", 3).await;
    let rung = variants[2]
        .uri
        .split('/')
        .next()
        .expect("a folder")
        .to_owned();
    Playlist::with_segments(&server, "bunny", &rung, 2).await;
    Playlist::with_segments(&server, "bunny", "aac", 2).await;
    assert!(units().await > resting);
}

#[tokio::test]
async fn the_ladder_policy_is_asked_again_and_may_shed_by_itself() {
    // At first all rungs; once it is told how encoding goes, only the lowest.
    let script = "--!strict\n\
        local policy: Policy = {}\n\
        function policy.plan(source: Source, ladder: Ladder, _tick: Tick): Plan\n\
        \tlocal keep = {}\n\
        \tfor id in ladder do\n\t\tkeep[id] = source.speed == nil or id == 1\n\tend\n\
        \treturn { passthrough = false, keep = keep, reason = \"one is enough\" }\n\
        end\n\
        return policy\n";
    let manifest = "name = \"frugal\"\nversion = \"1.0.0\"\napi = \"0.1\"\n\
        [kinds.ladder]\ncolumns = [\"speed\", \"cpu_used\", \"viewers\"]\nrung_columns = [\"active\"]\n\
        reasons = [\"one is enough\"]\n";
    let server = Server::start_with(
        "[policies]\nladder = \"frugal.luau\"\ndeadline_ms = 1000\n[ladder]\nmax_quality = \"720p60\"\n",
        &["--demo", "--set", "ladder.shed=true"],
        &[("frugal.luau", script), ("frugal.toml", manifest)],
    )
    .await;
    server.running("demo").await;
    let planned = names(&server.stream("demo").await["ladder"]["plan"]["rungs"]);
    assert_eq!(planned, ["720p60", "480p30", "360p30"]);
    let load = until("the policy to shed", Duration::from_secs(60), || async {
        let load = server.stream("demo").await["load"].clone();
        (names(&load["shed"]).len() == 2).then_some(load)
    })
    .await;
    assert_eq!(names(&load["shed"]), planned[..2], "{load}");
    assert_eq!(load["reason"], "one is enough");
    until("one rung to be left", Duration::from_secs(20), || async {
        let listed = variants(&server, "demo", 1).await;
        (listed.len() == 1 && listed[0].uri.starts_with("360p30")).then_some(())
    })
    .await;
}
