//! SRTP towards a viewer: packets are encrypted where they are going to be sent from.
//!
//! The library's own SRTP copies each packet into a buffer of its own. Media is most of what a server does, so this
//! one encrypts in place, with the library's ciphers; RTCP, of which there is little, is left to the library.

use rtc::{
    crypto::{
        AeadAlgorithm, AeadCipher, BlockCipherAlgorithm, CryptoError, HmacAlgorithm, Mac,
        RTCCrypto, StreamCipher, StreamCipherAlgorithm,
    },
    rtcp,
    shared::error::Error,
    srtp::{
        config::SessionKeys, context::Context, option::srtcp_replay_protection,
        protection_profile::ProtectionProfile,
    },
};

/// Both directions of one peer.
pub(crate) struct Srtp {
    rtp: Sealer,
    rtcp_out: Context,
    rtcp_in: Context,
}

impl Srtp {
    pub(crate) fn new(
        profile: ProtectionProfile,
        keys: &SessionKeys,
        crypto: &dyn RTCCrypto,
    ) -> Result<Self, Error> {
        let (key, salt) = (&keys.local_master_key, &keys.local_master_salt);
        let (their_key, their_salt) = (&keys.remote_master_key, &keys.remote_master_salt);
        let replays = Some(srtcp_replay_protection(REPLAY_WINDOW));
        Ok(Self {
            rtp: Sealer::new(profile, key, salt, crypto)
                .map_err(|error| Error::Crypto(error.to_string()))?,
            rtcp_out: Context::new(key, salt, profile, None, None, crypto)?,
            rtcp_in: Context::new(their_key, their_salt, profile, None, replays, crypto)?,
        })
    }

    /// Bytes that are added to a packet of media.
    pub(crate) fn overhead(&self) -> usize {
        self.rtp.tag_len
    }

    /// Encrypts the packet that stands at the end of `buffer` from `begin` on, of which the first `header` bytes stay
    /// readable, and appends its tag. `order` is that of its stream.
    pub(crate) fn seal(
        &mut self,
        order: &mut Order,
        buffer: &mut Vec<u8>,
        begin: usize,
        header: usize,
    ) -> Result<(), CryptoError> {
        self.rtp.seal(order, buffer, begin, header)
    }

    /// Encrypts RTCP.
    pub(crate) fn seal_rtcp(&mut self, packets: &[u8]) -> Result<bytes::BytesMut, Error> {
        self.rtcp_out.encrypt_rtcp(packets)
    }

    /// Reads RTCP of the peer.
    pub(crate) fn open_rtcp(
        &mut self,
        datagram: &[u8],
    ) -> Result<Vec<Box<dyn rtcp::Packet>>, Error> {
        let mut plain = self.rtcp_in.decrypt_rtcp(datagram)?.freeze();
        rtcp::packet::unmarshal(&mut plain)
    }
}

/// Where a stream stands in its 2^48 packets (RFC 3711 §3.3.1).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Order {
    newest: Option<u16>,
    rollovers: u32,
}

impl Order {
    /// The rollover counter that goes with a number.
    fn rollovers_at(&mut self, seq: u16) -> u32 {
        let newest = *self.newest.get_or_insert(seq);
        if seq.wrapping_sub(newest) < 1 << 15 {
            if seq < newest {
                self.rollovers = self.rollovers.wrapping_add(1);
            }
            self.newest = Some(seq);
            self.rollovers
        } else if seq > newest {
            self.rollovers.wrapping_sub(1)
        } else {
            self.rollovers
        }
    }
}

/// Encrypts packets of media.
struct Sealer {
    cipher: Cipher,
    salt: [u8; SALT_MAX],
    tag_len: usize,
}

enum Cipher {
    /// RFC 7714.
    Gcm(Box<dyn AeadCipher>),
    /// RFC 3711 §4.1.1 and §4.2.1.
    Counter(Box<dyn StreamCipher>, Box<dyn Mac>),
}

impl Sealer {
    fn new(
        profile: ProtectionProfile,
        key: &[u8],
        salt: &[u8],
        crypto: &dyn RTCCrypto,
    ) -> Result<Self, CryptoError> {
        let derive = |label, len| derived(crypto, key, salt, label, len);
        let session_key = derive(LABEL_ENCRYPTION, key.len())?;
        let cipher = match profile {
            ProtectionProfile::AeadAes128Gcm => {
                Cipher::Gcm(crypto.new_aead(AeadAlgorithm::Aes128Gcm, &session_key)?)
            }
            ProtectionProfile::Aes128CmHmacSha1_80 => Cipher::Counter(
                crypto.new_stream_cipher(StreamCipherAlgorithm::Aes128Ctr, &session_key)?,
                crypto.new_hmac(
                    HmacAlgorithm::Sha1,
                    &derive(LABEL_AUTHENTICATION, profile.auth_key_len())?,
                )?,
            ),
            other => {
                return Err(CryptoError::Provider(format!("{other:?} was not offered")));
            }
        };
        let mut session_salt = [0; SALT_MAX];
        let derived_salt = derive(LABEL_SALT, profile.salt_len())?;
        for (to, from) in session_salt.iter_mut().zip(derived_salt) {
            *to = from;
        }
        Ok(Self {
            cipher,
            salt: session_salt,
            tag_len: profile.rtp_auth_tag_len() + profile.aead_auth_tag_len(),
        })
    }

    fn seal(
        &mut self,
        order: &mut Order,
        buffer: &mut Vec<u8>,
        begin: usize,
        header: usize,
    ) -> Result<(), CryptoError> {
        let packet = buffer.get_mut(begin..).unwrap_or_default();
        let Some((head, payload)) = packet.split_at_mut_checked(header) else {
            return Err(CryptoError::Provider(
                "a packet without a header".to_owned(),
            ));
        };
        let &mut [_, _, high, low, _, _, _, _, a, b, c, d, ..] = head else {
            return Err(CryptoError::Provider("half a header".to_owned()));
        };
        let rollovers = order
            .rollovers_at(u16::from_be_bytes([high, low]))
            .to_be_bytes();
        let [r0, r1, r2, r3] = rollovers;
        let mut tag = [0; TAG_MAX];
        match &mut self.cipher {
            Cipher::Gcm(aead) => {
                // RFC 7714 §8.1.
                let mut nonce = [0, 0, a, b, c, d, r0, r1, r2, r3, high, low];
                for (to, salt) in nonce.iter_mut().zip(&self.salt) {
                    *to ^= salt;
                }
                let tag = tag.get_mut(..self.tag_len).unwrap_or_default();
                aead.seal_in_place(&nonce, head, payload, tag)?;
            }
            Cipher::Counter(stream, mac) => {
                // RFC 3711 §4.1.1: the salt by 2^16, the SSRC by 2^64, the index by 2^16.
                let mut counter = [0, 0, 0, 0, a, b, c, d, r0, r1, r2, r3, high, low, 0, 0];
                for (to, salt) in counter.iter_mut().zip(&self.salt) {
                    *to ^= salt;
                }
                stream.apply_keystream(&counter, payload)?;
                mac.sign(&[packet, &rollovers], &mut tag)?;
            }
        }
        buffer.extend_from_slice(tag.get(..self.tag_len).unwrap_or_default());
        Ok(())
    }
}

/// A session key (RFC 3711 §4.3.1 with a key derivation rate of 0, and §4.3.3).
fn derived(
    crypto: &dyn RTCCrypto,
    key: &[u8],
    salt: &[u8],
    label: u8,
    len: usize,
) -> Result<Vec<u8>, CryptoError> {
    let mut block = [0; 16];
    for (to, from) in block.iter_mut().zip(salt) {
        *to = *from;
    }
    block[7] ^= label;
    let mut out = Vec::with_capacity(len + 16);
    for counter in 0u8.. {
        if out.len() >= len {
            break;
        }
        let mut piece = block;
        piece[15] = counter;
        crypto.block_encrypt(BlockCipherAlgorithm::Aes128, key, &mut piece)?;
        out.extend_from_slice(&piece);
    }
    out.truncate(len);
    Ok(out)
}

const LABEL_ENCRYPTION: u8 = 0;
const LABEL_AUTHENTICATION: u8 = 1;
const LABEL_SALT: u8 = 2;
const SALT_MAX: usize = 14;
/// All of an HMAC-SHA1.
const TAG_MAX: usize = 20;
/// RTCP of a viewer: a few in a second, and hardly ever out of order.
const REPLAY_WINDOW: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtc::crypto::default_provider;

    use super::*;

    const PROFILES: [ProtectionProfile; 2] = [
        ProtectionProfile::AeadAes128Gcm,
        ProtectionProfile::Aes128CmHmacSha1_80,
    ];

    fn keys(profile: ProtectionProfile) -> SessionKeys {
        let bytes = |len: usize, seed: u8| (0..len).map(|at| at as u8 * 7 + seed).collect();
        SessionKeys {
            local_master_key: bytes(profile.key_len(), 1),
            local_master_salt: bytes(profile.salt_len(), 2),
            remote_master_key: bytes(profile.key_len(), 3),
            remote_master_salt: bytes(profile.salt_len(), 4),
        }
    }

    /// A packet with an extension of four bytes.
    fn packet(seq: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x90, 0x80 | 96];
        packet.extend(seq.to_be_bytes());
        packet.extend(90_000u32.to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.extend([0xbe, 0xde, 0, 1, 0x31, 1, 2, 0]);
        packet.extend(payload);
        packet
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Whatever is sealed here the library opens, over any number of rollovers, late packets included.
        #[test]
        fn the_library_opens_what_is_sealed(
            start: u16,
            steps in proptest::collection::vec((-200i32..9000, 0usize..200), 1..60),
        ) {
            let provider = default_provider().unwrap();
            for profile in PROFILES {
                let keys = keys(profile);
                let mut ours = Srtp::new(profile, &keys, provider.crypto()).unwrap();
                let mut theirs = Context::new(
                    &keys.local_master_key,
                    &keys.local_master_salt,
                    profile,
                    None,
                    None,
                    provider.crypto(),
                )
                .unwrap();
                let mut orders = [Order::default(); 2];
                let mut newest = i64::from(start);
                for (at, (step, len)) in steps.iter().enumerate() {
                    let number = newest + i64::from(*step);
                    if number < i64::from(start) {
                        continue;
                    }
                    newest = newest.max(number);
                    let plain = packet(number as u16, at as u32 % 2, &vec![at as u8; *len]);
                    let mut buffer = vec![9; 5];
                    buffer.extend_from_slice(&plain);
                    ours.seal(&mut orders[at % 2], &mut buffer, 5, 20).unwrap();
                    prop_assert_eq!(buffer.len(), 5 + plain.len() + ours.overhead());
                    prop_assert_eq!(&buffer[..25], &[&[9; 5], &plain[..20]].concat()[..]);
                    let opened = theirs.decrypt_rtp(&buffer[5..]);
                    prop_assert_eq!(&opened.unwrap()[..], &plain[..]);
                }
            }
        }
    }

    /// RFC 3711 §B.3.
    #[test]
    fn session_keys_are_those_of_the_rfc() {
        let provider = default_provider().unwrap();
        let key = 0xE1F97A0D3E018BE0D64FA32C06DE4139u128.to_be_bytes();
        let salt = 0x0EC675AD498AFEEBB6960B3AABE6u128.to_be_bytes();
        let derive = |label, len| derived(provider.crypto(), &key, &salt[2..], label, len).unwrap();
        assert_eq!(
            derive(LABEL_ENCRYPTION, 16),
            0xC61E7A93744F39EE10734AFE3FF7A087u128.to_be_bytes()
        );
        assert_eq!(
            derive(LABEL_SALT, 14),
            0x30CBBC08863D8C85D49DB34A9AE1u128.to_be_bytes()[2..]
        );
        let authentication = derive(LABEL_AUTHENTICATION, 20);
        assert_eq!(
            authentication[..16],
            0xCEBE321F6FF7716B6FD4AB49AF256A15u128.to_be_bytes()
        );
    }

    #[test]
    fn rtcp_goes_both_ways_and_once() {
        let provider = default_provider().unwrap();
        for profile in PROFILES {
            let keys = keys(profile);
            let turned = SessionKeys {
                local_master_key: keys.remote_master_key.clone(),
                local_master_salt: keys.remote_master_salt.clone(),
                remote_master_key: keys.local_master_key.clone(),
                remote_master_salt: keys.local_master_salt.clone(),
            };
            let mut ours = Srtp::new(profile, &keys, provider.crypto()).unwrap();
            let mut theirs = Srtp::new(profile, &turned, provider.crypto()).unwrap();
            // An empty receiver report (RFC 3550 §6.4.2).
            let sealed = theirs.seal_rtcp(&[0x80, 201, 0, 1, 0, 0, 0, 9]).unwrap();
            assert_eq!(ours.open_rtcp(&sealed).unwrap().len(), 1);
            assert!(ours.open_rtcp(&sealed).is_err(), "a replay");
            let mut forged = theirs.seal_rtcp(&[0x80, 201, 0, 1, 0, 0, 0, 9]).unwrap();
            forged[4] ^= 1;
            assert!(ours.open_rtcp(&forged).is_err());
            for len in 0..sealed.len() {
                assert!(ours.open_rtcp(&sealed[..len]).is_err());
            }
        }
    }
}
