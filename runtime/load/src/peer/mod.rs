//! One client's transport: ICE, DTLS and SRTP over one socket, without the socket.
//!
//! Datagrams go in with the time, datagrams come out with where they go; nothing here waits, sleeps or sends.

mod dtls;
mod ice;
mod stun;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use lockgate_dtls::Heard;
pub(crate) use lockgate_dtls::Identity;

use self::dtls::{Contexts, Dtls};
pub(crate) use self::ice::Credentials;

/// Datagrams to be sent, each with where it goes.
pub(crate) type Out = Vec<(SocketAddr, Vec<u8>)>;

/// Our part in the DTLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    /// We begin it: the answer says `a=setup:passive`.
    Client,
    /// We wait: the answer says `a=setup:active`.
    Server,
}

/// What an answer says of the other side's transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remote {
    /// Its ICE credentials.
    pub(crate) ice: Credentials,
    /// `a=ice-lite`.
    pub(crate) is_lite: bool,
    /// `a=fingerprint`: `sha-256` and a digest.
    pub(crate) fingerprint: String,
    /// Our part.
    pub(crate) setup: Setup,
    /// Its UDP candidates, best first.
    pub(crate) candidates: Vec<SocketAddr>,
}

/// Why a transport is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Over {
    /// No candidate answered, or the one that did went silent.
    #[error("no ICE candidate of the server answers")]
    NoPath,
    /// Consent ran out.
    #[error("the server stopped answering (ICE consent, RFC 7675)")]
    Silent,
    /// DTLS failed.
    #[error("DTLS: {0}")]
    Dtls(String),
    /// No keys in time.
    #[error("the DTLS handshake did not end in time")]
    DtlsLate,
    /// The server ended it.
    #[error("the server closed the connection")]
    Closed,
}

/// What came in.
pub(crate) enum Input {
    /// Nothing for whoever is above.
    Inner,
    /// The keys are there: media flows.
    Connected,
    /// SRTP, still encrypted.
    Rtp,
    /// RTCP in clear.
    Rtcp(BytesMut),
}

/// The transport.
pub(crate) struct Peer {
    identity: Identity,
    remote: Remote,
    agent: ice::Agent,
    dtls: Option<Box<Dtls>>,
    keys: Option<Box<Contexts>>,
    began: Instant,
    /// The handshake is kept this long after its end, in case its last flight has to be sent again.
    forget: Option<Instant>,
    over: Option<Over>,
    /// Packets that did not decrypt.
    pub(crate) undecryptable: u64,
}

impl Peer {
    /// Begins to check.
    pub(crate) fn new(
        now: Instant,
        identity: &Identity,
        ours: Credentials,
        remote: Remote,
    ) -> Self {
        let agent = ice::Agent::new(
            now,
            ours,
            remote.ice.clone(),
            remote.is_lite,
            &remote.candidates,
        );
        Self {
            identity: identity.clone(),
            remote,
            agent,
            dtls: None,
            keys: None,
            began: now,
            forget: None,
            over: None,
            undecryptable: 0,
        }
    }

    /// Why it is over, if it is.
    pub(crate) fn over(&self) -> Option<&Over> {
        self.over.as_ref()
    }

    /// The name of the negotiated SRTP profile.
    pub(crate) fn profile(&self) -> Option<&'static str> {
        self.keys.as_ref().map(|keys| keys.profile)
    }

    /// Takes a datagram.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        out: &mut Out,
    ) -> Input {
        let &[first, second, ..] = datagram else {
            return Input::Inner;
        };
        match first {
            0..=3 => {
                let crypto = self.identity.crypto();
                self.agent.handle(now, from, datagram, crypto, out);
                self.after_ice(now, out);
                Input::Inner
            }
            20..=63 => self.dtls(now, datagram, out),
            // RFC 5761 §4: what is RTCP is told by its packet type.
            128..=191 if (192..=223).contains(&second) => {
                let Some(keys) = &mut self.keys else {
                    return Input::Inner;
                };
                match keys.theirs.decrypt_rtcp(datagram) {
                    Ok(rtcp) => Input::Rtcp(rtcp),
                    Err(_) => {
                        self.undecryptable += 1;
                        Input::Inner
                    }
                }
            }
            128..=191 if self.keys.is_some() => Input::Rtp,
            _ => Input::Inner,
        }
    }

    fn after_ice(&mut self, now: Instant, out: &mut Out) {
        if self.agent.has_failed() && self.over.is_none() {
            self.over = Some(match self.agent.destination() {
                Some(_) => Over::Silent,
                None => Over::NoPath,
            });
        }
        if self.agent.destination().is_some() && self.dtls.is_none() && self.keys.is_none() {
            self.start_dtls(now, out);
        }
    }

    fn start_dtls(&mut self, now: Instant, out: &mut Out) {
        let made = Dtls::new(
            now,
            &self.identity,
            self.remote.setup,
            &self.remote.fingerprint,
        );
        match made {
            Ok(dtls) => self.dtls = Some(Box::new(dtls)),
            Err(error) => self.over = Some(Over::Dtls(error.to_string())),
        }
        self.flush(out);
    }

    fn dtls(&mut self, now: Instant, datagram: &[u8], out: &mut Out) -> Input {
        // RFC 8445 §12.1: data may come over a pair that we have not seen nominated yet.
        if self.dtls.is_none() && self.keys.is_none() {
            self.start_dtls(now, out);
        }
        let Some(dtls) = &mut self.dtls else {
            // An alert of a handshake that is forgotten: it can only be its end.
            if datagram.first() == Some(&ALERT) {
                self.over = Some(Over::Closed);
            }
            return Input::Inner;
        };
        let heard = dtls.handle(now, datagram);
        self.flush(out);
        match heard {
            Ok(Heard::Keys(keys)) if self.keys.is_none() => match Contexts::new(&keys) {
                Ok(keys) => {
                    self.keys = Some(Box::new(keys));
                    self.forget = Some(now + REMEMBER);
                    Input::Connected
                }
                Err(error) => {
                    self.over = Some(Over::Dtls(error.to_string()));
                    Input::Inner
                }
            },
            Ok(Heard::Goodbye) => {
                self.over = Some(Over::Closed);
                Input::Inner
            }
            Err(error) if self.keys.is_none() => {
                self.over = Some(Over::Dtls(error.to_string()));
                Input::Inner
            }
            _ => Input::Inner,
        }
    }

    fn flush(&mut self, out: &mut Out) {
        if let Some((dtls, remote)) = self.dtls.as_mut().zip(self.agent.destination()) {
            dtls.flush(remote, out);
        }
    }

    /// Decrypts an RTP packet; the whole packet comes out, header and all.
    pub(crate) fn decrypt(&mut self, packet: &[u8]) -> Option<BytesMut> {
        let keys = self.keys.as_mut()?;
        let decrypted = keys.theirs.decrypt_rtp(packet).ok();
        if decrypted.is_none() {
            self.undecryptable += 1;
        }
        decrypted
    }

    /// Encrypts a compound of RTCP and sends it.
    pub(crate) fn send_rtcp(&mut self, rtcp: &[u8], out: &mut Out) {
        if let Some((keys, remote)) = self.keys.as_mut().zip(self.agent.destination())
            && let Ok(encrypted) = keys.ours.encrypt_rtcp(rtcp)
        {
            out.push((remote, encrypted.to_vec()));
        }
    }

    /// Encrypts an RTP packet and sends it.
    pub(crate) fn send_rtp(&mut self, rtp: &[u8], out: &mut Out) {
        if let Some((keys, remote)) = self.keys.as_mut().zip(self.agent.destination())
            && let Ok(encrypted) = keys.ours.encrypt_rtp(rtp)
        {
            out.push((remote, encrypted.to_vec()));
        }
    }

    /// Does what is due.
    pub(crate) fn timeout(&mut self, now: Instant, out: &mut Out) {
        if now >= self.agent.deadline() {
            self.agent.timeout(now, self.identity.crypto(), out);
            self.after_ice(now, out);
        }
        if self.forget.is_some_and(|at| now >= at) {
            (self.forget, self.dtls) = (None, None);
        }
        if let Some(dtls) = &mut self.dtls {
            if let Err(error) = dtls.timeout(now)
                && self.keys.is_none()
            {
                self.over = Some(Over::Dtls(error.to_string()));
            }
            self.flush(out);
        }
        if self.keys.is_none() && now >= self.began + HANDSHAKE_WITHIN && self.over.is_none() {
            self.over = Some(Over::DtlsLate);
        }
    }

    /// When [`Peer::timeout`] is due.
    pub(crate) fn deadline(&self) -> Instant {
        let mut deadline = self.agent.deadline();
        for other in [
            self.dtls.as_ref().and_then(|dtls| dtls.deadline()),
            self.forget,
            self.keys.is_none().then_some(self.began + HANDSHAKE_WITHIN),
        ] {
            deadline = other.map_or(deadline, |other| deadline.min(other));
        }
        deadline
    }
}

/// The content type of an alert (RFC 5246 §6.2.1).
const ALERT: u8 = 21;
/// The last flight may be asked for again for as long as the other side retries it.
const REMEMBER: Duration = Duration::from_secs(5);
/// ICE and DTLS together.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(30);
