//! The segments of a rendition that can be fetched.

use std::{collections::VecDeque, sync::Arc};

use bytes::{Bytes, BytesMut};

use crate::rendition::{Init, Part, Segment};

/// The window that the playlist lists, and what has left it but may still be fetched.
#[derive(Debug)]
pub(crate) struct Shelf {
    window_max: usize,
    window: VecDeque<Arc<Segment>>,
    /// The segment that is being filled, once a part of it is there.
    open: Option<Arc<Segment>>,
    retired: VecDeque<Retired>,
    inits: VecDeque<Init>,
    init_next: u32,
    /// Duration of the longest playlist so far.
    longest_90k: i64,
}

#[derive(Debug)]
struct Retired {
    segment: Arc<Segment>,
    until_90k: i64,
}

impl Shelf {
    pub(crate) fn new(window_max: usize, init_first: u32) -> Self {
        Self {
            window_max,
            window: VecDeque::new(),
            open: None,
            retired: VecDeque::new(),
            inits: VecDeque::new(),
            init_next: init_first,
            longest_90k: 0,
        }
    }

    /// Adds an initialization section; segments appended from now on need it.
    pub(crate) fn add_init(&mut self, bytes: Bytes) {
        self.inits.push_back(Init {
            version: self.init_next,
            bytes,
        });
        self.init_next += 1;
        self.forget_inits();
    }

    /// The version of the newest initialization section.
    pub(crate) fn init_version(&self) -> Option<u32> {
        self.inits.back().map(|init| init.version)
    }

    /// Adds a part to the segment that is being filled; `head` is that segment, without any.
    pub(crate) fn add_part(&mut self, head: impl FnOnce() -> Segment, part: Part) {
        let mut open = match self.open.take() {
            Some(open) => Arc::unwrap_or_clone(open),
            None => head(),
        };
        open.duration_90k += part.duration_90k;
        open.parts.push(part);
        self.open = Some(Arc::new(open));
    }

    /// Closes the segment that is being filled: its bytes are those of its parts, one after the other. Returns it.
    pub(crate) fn close(&mut self, duration_90k: i64, now_90k: i64) -> Option<Arc<Segment>> {
        let mut open = Arc::unwrap_or_clone(self.open.take()?);
        open.duration_90k = duration_90k;
        if let [only] = &open.parts[..] {
            open.bytes = only.bytes.clone();
        } else {
            let whole = open.parts.iter().map(|part| part.bytes.len()).sum();
            let mut bytes = BytesMut::with_capacity(whole);
            for part in &open.parts {
                bytes.extend_from_slice(&part.bytes);
            }
            open.bytes = bytes.freeze();
            // From here on parts are stretches of the segment, which is in memory once.
            let mut from = 0;
            for part in &mut open.parts {
                let to = from + part.bytes.len();
                part.bytes = open.bytes.slice(from..to);
                from = to;
            }
        }
        let segment = Arc::new(open);
        self.append(Arc::clone(&segment), now_90k);
        Some(segment)
    }

    /// The segment that is being filled.
    pub(crate) fn open(&self) -> Option<Arc<Segment>> {
        self.open.clone()
    }

    /// The newest segment of the window.
    pub(crate) fn last(&self) -> Option<&Arc<Segment>> {
        self.window.back()
    }

    /// Segments that a window has at most.
    pub(crate) fn window_max(&self) -> usize {
        self.window_max
    }

    /// Appends a segment and evicts what no longer fits the window. `now_90k` is the broadcast's time.
    pub(crate) fn append(&mut self, segment: Arc<Segment>, now_90k: i64) {
        self.window.push_back(segment);
        while self.window.len() > self.window_max {
            self.evict(now_90k);
        }
        let lasts = self.window.iter().map(|segment| segment.duration_90k).sum();
        self.longest_90k = self.longest_90k.max(lasts);
        self.expire(now_90k);
    }

    /// Empties the window, and drops what is being filled.
    pub(crate) fn empty(&mut self, now_90k: i64) {
        self.open = None;
        while !self.window.is_empty() {
            self.evict(now_90k);
        }
    }

    /// Forgets retired segments whose time is over. Returns whether there were any.
    pub(crate) fn expire(&mut self, now_90k: i64) -> bool {
        let before = self.retired.len();
        self.retired.retain(|retired| retired.until_90k > now_90k);
        // Twice the window is what the rule below keeps at a steady pace; more only if time stands still.
        while self.retired.len() > 2 * self.window_max {
            self.retired.pop_front();
        }
        self.forget_inits();
        self.retired.len() < before
    }

    pub(crate) fn window(&self) -> Vec<Arc<Segment>> {
        self.window.iter().cloned().collect()
    }

    pub(crate) fn retired(&self) -> Vec<Arc<Segment>> {
        self.retired
            .iter()
            .map(|retired| Arc::clone(&retired.segment))
            .collect()
    }

    pub(crate) fn inits(&self) -> Vec<Init> {
        self.inits.iter().cloned().collect()
    }

    fn evict(&mut self, now_90k: i64) {
        if let Some(segment) = self.window.pop_front() {
            // RFC 8216 §6.2.2: its duration and that of the longest playlist it was in.
            let until_90k = now_90k
                .saturating_add(segment.duration_90k)
                .saturating_add(self.longest_90k);
            self.retired.push_back(Retired { segment, until_90k });
        }
    }

    fn forget_inits(&mut self) {
        let oldest = self
            .retired
            .iter()
            .map(|retired| &retired.segment)
            .chain(&self.window)
            .chain(&self.open)
            .filter_map(|segment| segment.init)
            .min();
        let newest = self.init_version();
        self.inits.retain(|init| {
            Some(init.version) == newest || oldest.is_some_and(|oldest| init.version >= oldest)
        });
    }
}
