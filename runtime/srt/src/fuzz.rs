//! What real publishers sent, and what becomes of it with bytes changed, cut out, doubled: nothing panics or hangs.

use lockgate_tests_fuzz::run;

use crate::{Receiver, crypto, handshake, packet};

#[test]
fn exchanges() {
    run("srt", 4000, feed);
}

/// Reads whatever bytes as datagrams, each behind its length in two bytes.
fn feed(data: &[u8]) {
    let mut rest = data;
    let datagrams = std::iter::from_fn(|| {
        let (len, tail) = rest.split_first_chunk::<2>()?;
        let len = usize::from(u16::from_be_bytes(*len)).min(tail.len());
        let (datagram, tail) = tail.split_at(len);
        rest = tail;
        Some(datagram)
    });
    let mut receiver = Receiver::new(0, std::time::Duration::from_millis(120));
    let zero = std::time::Instant::now();
    for (at, datagram) in (0u64..).zip(datagrams) {
        let now = zero + std::time::Duration::from_millis(at * 7);
        match packet::Packet::parse(datagram) {
            Some(packet::Packet::Data(packet)) => {
                receiver.data(
                    now,
                    packet.sequence,
                    bytes::Bytes::copy_from_slice(packet.payload),
                );
            }
            Some(packet::Packet::Control(control)) => {
                if let Some(shake) = handshake::Handshake::parse(control.body) {
                    let extensions = handshake::Extensions::parse(shake.rest);
                    crypto::Keys::unwrap(extensions.keys.unwrap_or_default(), "0123456789").ok();
                    crate::stream_id::Wish::parse(&extensions.stream_id.unwrap_or_default()).ok();
                }
                receiver.drop_request(control.body);
                receiver.acknowledged(now, control.info);
            }
            None => {}
        }
        while receiver.next(now).is_some() {}
        receiver.poll(now);
    }
}
