//! As much of STUN (RFC 8489) as it takes to know whom a binding request is for, and that it is really meant.

use rtc::{
    crypto::RTCCrypto,
    stun::{
        attributes::ATTR_USERNAME,
        integrity::MessageIntegrity,
        message::{BINDING_REQUEST, Message, is_stun_message},
    },
};

/// A STUN binding request that has a username.
pub(super) struct BindingRequest {
    message: Message,
    username: String,
}

impl BindingRequest {
    /// Reads a datagram; `None` if it is anything else.
    pub(super) fn parse(datagram: &[u8]) -> Option<Self> {
        // RFC 7983 §7: the first byte of STUN is 0 to 3; everything else is told apart without parsing.
        if *datagram.first()? > 3 || datagram.len() > LEN_MAX || !is_stun_message(datagram) {
            return None;
        }
        let mut message = Message {
            raw: datagram.to_vec(),
            ..Message::default()
        };
        message.decode().ok()?;
        if message.typ != BINDING_REQUEST {
            return None;
        }
        let username = String::from_utf8(message.get(ATTR_USERNAME).ok()?).ok()?;
        Some(Self { message, username })
    }

    /// Our half of the username (RFC 8445 §7.2.2): the ufrag of the session that is asked for.
    pub(super) fn ufrag(&self) -> &str {
        self.username.split(':').next().unwrap_or_default()
    }

    /// Whether MESSAGE-INTEGRITY was made with this password (RFC 8489 §9.1.3).
    pub(super) fn is_signed_with(&mut self, password: &str, crypto: &dyn RTCCrypto) -> bool {
        MessageIntegrity::check(&mut self.message, password.as_bytes(), crypto).is_ok()
    }
}

/// Longer than any binding request with a username of 513 bytes and all attributes of ICE.
const LEN_MAX: usize = 1024;

#[cfg(test)]
pub(super) fn binding_request(username: &str, password: &str, crypto: &dyn RTCCrypto) -> Vec<u8> {
    use rtc::stun::{message::Setter, textattrs::TextAttribute};
    let mut message = Message::new();
    message.set_type(BINDING_REQUEST);
    message.new_transaction_id().unwrap();
    message.write_header();
    TextAttribute::new(ATTR_USERNAME, username.to_owned())
        .add_to(&mut message)
        .unwrap();
    MessageIntegrity::new_short_term_integrity_with_provider(password.to_owned(), crypto)
        .add_to(&mut message)
        .unwrap();
    message.raw
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtc::crypto::default_provider;

    use super::*;

    #[test]
    fn a_request_is_read_and_only_its_password_fits() {
        let provider = default_provider().unwrap();
        let raw = binding_request("ours:theirs", "secret", provider.crypto());
        let mut request = BindingRequest::parse(&raw).unwrap();
        assert_eq!(request.ufrag(), "ours");
        assert!(request.is_signed_with("secret", provider.crypto()));
        assert!(!request.is_signed_with("Secret", provider.crypto()));
        let mut forged = raw.clone();
        let at = forged.len() - 1;
        forged[at] ^= 1;
        let mut forged = BindingRequest::parse(&forged).unwrap();
        assert!(!forged.is_signed_with("secret", provider.crypto()));
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
            let mut real = binding_request("a:b", "c", provider.crypto());
            if let Some(byte) = real.get_mut(at) {
                *byte = value;
            }
            if let Some(mut request) = BindingRequest::parse(&real) {
                let _ = request.is_signed_with("c", provider.crypto());
            }
        }
    }
}
