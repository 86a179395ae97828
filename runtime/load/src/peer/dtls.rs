//! The DTLS handshake (RFC 5763) and the SRTP keys that come of it (RFC 5764).

use std::{net::SocketAddr, time::Instant};

use bytes::Bytes;
use lockgate_dtls::{Association, Fingerprint, Flight, Heard, Identity, Keys};
use rtc::{
    dtls::extension::extension_use_srtp::SrtpProtectionProfile,
    shared::error::Error,
    srtp::{
        context::Context, option::srtp_no_replay_protection, protection_profile::ProtectionProfile,
    },
};

use super::{Out, Setup};

/// One association, with what sends its flights again.
pub(super) struct Dtls {
    association: Association,
    /// When it was last given something to do.
    now: Instant,
    flight: Flight,
    again: Vec<Bytes>,
}

/// Both directions of SRTP and SRTCP.
pub(super) struct Contexts {
    pub(super) ours: Context,
    pub(super) theirs: Context,
    pub(super) profile: &'static str,
}

impl Dtls {
    /// Begins; as a client it speaks first.
    pub(super) fn new(
        now: Instant,
        identity: &Identity,
        setup: Setup,
        theirs: &str,
    ) -> Result<Self, Error> {
        let named = Fingerprint::parse(theirs).into_iter().collect();
        let is_client = setup == Setup::Client;
        let mut association = Association::new(identity, named, &PROFILES, is_client)?;
        association.begin(now)?;
        Ok(Self {
            association,
            now,
            flight: Flight::default(),
            again: Vec::new(),
        })
    }

    /// Takes a datagram of DTLS.
    pub(super) fn handle(&mut self, now: Instant, datagram: &[u8]) -> Result<Heard, Error> {
        self.now = now;
        self.flight.heard(datagram);
        self.association.read(now, datagram)
    }

    /// What is to be sent.
    pub(super) fn flush(&mut self, remote: SocketAddr, out: &mut Out) {
        for datagram in self.again.drain(..) {
            out.push((remote, datagram.to_vec()));
        }
        while let Some(datagram) = self.association.poll() {
            let datagram = self.flight.sent(self.now, &datagram);
            out.push((remote, datagram.to_vec()));
        }
    }

    pub(super) fn timeout(&mut self, now: Instant) -> Result<(), Error> {
        self.now = now;
        self.again.extend(self.flight.due(now));
        self.association.timeout(now)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let library = self.association.deadline();
        library.into_iter().chain(self.flight.deadline()).min()
    }
}

impl Contexts {
    pub(super) fn new(keys: &Keys) -> Result<Self, Error> {
        let Keys {
            profile, session, ..
        } = keys;
        // Duplicates are counted further up, and a packet that is sent again is no attack on a load generator.
        let context = |key: &[u8], salt: &[u8]| {
            let none = srtp_no_replay_protection();
            Context::new(
                key,
                salt,
                *profile,
                Some(none),
                None,
                keys.provider.crypto(),
            )
        };
        Ok(Self {
            ours: context(&session.local_master_key, &session.local_master_salt)?,
            theirs: context(&session.remote_master_key, &session.remote_master_salt)?,
            profile: match profile {
                ProtectionProfile::AeadAes128Gcm => "AEAD_AES_128_GCM",
                ProtectionProfile::AeadAes256Gcm => "AEAD_AES_256_GCM",
                _ => "AES128_CM_HMAC_SHA1_80",
            },
        })
    }
}

/// Best first, as browsers offer them.
const PROFILES: [SrtpProtectionProfile; 3] = [
    SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
    SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
    SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
];
