//! The server in one object: what is live, who watches, what decides, and how the node is.

use std::time::Instant;

use lockgate_session::{Measures, SlotInfo, ViewerInfo};
use serde_json::{Map, Value as Json, json};

use crate::{App, Problem, policies::refused, process::Process};

/// What the one before it knew, for whatever is a difference.
#[derive(Default)]
pub(super) struct Clock {
    cpu: Option<(Instant, f64)>,
}

/// Everything that the dashboard shows, but for the decisions.
pub(super) async fn snapshot(app: &App, clock: &mut Clock) -> Result<Map<String, Json>, Problem> {
    let measures = app.desk.measures().await.map_err(refused)?;
    let at_ms = unix_ms();
    let all = app.streams.list();
    let live: Vec<_> = all.iter().filter(|stream| stream.state == "live").collect();
    let hls = app.door.hls_sessions(None);
    let mut rooms = app.streams.rooms().list();
    let in_rooms: usize = rooms.iter().map(|room| room.participants).sum();
    let mut streams = Vec::new();
    let mut sessions = Vec::new();
    let (mut kbps, mut scores) = (Mean::default(), Mean::default());
    let (mut viewers, mut publishers) = (0, 0);
    let (mut cpu_used, mut cpu_budget) = (0.0, 0.0_f64);
    for stream in &live {
        viewers += stream.viewers;
        // A room's broadcast is its host's, who is among those in the room.
        let of_room = rooms.iter().any(|room| room.id == stream.id);
        publishers += usize::from(stream.publisher == Some("connected") && !of_room);
        cpu_used += stream.load.cpu_used.unwrap_or(0.0);
        cpu_budget = cpu_budget.max(stream.load.cpu_budget);
        let players = hls.iter().filter(|session| session.stream == stream.id);
        let mut shown = json!(stream);
        shown["hls_players"] = players.count().into();
        if let Ok(numbers) = app.streams.metrics(&stream.id) {
            scores.add(numbers.network_quality);
            shown["numbers"] = json!(numbers);
        }
        if streams.len() < STREAMS_MAX {
            streams.push(shown);
        }
        for viewer in app.streams.sessions(&stream.id).unwrap_or_default() {
            kbps.add(viewer.link.sent_kbps);
            if sessions.len() < SESSIONS_MAX {
                sessions.push(of_viewer(&viewer, stream.id.as_str()));
            }
        }
    }
    let left = SESSIONS_MAX.saturating_sub(sessions.len());
    sessions.extend(hls.iter().take(left).map(|session| json!(session)));
    rooms.truncate(ROOMS_MAX);
    let process = Process::look();
    let cpu_pct = process.as_ref().and_then(|process| clock.cpu_pct(process));
    let value = json!({
        "at_ms": at_ms,
        "active_streams": live.len(),
        "total_participants": viewers + publishers + hls.len() + in_rooms,
        "average_bitrate_kbps": kbps.value(),
        "network_health": scores.value(),
        "streams": streams,
        "sessions": sessions,
        "policies": measures.iter().map(|one| policy(app, one, at_ms)).collect::<Vec<_>>(),
        "rooms": rooms,
        "node": {
            "version": env!("CARGO_PKG_VERSION"),
            "ready": app.health.is_ready(),
            "cores": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            "cpu_pct": cpu_pct,
            "rss_bytes": process.as_ref().map(Process::resident_bytes),
            "open_fds": process.as_ref().map(Process::open_fds),
            "up_s": process.as_ref().map(|process| (at_ms as f64 / 1000.0 - process.start_s()).max(0.0)),
            "budget": { "cpu_used": cpu_used, "cpu_budget": cpu_budget },
            "viewers": viewers,
            "publishers": publishers,
            "hls_sessions": hls.len(),
            "sockets": app.sockets.count(),
            "tasks": tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            "decisions_late": app.desk.late(),
            "records_waiting": app.streams.history().map(|history| history.counts().waiting),
        },
    });
    match value {
        Json::Object(fields) => Ok(fields),
        _ => Err(Problem::internal()),
    }
}

fn of_viewer(viewer: &ViewerInfo, stream: &str) -> Json {
    let mut shown = json!(viewer);
    shown["stream"] = stream.into();
    shown["protocol"] = "whep".into();
    shown
}

/// A kind's slot, with times of the wall clock, and how long decisions take.
fn policy(app: &App, measures: &Measures, at_ms: u64) -> Json {
    let info: &SlotInfo = &measures.info;
    let mut shown = json!(info);
    let started_ms = at_ms.saturating_sub(app.desk.now_ms());
    let dated = |seat: &mut Json| {
        if let Some(since) = seat.get("since_ms").and_then(Json::as_u64) {
            seat["since_at_ms"] = (started_ms + since).into();
        }
    };
    for name in ["active", "shadow"] {
        if let Some(seat) = shown.get_mut(name).filter(|seat| seat.is_object()) {
            dated(seat);
        }
    }
    for seat in shown
        .get_mut("before")
        .and_then(Json::as_array_mut)
        .into_iter()
        .flatten()
    {
        dated(seat);
    }
    shown["level"] = json!(measures.level);
    shown["took"] = json!({
        "count": measures.took.count(),
        "sum_s": measures.took.sum().as_secs_f64(),
    });
    shown
}

impl Clock {
    /// CPU time since the last look in percent of one core.
    fn cpu_pct(&mut self, process: &Process) -> Option<f64> {
        let (now, used_s) = (Instant::now(), process.cpu_s());
        let (then, before_s) = self.cpu.replace((now, used_s))?;
        let passed_s = now.saturating_duration_since(then).as_secs_f64();
        (passed_s > 0.0).then(|| ((used_s - before_s) / passed_s * 100.0).max(0.0))
    }
}

/// A mean of what is known.
#[derive(Default)]
struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.sum += value;
            self.count += 1;
        }
    }

    fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Most that one message has: it is to stay below a megabyte.
const STREAMS_MAX: usize = 100;
const ROOMS_MAX: usize = 100;
const SESSIONS_MAX: usize = 300;
