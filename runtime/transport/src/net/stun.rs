//! As much of STUN (RFC 8489) as a lite ICE agent needs: whom a check is for, that it is really meant, its answer.

use std::net::SocketAddr;

use rtc::{
    crypto::RTCCrypto,
    stun::{
        attributes::{
            ATTR_ICE_CONTROLLED, ATTR_MESSAGE_INTEGRITY, ATTR_PRIORITY, ATTR_USE_CANDIDATE,
            ATTR_USERNAME, AttrType,
        },
        error_code::CODE_ROLE_CONFLICT,
        fingerprint::FINGERPRINT,
        integrity::MessageIntegrity,
        message::{
            BINDING_ERROR, BINDING_REQUEST, BINDING_SUCCESS, Getter as _, Message, MessageType,
            Setter, TransactionId, is_stun_message,
        },
        textattrs::TextAttribute,
        xoraddr::XorMappedAddress,
    },
};

use super::ice::Credentials;

/// A STUN binding request that has a username.
pub(super) struct BindingRequest {
    message: Message,
    username: String,
}

impl BindingRequest {
    /// Reads a datagram; `None` if it is anything else.
    pub(super) fn parse(datagram: &[u8]) -> Option<Self> {
        let message = parse(datagram).filter(|message| message.typ == BINDING_REQUEST)?;
        let username = String::from_utf8(message.get(ATTR_USERNAME).ok()?).ok()?;
        Some(Self { message, username })
    }

    /// Our half of the username (RFC 8445 §7.2.2): the ufrag of the session that is asked for.
    pub(super) fn ufrag(&self) -> &str {
        self.username.split(':').next().unwrap_or_default()
    }

    /// The peer's half of the username.
    pub(super) fn their_ufrag(&self) -> &str {
        self.username
            .split_once(':')
            .map_or("", |(_, theirs)| theirs)
    }

    /// Whether MESSAGE-INTEGRITY was made with this password (RFC 8489 §9.1.3).
    pub(super) fn is_signed_with(&mut self, password: &str, crypto: &dyn RTCCrypto) -> bool {
        MessageIntegrity::check(&mut self.message, password.as_bytes(), crypto).is_ok()
    }

    /// Whether the pair is to be used (RFC 8445 §7.1.1).
    pub(super) fn nominates(&self) -> bool {
        self.signed(ATTR_USE_CANDIDATE).is_some()
    }

    /// Whether the sender takes itself for the controlled agent.
    pub(super) fn is_controlled(&self) -> bool {
        self.signed(ATTR_ICE_CONTROLLED).is_some()
    }

    /// The priority of the pair as the sender sees it; 0 without one.
    pub(super) fn priority(&self) -> u32 {
        let value = self.signed(ATTR_PRIORITY);
        value
            .and_then(|value| value.try_into().ok())
            .map_or(0, u32::from_be_bytes)
    }

    /// An attribute that the signature covers; what follows it is not to be believed (RFC 8489 §14.5).
    fn signed(&self, wanted: AttrType) -> Option<&[u8]> {
        let attributes = &self.message.attributes.0;
        attributes
            .iter()
            .take_while(|attribute| attribute.typ != ATTR_MESSAGE_INTEGRITY)
            .find(|attribute| attribute.typ == wanted)
            .map(|attribute| attribute.value.as_slice())
    }

    /// The answer to a good request: where it came from.
    pub(super) fn success(
        &self,
        from: SocketAddr,
        password: &str,
        crypto: &dyn RTCCrypto,
    ) -> Option<Vec<u8>> {
        let address = XorMappedAddress {
            ip: from.ip().to_canonical(),
            port: from.port(),
        };
        let id = self.message.transaction_id;
        build(
            BINDING_SUCCESS,
            id,
            vec![Box::new(address)],
            password,
            crypto,
        )
    }

    /// The answer to one whose sender has the wrong role (RFC 8445 §7.3.1.1).
    pub(super) fn role_conflict(&self, password: &str, crypto: &dyn RTCCrypto) -> Option<Vec<u8>> {
        let id = self.message.transaction_id;
        let code = Box::new(CODE_ROLE_CONFLICT);
        build(BINDING_ERROR, id, vec![code], password, crypto)
    }
}

/// An answer to a binding request.
pub(super) struct BindingSuccess(Message);

impl BindingSuccess {
    /// Reads a datagram; `None` if it is anything else.
    pub(super) fn parse(datagram: &[u8]) -> Option<Self> {
        let message = parse(datagram).filter(|message| message.typ == BINDING_SUCCESS)?;
        Some(Self(message))
    }

    /// The request that it answers.
    pub(super) fn id(&self) -> TransactionId {
        self.0.transaction_id
    }

    /// The address that the server saw (RFC 8489 §14.2).
    pub(super) fn mapped(&self) -> Option<SocketAddr> {
        let mut address = XorMappedAddress::default();
        address.get_from(&self.0).ok()?;
        Some(SocketAddr::new(address.ip, address.port))
    }

    /// Whether MESSAGE-INTEGRITY was made with this password.
    pub(super) fn is_signed_with(&mut self, password: &str, crypto: &dyn RTCCrypto) -> bool {
        MessageIntegrity::check(&mut self.0, password.as_bytes(), crypto).is_ok()
    }
}

/// Whether a datagram is STUN and not DTLS or SRTP (RFC 7983 §7: the first byte is 0 to 3).
pub(super) fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| *first <= 3)
}

fn parse(datagram: &[u8]) -> Option<Message> {
    if !is_stun(datagram) || datagram.len() > LEN_MAX || !is_stun_message(datagram) {
        return None;
    }
    let mut message = Message {
        raw: datagram.to_vec(),
        ..Message::default()
    };
    message.decode().ok()?;
    Some(message)
}

fn build(
    kind: MessageType,
    id: TransactionId,
    attributes: Vec<Box<dyn Setter + '_>>,
    password: &str,
    crypto: &dyn RTCCrypto,
) -> Option<Vec<u8>> {
    let mut setters: Vec<Box<dyn Setter + '_>> = vec![Box::new(kind), Box::new(id)];
    setters.extend(attributes);
    setters.push(Box::new(
        MessageIntegrity::new_short_term_integrity_with_provider(password.to_owned(), crypto),
    ));
    setters.push(Box::new(FINGERPRINT));
    let mut message = Message::new();
    message.build(&setters).ok()?;
    Some(message.raw)
}

/// A question for a STUN server: where does this come from?
pub(super) fn question(id: TransactionId) -> Option<Vec<u8>> {
    let setters: Vec<Box<dyn Setter>> = vec![Box::new(BINDING_REQUEST), Box::new(id)];
    let mut message = Message::new();
    message.build(&setters).ok()?;
    Some(message.raw)
}

/// Our own check of a peer (RFC 8445 §7.2.2), which only has to be answered.
pub(super) fn probe(
    id: TransactionId,
    our_ufrag: &str,
    theirs: &Credentials,
    priority: u32,
    crypto: &dyn RTCCrypto,
) -> Option<Vec<u8>> {
    let username = format!("{}:{our_ufrag}", theirs.ufrag);
    let attributes: Vec<Box<dyn Setter>> = vec![
        Box::new(TextAttribute::new(ATTR_USERNAME, username)),
        Box::new(Raw(ATTR_ICE_CONTROLLED, id.0[..8].to_vec())),
        Box::new(Raw(ATTR_PRIORITY, priority.to_be_bytes().to_vec())),
    ];
    build(BINDING_REQUEST, id, attributes, &theirs.password, crypto)
}

/// A check of a peer with the library's agent, nominating the pair.
pub(super) fn nomination(
    library: &Credentials,
    peer: &Credentials,
    crypto: &dyn RTCCrypto,
) -> Option<Vec<u8>> {
    let username = format!("{}:{}", library.ufrag, peer.ufrag);
    let attributes: Vec<Box<dyn Setter>> = vec![
        Box::new(TextAttribute::new(ATTR_USERNAME, username)),
        Box::new(Raw(ATTR_USE_CANDIDATE, Vec::new())),
    ];
    let id = TransactionId::new();
    build(BINDING_REQUEST, id, attributes, &library.password, crypto)
}

/// The peer's answer to a check of the library's agent; `None` if it is anything else.
pub(super) fn answer_for(
    check: &[u8],
    peer: &Credentials,
    crypto: &dyn RTCCrypto,
) -> Option<Vec<u8>> {
    let check = parse(check).filter(|message| message.typ == BINDING_REQUEST)?;
    let id = check.transaction_id;
    build(BINDING_SUCCESS, id, Vec::new(), &peer.password, crypto)
}

/// An attribute and its bytes.
struct Raw(AttrType, Vec<u8>);

impl Setter for Raw {
    fn add_to(&self, message: &mut Message) -> rtc::shared::error::Result<()> {
        message.add(self.0, &self.1);
        Ok(())
    }
}

/// Longer than any binding request with a username of 513 bytes and all attributes of ICE.
const LEN_MAX: usize = 1024;

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use rtc::crypto::default_provider;

    use super::*;

    /// A check as a peer makes it.
    #[derive(Clone, Copy, Default)]
    pub(in super::super) struct Check<'a> {
        pub(in super::super) username: &'a str,
        pub(in super::super) password: &'a str,
        pub(in super::super) nominates: bool,
        pub(in super::super) controlled: bool,
        pub(in super::super) priority: u32,
    }

    pub(in super::super) fn binding_request(check: Check<'_>, crypto: &dyn RTCCrypto) -> Vec<u8> {
        let username = TextAttribute::new(ATTR_USERNAME, check.username.to_owned());
        let mut attributes: Vec<Box<dyn Setter>> = vec![
            Box::new(username),
            Box::new(Raw(ATTR_PRIORITY, check.priority.to_be_bytes().to_vec())),
        ];
        if check.nominates {
            attributes.push(Box::new(Raw(ATTR_USE_CANDIDATE, Vec::new())));
        }
        if check.controlled {
            attributes.push(Box::new(Raw(ATTR_ICE_CONTROLLED, vec![0; 8])));
        }
        let id = TransactionId::new();
        build(BINDING_REQUEST, id, attributes, check.password, crypto).unwrap()
    }

    fn plain<'a>(username: &'a str, password: &'a str) -> Check<'a> {
        Check {
            username,
            password,
            priority: 7,
            ..Check::default()
        }
    }

    #[test]
    fn a_request_is_read_and_only_its_password_fits() {
        let provider = default_provider().unwrap();
        let raw = binding_request(plain("ours:theirs", "secret"), provider.crypto());
        let mut request = BindingRequest::parse(&raw).unwrap();
        assert_eq!((request.ufrag(), request.their_ufrag()), ("ours", "theirs"));
        assert_eq!((request.priority(), request.nominates()), (7, false));
        assert!(request.is_signed_with("secret", provider.crypto()));
        assert!(!request.is_signed_with("Secret", provider.crypto()));
        let mut forged = raw.clone();
        forged[30] ^= 1;
        let mut forged = BindingRequest::parse(&forged).unwrap();
        assert!(!forged.is_signed_with("secret", provider.crypto()));
    }

    #[test]
    fn what_follows_the_signature_is_not_believed() {
        let provider = default_provider().unwrap();
        let raw = binding_request(plain("ours:theirs", "secret"), provider.crypto());
        let mut request = BindingRequest::parse(&raw).unwrap();
        request.message.add(ATTR_USE_CANDIDATE, &[]);
        let mut longer = BindingRequest::parse(&request.message.raw).unwrap();
        assert!(longer.message.contains(ATTR_USE_CANDIDATE) && !longer.nominates());
        let _ = longer.is_signed_with("secret", provider.crypto());
    }

    #[test]
    fn an_answer_says_where_the_request_came_from_and_is_signed() {
        let provider = default_provider().unwrap();
        let raw = binding_request(plain("ours:theirs", "secret"), provider.crypto());
        let request = BindingRequest::parse(&raw).unwrap();
        let from = "[::ffff:192.0.2.7]:4000".parse().unwrap();
        let answer = request.success(from, "secret", provider.crypto()).unwrap();
        let mut answer = parse(&answer).unwrap();
        assert_eq!(answer.transaction_id, request.message.transaction_id);
        let mut mapped = XorMappedAddress::default();
        rtc::stun::message::Getter::get_from(&mut mapped, &answer).unwrap();
        assert_eq!(mapped.to_string(), "192.0.2.7:4000");
        MessageIntegrity::check(&mut answer, b"secret", provider.crypto()).unwrap();
    }

    proptest! {
        #[test]
        fn no_datagram_makes_it_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..120),
            at in 0usize..100,
            value: u8,
        ) {
            let provider = default_provider().unwrap();
            let _ = BindingRequest::parse(&bytes);
            bytes.splice(0..0, [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
            let _ = BindingRequest::parse(&bytes);
            let mut real = binding_request(plain("a:b", "c"), provider.crypto());
            if let Some(byte) = real.get_mut(at) {
                *byte = value;
            }
            if let Some(mut request) = BindingRequest::parse(&real) {
                let _ = request.is_signed_with("c", provider.crypto());
                let _ = (request.nominates(), request.priority());
            }
        }
    }
}
