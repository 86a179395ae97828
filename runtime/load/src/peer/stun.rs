//! As much of STUN (RFC 8489) as a full ICE agent in the controlling role needs.

use std::net::SocketAddr;

use rtc::{
    crypto::RTCCrypto,
    shared::error::Result,
    stun::{
        attributes::{
            ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME, AttrType,
        },
        fingerprint::FINGERPRINT,
        integrity::MessageIntegrity,
        message::{
            BINDING_ERROR, BINDING_REQUEST, BINDING_SUCCESS, Message, MessageType, Setter,
            TransactionId, is_stun_message,
        },
        textattrs::TextAttribute,
        xoraddr::XorMappedAddress,
    },
};

use super::ice::Credentials;

/// What a datagram of the other side says.
pub(super) enum Said {
    /// A check of its own, signed with our password.
    Request(Message),
    /// Our check went well.
    Success(TransactionId),
    /// Our check was refused.
    Error(TransactionId),
}

/// Reads a datagram; `None` if it is not STUN or not signed as it must be.
pub(super) fn read(
    datagram: &[u8],
    ours: &Credentials,
    theirs: &Credentials,
    crypto: &dyn RTCCrypto,
) -> Option<Said> {
    if datagram.len() > LEN_MAX || !is_stun_message(datagram) {
        return None;
    }
    let mut message = Message {
        raw: datagram.to_vec(),
        ..Message::default()
    };
    message.decode().ok()?;
    let is_request = message.typ == BINDING_REQUEST;
    if message.typ == BINDING_ERROR {
        return Some(Said::Error(message.transaction_id)); // may be unsigned (RFC 8489 §9.1.3)
    }
    let key = if is_request { ours } else { theirs };
    MessageIntegrity::check(&mut message, key.password.as_bytes(), crypto).ok()?;
    if message.typ == BINDING_SUCCESS {
        return Some(Said::Success(message.transaction_id));
    }
    let username = message.get(ATTR_USERNAME).ok()?;
    let is_ours = username
        .strip_prefix(ours.ufrag.as_bytes())
        .is_some_and(|rest| rest.first() == Some(&b':'));
    (is_request && is_ours).then_some(Said::Request(message))
}

/// A check (RFC 8445 §7.2.2), nominating the pair or not.
pub(super) fn check(
    id: TransactionId,
    ours: &Credentials,
    theirs: &Credentials,
    tie_breaker: u64,
    nominates: bool,
    crypto: &dyn RTCCrypto,
) -> Option<Vec<u8>> {
    let username = format!("{}:{}", theirs.ufrag, ours.ufrag);
    let mut attributes: Vec<Box<dyn Setter>> = vec![
        Box::new(TextAttribute::new(ATTR_USERNAME, username)),
        Box::new(Raw(
            ATTR_ICE_CONTROLLING,
            tie_breaker.to_be_bytes().to_vec(),
        )),
        Box::new(Raw(ATTR_PRIORITY, PEER_REFLEXIVE.to_be_bytes().to_vec())),
    ];
    if nominates {
        attributes.push(Box::new(Raw(ATTR_USE_CANDIDATE, Vec::new())));
    }
    build(BINDING_REQUEST, id, attributes, &theirs.password, crypto)
}

/// The answer to a check of the other side.
pub(super) fn success(
    request: &Message,
    from: SocketAddr,
    ours: &Credentials,
    crypto: &dyn RTCCrypto,
) -> Option<Vec<u8>> {
    let address = XorMappedAddress {
        ip: from.ip().to_canonical(),
        port: from.port(),
    };
    let id = request.transaction_id;
    let attributes: Vec<Box<dyn Setter>> = vec![Box::new(address)];
    build(BINDING_SUCCESS, id, attributes, &ours.password, crypto)
}

fn build(
    kind: MessageType,
    id: TransactionId,
    attributes: Vec<Box<dyn Setter>>,
    password: &str,
    crypto: &dyn RTCCrypto,
) -> Option<Vec<u8>> {
    let mut setters: Vec<Box<dyn Setter + '_>> = vec![Box::new(kind), Box::new(id)];
    for attribute in attributes {
        setters.push(attribute);
    }
    setters.push(Box::new(
        MessageIntegrity::new_short_term_integrity_with_provider(password.to_owned(), crypto),
    ));
    setters.push(Box::new(FINGERPRINT));
    let mut message = Message::new();
    message.build(&setters).ok()?;
    Some(message.raw)
}

/// An attribute and its bytes.
struct Raw(AttrType, Vec<u8>);

impl Setter for Raw {
    fn add_to(&self, message: &mut Message) -> Result<()> {
        message.add(self.0, &self.1);
        Ok(())
    }
}

/// The priority a candidate would have that our check made known (RFC 8445 §7.1.1, §5.1.2): type preference 110.
const PEER_REFLEXIVE: u32 = (110 << 24) | (65_535 << 8) | 255;
/// Longer than any binding request with a username of 513 bytes and all attributes of ICE.
const LEN_MAX: usize = 1024;
