//! A segment that is read while it is filled: part after part, as they are there.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use lockgate_hls::Rendition;
use tokio::{sync::watch, time::Instant};

use super::wait_until;

/// A segment that is being filled. It holds what its reader has not taken only as the rendition itself does.
#[derive(Debug)]
pub struct Growing {
    news: watch::Receiver<Arc<Rendition>>,
    number: u64,
    /// Bytes and parts that were taken.
    taken: usize,
    parts: usize,
    /// How long the next part is waited for.
    patience: Duration,
    done: bool,
}

/// What was being filled did not become a segment, or its reader was too slow for it.
#[derive(Debug, thiserror::Error)]
#[error("the segment was cut short")]
pub struct CutShort;

impl Growing {
    pub(super) fn new(
        news: watch::Receiver<Arc<Rendition>>,
        number: u64,
        patience: Duration,
    ) -> Self {
        Self {
            news,
            number,
            taken: 0,
            parts: 0,
            patience,
            done: false,
        }
    }

    /// What has come since; waits for the next part. `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, CutShort>> {
        if self.done {
            return None;
        }
        let latest = Instant::now() + self.patience;
        let (number, parts) = (self.number, self.parts);
        let is_news = |view: &Rendition| match &view.open {
            Some(open) if open.number == number => open.parts.len() > parts,
            _ => true,
        };
        let view = wait_until(&mut self.news, latest, is_news).await;
        let came = view.and_then(|view| self.take(&view));
        if came.is_none() {
            self.done = true;
            return Some(Err(CutShort));
        }
        came.filter(|bytes| !bytes.is_empty()).map(Ok)
    }

    /// What is new in a view; nothing at the end. `None` if the segment is not there.
    fn take(&mut self, view: &Rendition) -> Option<Bytes> {
        let open = view.open.as_ref().filter(|open| open.number == self.number);
        if let Some(open) = open {
            let bytes = open.parts.get(self.parts)?.bytes.clone();
            self.parts += 1;
            self.taken += bytes.len();
            return Some(bytes);
        }
        let whole = view.segment(self.number).filter(|whole| !whole.gap)?;
        self.done = true;
        // Its bytes are those of its parts, one after the other.
        (self.taken <= whole.bytes.len()).then(|| whole.bytes.slice(self.taken..))
    }
}
