//! Fuzz targets for datagrams and frames.

use std::sync::Arc;

use lockgate_tests_fuzz::run;
use rtc::crypto::default_provider;

use super::{
    ice::Credentials,
    mux::Mux,
    socket::Bound,
    stream::{Stream, read_frame},
    stun::{self, BindingRequest, BindingSuccess},
    via::Via,
};
use crate::config::Config;

fn credentials(ufrag: &str) -> Credentials {
    Credentials {
        ufrag: ufrag.to_owned(),
        // What the corpus is signed with.
        password: "0123456789012345678901".to_owned(),
    }
}

#[test]
fn stun() {
    let provider = default_provider().unwrap();
    run("stun", 4000, |data| {
        if let Some(mut request) = BindingRequest::parse(data) {
            let _ = (request.ufrag(), request.their_ufrag(), request.priority());
            let _ = (request.nominates(), request.is_controlled());
            let _ = request.is_signed_with("0123456789012345678901", provider.crypto());
        }
        if let Some(mut answer) = BindingSuccess::parse(data) {
            let _ = (answer.id(), answer.mapped());
            let _ = answer.is_signed_with("0123456789012345678901", provider.crypto());
        }
        let peer = credentials("peer");
        let _ = stun::answer_for(data, &peer, provider.crypto());
    });
}

/// Datagrams one after the other, each with a byte for where it comes from and its length before it, at a peer's place.
#[test]
fn datagrams() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let config = Config {
        udp_listen: "127.0.0.1:0".parse().unwrap(),
        ..Config::default()
    };
    let mux = Mux::new(Bound::new(&config).unwrap().udp).unwrap();
    let mut checked = 0;
    run("datagrams", 2000, |data| {
        let alice = mux.register(credentials("ours"), credentials("peer"));
        let bob = mux.register(credentials("other"), credentials("peer"));
        let stream = Stream::new(mux.number(), "192.0.2.2:2".parse().unwrap()).0;
        let mut rest = data;
        while let [from, a, b, tail @ ..] = rest {
            let len = usize::from(u16::from_be_bytes([*a, *b])).min(tail.len());
            let (datagram, tail) = tail.split_at(len);
            rest = tail;
            // Blackhole addresses (RFC 6666, IPv4: RFC 5737): what is answered must not go anywhere.
            let via = match from % 4 {
                0 => Via::Tcp(Arc::clone(&stream)),
                port => Via::udp(([192, 0, 2, 1], u16::from(port)).into()),
            };
            checked += u32::from(mux.dispatch(&via, datagram));
        }
        drop((alice, bob));
        assert_eq!(mux.occupancy(), (0, 0));
    });
    assert!(checked > 0, "no check was good");
}

#[test]
fn frames() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    run("frames", 4000, |data| {
        runtime.block_on(async {
            let (mut wire, mut buffer) = (data, [0; 2000]);
            let mut read = 0;
            while let Ok(len) = read_frame(&mut wire, &mut buffer).await {
                read += 2 + len;
                assert_eq!(read + wire.len(), data.len());
            }
        });
    });
}
