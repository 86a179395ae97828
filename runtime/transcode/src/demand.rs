//! Demand of the hub, forwarded to the worker.

use std::time::Duration;

use bytes::Bytes;
use lockgate_broadcast::track::Demand;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use crate::wire::{self, ToWorker, TrackNo};

/// Tells the worker whether a rung has readers and when one needs a keyframe, until either side is gone.
/// `was_wanted` is what the worker was told with its plan.
pub(crate) async fn forward(
    track: TrackNo,
    mut demand: watch::Receiver<Demand>,
    mut was_wanted: bool,
    to_worker: mpsc::Sender<Bytes>,
) {
    let mut asked = demand.borrow().keyframes_asked;
    let mut next_keyframe = Instant::now();
    let mut is_owed = false;
    loop {
        let now = *demand.borrow_and_update();
        let mut messages = Vec::new();
        if (now.readers > 0) != was_wanted {
            was_wanted = now.readers > 0;
            messages.push(ToWorker::Enable {
                track,
                on: was_wanted,
            });
        }
        is_owed |= now.keyframes_asked > asked;
        asked = now.keyframes_asked;
        if is_owed && Instant::now() >= next_keyframe {
            is_owed = false;
            next_keyframe = Instant::now() + KEYFRAME_EVERY;
            messages.push(ToWorker::Keyframe { track });
        }
        for message in messages {
            let Ok(frame) = wire::control(&message) else {
                return;
            };
            if to_worker.send(frame).await.is_err() {
                return;
            }
        }
        tokio::select! {
            changed = demand.changed() => if changed.is_err() { return },
            () = sleep_until(next_keyframe), if is_owed => {}
        }
    }
}

/// Keyframes asked for within this time are one.
pub(crate) const KEYFRAME_EVERY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Frame, Frames};

    async fn next(messages: &mut mpsc::Receiver<Bytes>) -> ToWorker {
        let mut frames = Frames::default();
        frames
            .buffer
            .extend_from_slice(&messages.recv().await.unwrap());
        match frames.next().unwrap().unwrap() {
            Frame::Control(message) => message,
            _ => panic!("no media was sent"),
        }
    }

    #[tokio::test]
    async fn keyframes_are_coalesced_and_readers_switch_a_rung() {
        let demand = watch::Sender::new(Demand::default());
        let (to_worker, mut messages) = mpsc::channel(8);
        let both = async {
            demand.send_modify(|demand| demand.readers = 1);
            assert_eq!(
                next(&mut messages).await,
                ToWorker::Enable { track: 3, on: true }
            );
            let before = Instant::now();
            for _ in 0..5 {
                demand.send_modify(|demand| demand.keyframes_asked += 1);
                tokio::task::yield_now().await;
            }
            assert_eq!(next(&mut messages).await, ToWorker::Keyframe { track: 3 });
            assert_eq!(next(&mut messages).await, ToWorker::Keyframe { track: 3 });
            assert!(before.elapsed() + Duration::from_millis(50) > KEYFRAME_EVERY);
            demand.send_modify(|demand| demand.readers = 0);
            assert_eq!(
                next(&mut messages).await,
                ToWorker::Enable {
                    track: 3,
                    on: false
                }
            );
            assert!(messages.try_recv().is_err());
        };
        tokio::select! {
            () = both => {}
            () = forward(3, demand.subscribe(), false, to_worker) => panic!("it ended"),
        }
    }
}
