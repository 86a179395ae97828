//! Which event is which use case, and how it is answered.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::http::StatusCode;
use futures_util::FutureExt as _;
use serde_json::{Map, Value as Json, json};
use socketioxide::{SendError, extract::AckSender, handler::Value, socket::Socket};
use tokio::sync::mpsc;

use crate::Problem;

use super::{connection::Connection, feed, quality, rooms};

/// What a client sent.
pub(crate) struct Event {
    pub(crate) name: String,
    /// All that came with it.
    pub(crate) args: Vec<Json>,
    /// Wants to be told what came of it.
    pub(super) ack: Option<AckSender>,
}

/// What came of an event: the fields of its acknowledgement.
pub(crate) type Answer = Result<Map<String, Json>, Problem>;

impl Event {
    pub(super) fn read(value: &Value) -> Result<Self, Problem> {
        let unreadable =
            |what: &str| Problem::bad_body(format!("an event could not be read: {what}"));
        // Binary attachments are left out: nothing of ours has any.
        let Value::Str(text, _) = value else {
            return Err(unreadable("it is binary"));
        };
        let parsed: Vec<Json> =
            serde_json::from_str(text).map_err(|error| unreadable(&error.to_string()))?;
        let mut parsed = parsed.into_iter();
        match parsed.next() {
            Some(Json::String(name)) => Ok(Self {
                name,
                args: parsed.collect(),
                ack: None,
            }),
            _ => Err(unreadable("its name is no string")),
        }
    }

    /// What came with it as an object; nothing is an empty one.
    pub(crate) fn object(&self) -> Result<&Map<String, Json>, Problem> {
        static NOTHING: std::sync::LazyLock<Map<String, Json>> = std::sync::LazyLock::new(Map::new);
        match self.args.first() {
            Some(Json::Object(fields)) => Ok(fields),
            None | Some(Json::Null) => Ok(&NOTHING),
            Some(_) => Err(Problem::bad_body(format!(
                "{} is to come with an object",
                shown(&self.name)
            ))),
        }
    }
}

/// Does what a socket asks for, one thing after the other, until it is gone.
pub(super) async fn run(connection: Arc<Connection>, mut mail: mpsc::Receiver<Event>) {
    while let Some(mut event) = mail.recv().await {
        let ack = event.ack.take();
        let done = AssertUnwindSafe(handle(&connection, &event)).catch_unwind();
        let done = done.await.unwrap_or_else(|_| Err(Problem::internal()));
        connection.answer(ack, done);
    }
}

/// Which event is which use case.
async fn handle(connection: &Arc<Connection>, event: &Event) -> Answer {
    match event.name.as_str() {
        "stream-metrics" => feed::ask(connection, event).await,
        "quality" => quality::choose(connection, event).await,
        "join" => rooms::join(connection, event).await,
        "leave" => rooms::leave(connection),
        "offer" => rooms::offer(connection, event).await,
        "answer" => rooms::answer(connection, event).await,
        "ice-candidate" => rooms::candidate(connection, event),
        "subscribe" => rooms::subscribe(connection, event),
        "mute" => rooms::mute(connection, event),
        "remove" => rooms::remove(connection, event),
        "role" => rooms::role(connection, event),
        "end" => rooms::end(connection),
        "chat" => rooms::chat(connection, event),
        "reaction" => rooms::reaction(connection, event),
        other => Err(unknown(other)),
    }
}

fn unknown(name: &str) -> Problem {
    let detail = format!("there is no event {}", shown(name));
    Problem::new(
        StatusCode::NOT_FOUND,
        "/problems/no-event",
        "No such event",
        detail,
    )
}

/// A name from outside, as far as it is worth showing.
fn shown(name: &str) -> String {
    let short: String = name.chars().take(40).collect();
    format!("{short:?}")
}

impl Connection {
    fn answer(&self, ack: Option<AckSender>, answer: Answer) {
        self.sent(tell(self.socket(), ack, answer));
    }
}

/// Tells what came of an event: by its acknowledgement, else, if it went wrong, by an `error`.
pub(super) fn tell(
    socket: &Socket,
    ack: Option<AckSender>,
    answer: Answer,
) -> Result<(), SendError> {
    match (ack, answer) {
        (Some(ack), Ok(mut fields)) => {
            fields.insert("ok".to_owned(), Json::Bool(true));
            ack.send(&fields)
        }
        (Some(ack), Err(problem)) => ack.send(&json!({ "ok": false, "error": problem })),
        (None, Ok(_)) => Ok(()),
        (None, Err(problem)) => socket.emit("error", &problem),
    }
}
