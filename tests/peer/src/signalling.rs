//! A client of Socket.IO 5 over WebSocket (Engine.IO 4): as much of it as rooms need, which is events in JSON and their
//! acknowledgements in the namespace `/`.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

/// A connection. Dropping it cuts it off without a goodbye.
pub struct Signalling {
    commands: mpsc::Sender<Command>,
    log: Arc<Log>,
    _task: JoinSet<()>,
}

/// What a server says no to: the fields of its problem (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status that it would be.
    pub status: u64,
    /// What it is, in short.
    pub title: String,
    /// Why.
    pub detail: String,
}

impl Refused {
    fn of(problem: &Value) -> Self {
        let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
        Self {
            status: problem["status"].as_u64().unwrap_or_default(),
            title: text("title"),
            detail: text("detail"),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            status,
            title,
            detail,
        } = self;
        write!(f, "{status} {title}: {detail}")
    }
}

impl std::error::Error for Refused {}

struct Command {
    event: String,
    data: Value,
    ack: oneshot::Sender<Value>,
}

/// What came, oldest first, as far as it is kept.
struct Log {
    events: Mutex<VecDeque<(String, Value)>>,
    /// How many came; `None` once the connection is over.
    count: watch::Sender<Option<u64>>,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(String, Value)>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, event: String, data: Value) {
        let mut events = self.lock();
        if events.len() >= KEPT_MAX {
            events.pop_front();
        }
        events.push_back((event, data));
        drop(events);
        self.count
            .send_modify(|count| *count = count.map(|count| count + 1));
    }
}

type Socket = WebSocketStream<TcpStream>;

impl Signalling {
    /// Connects to the server at `http://HOST:PORT`, with a token or none.
    pub async fn connect(server: &str, token: Option<&str>) -> anyhow::Result<Self> {
        Self::observed(server, token, |_, _| true).await
    }

    /// The same; each event is shown to `observe` when it comes, which says whether it is to be kept.
    pub async fn observed(
        server: &str,
        token: Option<&str>,
        observe: impl FnMut(&str, &Value) -> bool + Send + 'static,
    ) -> anyhow::Result<Self> {
        let socket = timeout(WITHIN, open(server, token)).await;
        let socket = socket.context("the server does not let anybody connect in time")??;
        let log = Arc::new(Log {
            events: Mutex::default(),
            count: watch::Sender::new(Some(0)),
        });
        let (commands, told) = mpsc::channel(COMMANDS_MAX);
        let mut task = JoinSet::new();
        task.spawn(run(socket, told, Arc::clone(&log), observe));
        Ok(Self {
            commands,
            log,
            _task: task,
        })
    }

    /// Sends an event, and returns the fields of its acknowledgement. What the server says no to is [`Refused`].
    pub async fn ask(&self, event: &str, data: Value) -> anyhow::Result<Value> {
        let (ack, answered) = oneshot::channel();
        let command = Command {
            event: event.to_owned(),
            data,
            ack,
        };
        let over = || format!("{event}: the connection is over");
        self.commands.send(command).await.ok().with_context(over)?;
        let answer = timeout(WITHIN, answered).await;
        let answer = answer.with_context(|| format!("{event} is not acknowledged"))?;
        let answer = answer.ok().with_context(over)?;
        if answer["ok"] == true {
            return Ok(answer);
        }
        Err(Refused::of(&answer["error"])).with_context(|| event.to_owned())
    }

    /// Sends an event that the server is to say no to.
    pub async fn refused(&self, event: &str, data: Value) -> anyhow::Result<Refused> {
        match self.ask(event, data).await {
            Ok(answer) => bail!("{event} went well: {answer}"),
            Err(error) => error.downcast(),
        }
    }

    /// What came with the events of a name so far, oldest first.
    pub fn heard(&self, event: &str) -> Vec<Value> {
        let events = self.log.lock();
        let named = events.iter().filter(|(name, _)| name == event);
        named.map(|(_, data)| data.clone()).collect()
    }

    /// What came with the last event of a name.
    pub fn last(&self, event: &str) -> Option<Value> {
        let events = self.log.lock();
        let mut latest = events.iter().rev();
        let found = latest.find(|(name, _)| name == event);
        found.map(|(_, data)| data.clone())
    }

    /// Waits until an event of a name has come of which `is` holds. Those that came before count, too.
    pub async fn hear(&self, event: &str, is: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let mut news = self.log.count.subscribe();
        let waiting = async {
            loop {
                let is_over = news.borrow_and_update().is_none();
                if let Some(found) = self.heard(event).into_iter().find(&is) {
                    return Ok(found);
                }
                ensure!(!is_over, "the connection is over and no {event} came");
                news.changed().await?;
            }
        };
        let heard = timeout(WITHIN, waiting).await;
        let others = || format!("of {event} there came only {:?}", self.heard(event));
        heard.with_context(others)?
    }

    /// Waits until the server has ended the connection.
    pub async fn ended(&self) -> anyhow::Result<()> {
        let mut news = self.log.count.subscribe();
        let ended = timeout(WITHIN, news.wait_for(Option::is_none)).await;
        ended.context("the server does not end the connection")??;
        Ok(())
    }
}

/// Connects, up to the answer to `CONNECT`.
async fn open(server: &str, token: Option<&str>) -> anyhow::Result<Socket> {
    let address = server.strip_prefix("http://");
    let address = address.with_context(|| format!("{server} is not http://HOST:PORT"))?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
    let (mut socket, _) = client_async(url, stream).await?;
    let hello = packet(&mut socket).await?;
    ensure!(hello.starts_with('0'), "not an OPEN packet: {hello}");
    let auth = token.map_or_else(String::new, |token| json!({ "token": token }).to_string());
    socket.send(Message::text(format!("40{auth}"))).await?;
    loop {
        let answer = packet(&mut socket).await?;
        if answer.starts_with("40") {
            return Ok(socket);
        }
        if let Some(refusal) = answer.strip_prefix("44") {
            let refusal: Value = serde_json::from_str(refusal)?;
            let said = refusal["message"].as_str().unwrap_or_default();
            let problem = serde_json::from_str(said).unwrap_or(refusal.clone());
            return Err(Refused::of(&problem).into());
        }
        pong(&mut socket, &answer).await?;
    }
}

/// The next packet of Engine.IO.
async fn packet(socket: &mut Socket) -> anyhow::Result<String> {
    loop {
        let message = socket.next().await.context("the server closes")??;
        if let Message::Text(text) = message {
            return Ok(text.as_str().to_owned());
        }
    }
}

async fn pong(socket: &mut Socket, packet: &str) -> anyhow::Result<()> {
    if packet == "2" {
        socket.send(Message::text("3")).await?;
    }
    Ok(())
}

async fn run(
    mut socket: Socket,
    mut commands: mpsc::Receiver<Command>,
    log: Arc<Log>,
    mut observe: impl FnMut(&str, &Value) -> bool + Send,
) {
    let mut asked: HashMap<u64, oneshot::Sender<Value>> = HashMap::new();
    let mut next = 0;
    loop {
        tokio::select! {
            command = commands.recv() => {
                let Some(Command { event, data, ack }) = command else { break };
                next += 1;
                asked.insert(next, ack);
                let said = json!([event, data]);
                if socket.send(Message::text(format!("42{next}{said}"))).await.is_err() {
                    break;
                }
            }
            said = packet(&mut socket) => {
                let Ok(said) = said else { break };
                match Said::read(&said) {
                    Some(Said::Event(event, data)) => {
                        if observe(&event, &data) {
                            log.push(event, data);
                        }
                    }
                    Some(Said::Ack(id, data)) => {
                        if let Some(ack) = asked.remove(&id) {
                            // Who asked may have given up.
                            ack.send(data).ok();
                        }
                    }
                    Some(Said::Goodbye) => break,
                    None => {
                        if pong(&mut socket, &said).await.is_err() {
                            break;
                        }
                    }
                }
            }
        }
    }
    log.count.send_replace(None);
}

/// A packet of Socket.IO.
#[derive(Debug, PartialEq)]
enum Said {
    Event(String, Value),
    Ack(u64, Value),
    Goodbye,
}

impl Said {
    /// Reads what stands in a packet of Engine.IO; `None` if it is none of these.
    fn read(packet: &str) -> Option<Self> {
        if packet == "1" || packet == "41" {
            return Some(Self::Goodbye);
        }
        let (kind, rest) = packet.split_at_checked(2)?;
        let (id, said) = rest.split_at(rest.find('[').unwrap_or(rest.len()));
        let mut said: VecDeque<Value> = serde_json::from_str(said).ok()?;
        match kind {
            "42" => {
                let event = said.pop_front()?.as_str()?.to_owned();
                Some(Self::Event(event, said.pop_front().unwrap_or_default()))
            }
            "43" => Some(Self::Ack(id.parse().ok()?, said.pop_front()?)),
            _ => None,
        }
    }
}

/// For everything that takes a moment on a busy machine.
const WITHIN: Duration = Duration::from_secs(30);
/// Events of a connection that are kept.
const KEPT_MAX: usize = 10_000;
const COMMANDS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_told_apart() {
        assert_eq!(
            Said::read(r#"42["chat",{"text":"[1]"}]"#),
            Some(Said::Event("chat".to_owned(), json!({ "text": "[1]" })))
        );
        assert_eq!(
            Said::read(r#"4217["left"]"#),
            Some(Said::Event("left".to_owned(), Value::Null))
        );
        assert_eq!(
            Said::read(r#"4312[{"ok":true}]"#),
            Some(Said::Ack(12, json!({ "ok": true })))
        );
        assert_eq!(Said::read("41"), Some(Said::Goodbye));
        for other in ["2", "", "40{}", "42", "43[]", "42[1]"] {
            assert_eq!(Said::read(other), None, "{other}");
        }
    }
}
