//! `stream-metrics`: everything that the dashboard shows, about once a second, for whoever has the scope `admin`.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use lockgate_ports::task::own;
use lockgate_session::{Kind, desk::Entry};
use serde_json::{Map, Value as Json, json};
use tokio::{
    sync::broadcast::{self, error::TryRecvError},
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{App, Problem, policies::refused, scope::Action};

use super::{
    connection::Connection,
    events::{Answer, Event},
    snapshot::{Clock, snapshot},
};

/// Begins the feed, begins it anew at another pace, or ends it.
pub(super) async fn ask(connection: &Arc<Connection>, event: &Event) -> Answer {
    let fields = event.object()?;
    let app = connection.app()?;
    let caller = &connection.known.caller;
    app.door.admit(caller, Action::Admin).await?;
    if fields.get("off").and_then(Json::as_bool) == Some(true) {
        connection.drop_kept(NAME);
        return Ok(Map::new());
    }
    let every_ms = fields
        .get("every_ms")
        .and_then(Json::as_f64)
        .unwrap_or(EVERY_MS);
    let every_ms = if every_ms.is_finite() {
        every_ms.clamp(EVERY_MS_MIN, EVERY_MS_MAX)
    } else {
        EVERY_MS
    };
    // What is remembered is the first that is told.
    let decisions = Decisions::follow(&app).await?;
    let feed = feed(
        Arc::downgrade(connection),
        Duration::from_secs_f64(every_ms / 1000.0),
        decisions,
    );
    connection.keep(NAME, own(feed))?;
    let mut fields = Map::new();
    fields.insert("every_ms".to_owned(), json!(every_ms));
    Ok(fields)
}

/// Tells, and looks again whether that is still allowed: at once when verdicts of before may not hold any more, and else as
/// often as of any session.
async fn feed(connection: Weak<Connection>, every: Duration, mut decisions: Decisions) {
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut clock = Clock::default();
    let mut admitted: Option<((u64, u64), Instant)> = None;
    loop {
        tick.tick().await;
        let Some(connection) = connection.upgrade() else {
            return;
        };
        let told = async {
            let app = connection.app()?;
            let (changes, now) = (app.door.changes(), Instant::now());
            let holds = admitted.is_some_and(|(before, at)| {
                before == changes && now.saturating_duration_since(at) < app.door.recheck()
            });
            if !holds {
                let caller = &connection.known.caller;
                app.door.admit(caller, Action::Admin).await?;
                admitted = Some((changes, now));
            }
            snapshot(&app, &mut clock).await
        };
        match told.await {
            Ok(mut fields) => {
                decisions.collect();
                fields.insert("decisions".to_owned(), decisions.shown().into());
                fields.insert("decisions_lost".to_owned(), json!(decisions.lost));
                if connection.try_emit("stream-metrics", &fields) {
                    decisions.told();
                }
            }
            // The desk was busy: the next tick may do better.
            Err(problem) if problem.status().is_server_error() => {
                tracing::debug!(detail = problem.detail(), "the feed of the dashboard waits");
            }
            Err(problem) => {
                connection.emit("error", &problem);
                return;
            }
        }
    }
}

/// Decisions of all kinds as they happen.
struct Decisions {
    coming: Vec<broadcast::Receiver<Arc<Entry>>>,
    /// Not told yet, oldest first.
    waiting: VecDeque<Arc<Entry>>,
    lost: u64,
}

impl Decisions {
    async fn follow(app: &App) -> Result<Self, Problem> {
        let (mut coming, mut waiting) = (Vec::new(), Vec::new());
        for kind in Kind::ALL {
            let (entries, next) = app.desk.follow(kind).await.map_err(refused)?;
            let skipped = entries.len().saturating_sub(REMEMBERED_MAX);
            waiting.extend(entries.into_iter().skip(skipped));
            coming.push(next);
        }
        waiting.sort_by_key(|entry| entry.call.unix_ms);
        Ok(Self {
            coming,
            waiting: waiting.into(),
            lost: 0,
        })
    }

    /// Takes what has come: of more than fit the newest.
    fn collect(&mut self) {
        for coming in &mut self.coming {
            loop {
                match coming.try_recv() {
                    Ok(entry) => {
                        self.waiting.push_back(entry);
                        if self.waiting.len() > WAITING_MAX {
                            self.waiting.pop_front();
                            self.lost += 1;
                        }
                    }
                    Err(TryRecvError::Lagged(lost)) => self.lost += lost,
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
        }
        // Each kind comes in order, all of them together do not.
        let waiting = self.waiting.make_contiguous();
        waiting.sort_by_key(|entry| entry.call.unix_ms);
    }

    fn shown(&self) -> Vec<Json> {
        self.waiting
            .iter()
            .filter_map(|entry| shown(entry))
            .collect()
    }

    fn told(&mut self) {
        self.waiting.clear();
        self.lost = 0;
    }
}

/// A decision without what only a replay needs.
fn shown(entry: &Entry) -> Option<Json> {
    let mut whole = serde_json::to_value(entry).ok()?;
    let fields = whole.as_object_mut()?;
    if let Some(Json::Array(rungs)) = fields.get_mut("rungs") {
        // What numbers in the answer name.
        for rung in rungs {
            *rung = rung.get_mut("name").map(Json::take).unwrap_or_default();
        }
    }
    fields.retain(|name, _| SHOWN.contains(&name.as_str()));
    if let Some(at) = fields.remove("unix_ms") {
        fields.insert("at_ms".to_owned(), at);
    }
    Some(whole)
}

const NAME: &str = "stream-metrics";
const EVERY_MS: f64 = 1000.0;
const EVERY_MS_MIN: f64 = 250.0;
const EVERY_MS_MAX: f64 = 60_000.0;
/// Decisions of each kind from before the feed began.
const REMEMBERED_MAX: usize = 20;
/// Decisions told at a time.
const WAITING_MAX: usize = 100;
const SHOWN: [&str; 15] = [
    "unix_ms",
    "kind",
    "stream",
    "row",
    "reason",
    "output",
    "rungs",
    "active_output",
    "verdict",
    "mode",
    "level",
    "name",
    "version",
    "late",
    "took_us",
];
