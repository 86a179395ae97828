//! `rooms`: one room in which everybody sends and is shown several others, by light peers; and signalling alone.
//!
//! Packets in a CPU second of the server stand against those of a loop that encrypts and sends and does nothing else (that
//! of `fanout`), messages against those of a bare echo over WebSocket.

mod bare;
mod echo;
mod storm;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use lockgate_load::room::{Config, Downlink, Peers, Uplink};
use lockgate_tests_peer::Person;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep, sleep_until},
};

use crate::{
    server::Server,
    table::{Distribution, Report},
};

/// How many people, unless the command line says it.
pub(crate) const PEOPLE: usize = 50;
pub(crate) const PEOPLE_MAX: usize = 1000;

const VIDEO_KBPS: u32 = 200;
const AUDIO_KBPS: u32 = 40;
/// What everybody is shown.
const VIDEOS: usize = 9;
const AUDIOS: usize = 3;
/// Who comes in a second.
const RAMP_PER_S: f64 = 10.0;
/// Links are estimated and places settle.
const WARM: Duration = Duration::from_secs(8);
const MEASURED: Duration = Duration::from_secs(15);
/// The others trust what they have seen to be good, so that the peers cost less than the server.
const DECRYPT_ONE_IN: usize = 10;
/// So many speak at a time, and others after a while.
const SPEAKERS: usize = 3;
const SPEAK: Duration = Duration::from_secs(4);
/// In dB below full scale.
const LOUD: u8 = 25;
const QUIET: u8 = 90;
/// From connecting to the first packet of another.
const COME_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

pub(crate) async fn measure(people: usize) -> anyhow::Result<Vec<Report>> {
    ensure!(
        (2..=PEOPLE_MAX).contains(&people),
        "--people is {people}; 2 to {PEOPLE_MAX} are possible"
    );
    Ok(vec![media(people).await?, storm::measure().await?])
}

/// A server with rooms for so many, into which anybody may come and speak.
pub(crate) async fn server(people: usize) -> anyhow::Result<Server> {
    let config = format!("[auth]\nanonymous = [\"join:*\"]\n[room]\nmax_participants = {people}\n");
    Server::start_with(&config, &[]).await
}

/// Somebody who is in.
struct Came {
    _person: Person,
    up: Uplink,
    down: Downlink,
    /// From connecting the socket to the first packet of another, in ms.
    waited_ms: f64,
}

async fn media(people: usize) -> anyhow::Result<Report> {
    let server = server(people).await?;
    let config = Config {
        video_bps: u64::from(VIDEO_KBPS) * 1000,
        audio_bps: u64::from(AUDIO_KBPS) * 1000,
        decrypt_one_in: DECRYPT_ONE_IN,
        server_pid: Some(server.pid()?),
        ..Config::default()
    };
    let peers = Arc::new(Peers::new(&config, IpAddr::V4(Ipv4Addr::LOCALHOST))?);
    let all = Arc::new(everybody(&server, &peers, people).await?);
    let speaking = {
        let all = Arc::clone(&all);
        let mut task = JoinSet::new();
        task.spawn(async move { speak(&all).await });
        task
    };
    sleep(WARM).await;
    let before = pictures(&all);
    let report = peers.measure(MEASURED, people).await;
    let filled = pictures(&all);
    let filled = filled.iter().zip(&before).filter(|(now, then)| now > then);
    let filled = filled.count();
    drop(speaking);
    server.stop().await?;
    let told = json!(report);
    ensure!(
        report.failures.is_empty() && report.connected == [people, people],
        "not everybody is there: {told}"
    );
    let bare = bare::packets_per_cpu_s(VIDEO_KBPS + AUDIO_KBPS, people * VIDEOS).await?;
    let places = people * VIDEOS.min(people - 1);
    // The first came into an empty room.
    let joins = Distribution::new(all.iter().skip(1).map(|one| one.waited_ms).collect());
    Ok(show(people, &told, bare, &joins, (filled, places)))
}

fn show(
    people: usize,
    told: &Value,
    bare: f64,
    joins: &Distribution,
    (filled, places): (usize, usize),
) -> Report {
    let number = |pointer: &str| {
        let value = told.pointer(pointer).and_then(Value::as_f64);
        value.unwrap_or(f64::NAN)
    };
    let per_cpu_s = number("/packets_per_s") / number("/server/cores");
    let row = vec![
        people.to_string(),
        format!("{:.0}", number("/sent_packets_per_s")),
        format!("{:.0}", number("/packets_per_s")),
        format!("{:.1}", number("/mbit_per_s")),
        format!("{:.3}", number("/packets/lost_pct")),
        format!("{:.2}", number("/server/cores")),
        format!("{per_cpu_s:.0}"),
        format!("{bare:.0}"),
        format!("{:.2}", per_cpu_s / bare),
        format!("{:.0}", joins.median()),
        format!("{:.0}", joins.quantile(0.99)),
        format!("{:.1}", number("/forward_delay_ms/p50")),
        format!("{:.1}", number("/forward_delay_ms/p99")),
        format!("{:.0}", number("/server/rss_kb_per_client")),
        format!("{:.2}", number("/own/cores")),
    ];
    Report {
        title: "Rooms: everybody sends and is shown others",
        notes: vec![
            format!(
                "each sends video of {VIDEO_KBPS} kbit/s at 30 fps and Opus of {AUDIO_KBPS} kbit/s, and has {VIDEOS} places \
                 for video and {AUDIOS} for audio; {SPEAKERS} speak at a time, others every {} s; nobody is host, so nothing \
                 is encoded",
                SPEAK.as_secs()
            ),
            format!(
                "pictures came in {filled} of {places} places while it was measured, for {} s",
                MEASURED.as_secs()
            ),
            format!(
                "join: from connecting the socket to the first packet of another person; {RAMP_PER_S:.0} a second come, the \
                 first one is left out; delay: from sender to receiver, of keyframes at one receiver in {DECRYPT_ONE_IN}, the one among them that \
                 the server has already when somebody is shown anew"
            ),
            "packets a CPU second are those that are sent; what comes in, decisions and signalling are in the server's cores. \
             bare: a loop that only encrypts and sends as many streams, on one core"
                .to_owned(),
            "kB: resident memory that each person added to the server".to_owned(),
        ],
        head: vec![
            "people",
            "in pkt/s",
            "out pkt/s",
            "out Mbit/s",
            "lost %",
            "server cores",
            "pkt/CPU-s",
            "bare",
            "ratio",
            "join p50 ms",
            "p99",
            "delay p50 ms",
            "p99",
            "kB a person",
            "tester cores",
        ],
        rows: vec![row],
        figures: json!({
            "people": people,
            "report": told,
            "packets_per_cpu_s": per_cpu_s,
            "bare_packets_per_cpu_s": bare,
            "ratio": per_cpu_s / bare,
            "join_ms": joins.figures(),
            "places": places,
            "places_filled": filled,
        }),
    }
}

/// Lets all come, one after the other in time, in the order they came.
async fn everybody(
    server: &Server,
    peers: &Arc<Peers>,
    people: usize,
) -> anyhow::Result<Vec<Came>> {
    let began = Instant::now();
    let mut coming = JoinSet::new();
    for number in 0..people {
        let (url, peers) = (server.url(""), Arc::clone(peers));
        let due = began + Duration::from_secs_f64(number as f64 / RAMP_PER_S);
        coming.spawn(async move {
            sleep_until(due).await;
            let come = come(&url, number, &peers);
            let came = tokio::time::timeout(COME_WITHIN, come).await;
            let came = came.with_context(|| format!("person {number} is sent nothing"))?;
            anyhow::Ok((number, came?))
        });
    }
    let mut all = Vec::with_capacity(people);
    while let Some(came) = coming.join_next().await {
        all.push(came??);
    }
    all.sort_by_key(|(number, _)| *number);
    Ok(all.into_iter().map(|(_, came)| came).collect())
}

async fn come(url: &str, number: usize, peers: &Arc<Peers>) -> anyhow::Result<Came> {
    let began = Instant::now();
    let person = Person::join(url, None, "bench", &format!("Person {number}"), peers).await?;
    let (down, up) = tokio::try_join!(person.watch(VIDEOS, AUDIOS), person.send(true, true))?;
    ensure!(
        up.says_level(),
        "the server does not ask how loud anybody is"
    );
    let first = loop {
        if let Some(first) = down.places.iter().filter_map(|place| place.first()).min() {
            break first;
        }
        sleep(POLL).await;
    };
    let waited = first.saturating_duration_since(began.into_std());
    Ok(Came {
        _person: person,
        up,
        down,
        waited_ms: waited.as_secs_f64() * 1000.0,
    })
}

/// A few speak, then the next ones, for ever.
async fn speak(all: &[Came]) {
    let mut turns = interval(SPEAK);
    for turn in 0.. {
        turns.tick().await;
        for (number, one) in all.iter().enumerate() {
            let speaks = number / SPEAKERS == turn % all.len().div_ceil(SPEAKERS);
            one.up.is_loud(if speaks { LOUD } else { QUIET });
        }
    }
}

/// How many pictures have come in each place for them.
fn pictures(all: &[Came]) -> Vec<u64> {
    let places = all.iter().flat_map(|one| &one.down.places);
    let videos = places.filter(|place| place.is_video());
    videos.map(|place| place.frames()).collect()
}
