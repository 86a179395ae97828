//! What players report, and a broadcast in a few numbers.

use std::hash::{BuildHasher as _, RandomState};

use axum::{
    Json,
    extract::{Request, State},
};
use lockgate_media::BroadcastName;
use lockgate_session::{Advice, Player, Report, SessionId, Standing, StreamMetrics};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    App, Caller, Problem,
    extract::{Name, Session, json},
    openapi::{NotFound, Unavailable},
    scope::Action,
};

/// The answer to `GET /api/streams/{id}/metrics`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Metrics {
    #[serde(flatten)]
    numbers: StreamMetrics,
    /// Its HLS and DASH players now.
    hls_players: usize,
    /// Viewers and players together.
    participants: usize,
    /// What came from its source and went to its WebRTC viewers, in bytes.
    data_used_bytes: u64,
    /// Network quality in a word.
    network: Option<Grade>,
}

/// Network quality in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Excellent,
    Good,
    Fair,
    Poor,
    Critical,
}

impl Grade {
    fn of(score: f64) -> Self {
        match score {
            90.0.. => Self::Excellent,
            70.0.. => Self::Good,
            50.0.. => Self::Fair,
            20.0.. => Self::Poor,
            _ => Self::Critical,
        }
    }
}

/// A broadcast in a few numbers: duration, participants, bitrate, data, network quality.
#[utoipa::path(
    get, path = "/api/streams/{stream}/metrics", tag = "streams", security(("token" = ["play"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast.")),
    responses(
        (status = 200, description = "Its numbers now.", body = Metrics),
        (status = 404, response = NotFound),
    ),
)]
pub(crate) async fn metrics(
    State(app): State<App>,
    Name(name): Name,
    caller: Caller,
) -> Result<Json<Metrics>, Problem> {
    app.door.admit(&caller, Action::Play(&name)).await?;
    let numbers = app.streams.metrics(&name)?;
    let hls_players = app.door.hls_sessions(Some(&name)).len();
    Ok(Json(Metrics {
        hls_players,
        participants: numbers.viewers + hls_players,
        data_used_bytes: numbers.received_bytes.saturating_add(numbers.sent_bytes),
        network: numbers.network_quality.map(Grade::of),
        numbers,
    }))
}

/// An HLS or DASH player reports how it fares; the answer is what the `abr` policy decides about it. Once a second is usual.
#[utoipa::path(
    post, path = "/api/streams/{stream}/stats", tag = "streams", security(("token" = ["play"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast it plays.")),
    request_body(content = Report, description = "What it knows of itself; {} is allowed."),
    responses(
        (status = 200, description = "The decision.", body = Advice),
        (status = 404, response = NotFound),
        (status = 503, response = Unavailable),
    ),
)]
pub(crate) async fn report(
    State(app): State<App>,
    Name(name): Name,
    caller: Caller,
    request: Request,
) -> Result<Json<Advice>, Problem> {
    // It is a player of HLS that asks: the session it has, with its verdict.
    let caller = Caller {
        protocol: crate::Protocol::Hls,
        ..caller
    };
    let grant = app.door.admit(&caller, Action::Play(&name)).await?;
    let report: Report = json(request, EXAMPLE).await?;
    report.check().map_err(Problem::bad_body)?;
    let session = app.door.hls_session(&caller, &name);
    let session = session.map_or_else(String::new, |session| session.to_string());
    let key = keys().hash_one((&session, &report.player));
    let player = Player {
        name: match &report.player {
            Some(player) => format!("{session}/{player}"),
            None => session,
        },
        key,
        cap_kbps: grant.cap_kbps,
    };
    Ok(Json(app.streams.advise(&name, &player, &report).await?))
}

/// A viewer over WebRTC says how its player fares; the answer is how it stands with it.
///
/// Once a second is usual. What counts is what the server cannot see: stalls, dropped frames, and the size of the picture's place.
#[utoipa::path(
    post, path = "/whep/{stream}/{session}/stats", tag = "whep", security(("token" = ["play"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast.", example = "demo"), ("session" = SessionId, Path, description = "The session, as the `Location` of the 201 has it.")),
    request_body(content = Report, description = "What it knows of itself; {} is allowed."),
    responses(
        (status = 200, description = "What it gets, why, and its network quality.", body = Standing),
        (status = 404, response = NotFound),
    ),
)]
pub(crate) async fn report_of_viewer(
    State(app): State<App>,
    Session(name, session): Session,
    caller: Caller,
    request: Request,
) -> Result<Json<Standing>, Problem> {
    app.door.admit(&caller, Action::Play(&name)).await?;
    let report: Report = json(request, EXAMPLE).await?;
    report.check().map_err(Problem::bad_body)?;
    Ok(Json(app.streams.hear(&name, session, &report)?))
}

/// Nobody outside can aim at a key that another player has.
fn keys() -> &'static RandomState {
    static KEYS: std::sync::LazyLock<RandomState> = std::sync::LazyLock::new(RandomState::new);
    &KEYS
}

const EXAMPLE: &str = "{\"bandwidth_kbps\": 2400, \"buffer_s\": 4.2, \"stalls\": 0}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_has_the_word_of_its_table() {
        for (score, grade) in [
            (100.0, Grade::Excellent),
            (89.9, Grade::Good),
            (70.0, Grade::Good),
            (50.0, Grade::Fair),
            (20.0, Grade::Poor),
            (0.0, Grade::Critical),
        ] {
            assert_eq!(Grade::of(score), grade, "{score}");
        }
    }
}
