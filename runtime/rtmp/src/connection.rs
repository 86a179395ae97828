//! One publisher's connection: handshake, chunks, commands. Bytes in, events and bytes out.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use lockgate_ports::{Piece, ingest::Credentials};

use crate::{
    amf::{self, Value},
    chunk::{self, Message, Reader},
    flv::{self, Muxer},
    key::{self, Key},
};

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer does not speak RTMP as it should: {0}")]
pub struct Fault(pub(crate) &'static str);

/// What a peer wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// To publish: answer with [`Connection::accept`] or [`Connection::refuse`].
    Publish {
        /// The broadcast's name, unchecked.
        name: String,
        /// What stood behind it.
        credentials: Credentials,
    },
    /// Media of an accepted publication.
    Media(Vec<Piece>),
    /// The publication is over: a goodbye.
    Done,
    /// What is published cannot be used: the peer was told, and the connection is to be closed.
    Unusable(String),
}

/// See the [module](self).
#[derive(Debug)]
pub struct Connection {
    stage: Stage,
    random: [u8; 1528],
    buffer: BytesMut,
    out: BytesMut,
    chunks: Reader,
    muxer: Muxer,
    app: String,
    /// The message stream that is published on.
    publishing: Option<u32>,
    is_accepted: bool,
    received: u64,
    acknowledged: u64,
    window: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The version and the first half of the handshake are to come.
    First,
    /// Our half is to come back.
    Second,
    Open,
}

impl Connection {
    /// A connection with the random bytes of its handshake.
    pub fn new(random: [u8; 1528]) -> Self {
        Self {
            stage: Stage::First,
            random,
            buffer: BytesMut::new(),
            out: BytesMut::new(),
            chunks: Reader::default(),
            muxer: Muxer::default(),
            app: String::new(),
            publishing: None,
            is_accepted: false,
            received: 0,
            acknowledged: 0,
            window: ACK_WINDOW,
        }
    }

    /// Takes bytes of the peer. All events are to be polled before the next ones.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.received += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        if self.stage == Stage::First && self.buffer.len() > HALF_LEN {
            if self.buffer.first() != Some(&VERSION) {
                return Err(Fault("its version is not 3"));
            }
            self.buffer.advance(1);
            let theirs = self.buffer.split_to(HALF_LEN);
            self.out.put_u8(VERSION);
            self.out.put_slice(&[0; 8]);
            self.out.put_slice(&self.random);
            self.out.put_slice(&theirs);
            self.stage = Stage::Second;
        }
        if self.stage == Stage::First && self.buffer.first().is_some_and(|byte| *byte != VERSION) {
            return Err(Fault("its version is not 3"));
        }
        if self.stage == Stage::Second && self.buffer.len() >= HALF_LEN {
            // What comes back is ours in most cases, and nobody is helped by insisting.
            self.buffer.advance(HALF_LEN);
            self.stage = Stage::Open;
        }
        if self.received - self.acknowledged >= self.window {
            self.acknowledged = self.received;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the counter wraps (§5.4.3)"
            )]
            let count = self.received as u32;
            chunk::write(&mut self.out, CONTROL, 3, 0, &count.to_be_bytes());
        }
        Ok(())
    }

    /// The next thing that the peer wants; `None` if more bytes are needed.
    pub fn poll(&mut self) -> Result<Option<Event>, Fault> {
        while self.stage == Stage::Open {
            let Some(message) = self.chunks.next(&mut self.buffer)? else {
                return Ok(None);
            };
            if let Some(event) = self.message(&message)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// What is to be sent to the peer.
    pub fn output(&mut self) -> Bytes {
        self.out.split().freeze()
    }

    /// The peer may publish.
    pub fn accept(&mut self) {
        self.is_accepted = true;
        self.status("status", "NetStream.Publish.Start", "publishing");
    }

    /// The peer may not publish, and is told why. `status` is what WHIP would answer.
    pub fn refuse(&mut self, status: u16, why: &str) {
        // What encoders know: with the first they say that the key is not good, with the second that it is in use.
        let code = if status == 409 {
            "NetStream.Publish.BadName"
        } else {
            "NetStream.Publish.Denied"
        };
        self.status("error", code, why);
        self.publishing = None;
    }

    /// The server ends the publication.
    pub fn end(&mut self) {
        self.status(
            "status",
            "NetStream.Unpublish.Success",
            "the broadcast is over",
        );
    }

    fn message(&mut self, message: &Message) -> Result<Option<Event>, Fault> {
        let payload: &[u8] = &message.payload;
        let number = || {
            payload
                .first_chunk::<4>()
                .map(|bytes| u32::from_be_bytes(*bytes))
        };
        match message.kind {
            1 => {
                if let Some(len) = number() {
                    self.chunks.set_chunk_len(len & 0x7fff_ffff)?;
                }
            }
            2 => {
                if let Some(id) = number() {
                    self.chunks.abort(id);
                }
            }
            5 => {
                if let Some(window) = number() {
                    self.window = u64::from(window).clamp(ACK_WINDOW_MIN, ACK_WINDOW);
                }
            }
            // User control: a ping is answered (§7.1.7).
            4 if payload.len() == 6 && payload.starts_with(&[0, 6]) => {
                let mut pong = [0; 6];
                pong.copy_from_slice(payload);
                pong[1] = 7;
                chunk::write(&mut self.out, CONTROL, 4, 0, &pong);
            }
            kind @ (flv::AUDIO | flv::VIDEO)
                if self.is_accepted && self.publishing == Some(message.stream_id) =>
            {
                return Ok(self.media(kind, message.timestamp, payload));
            }
            20 => return self.command(message.stream_id, payload),
            // AMF3 commands begin with a byte and go on in AMF0.
            17 => return self.command(message.stream_id, payload.get(1..).unwrap_or_default()),
            _ => {}
        }
        Ok(None)
    }

    fn media(&mut self, kind: u8, timestamp: u32, payload: &[u8]) -> Option<Event> {
        match self.muxer.media(kind, timestamp, payload) {
            Ok(pieces) if pieces.is_empty() => None,
            Ok(pieces) => Some(Event::Media(pieces)),
            Err(error) => {
                self.is_accepted = false;
                self.status("error", "NetStream.Publish.Denied", &error.to_string());
                Some(Event::Unusable(error.to_string()))
            }
        }
    }

    fn command(&mut self, stream_id: u32, payload: &[u8]) -> Result<Option<Event>, Fault> {
        let values = amf::read_all(payload).map_err(|_| Fault("a command cannot be read"))?;
        let Some(name) = values.first().and_then(Value::as_str) else {
            return Err(Fault("a command has no name"));
        };
        let transaction = values.get(1).and_then(Value::as_number).unwrap_or(0.0);
        let text = |at: usize| values.get(at).and_then(Value::as_str).unwrap_or_default();
        match name {
            "connect" => {
                let app = values.get(2).and_then(|object| object.member("app"));
                self.connect(transaction, app.and_then(Value::as_str).unwrap_or_default());
            }
            "createStream" => self.result(transaction, Value::Number(f64::from(STREAM))),
            "releaseStream" | "FCPublish" | "getStreamLength" => {
                self.result(transaction, Value::Other);
            }
            "publish" if self.publishing.is_some() => {
                return Err(Fault("it publishes twice over one connection"));
            }
            "publish" => {
                self.publishing = Some(stream_id);
                let Key { name, credentials } = Key::parse(&self.app, text(3));
                return Ok(Some(Event::Publish { name, credentials }));
            }
            "FCUnpublish" | "closeStream" | "deleteStream" if self.is_accepted => {
                self.is_accepted = false;
                return Ok(Some(Event::Done));
            }
            "play" | "play2" => {
                self.status(
                    "error",
                    "NetStream.Play.Failed",
                    "nothing is played over RTMP here: use WHEP or HLS",
                );
            }
            _ => {}
        }
        Ok(None)
    }

    fn connect(&mut self, transaction: f64, app: &str) {
        app.clone_into(&mut self.app);
        let window = u32::try_from(ACK_WINDOW).unwrap_or(u32::MAX).to_be_bytes();
        chunk::write(&mut self.out, CONTROL, 5, 0, &window);
        let mut bandwidth = window.to_vec();
        bandwidth.push(2); // dynamic
        chunk::write(&mut self.out, CONTROL, 6, 0, &bandwidth);
        let len = u32::try_from(chunk::OUT_CHUNK_LEN)
            .unwrap_or(128)
            .to_be_bytes();
        chunk::write(&mut self.out, CONTROL, 1, 0, &len);
        let text = |text: &str| Value::String(text.to_owned());
        if key::app_name(app) != APP {
            let why = format!("publish to rtmp://HOST/{APP} with the key NAME?token=TOKEN");
            let status = information("error", "NetConnection.Connect.Rejected", &why);
            return self.say(
                0,
                &[
                    text("_error"),
                    Value::Number(transaction),
                    Value::Null,
                    status,
                ],
            );
        }
        let properties = Value::Object(vec![
            ("fmsVer".to_owned(), text("FMS/3,5,7,7009")),
            ("capabilities".to_owned(), Value::Number(31.0)),
            ("mode".to_owned(), Value::Number(1.0)),
        ]);
        let status = information("status", "NetConnection.Connect.Success", "connected");
        self.say(
            0,
            &[
                text("_result"),
                Value::Number(transaction),
                properties,
                status,
            ],
        );
    }

    fn result(&mut self, transaction: f64, value: Value) {
        let name = Value::String("_result".to_owned());
        self.say(0, &[name, Value::Number(transaction), Value::Null, value]);
    }

    fn status(&mut self, level: &str, code: &str, description: &str) {
        let stream_id = self.publishing.unwrap_or(STREAM);
        let status = information(level, code, description);
        let name = Value::String("onStatus".to_owned());
        self.say(stream_id, &[name, Value::Number(0.0), Value::Null, status]);
    }

    fn say(&mut self, stream_id: u32, values: &[Value]) {
        let mut payload = BytesMut::new();
        for value in values {
            amf::write(&mut payload, value);
        }
        let id = if stream_id == 0 { COMMAND } else { STATUS };
        chunk::write(&mut self.out, id, 20, stream_id, &payload);
    }
}

fn information(level: &str, code: &str, description: &str) -> Value {
    let members = [
        ("level", level),
        ("code", code),
        ("description", description),
    ];
    Value::Object(
        members
            .into_iter()
            .map(|(key, text)| (key.to_owned(), Value::String(text.to_owned())))
            .collect(),
    )
}

/// The application that is published to.
const APP: &str = "live";
/// The message stream that peers are given.
const STREAM: u32 = 1;
const VERSION: u8 = 3;
/// Each half of the handshake after the version (§5.2.3).
const HALF_LEN: usize = 1536;
/// The chunk streams that we send on: protocol control (§5.4), commands, and what concerns a stream.
const CONTROL: u8 = 2;
const COMMAND: u8 = 3;
const STATUS: u8 = 5;
/// Bytes received between two acknowledgements (§5.4.3).
const ACK_WINDOW: u64 = 2_500_000;
/// A peer that wants more of them than this is not asked about each byte.
const ACK_WINDOW_MIN: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that has shaken hands.
    fn open() -> Connection {
        let mut connection = Connection::new([7; 1528]);
        let mut hello = vec![VERSION];
        hello.extend([1; HALF_LEN]);
        connection.push(&hello).unwrap();
        let answer = connection.output();
        assert_eq!(answer.len(), 1 + 2 * HALF_LEN);
        assert_eq!(answer[1 + HALF_LEN..], [1; HALF_LEN]);
        connection.push(&[7; HALF_LEN]).unwrap();
        connection.chunks.set_chunk_len(4096).unwrap();
        connection
    }

    fn send(
        connection: &mut Connection,
        kind: u8,
        stream_id: u32,
        payload: &[u8],
    ) -> Option<Event> {
        let mut out = BytesMut::new();
        chunk::write(&mut out, 3, kind, stream_id, payload);
        connection.push(&out).unwrap();
        connection.poll().unwrap()
    }

    fn command(connection: &mut Connection, values: &[Value]) -> Option<Event> {
        let mut payload = BytesMut::new();
        values
            .iter()
            .for_each(|value| amf::write(&mut payload, value));
        send(connection, 20, 1, &payload)
    }

    fn text(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    fn connect(connection: &mut Connection, app: &str) -> String {
        let object = Value::Object(vec![("app".to_owned(), text(app))]);
        assert!(command(connection, &[text("connect"), Value::Number(1.0), object]).is_none());
        String::from_utf8_lossy(&connection.output()).into_owned()
    }

    #[test]
    fn a_publisher_is_let_in_sends_media_and_says_goodbye() {
        let mut connection = open();
        assert!(connect(&mut connection, "live").contains("NetConnection.Connect.Success"));
        let publish = [
            text("publish"),
            Value::Number(4.0),
            Value::Null,
            text("cam?token=t"),
            text("live"),
        ];
        let wish = Event::Publish {
            name: "cam".to_owned(),
            credentials: Credentials::of_query("token=t"),
        };
        assert_eq!(command(&mut connection, &publish), Some(wish));
        let video = [0x17, 1, 0, 0, 0, 1];
        assert_eq!(
            send(&mut connection, 9, 1, &video),
            None,
            "before it was let in"
        );
        connection.accept();
        assert!(String::from_utf8_lossy(&connection.output()).contains("NetStream.Publish.Start"));
        let Some(Event::Media(pieces)) = send(&mut connection, 9, 1, &video) else {
            panic!("no media");
        };
        assert!(matches!(
            pieces[..],
            [Piece::Head(0, _), Piece::Media { start: true, .. }]
        ));
        let bye = [
            text("deleteStream"),
            Value::Number(5.0),
            Value::Null,
            Value::Number(1.0),
        ];
        assert_eq!(command(&mut connection, &bye), Some(Event::Done));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let mut connection = open();
        let told = connect(&mut connection, "cam");
        assert!(
            told.contains("Rejected") && told.contains("rtmp://HOST/live"),
            "{told}"
        );
        connect(&mut connection, "live");
        command(
            &mut connection,
            &[
                text("publish"),
                Value::Number(4.0),
                Value::Null,
                text("cam"),
            ],
        );
        connection.refuse(409, "it is taken");
        let told = String::from_utf8_lossy(&connection.output()).into_owned();
        assert!(told.contains("NetStream.Publish.BadName") && told.contains("it is taken"));
        assert!(
            Connection::new([0; 1528])
                .push(b"GET / HTTP/1.1\r\n")
                .is_err()
        );
    }

    #[test]
    fn pings_are_answered_and_bytes_acknowledged() {
        let mut connection = open();
        assert!(send(&mut connection, 4, 0, &[0, 6, 1, 2, 3, 4]).is_none());
        assert!(connection.output().ends_with(&[0, 7, 1, 2, 3, 4]));
        assert!(send(&mut connection, 5, 0, &5000u32.to_be_bytes()).is_none());
        connection.output();
        assert!(send(&mut connection, 18, 1, &[0; 6000]).is_none());
        assert!(!connection.output().is_empty());
    }
}
