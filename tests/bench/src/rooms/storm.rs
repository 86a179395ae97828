//! Signalling alone: as many events as the server takes of each socket, each with its acknowledgement.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use lockgate_tests_peer::Signalling;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};

use super::{echo, server};
use crate::{
    process,
    server::Server,
    table::{Distribution, Report},
};

/// As many rooms as it takes for a server to have something to do.
pub(super) const ROOMS: usize = 4;
pub(super) const PEOPLE: usize = 50;
/// The server takes 20 events a second of each socket; who sends a little less is never refused.
pub(super) const RELAY_EVERY: Duration = Duration::from_millis(52);
/// Every text goes to fifty.
const CHAT_EVERY: Duration = Duration::from_millis(500);
pub(super) const MEASURED: Duration = Duration::from_secs(10);
/// What is on its way at the end arrives.
const ARRIVES: Duration = Duration::from_millis(500);

/// As browsers write one.
pub(super) const CANDIDATE: &str = "candidate:842163049 1 udp 1677729535 203.0.113.141 46154 typ srflx raddr 10.0.0.17 \
     rport 46154 generation 0 ufrag EsAw network-id 1 network-cost 10";

/// Everybody who is connected, and how long what they are sent was on its way.
struct Crowd {
    people: Vec<(Signalling, String)>,
    arrived: Arc<Arrived>,
}

struct Arrived {
    began: Instant,
    ms: Mutex<Vec<f64>>,
    count: AtomicU64,
}

/// What came of a storm.
pub(super) struct Storm {
    pub(super) what: &'static str,
    pub(super) events_per_s: f64,
    pub(super) messages_per_s: f64,
    pub(super) cpu_s: f64,
    pub(super) seconds: f64,
    pub(super) ack_ms: Distribution,
    pub(super) arrive_ms: Option<Distribution>,
    /// Of what should have arrived.
    pub(super) missing: u64,
}

impl Storm {
    fn messages_per_cpu_s(&self) -> f64 {
        self.messages_per_s * self.seconds / self.cpu_s
    }
}

impl Arrived {
    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Takes an event, if it is one of a storm; others are kept.
    fn take(&self, event: &str, data: &Value) -> bool {
        let sent_us = match event {
            "ice-candidate" => data["at_us"].as_u64(),
            "chat" => data["text"].as_str().and_then(|text| text.parse().ok()),
            // Who comes and who is there is of no use here.
            _ => return false,
        };
        if let Some(sent_us) = sent_us {
            let ms = self.now_us().saturating_sub(sent_us) as f64 / 1000.0;
            self.count.fetch_add(1, Relaxed);
            let mut all = self.ms.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(ms);
        }
        false
    }

    fn drain(&self) -> Distribution {
        let mut all = self.ms.lock().unwrap_or_else(PoisonError::into_inner);
        Distribution::new(std::mem::take(&mut all))
    }
}

impl Crowd {
    async fn gather(server: &Server) -> anyhow::Result<Self> {
        let arrived = Arc::new(Arrived {
            began: Instant::now(),
            ms: Mutex::default(),
            count: AtomicU64::new(0),
        });
        let mut people = Vec::with_capacity(ROOMS * PEOPLE);
        for number in 0..ROOMS * PEOPLE {
            let looks = Arc::clone(&arrived);
            let observe = move |event: &str, data: &Value| looks.take(event, data);
            let one = Signalling::observed(&server.url(""), None, observe).await?;
            let room = format!("storm-{}", number / PEOPLE);
            let joined = one.ask("join", json!({ "room": room })).await?;
            let id = joined["you"]["id"].as_str().context("nobody has no id")?;
            people.push((one, id.to_owned()));
        }
        Ok(Self { people, arrived })
    }

    /// Everybody sends an event again and again, which goes on to `receivers` others each time.
    async fn storm(
        self: &Arc<Self>,
        server: &Server,
        what: &'static str,
        every: Duration,
        receivers: u64,
        event: fn(&Self, usize) -> (&'static str, Value),
    ) -> anyhow::Result<Storm> {
        self.arrived.drain();
        let arrived_before = self.arrived.count.load(Relaxed);
        let (pid, began) = (server.pid()?, Instant::now());
        let cpu_before_s = process::cpu_s(pid)?;
        let until = began + MEASURED;
        let mut senders = JoinSet::new();
        for number in 0..self.people.len() {
            let crowd = Arc::clone(self);
            senders.spawn(async move {
                let mut acks_ms = Vec::new();
                // Not all at the same moment.
                let phase = every.mul_f64(number as f64 / crowd.people.len() as f64);
                let mut turns = interval_at(began + phase, every);
                turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let (one, _) = crowd.people.get(number).context("nobody")?;
                loop {
                    if turns.tick().await >= until {
                        return anyhow::Ok(acks_ms);
                    }
                    let (name, data) = event(&crowd, number);
                    let asked = Instant::now();
                    one.ask(name, data).await?;
                    acks_ms.push(asked.elapsed().as_secs_f64() * 1000.0);
                }
            });
        }
        let mut acks_ms = Vec::new();
        while let Some(sent) = senders.join_next().await {
            acks_ms.extend(sent??);
        }
        sleep(ARRIVES).await;
        let cpu_s = process::cpu_s(pid)? - cpu_before_s;
        let seconds = MEASURED.as_secs_f64();
        let events = acks_ms.len() as u64;
        let arrived = self.arrived.count.load(Relaxed) - arrived_before;
        ensure!(
            events > 0 && arrived > 0 && cpu_s > 0.0,
            "{what}: nothing was done"
        );
        // In, acknowledged, and on to others.
        let messages = 2 * events + arrived;
        Ok(Storm {
            what,
            events_per_s: events as f64 / seconds,
            messages_per_s: messages as f64 / seconds,
            cpu_s,
            seconds,
            ack_ms: Distribution::new(acks_ms),
            arrive_ms: Some(self.arrived.drain()),
            missing: (events * receivers).saturating_sub(arrived),
        })
    }
}

pub(super) async fn measure() -> anyhow::Result<Report> {
    let server = server(PEOPLE).await?;
    let crowd = Arc::new(Crowd::gather(&server).await?);
    let relay = crowd.storm(
        &server,
        "candidate to another, acknowledged",
        RELAY_EVERY,
        1,
        |crowd, number| {
            // The next one in the same room.
            let next = number - number % PEOPLE + (number + 1) % PEOPLE;
            let to = crowd.people.get(next).map(|(_, id)| id.as_str());
            let candidate = json!({ "candidate": CANDIDATE, "sdpMid": "0", "sdpMLineIndex": 0 });
            let at_us = crowd.arrived.now_us();
            let data = json!({ "to": to, "candidate": candidate, "at_us": at_us });
            ("ice-candidate", data)
        },
    );
    let relay = relay.await?;
    let chat = crowd.storm(
        &server,
        "text to a room of 50, acknowledged",
        CHAT_EVERY,
        PEOPLE as u64,
        |crowd, _| {
            let text = crowd.arrived.now_us().to_string();
            ("chat", json!({ "text": text }))
        },
    );
    let chat = chat.await?;
    drop(crowd);
    server.stop().await?;
    let echo = echo::storm().await?;
    Ok(show(&[relay, chat, echo]))
}

fn show(storms: &[Storm]) -> Report {
    let echo = storms.last().map_or(f64::NAN, Storm::messages_per_cpu_s);
    let (mut rows, mut figures) = (Vec::new(), Vec::new());
    for storm in storms {
        let per_cpu_s = storm.messages_per_cpu_s();
        let arrive = |share: f64| {
            let found = storm.arrive_ms.as_ref();
            found.map_or_else(|| "-".to_owned(), |ms| format!("{:.1}", ms.quantile(share)))
        };
        rows.push(vec![
            storm.what.to_owned(),
            format!("{:.0}", storm.events_per_s),
            format!("{:.0}", storm.messages_per_s),
            format!("{:.2}", storm.cpu_s / storm.seconds),
            format!("{per_cpu_s:.0}"),
            format!("{:.2}", per_cpu_s / echo),
            format!("{:.1}", storm.ack_ms.median()),
            format!("{:.1}", storm.ack_ms.quantile(0.99)),
            arrive(0.5),
            arrive(0.99),
            storm.missing.to_string(),
        ]);
        figures.push(json!({
            "what": storm.what,
            "events_per_s": storm.events_per_s,
            "messages_per_s": storm.messages_per_s,
            "server_cores": storm.cpu_s / storm.seconds,
            "messages_per_cpu_s": per_cpu_s,
            "ratio": per_cpu_s / echo,
            "ack_ms": storm.ack_ms.figures(),
            "arrive_ms": storm.arrive_ms.as_ref().map(Distribution::figures),
            "missing": storm.missing,
        }));
    }
    Report {
        title: "Rooms: signalling alone",
        notes: vec![
            format!(
                "{ROOMS} rooms of {PEOPLE} sockets, without media; each sends as often as the server takes events of a socket, \
                 or twice a second where all are told"
            ),
            "messages: those that come in, and those that go out; echo: a thread that returns what comes over as many \
             WebSockets, as often and of the same length, and does nothing else; ratio: messages in a CPU second to its"
                .to_owned(),
            "ms: until the acknowledgement, and until it is at the other person".to_owned(),
        ],
        head: vec![
            "",
            "events/s",
            "messages/s",
            "cores",
            "msg/CPU-s",
            "ratio",
            "ack p50 ms",
            "p99",
            "there p50 ms",
            "p99",
            "missing",
        ],
        rows,
        figures: json!({ "signalling": figures }),
    }
}
