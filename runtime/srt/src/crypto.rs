//! Decryption (§6): a key derived from the passphrase wraps the stream's keys, which are those of AES in counter mode.

use aes::{Aes128, Aes192, Aes256, cipher::KeyIvInit as _, cipher::StreamCipher as _};
use aes_kw::{KekAes128, KekAes192, KekAes256};
use hmac::Hmac;
use sha1::Sha1;

/// The keys of a stream.
#[derive(Clone, Default)]
pub(crate) struct Keys {
    salt: [u8; 16],
    even: Vec<u8>,
    odd: Vec<u8>,
}

/// Key material that cannot be used: most likely, of another passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the passphrases differ, or the key material is broken")]
pub(crate) struct BadKeys;

impl Keys {
    /// Reads a key material message (§3.2.2).
    pub(crate) fn unwrap(message: &[u8], passphrase: &str) -> Result<Self, BadKeys> {
        let (head, rest) = message.split_first_chunk::<16>().ok_or(BadKeys)?;
        let flags = head[3] & 3;
        let (salt_len, key_len) = (usize::from(head[14]) * 4, usize::from(head[15]) * 4);
        let is_ours = head[0] == 0x12 && head[1..3] == [0x20, 0x29] && head[8] == AES_CTR;
        if !is_ours || salt_len != 16 || !matches!(key_len, 16 | 24 | 32) || flags == 0 {
            return Err(BadKeys);
        }
        let (salt, wrapped) = rest.split_first_chunk::<16>().ok_or(BadKeys)?;
        let count = usize::from(flags & 1) + usize::from(flags >> 1);
        let wrapped = wrapped.get(..8 + count * key_len).ok_or(BadKeys)?;
        let mut kek = [0; 32];
        let kek = kek.get_mut(..key_len).ok_or(BadKeys)?;
        pbkdf2::pbkdf2::<Hmac<Sha1>>(passphrase.as_bytes(), &salt[8..], ROUNDS, kek)
            .map_err(|_| BadKeys)?;
        let mut plain = [0; 64];
        let plain = plain.get_mut(..count * key_len).ok_or(BadKeys)?;
        let unwrapped = match key_len {
            16 => KekAes128::try_from(&*kek).map(|kek| kek.unwrap(wrapped, plain)),
            24 => KekAes192::try_from(&*kek).map(|kek| kek.unwrap(wrapped, plain)),
            _ => KekAes256::try_from(&*kek).map(|kek| kek.unwrap(wrapped, plain)),
        };
        if !matches!(unwrapped, Ok(Ok(()))) {
            return Err(BadKeys);
        }
        let (first, second) = plain.split_at(key_len);
        let (even, odd) = match flags {
            1 => (first, &[][..]),
            2 => (&[][..], first),
            _ => (first, second),
        };
        Ok(Self {
            salt: *salt,
            even: even.to_vec(),
            odd: odd.to_vec(),
        })
    }

    /// Takes over keys that the old message does not have.
    pub(crate) fn renew(&mut self, new: Self) {
        self.salt = new.salt;
        if !new.even.is_empty() {
            self.even = new.even;
        }
        if !new.odd.is_empty() {
            self.odd = new.odd;
        }
    }

    /// Decrypts a payload in place. False if there is no such key.
    pub(crate) fn decrypt(&self, key: u8, sequence: u32, payload: &mut [u8]) -> bool {
        // §6.1.2: the salt's first 112 bits, with the packet's number in them, and a counter of 16 bits.
        let mut iv = self.salt;
        iv[14..].fill(0);
        for (byte, number) in iv[10..14].iter_mut().zip(sequence.to_be_bytes()) {
            *byte ^= number;
        }
        let key = if key == 1 { &self.even } else { &self.odd };
        let iv = &iv.into();
        match key.len() {
            16 => ctr::Ctr128BE::<Aes128>::new(key.as_slice().into(), iv).apply_keystream(payload),
            24 => ctr::Ctr128BE::<Aes192>::new(key.as_slice().into(), iv).apply_keystream(payload),
            32 => ctr::Ctr128BE::<Aes256>::new(key.as_slice().into(), iv).apply_keystream(payload),
            _ => return false,
        }
        true
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

const AES_CTR: u8 = 2;
/// §6.1.4.
const ROUNDS: u32 = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unwrapped_by_their_passphrase_only() {
        let salt: [u8; 16] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let key = [7; 16];
        let mut kek = [0; 16];
        pbkdf2::pbkdf2::<Hmac<Sha1>>(b"0123456789", &salt[8..], ROUNDS, &mut kek).unwrap();
        let mut wrapped = [0; 24];
        KekAes128::from(kek).wrap(&key, &mut wrapped).unwrap();
        let mut message = vec![
            0x12, 0x20, 0x29, 1, 0, 0, 0, 0, AES_CTR, 0, 2, 0, 0, 0, 4, 4,
        ];
        message.extend(salt);
        message.extend(wrapped);
        let keys = Keys::unwrap(&message, "0123456789").unwrap();
        assert_eq!(keys.even, key);
        assert!(Keys::unwrap(&message, "another one").is_err());
        let mut payload = *b"some bytes of media";
        assert!(keys.decrypt(1, 42, &mut payload) && payload != *b"some bytes of media");
        assert!(keys.decrypt(1, 42, &mut payload) && payload == *b"some bytes of media");
        assert!(!keys.decrypt(2, 42, &mut payload));
        for len in 0..message.len() {
            assert!(Keys::unwrap(&message[..len], "0123456789").is_err());
        }
    }
}
