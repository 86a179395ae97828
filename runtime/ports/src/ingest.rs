//! Publishers that send a byte stream (RTMP, SRT): how one is let in, and how its bytes get to the transcoder.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use crate::BoxFuture;

/// Lets publishers in. Implemented by `api` over the same door as WHIP; called by the adapters of the protocols.
pub trait Gate: Send + Sync + 'static {
    /// Somebody connects. False: that was one connection too many, which the adapter is to refuse before it costs anything.
    fn knock(&self, peer: IpAddr) -> bool;

    /// Checks a wish, and takes the publisher in.
    fn enter(&self, wish: Wish) -> BoxFuture<'_, Result<Admitted, Refusal>>;
}

/// Who wants to publish what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The broadcast's name, unchecked.
    pub name: String,
    /// What they show for it.
    pub credentials: Credentials,
    /// Where from.
    pub peer: IpAddr,
    /// Over which protocol.
    pub via: Via,
}

/// What a publisher shows for its wish, unchecked.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The access token.
    pub token: Option<String>,
    /// User name and password.
    pub login: Option<(String, String)>,
}

impl Credentials {
    /// Those of a query: `token=…`, `user=…&pass=…`. Other pairs are passed over.
    pub fn of_query(query: &str) -> Self {
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let (_, value) = pairs.find(|(key, _)| *key == name)?;
            Some(decoded(value)).filter(|value| !value.is_empty())
        };
        let login = |user| (user, value("pass").unwrap_or_default());
        Self {
            token: value("token"),
            login: value("user").map(login),
        }
    }

    /// These, or else others.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        if self == Self::default() {
            others
        } else {
            self
        }
    }
}

impl std::fmt::Debug for Credentials {
    /// Without what must not come into a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let user = self.login.as_ref().map(|(user, _)| user);
        f.debug_struct("Credentials")
            .field("token", &self.token.is_some())
            .field("user", &user)
            .finish_non_exhaustive()
    }
}

/// A text of a query as it is meant (RFC 3986 §2.1).
fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        let escaped = match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        out.push(escaped.unwrap_or(byte));
        let skipped = if escaped.is_some() { 2 } else { 0 };
        rest = after.get(skipped..).unwrap_or_default();
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A protocol that carries a byte stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// RTMP, whose messages are the tags of FLV.
    Rtmp,
    /// SRT, which carries MPEG-TS.
    Srt,
}

impl Via {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rtmp => "rtmp",
            Self::Srt => "srt",
        }
    }

    /// FFmpeg's name of the container.
    pub fn container(self) -> &'static str {
        match self {
            Self::Rtmp => "flv",
            Self::Srt => "mpegts",
        }
    }
}

/// Why a publisher was not let in, with the HTTP status that WHIP answers for the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// An HTTP status: 400, 401, 403, 409, 503 …
    pub status: u16,
    /// What, where, and what to do.
    pub detail: String,
}

/// A publisher that was let in. Dropping it without a word is a cut: the publisher may come back and go on.
#[derive(Debug)]
pub struct Admitted {
    /// Where its bytes go. It is full while the transcoder is busy, and closed when nobody wants them any more.
    pub pieces: mpsc::Sender<Piece>,
    /// What both sides know of the connection.
    pub line: Arc<Line>,
}

impl Admitted {
    /// A line with its two ends.
    pub fn pair(via: Via) -> (Self, Feed) {
        let (pieces, receiver) = mpsc::channel(PIECES_MAX);
        let line = Arc::new(Line::new());
        let admitted = Self {
            pieces,
            line: Arc::clone(&line),
        };
        let feed = Feed {
            container: via.container(),
            pieces: receiver,
        };
        (admitted, feed)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.line.end(LineState::Cut);
    }
}

/// A publisher's connection, as its adapter and the core share it.
#[derive(Debug)]
pub struct Line {
    state: watch::Sender<LineState>,
    bytes: AtomicU64,
    moved: Mutex<Instant>,
}

/// How a connection stands. Only `Open` ever changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineState {
    /// Bytes may come.
    Open,
    /// It is gone without a goodbye.
    Cut,
    /// The publisher said that it is done.
    Done,
    /// The core does not want it any more: the adapter closes it.
    Closed,
}

impl Line {
    fn new() -> Self {
        Self {
            state: watch::Sender::new(LineState::Open),
            bytes: AtomicU64::new(0),
            moved: Mutex::new(Instant::now()),
        }
    }

    /// How it stands.
    pub fn state(&self) -> watch::Receiver<LineState> {
        self.state.subscribe()
    }

    /// Ends it, if it is still open.
    pub fn end(&self, how: LineState) {
        self.state.send_if_modified(|state| {
            let is_open = *state == LineState::Open;
            if is_open {
                *state = how;
            }
            is_open
        });
    }

    /// Bytes of media have come.
    pub fn came(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        *self.moved() = Instant::now();
    }

    /// Bytes of media so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How long nothing has come.
    pub fn quiet(&self) -> Duration {
        self.moved().elapsed()
    }

    fn moved(&self) -> MutexGuard<'_, Instant> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A publisher's bytes on the transcoder's side. It is over when the channel closes.
#[derive(Debug)]
pub struct Feed {
    /// FFmpeg's name of the container.
    pub container: &'static str,
    /// What comes.
    pub pieces: mpsc::Receiver<Piece>,
}

/// A piece of a byte stream, cut where the container allows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Part of the container that whoever starts to read later has to have first, in the order of the numbers. A
    /// new one of the same number takes the place of the old one.
    Head(u8, Bytes),
    /// Media.
    Media {
        /// The bytes.
        bytes: Bytes,
        /// Reading can start here.
        start: bool,
    },
}

/// Pieces on their way to the worker: half a second of most streams.
const PIECES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_as_they_are_meant_and_are_not_shown() {
        let read = Credentials::of_query("user=ann&pass=n%26rth%+%C3%BC&x&token=");
        let login = ("ann".to_owned(), "n&rth%+ü".to_owned());
        assert_eq!(
            (read.token.as_ref(), read.login.as_ref()),
            (None, Some(&login))
        );
        assert!(!format!("{read:?}").contains("rth"));
        let token = Credentials::of_query("token=a.b.c");
        assert_eq!(token.token.as_deref(), Some("a.b.c"));
        assert_eq!(Credentials::of_query("pass=x&%").or(token.clone()), token);
    }

    #[test]
    fn what_is_dropped_without_a_word_was_cut_and_the_first_word_counts() {
        let (admitted, feed) = Admitted::pair(Via::Rtmp);
        let line = Arc::clone(&admitted.line);
        assert_eq!(*line.state().borrow(), LineState::Open);
        drop(admitted);
        assert_eq!(*line.state().borrow(), LineState::Cut);
        line.end(LineState::Done);
        assert_eq!(*line.state().borrow(), LineState::Cut);
        assert!(feed.pieces.is_closed());
        let (admitted, _feed) = Admitted::pair(Via::Srt);
        let line = Arc::clone(&admitted.line);
        line.end(LineState::Done);
        drop(admitted);
        assert_eq!(*line.state().borrow(), LineState::Done);
    }
}
