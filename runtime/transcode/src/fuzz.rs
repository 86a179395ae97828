//! A fuzz target for what a worker says: hostile media may have made it another one.

use bytes::BytesMut;
use lockgate_tests_fuzz::run;

use crate::wire::{Frame, Frames, ToParent, control, unit};

/// What is understood means what it says: written again it is read as the same.
#[test]
fn workers() {
    run("worker", 3000, |data| {
        let mut frames = Frames {
            buffer: BytesMut::from(data),
        };
        while let Ok(Some(frame)) = frames.next::<ToParent>() {
            let written = match &frame {
                Frame::Control(message) => control(message),
                Frame::Unit(item) => unit(item),
                Frame::Bytes(_) => continue,
            };
            let mut again = Frames {
                buffer: BytesMut::from(&written.unwrap()[..]),
            };
            assert_eq!(again.next().unwrap(), Some(frame));
        }
    });
}
