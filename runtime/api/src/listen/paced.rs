//! A TCP stream on which writing must go on.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep, sleep},
};

use super::tally::Counted;

/// A stream that fails when hardly anything of what is written gets away for a while.
pub(super) struct Paced {
    stream: TcpStream,
    within: Duration,
    /// Runs while something waits to be written.
    stalled: Option<Pin<Box<Sleep>>>,
    /// What got away since it runs.
    written: usize,
    cut: Cutter,
    _held: Held,
}

/// What a connection takes up as long as it lives, whatever is spoken on it.
pub(super) struct Held {
    pub(super) _counted: Counted,
    pub(super) _place: Option<OwnedSemaphorePermit>,
}

/// Has the connection reset instead of closed when it goes: the other side does not read, and what waits for it in the
/// kernel is to go, too.
#[derive(Clone, Default)]
pub(super) struct Cutter(Arc<AtomicBool>);

impl Cutter {
    pub(super) fn cut(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Paced {
    pub(super) fn new(stream: TcpStream, within: Duration, cut: Cutter, held: Held) -> Self {
        let socket = SockRef::from(&stream);
        // What is written late waits with us, where it is seen, and not in the kernel.
        let set = socket
            .set_tcp_nodelay(true)
            .and_then(|()| socket.set_tcp_notsent_lowat(UNSENT_MAX))
            .and_then(|()| socket.set_tcp_user_timeout(Some(within.saturating_mul(2))));
        if let Err(error) = set {
            tracing::debug!(%error, "an option of a connection could not be set");
        }
        Self {
            stream,
            within,
            stalled: None,
            written: 0,
            cut,
            _held: held,
        }
    }

    /// Looks at what came of a write.
    fn account(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match polled {
            Poll::Ready(Ok(len)) => {
                self.written = self.written.saturating_add(len);
                if self.written >= self.least() {
                    self.stalled = None;
                }
                Poll::Ready(Ok(len))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let within = self.within;
                let written = &mut self.written;
                let stalled = self.stalled.get_or_insert_with(|| {
                    *written = 0;
                    Box::pin(sleep(within))
                });
                ready!(stalled.as_mut().poll(context));
                let least = self.least();
                if self.written < least {
                    self.cut.cut();
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "the response is hardly read",
                    )));
                }
                self.written = 0;
                let until = Instant::now() + self.within;
                if let Some(stalled) = &mut self.stalled {
                    stalled.as_mut().reset(until);
                    if stalled.as_mut().poll(context).is_ready() {
                        context.waker().wake_by_ref();
                    }
                }
                Poll::Pending
            }
        }
    }

    fn least(&self) -> usize {
        usize::try_from(self.within.as_secs().max(1))
            .unwrap_or(usize::MAX)
            .saturating_mul(BYTES_A_SECOND_MIN)
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.account(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.account(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        if self.cut.0.load(Ordering::Acquire)
            && let Err(error) = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
        {
            tracing::debug!(%error, "a connection could not be reset");
        }
    }
}

/// Bytes that wait in the kernel to be sent for the first time.
const UNSENT_MAX: u32 = 128 << 10;
/// Slower than that nobody watches anything.
const BYTES_A_SECOND_MIN: usize = 1 << 10;
