//! One publisher, from its handshake to its end.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use lockgate_ports::{Admitted, Piece, ingest::LineState};
use tokio::sync::mpsc::error::TrySendError;

use crate::{Receiver, crypto::Keys, handshake};

/// A caller that the gate is being asked about.
pub(crate) struct Opening {
    pub(crate) peer: SocketAddr,
    /// The caller's socket.
    pub(crate) caller: u32,
    /// Ours.
    pub(crate) socket: u32,
    /// The number of its first packet.
    pub(crate) first: u32,
    pub(crate) latency: Duration,
    /// What it is told if it is let in.
    pub(crate) answer: Bytes,
    /// What it is told if not, but for the reason.
    pub(crate) refusal: Bytes,
    pub(crate) keys: Option<Keys>,
}

impl Opening {
    /// What a caller is told that is not let in.
    pub(crate) fn refused(&self, reason: u32) -> Bytes {
        handshake::with_reason(&self.refusal, reason)
    }
}

pub(crate) struct Publisher {
    pub(crate) peer: SocketAddr,
    pub(crate) caller: u32,
    pub(crate) answer: Bytes,
    pub(crate) receiver: Receiver,
    keys: Option<Keys>,
    admitted: Admitted,
    /// In order, and not yet with the transcoder.
    waiting: BytesMut,
    /// Bytes that the transcoder was too slow for.
    dropped: u64,
    heard: Instant,
    said: Instant,
}

impl Publisher {
    pub(crate) fn new(opening: Opening, admitted: Admitted, now: Instant) -> Self {
        Self {
            peer: opening.peer,
            caller: opening.caller,
            answer: opening.answer,
            receiver: Receiver::new(opening.first, opening.latency),
            keys: opening.keys,
            admitted,
            waiting: BytesMut::new(),
            dropped: 0,
            heard: now,
            said: now,
        }
    }

    /// Takes a data packet's payload.
    pub(crate) fn data(&mut self, now: Instant, sequence: u32, key: u8, payload: &mut [u8]) {
        self.heard = now;
        let is_readable = match (&self.keys, key) {
            (None, 0) => true,
            (Some(keys), 1 | 2) => keys.decrypt(key, sequence, payload),
            _ => false,
        };
        if is_readable {
            self.receiver
                .data(now, sequence, Bytes::copy_from_slice(payload));
        }
    }

    /// Hands on what is in order.
    pub(crate) fn deliver(&mut self, now: Instant) {
        while let Some(payload) = self.receiver.next(now) {
            if self.waiting.len() + payload.len() > WAITING_MAX {
                self.dropped += payload.len() as u64;
            } else {
                self.waiting.extend_from_slice(&payload);
            }
        }
        if self.waiting.is_empty() {
            return;
        }
        let bytes = self.waiting.split().freeze();
        self.admitted.line.came(bytes.len());
        let piece = Piece::Media { bytes, start: true };
        match self.admitted.pieces.try_send(piece) {
            Ok(()) => {}
            Err(TrySendError::Full(Piece::Media { bytes, .. })) => {
                // Its worker is starting, or too slow: what is more than a few seconds is lost.
                self.waiting = BytesMut::from(bytes);
            }
            Err(_) => self.admitted.line.end(LineState::Closed),
        }
    }

    /// Takes new key material. False if it is none.
    pub(crate) fn renew(&mut self, message: &[u8], passphrase: &str) -> bool {
        match (&mut self.keys, Keys::unwrap(message, passphrase)) {
            (Some(keys), Ok(new)) => {
                keys.renew(new);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    pub(crate) fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard)
    }

    /// Whether it has to be told that we are here, because nothing else was said for a while.
    pub(crate) fn is_owed_a_word(&mut self, now: Instant, says_something: bool) -> bool {
        let is_owed = now.saturating_duration_since(self.said) >= KEEPALIVE_EVERY;
        if is_owed || says_something {
            self.said = now;
        }
        is_owed && !says_something
    }

    /// Whether the core does not want it any more.
    pub(crate) fn is_unwanted(&self) -> bool {
        *self.admitted.line.state().borrow() != LineState::Open
    }

    /// It says that it is done.
    pub(crate) fn goodbye(&mut self) {
        self.admitted.line.end(LineState::Done);
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// As libsrt does.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(1);
/// What may wait for the transcoder, in bytes: two seconds of 16 Mbit/s.
const WAITING_MAX: usize = 4 << 20;
