//! Fuzz targets for what comes from a peer.

use std::time::{Duration, Instant};

use lockgate_tests_fuzz::run;
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile;

use crate::{Association, Flight, Identity};

/// What is sent again is what was sent, but for the numbers of its records; and it ends.
#[test]
fn flights() {
    run("dtls", 3000, |data| {
        let (mut flight, now) = (Flight::default(), Instant::now());
        let sent = flight.sent(now, data);
        assert_eq!(sent.len(), data.len());
        let mut again = 0;
        while let Some(due) = flight.deadline() {
            for datagram in flight.due(due) {
                assert_eq!(datagram.len(), data.len());
                again += 1;
            }
        }
        assert!(again < 10, "{again}");
        flight.heard(data);
        assert!(flight.due(now + Duration::from_secs(100)).is_empty());
    });
}

/// Nobody gets keys without a handshake, whatever they say.
#[test]
fn associations() {
    let identity = Identity::new("fuzz").unwrap();
    let profiles = [SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm];
    run("dtls", 1000, |data| {
        for is_client in [false, true] {
            let now = Instant::now();
            let mut dtls = Association::new(&identity, Vec::new(), &profiles, is_client).unwrap();
            dtls.begin(now).unwrap();
            while dtls.poll().is_some() {}
            let keyed = matches!(dtls.read(now, data), Ok(crate::Heard::Keys(_)));
            assert!(!keyed, "keys out of nothing");
            while dtls.poll().is_some() {}
        }
    });
}
