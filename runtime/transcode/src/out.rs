//! What the worker's threads send to the parent: a bounded queue that one thread writes to the socket.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    mpsc::{Receiver, SyncSender, sync_channel},
};

use crate::wire::{ToParent, Unit};

/// One thing to send.
#[derive(Debug)]
pub(crate) enum Message {
    Control(ToParent),
    Unit(Unit),
    /// Nothing more comes; the process ends after what was queued before.
    Last,
}

/// The threads' end. Sending waits while the parent is slow, which makes encoders wait and frames drop.
#[derive(Debug, Clone)]
pub(crate) struct Out {
    queue: SyncSender<Message>,
    counts: Arc<Counts>,
}

/// Numbers that the threads count together.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Packets that could not be decoded.
    pub(crate) decode_errors: AtomicU64,
    /// Frames the source itself left out because it was late.
    pub(crate) source_dropped: AtomicU64,
    /// The media time the source has come to, in 1/90000 s.
    pub(crate) media_90k: AtomicI64,
    /// Whether media flows.
    pub(crate) started: AtomicBool,
}

impl Out {
    pub(crate) fn new() -> (Self, Receiver<Message>) {
        let (queue, messages) = sync_channel(QUEUE_LEN);
        let counts = Arc::new(Counts::default());
        (Self { queue, counts }, messages)
    }

    pub(crate) fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    pub(crate) fn unit(&self, unit: Unit) {
        self.put(Message::Unit(unit));
    }

    pub(crate) fn control(&self, message: ToParent) {
        self.put(Message::Control(message));
    }

    /// Tells of something that does not end the work.
    pub(crate) fn problem(&self, text: impl Into<String>) {
        self.control(ToParent::Problem { text: text.into() });
    }

    /// Ends the work with an error.
    pub(crate) fn fail(&self, text: String, hopeless: bool) {
        self.control(ToParent::Error { text, hopeless });
        self.put(Message::Last);
    }

    /// Ends the work because the source became another one.
    pub(crate) fn replan(&self, text: String) {
        self.control(ToParent::Replan { text });
        self.put(Message::Last);
    }

    /// Ends the work because the source came to its end.
    pub(crate) fn end(&self) {
        self.control(ToParent::Ended);
        self.put(Message::Last);
    }

    pub(crate) fn decode_error(&self) {
        self.counts.decode_errors.fetch_add(1, Ordering::Relaxed);
    }

    fn put(&self, message: Message) {
        // The receiver is gone only while the process is ending.
        self.queue.send(message).ok();
    }
}

/// About a second of a full ladder.
const QUEUE_LEN: usize = 256;
