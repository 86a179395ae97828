//! SRT publishers on one UDP port (draft-sharabayko-srt-01, live mode): their MPEG-TS leaves here in order.
//!
//! Only what a receiver of live streams needs is here: the listener's handshake, acknowledgements, requests for what was
//! lost, and decryption. [`Receiver`] and the packets are values that read no clock and no socket, and neither panic nor
//! grow without bound on whatever comes. Start reading at [`server`], then [`receive`](Receiver).
#![forbid(unsafe_code)]

mod crypto;
mod handshake;
mod packet;
mod publisher;
mod receive;
pub mod server;
mod stream_id;

pub use receive::Receiver;
pub use server::{Config, Listener};

/// Reads whatever bytes as datagrams, each behind its length in two bytes: for fuzzing.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
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
                    stream_id::Wish::parse(&extensions.stream_id.unwrap_or_default()).ok();
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
