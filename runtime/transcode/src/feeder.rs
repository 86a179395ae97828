//! A publisher's byte stream, carried from its connection to the worker.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use lockgate_ports::ingest::{Feed, Piece};
use tokio::sync::{Notify, mpsc};

use crate::wire::{self, ToWorker};

/// Where the next connection is put until it is read. The newest one counts.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    feed: Mutex<Option<Feed>>,
    came: Notify,
}

impl Slot {
    /// Puts a connection here, in place of one that nobody has taken.
    pub(crate) fn put(&self, feed: Feed) {
        *self.lock() = Some(feed);
        self.came.notify_one();
    }

    fn take(&self) -> Option<Feed> {
        self.lock().take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Feed>> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connections of one publisher, one after the other. It outlives the workers.
#[derive(Debug)]
pub(crate) struct Feeder {
    slot: Arc<Slot>,
    feed: Option<Feed>,
    /// What a worker that starts in the middle has to have first.
    heads: BTreeMap<u8, Bytes>,
}

impl Feeder {
    pub(crate) fn new(slot: Arc<Slot>) -> Self {
        Self {
            slot,
            feed: None,
            heads: BTreeMap::new(),
        }
    }

    /// Whether [`wait`](Self::wait) would wait.
    pub(crate) fn is_idle(&self) -> bool {
        !self.goes_on() && self.slot.lock().is_none()
    }

    /// Waits until there is a connection to be read; its container, and whether it is another one than before.
    pub(crate) async fn wait(&mut self) -> (&'static str, bool) {
        let mut is_new = false;
        loop {
            if let Some(feed) = self.slot.take() {
                self.feed = Some(feed);
                self.heads.clear();
                is_new = true;
            }
            match &self.feed {
                Some(feed) if self.goes_on() => return (feed.container, is_new),
                _ => self.slot.came.notified().await,
            }
        }
    }

    fn goes_on(&self) -> bool {
        self.feed
            .as_ref()
            .is_some_and(|feed| !(feed.pieces.is_closed() && feed.pieces.is_empty()))
    }

    /// Carries bytes from where reading can start until the connection is over or another one has taken its place;
    /// then tells the worker and waits for ever.
    pub(crate) async fn carry(&mut self, to_worker: &mpsc::Sender<Bytes>) {
        let mut has_started = false;
        while let Some(feed) = &mut self.feed {
            let piece = tokio::select! {
                piece = feed.pieces.recv() => piece,
                () = self.slot.came.notified() => {
                    // It may tell of this one.
                    if self.slot.lock().is_none() {
                        continue;
                    }
                    None
                }
            };
            let bytes = match piece {
                None => {
                    self.feed = None;
                    break;
                }
                Some(Piece::Head(number, bytes)) => {
                    if self.heads.len() < HEADS_MAX || self.heads.contains_key(&number) {
                        self.heads.insert(number, bytes.clone());
                    }
                    if !has_started {
                        continue;
                    }
                    bytes
                }
                Some(Piece::Media { start, .. }) if !has_started && !start => continue,
                Some(Piece::Media { bytes, .. }) => {
                    if !has_started {
                        has_started = true;
                        for head in self.heads.values() {
                            if !put(to_worker, wire::bytes(head)).await {
                                return std::future::pending().await;
                            }
                        }
                    }
                    bytes
                }
            };
            if !put(to_worker, wire::bytes(&bytes)).await {
                break;
            }
        }
        put(to_worker, wire::control(&ToWorker::StreamEnd)).await;
        std::future::pending().await
    }
}

async fn put(to_worker: &mpsc::Sender<Bytes>, frame: Result<Bytes, wire::WireError>) -> bool {
    match frame {
        Ok(frame) => to_worker.send(frame).await.is_ok(),
        // A piece that is larger than the wire takes is left out.
        Err(_) => true,
    }
}

/// Far more than any container needs.
const HEADS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use lockgate_ports::ingest::{Admitted, Via};

    use super::*;
    use crate::wire::{Frame, Frames};

    fn media(text: &'static str, start: bool) -> Piece {
        Piece::Media {
            bytes: Bytes::from_static(text.as_bytes()),
            start,
        }
    }

    /// What a worker was sent, `.` for the end.
    fn sent(frames: &mut mpsc::Receiver<Bytes>) -> String {
        let mut text = String::new();
        while let Ok(frame) = frames.try_recv() {
            let mut reader = Frames::default();
            reader.buffer.extend_from_slice(&frame);
            match reader.next::<ToWorker>().unwrap().unwrap() {
                Frame::Bytes(bytes) => text += std::str::from_utf8(&bytes).unwrap(),
                _ => text.push('.'),
            }
        }
        text
    }

    async fn run(feeder: &mut Feeder) -> String {
        let (to_worker, mut frames) = mpsc::channel(64);
        // All that is there is carried before it waits.
        let carry = feeder.carry(&to_worker);
        tokio::select! {
            biased;
            () = carry => {}
            () = async { for _ in 0..50 { tokio::task::yield_now().await } } => {}
        }
        sent(&mut frames)
    }

    #[tokio::test]
    async fn a_worker_that_starts_in_the_middle_gets_the_heads_and_starts_where_it_can() {
        let slot = Arc::new(Slot::default());
        let mut feeder = Feeder::new(Arc::clone(&slot));
        assert!(feeder.is_idle());
        let (admitted, feed) = Admitted::pair(Via::Rtmp);
        slot.put(feed);
        assert_eq!(feeder.wait().await, ("flv", true));
        for piece in [
            Piece::Head(0, "H".into()),
            media("x", false),
            media("K", true),
            Piece::Head(0, "h".into()),
            media("d", false),
        ] {
            admitted.pieces.try_send(piece).unwrap();
        }
        assert_eq!(run(&mut feeder).await, "HKhd");
        assert_eq!(feeder.wait().await, ("flv", false));
        for piece in [media("d", false), media("K", true)] {
            admitted.pieces.try_send(piece).unwrap();
        }
        assert_eq!(run(&mut feeder).await, "hK");
        let (next, feed) = Admitted::pair(Via::Srt);
        slot.put(feed);
        assert_eq!(run(&mut feeder).await, ".");
        assert_eq!(feeder.wait().await, ("mpegts", true));
        next.pieces.try_send(media("T", true)).unwrap();
        drop(next);
        assert_eq!(run(&mut feeder).await, "T.");
        assert!(feeder.is_idle());
    }
}
