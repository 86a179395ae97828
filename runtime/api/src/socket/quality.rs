//! `quality`: a viewer over WHEP picks a rung, or leaves it to the policy, and is told of what is decided from then on. The id
//! of its session is the capability, as with the layer extension of WHEP.

use std::sync::{Arc, Weak};

use lockgate_media::{BroadcastName, TrackId};
use lockgate_ports::task::own;
use lockgate_session::{SessionId, Verdict};
use serde_json::{Map, Value as Json, json};
use tokio::sync::watch;

use crate::{Problem, scope::Action};

use super::{
    connection::Connection,
    events::{Answer, Event},
};

/// Chooses for a session, and answers with what was decided.
pub(super) async fn choose(connection: &Arc<Connection>, event: &Event) -> Answer {
    let fields = event.object()?;
    let text = |name| match fields.get(name) {
        Some(Json::String(text)) => Ok(text.as_str()),
        _ => Err(Problem::bad_body(format!(
            "{name} is missing; send {{\"stream\": …, \"session\": …, \"quality\": RUNG or \"auto\"}}"
        ))),
    };
    let name = BroadcastName::new(text("stream")?).map_err(|error| Problem::bad_name(&error))?;
    let id = text("session")?;
    let session: SessionId = id.parse().map_err(|()| Problem::no_session(id))?;
    let wanted = match text("quality")? {
        "auto" => None,
        rung => Some(TrackId::new(rung).map_err(|error| Problem::bad_body(error.to_string()))?),
    };
    let app = connection.app()?;
    app.door
        .admit(&connection.known.caller, Action::Play(&name))
        .await?;
    app.streams.choose(&name, session, wanted).await?;
    let (mut verdicts, _) = app.streams.watch_viewer(&name, session)?;
    let decided = told(&name, session, verdicts.borrow_and_update().as_ref());
    let follow = follow(Arc::downgrade(connection), name, session, verdicts);
    // One that is followed already is followed from here on.
    connection.keep(&format!("quality {session}"), own(follow))?;
    Ok(decided)
}

/// Tells of each later decision, until the session is over.
async fn follow(
    connection: Weak<Connection>,
    name: BroadcastName,
    session: SessionId,
    mut verdicts: watch::Receiver<Option<Verdict>>,
) {
    while verdicts.changed().await.is_ok() {
        let Some(connection) = connection.upgrade() else {
            return;
        };
        let fields = told(&name, session, verdicts.borrow_and_update().as_ref());
        connection.emit("quality", &fields);
    }
}

fn told(name: &BroadcastName, session: SessionId, verdict: Option<&Verdict>) -> Map<String, Json> {
    let mut fields = Map::new();
    fields.insert("stream".to_owned(), json!(name));
    fields.insert("session".to_owned(), json!(session));
    fields.insert(
        "rung".to_owned(),
        json!(verdict.map(|verdict| &verdict.rung)),
    );
    fields.insert(
        "automatic".to_owned(),
        json!(verdict.is_none_or(|verdict| verdict.automatic)),
    );
    fields.insert(
        "reason".to_owned(),
        json!(verdict.map(|verdict| &verdict.reason)),
    );
    fields
}
