//! A publisher's byte stream inside the worker, between the thread that reads the socket and FFmpeg, which reads it.

use std::{
    collections::VecDeque,
    io::{self, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use bytes::{Buf, Bytes};

/// The writing end: a bounded queue of bytes. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pipe {
    shared: Arc<Shared>,
}

/// The reading end for FFmpeg.
pub(crate) struct PipeReader {
    pipe: Pipe,
    piece: Bytes,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<Bytes>,
    len: usize,
    is_over: bool,
    /// The reader waits for a message behind the bytes, so that all of them are taken.
    is_open: bool,
}

impl Pipe {
    /// Appends a piece; waits while there is too much, which holds the publisher back.
    pub(crate) fn push(&self, piece: Bytes) {
        let mut state = self.state();
        while state.len >= LEN_MAX && !state.is_open && !state.is_over {
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.len += piece.len();
        state.pieces.push_back(piece);
        self.shared.changed.notify_all();
    }

    /// Nothing more comes.
    pub(crate) fn end(&self) {
        self.state().is_over = true;
        self.shared.changed.notify_all();
    }

    /// While `work` runs nobody reads, and what comes is taken nevertheless: the answer that `work` waits for stands
    /// behind it. How much that can be is bounded by the parent's queue.
    pub(crate) fn while_unread<T>(&self, work: impl FnOnce() -> T) -> T {
        self.set_open(true);
        let done = work();
        self.set_open(false);
        done
    }

    /// The reading end.
    pub(crate) fn reader(&self) -> PipeReader {
        PipeReader {
            pipe: self.clone(),
            piece: Bytes::new(),
        }
    }

    fn set_open(&self, is_open: bool) {
        self.state().is_open = is_open;
        self.shared.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for PipeReader {
    /// Waits for bytes; 0 at the end of the stream.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            let mut state = self.pipe.state();
            loop {
                if let Some(piece) = state.pieces.pop_front() {
                    state.len -= piece.len();
                    self.piece = piece;
                    self.pipe.shared.changed.notify_all();
                    break;
                }
                if state.is_over {
                    return Ok(0);
                }
                state = self
                    .pipe
                    .shared
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
        let len = out.len().min(self.piece.len());
        self.piece
            .copy_to_slice(out.get_mut(..len).unwrap_or_default());
        Ok(len)
    }
}

/// What may wait to be read: a second of 64 Mbit/s.
const LEN_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_through_in_order_and_a_full_pipe_waits() {
        let pipe = Pipe::default();
        let mut reader = pipe.reader();
        let writer = std::thread::spawn(move || {
            for at in 0..40u8 {
                pipe.push(vec![at; 1 << 20].into());
            }
            let most = pipe.state().len;
            pipe.end();
            most
        });
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert!(writer.join().unwrap() <= LEN_MAX + (1 << 20));
        assert_eq!(all.len(), 40 << 20);
        assert!(
            all.chunks(1 << 20)
                .zip(0u8..)
                .all(|(chunk, at)| chunk[0] == at)
        );
    }

    #[test]
    fn what_comes_while_nobody_reads_is_taken() {
        let pipe = Pipe::default();
        pipe.while_unread(|| {
            for _ in 0..20 {
                pipe.push(vec![0; 1 << 20].into());
            }
        });
        assert_eq!(pipe.state().len, 20 << 20);
    }
}
