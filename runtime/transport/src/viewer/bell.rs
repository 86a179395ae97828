//! Who of a shard wants a turn.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Wake,
};

use tokio::sync::Notify;

/// The keys of those that have rung and had no turn since. It holds each bell once, so it needs no other bound.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    rung: Mutex<Vec<Key>>,
    pub(super) notify: Notify,
}

/// Whose bell it is: a place in one of the shard's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Viewer(u32),
    Source(u32),
}

/// Rings at its shard when it is woken.
#[derive(Debug)]
pub(super) struct Bell {
    inbox: Arc<Inbox>,
    key: Key,
    rung: AtomicBool,
}

impl Inbox {
    /// Moves all keys there are into a list.
    pub(super) fn empty_into(&self, list: &mut VecDeque<Key>) {
        list.extend(self.rung().drain(..));
    }

    fn rung(&self) -> MutexGuard<'_, Vec<Key>> {
        // Keys are pushed and taken; a panic leaves the list whole.
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bell {
    pub(super) fn new(inbox: &Arc<Inbox>, key: Key) -> Arc<Self> {
        Arc::new(Self {
            inbox: Arc::clone(inbox),
            key,
            rung: AtomicBool::new(false),
        })
    }

    /// Its turn begins: what comes from now on rings again.
    pub(super) fn answered(&self) {
        self.rung.store(false, Ordering::Release);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.inbox.rung().push(self.key);
            self.inbox.notify.notify_one();
        }
    }
}
