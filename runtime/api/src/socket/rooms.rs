//! The events of rooms. Each is read leniently, since clients for many servers say the same in several ways, and is one use
//! case of the core.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak,
    atomic::{AtomicBool, Ordering},
};

use axum::http::StatusCode;
use lockgate_media::BroadcastName;
use lockgate_ports::task::{Task, own};
use lockgate_session::{
    SessionId,
    rooms::{Answered, Guest, Receive, Relay, Role, RoomEvent, Seat, Source, Speech, Wish},
};
use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use tokio::sync::mpsc;

use crate::{Problem, ice_server};

use super::{
    connection::Connection,
    events::{Answer, Event},
    sdp::Directions,
};

/// The place of a connection in a room, if it has one.
#[derive(Default)]
pub(crate) struct Place {
    held: Mutex<Option<Held>>,
    /// It is given up when the connection is gone.
    is_watched: AtomicBool,
}

struct Held {
    seat: Arc<Seat>,
    /// Tells the connection what happens in the room.
    _tells: Task,
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seat(&self) -> Result<Arc<Seat>, Problem> {
        let seat = self.lock().as_ref().map(|held| Arc::clone(&held.seat));
        seat.ok_or_else(|| Problem::bad_body("you are in no room; join one first"))
    }
}

/// Joins a room: `{room, name?, seat?, receive?}`, or the room, or room and name.
pub(super) async fn join(connection: &Arc<Connection>, event: &Event) -> Answer {
    let wish = Join::read(event)?;
    let app = connection.app()?;
    let standing = app.door.enter_room(&connection.known, &wish.room).await?;
    let entered = standing.entered;
    let guest = Guest {
        principal: entered.principal().visiting(entered.visitor()),
        is_known: standing.is_known,
        name: wish.name,
        may_host: standing.may_host,
        role: standing.role,
        cap_kbps: entered.grant.cap_kbps,
        receive: wish.receive,
    };
    // A socket is in one room at a time: whoever joins another leaves the first, and whoever joins again keeps the seat.
    let before = connection.room.lock().take();
    let mut secret = wish.seat;
    if let Some(before) = before {
        if *before.seat.room() == wish.room {
            secret = secret.or(before.seat.welcome().ok().map(|welcome| welcome.seat));
        } else {
            before.seat.leave();
        }
    }
    let (seat, mailbox) = app.streams.rooms().join(&wish.room, guest, secret)?;
    app.door.stay(seat.id(), entered);
    let mut fields = fields(seat.welcome()?);
    let servers = ice_server::objects(&app.ice_servers, std::time::SystemTime::now());
    fields.insert("ice_servers".to_owned(), servers);
    fields.insert("ok".to_owned(), true.into());
    connection.emit("joined", &fields);
    let seat = Arc::new(seat);
    let tells = own(tell(Arc::downgrade(connection), Arc::clone(&seat), mailbox));
    *connection.room.lock() = Some(Held {
        seat,
        _tells: tells,
    });
    if !connection.room.is_watched.swap(true, Ordering::Relaxed) {
        let gone = Arc::downgrade(connection);
        connection.when_gone(move || {
            let Some(connection) = gone.upgrade() else {
                return;
            };
            let held = connection.room.lock().take();
            if let Some(held) = held.filter(|_| connection.leaves()) {
                held.seat.leave();
            }
        });
    }
    Ok(fields)
}

/// Tells a connection what happens in its room, until it is in there no more.
async fn tell(
    connection: Weak<Connection>,
    seat: Arc<Seat>,
    mut mailbox: mpsc::Receiver<Arc<RoomEvent>>,
) {
    while let Some(event) = mailbox.recv().await {
        let Some(connection) = connection.upgrade() else {
            return;
        };
        connection.emit(event.name(), &event.data());
    }
    let Some(connection) = connection.upgrade() else {
        return;
    };
    if seat.welcome().is_ok() {
        // It is in there, but did not take what it was told. It may come back to its seat.
        connection.end(&deaf());
    }
    let mut held = connection.room.lock();
    // Not what has joined since.
    let ours = held.take_if(|held| Arc::ptr_eq(&held.seat, &seat));
    drop(held);
    drop(seat);
    drop(ours);
}

fn deaf() -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "/problems/too-slow",
        "Too slow",
        "what happened in the room was not taken in time; connect again and join with the seat",
    )
}

/// Leaves the room for good.
pub(super) fn leave(connection: &Arc<Connection>) -> Answer {
    if let Some(held) = connection.room.lock().take() {
        held.seat.leave();
    }
    Ok(Map::new())
}

/// Offers a connection: to the server, or to another participant.
pub(super) async fn offer(connection: &Arc<Connection>, event: &Event) -> Answer {
    let seat = connection.room.seat()?;
    if let Some(done) = relayed(&seat, event, Relay::Offer)? {
        return Ok(done);
    }
    let offer = description(event)?;
    let source = source(event.object()?)?;
    let directions = Directions::of(&offer);
    let publishes = directions.sends || (directions.has_channel && !directions.receives);
    let answered = if publishes {
        let speech = Speech {
            source,
            offer,
            has_media: directions.sends,
            has_channel: directions.has_channel,
            receives: directions.receives,
        };
        seat.speak(speech).await?
    } else {
        seat.attend(offer).await?
    };
    let fields = answer_fields(&answered, source);
    connection.emit("answer", &fields);
    Ok(fields)
}

/// Answers an offer: the server's, or another participant's.
pub(super) async fn answer(connection: &Arc<Connection>, event: &Event) -> Answer {
    let seat = connection.room.seat()?;
    if let Some(done) = relayed(&seat, event, Relay::Answer)? {
        return Ok(done);
    }
    let session = id(event.object()?, "session")?;
    let session = seat.answer(session, description(event)?).await?;
    Ok(fields(
        json!({ "direction": "subscribe", "session": session }),
    ))
}

/// Tells of a candidate: the server, or another participant.
pub(super) fn candidate(connection: &Arc<Connection>, event: &Event) -> Answer {
    let seat = connection.room.seat()?;
    if let Some(done) = relayed(&seat, event, Relay::Candidate)? {
        return Ok(done);
    }
    let fields = event.object()?;
    let session = id(fields, "session")?;
    // `{candidate: {candidate, sdpMid, …}}`, `{candidate: "…"}`, or the candidate itself.
    let candidate = match fields.get("candidate") {
        Some(Json::Object(inner)) => inner.get("candidate").and_then(Json::as_str),
        Some(Json::String(text)) => Some(text.as_str()),
        _ => None,
    };
    // No candidate, or an empty one, is the end of them.
    let candidate = candidate.map(str::trim).filter(|text| !text.is_empty());
    let Some(candidate) = candidate else {
        return Ok(Map::new());
    };
    let candidate = candidate.strip_prefix("a=").unwrap_or(candidate);
    seat.trickle(session, &format!("a={candidate}\r\n"))?;
    Ok(Map::new())
}

/// Says what each place of the receiving connection is to show.
pub(super) fn subscribe(connection: &Arc<Connection>, event: &Event) -> Answer {
    let seat = connection.room.seat()?;
    let fields = event.object()?;
    let places: Vec<Wish> = match fields.get("places") {
        None | Some(Json::Null) => Vec::new(),
        Some(places) => serde_json::from_value(places.clone()).map_err(|error| {
            Problem::bad_body(format!(
                "places is a list of {{mid, participant, source, height_max, off}}: {error}"
            ))
        })?,
    };
    let video_max = fields.get("video_max").and_then(Json::as_u64);
    let video_max = video_max.map(|most| usize::try_from(most).unwrap_or(usize::MAX));
    seat.subscribe(places, video_max)?;
    Ok(Map::new())
}

/// Mutes oneself, or as host another one; or no longer.
pub(super) fn mute(connection: &Arc<Connection>, event: &Event) -> Answer {
    let seat = connection.room.seat()?;
    let fields = event.object()?;
    let flag = |name| fields.get(name).and_then(Json::as_bool);
    seat.mute(id(fields, "participant")?, flag("audio"), flag("video"))?;
    Ok(Map::new())
}

/// As host, sends somebody out.
pub(super) fn remove(connection: &Arc<Connection>, event: &Event) -> Answer {
    let seat = connection.room.seat()?;
    let fields = event.object()?;
    seat.remove(wanted(fields, "participant")?, text(fields, &["reason"]))?;
    Ok(Map::new())
}

/// As host, gives somebody another role.
pub(super) fn role(connection: &Arc<Connection>, event: &Event) -> Answer {
    let seat = connection.room.seat()?;
    let fields = event.object()?;
    let role = text(fields, &["role"]).and_then(|name| Role::named(&name));
    let role = role.ok_or_else(|| Problem::bad_body("role is host, speaker or listener"))?;
    seat.set_role(wanted(fields, "participant")?, role)?;
    Ok(Map::new())
}

/// As host, ends the room.
pub(super) fn end(connection: &Arc<Connection>) -> Answer {
    connection.room.seat()?.end()?;
    Ok(Map::new())
}

/// Says something to all, or to one.
pub(super) fn chat(connection: &Arc<Connection>, event: &Event) -> Answer {
    let seat = connection.room.seat()?;
    let (said, to) = match event.args.first() {
        Some(Json::String(said)) => (Some(said.clone()), None),
        _ => {
            let fields = event.object()?;
            (text(fields, &["text", "message"]), id(fields, "to")?)
        }
    };
    seat.chat(
        said.ok_or_else(|| Problem::bad_body("text is missing"))?,
        to,
    )?;
    Ok(Map::new())
}

/// Shows something to all.
pub(super) fn reaction(connection: &Arc<Connection>, event: &Event) -> Answer {
    let seat = connection.room.seat()?;
    let emoji = match event.args.first() {
        Some(Json::String(emoji)) => Some(emoji.clone()),
        _ => text(event.object()?, &["emoji"]),
    };
    seat.react(emoji.ok_or_else(|| Problem::bad_body("emoji is missing"))?)?;
    Ok(Map::new())
}

/// Hands an event on if it is for another participant, and not for the server.
fn relayed(seat: &Seat, event: &Event, kind: Relay) -> Result<Option<Map<String, Json>>, Problem> {
    let fields = event.object()?;
    if fields.get("to").and_then(Json::as_str) == Some("server") {
        return Ok(None);
    }
    let Some(to) = id(fields, "to")? else {
        return Ok(None);
    };
    seat.relay(to, kind, Json::Object(fields.clone()))?;
    Ok(Some(Map::new()))
}

/// The SDP of an offer: as text, or as browsers have it, `{type, sdp}`, under one of several names.
fn description(event: &Event) -> Result<String, Problem> {
    let fields = event.object()?;
    let found = ["sdp", "offer", "description", "answer"]
        .iter()
        .find_map(|name| match fields.get(*name)? {
            Json::String(sdp) => Some(sdp),
            Json::Object(inner) => match inner.get("sdp")? {
                Json::String(sdp) => Some(sdp),
                _ => None,
            },
            _ => None,
        });
    found
        .cloned()
        .ok_or_else(|| Problem::bad_body("sdp is missing: send {\"sdp\": \"v=0…\"}"))
}

fn source(fields: &Map<String, Json>) -> Result<Source, Problem> {
    match fields.get("source").and_then(Json::as_str) {
        None | Some("camera") => Ok(Source::Camera),
        Some("screen") => Ok(Source::Screen),
        Some(_) => Err(Problem::bad_body("source is camera or screen")),
    }
}

fn answer_fields(answered: &Answered, source: Source) -> Map<String, Json> {
    fields(json!({
        "from": "server",
        "direction": if answered.sends { "publish" } else { "subscribe" },
        "source": source,
        "session": answered.session,
        "sdp": &answered.sdp,
        "answer": { "type": "answer", "sdp": &answered.sdp },
    }))
}

/// Somebody's wish to join.
struct Join {
    room: BroadcastName,
    name: Option<String>,
    seat: Option<SessionId>,
    receive: Receive,
}

impl Join {
    fn read(event: &Event) -> Result<Self, Problem> {
        let (room, name, seat, receive) = match event.args.first() {
            Some(Json::String(room)) => {
                let name = event.args.get(1).and_then(Json::as_str);
                let name = name.map(str::to_owned);
                (Some(room.clone()), name, None, Receive::default())
            }
            _ => {
                let fields = event.object()?;
                let room = text(
                    fields,
                    &[
                        "room", "roomId", "room_id", "roomName", "stream", "streamId",
                    ],
                );
                let name = text(fields, &["name", "userName", "username", "displayName"]);
                let receive = match fields.get("receive").and_then(Json::as_str) {
                    Some("own") => Receive::Own,
                    Some("offered") => Receive::Offered,
                    _ => Receive::Either,
                };
                let seat = id(fields, "seat").unwrap_or_default();
                (room, name, seat, receive)
            }
        };
        let room =
            room.ok_or_else(|| Problem::bad_body("room is missing: send {\"room\": \"NAME\"}"))?;
        let room = BroadcastName::new(&room).map_err(|error| Problem::bad_name(&error))?;
        let name = name.map(|name| {
            let shown = name.chars().filter(|one| !one.is_control());
            shown
                .take(NAME_LEN_MAX)
                .collect::<String>()
                .trim()
                .to_owned()
        });
        Ok(Self {
            room,
            name: name.filter(|name| !name.is_empty()),
            seat,
            receive,
        })
    }
}

fn text(fields: &Map<String, Json>, names: &[&str]) -> Option<String> {
    names
        .iter()
        .find_map(|name| Some(fields.get(*name)?.as_str()?.to_owned()))
}

/// An id, if there is one.
fn id(fields: &Map<String, Json>, name: &str) -> Result<Option<SessionId>, Problem> {
    match fields.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(id)) => {
            let wrong = |()| Problem::bad_body(format!("{name} is an id of 32 hexadecimal digits"));
            id.parse().map(Some).map_err(wrong)
        }
        Some(_) => Err(Problem::bad_body(format!(
            "{name} is an id, which is a string"
        ))),
    }
}

fn wanted(fields: &Map<String, Json>, name: &str) -> Result<SessionId, Problem> {
    id(fields, name)?.ok_or_else(|| Problem::bad_body(format!("{name} is missing")))
}

/// What is made of a struct is an object.
fn fields(value: impl Serialize) -> Map<String, Json> {
    match serde_json::to_value(value) {
        Ok(Json::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// Characters of a participant's name.
const NAME_LEN_MAX: usize = 100;
