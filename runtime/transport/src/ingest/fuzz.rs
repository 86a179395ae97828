//! Fuzz targets for RTP and what is in it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use lockgate_media::VideoCodec;
use lockgate_tests_fuzz::run;
use rtc::{rtp, shared::marshal::Unmarshal as _};

use super::{
    assembler::{Assembler, Coding, Event, Packet},
    sync::Sync,
    track::opus_duration_90k,
};

/// The first byte is the coding; then packets, each with its length before it.
#[test]
fn rtp() {
    let mut complete = 0;
    run("rtp", 3000, |data| {
        let Some((kind, mut rest)) = data.split_first() else {
            return;
        };
        let coding = match kind % 5 {
            0 => Coding::Video(VideoCodec::H264),
            1 => Coding::Video(VideoCodec::Vp8),
            3 => Coding::Video(VideoCodec::Vp9),
            4 => Coding::Video(VideoCodec::Av1),
            _ => Coding::Opus,
        };
        let mut assembler = Assembler::new(coding);
        let mut sync = Sync::default();
        let stream = sync.add(90_000);
        let mut now = Instant::now();
        while let [a, b, tail @ ..] = rest {
            let len = usize::from(u16::from_be_bytes([*a, *b])).min(tail.len());
            let (datagram, tail) = tail.split_at(len);
            rest = tail;
            let Ok(packet) = rtp::Packet::unmarshal(&mut Bytes::copy_from_slice(datagram)) else {
                now += Duration::from_millis(100);
                continue;
            };
            assembler.push(
                now,
                Packet {
                    seq: packet.header.sequence_number,
                    timestamp: packet.header.timestamp,
                    marker: packet.header.marker,
                    payload: packet.payload,
                },
            );
            now += Duration::from_millis(7);
            while let Some(event) = assembler.poll(now) {
                if let Event::Unit(unit) = event {
                    complete += 1;
                    sync.place(stream, unit.timestamp, 0);
                    match coding {
                        Coding::Video(codec) => drop(codec.format_of(&unit.data)),
                        Coding::Opus => {
                            assert!(opus_duration_90k(&unit.data) <= 10_800);
                        }
                    }
                }
            }
            // What is asked for is bounded, however far numbers jump.
            assert!(assembler.asks(now).len() <= 1024);
        }
    });
    assert!(complete > 0, "nothing was complete");
}
