//! Fuzz targets for offers and fragments.

use lockgate_broadcast::{Broadcast, Limits, Origin};
use lockgate_media::BroadcastName;
use lockgate_ports::{Conference as _, SignalError, Signaller as _};
use lockgate_tests_fuzz::run;

use super::{Answer, Fragment, Offer, Purpose, Section, finished};
use crate::{
    Config, Transport,
    config::Wire,
    net::{Candidate, Credentials},
};

#[test]
fn sdp_offer() {
    let candidate = Candidate {
        address: "192.0.2.1:1".parse().unwrap(),
        wire: Wire::Udp,
        rank: 0,
    };
    run("sdp_offer", 2000, |data| {
        let text = String::from_utf8_lossy(data);
        for purpose in [
            Purpose::Publish,
            Purpose::View,
            Purpose::Attend,
            Purpose::Speak,
            Purpose::Converse,
        ] {
            drop(Offer::check(&text, purpose));
        }
        let answer = finished(&Answer {
            sdp: &text,
            candidates: &[candidate],
            video: &[96, 102],
            reduced_size: false,
        });
        drop(Section::of(&answer));
    });
}

/// Whatever is offered, what goes wrong is the offer's fault: 4xx, never 500. The library's own reader is in it.
#[test]
fn sdp_negotiated() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = Config {
        udp_listen: "127.0.0.1:0".parse().unwrap(),
        ..Config::default()
    };
    let transport = runtime.block_on(Transport::bind(config)).unwrap();
    let mut answered = 0;
    run("sdp_offer", 150, |data| {
        let text = String::from_utf8_lossy(data).into_owned();
        let name = BroadcastName::new("fuzz").unwrap();
        let broadcast = Broadcast::new(name, Origin::now(), Limits::default());
        let spoken = runtime.block_on(transport.speak(text.clone(), broadcast.clone()));
        let published = runtime.block_on(transport.publish(text, broadcast));
        for outcome in [spoken.map(drop), published.map(drop)] {
            match outcome {
                Ok(()) => answered += 1,
                Err(SignalError::Internal(why)) => panic!("{why}"),
                Err(_) => {}
            }
        }
    });
    assert!(answered > 0, "no offer was good");
}

#[test]
fn sdp_fragment() {
    let current = Credentials {
        ufrag: "abcd".to_owned(),
        password: "0123456789012345678901".to_owned(),
    };
    run("sdp_fragment", 4000, |data| {
        let text = String::from_utf8_lossy(data);
        if let Ok(fragment) = Fragment::parse(&text) {
            drop(fragment.restart(&current));
        }
    });
}
