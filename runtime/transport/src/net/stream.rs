//! One TCP connection of a peer: datagrams with their length before them (RFC 4571), both ways.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{mpsc, watch},
};

/// A connection as those see it who send along it.
#[derive(Debug)]
pub(crate) struct Stream {
    number: u64,
    remote: SocketAddr,
    queue: mpsc::Sender<Bytes>,
    closed: watch::Sender<bool>,
}

impl Stream {
    /// A connection with this number, and the end of its queue that [`write`] reads.
    pub(super) fn new(number: u64, remote: SocketAddr) -> (Arc<Self>, mpsc::Receiver<Bytes>) {
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        let stream = Self {
            number,
            remote,
            queue,
            closed: watch::Sender::new(false),
        };
        (Arc::new(stream), queued)
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Queues a datagram. False if it was dropped: the connection is closed, or does not get rid of what it has, and
    /// then real-time media is better lost than late.
    pub(crate) fn send(&self, datagram: Bytes) -> bool {
        self.queue.try_send(datagram).is_ok()
    }

    /// Ends the connection once what is queued was written, or a short while later.
    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Waits for [`close`](Self::close).
    pub(super) async fn closed(&self) {
        // The sender is here, so that this can only end with the value.
        let mut closed = self.closed.subscribe();
        closed.wait_for(|closed| *closed).await.ok();
    }
}

/// Reads one frame into `buffer`; its length. An error ends the connection: after a frame that is too long, nobody
/// knows where the next begins.
pub(super) async fn read_frame(
    from: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
) -> io::Result<usize> {
    let len = usize::from(from.read_u16().await?);
    let place = buffer.get_mut(..len).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {len} bytes; no datagram of a peer is so long"),
        )
    })?;
    from.read_exact(place).await?;
    Ok(len)
}

/// Writes what is queued as frames, many at a time, until the connection is closed and nothing is queued any more.
pub(super) async fn write(
    stream: &Stream,
    to: &mut (impl AsyncWrite + Unpin),
    mut queued: mpsc::Receiver<Bytes>,
) -> io::Result<()> {
    let mut datagrams = Vec::with_capacity(WRITE_BATCH);
    let mut frames = BytesMut::new();
    loop {
        let count = tokio::select! {
            count = queued.recv_many(&mut datagrams, WRITE_BATCH) => count,
            () = stream.closed(), if !queued.is_closed() => {
                queued.close();
                continue;
            }
        };
        if count == 0 {
            return Ok(());
        }
        for datagram in datagrams.drain(..) {
            // Nothing we send is longer than a UDP datagram.
            if let Ok(len) = u16::try_from(datagram.len()) {
                frames.put_u16(len);
                frames.extend_from_slice(&datagram);
            }
        }
        to.write_all(&frames).await?;
        frames.clear();
    }
}

/// Datagrams that wait for one connection: some 600 kB, the largest keyframe we expect in one burst.
const QUEUE_MAX: usize = 512;
/// Datagrams of one system call.
const WRITE_BATCH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> (Arc<Stream>, mpsc::Receiver<Bytes>) {
        Stream::new(7, "192.0.2.1:1".parse().unwrap())
    }

    #[tokio::test]
    async fn frames_are_read_as_they_were_written() {
        let (stream, queued) = stream();
        let sent = [vec![], vec![1], vec![2; 2000], vec![3; 300]];
        for datagram in &sent {
            assert!(stream.send(datagram.clone().into()));
        }
        stream.close();
        let mut wire = Vec::new();
        write(&stream, &mut wire, queued).await.unwrap();
        let (mut wire, mut buffer) = (wire.as_slice(), [0; 2000]);
        for datagram in &sent {
            let len = read_frame(&mut wire, &mut buffer).await.unwrap();
            assert_eq!(&buffer[..len], datagram);
        }
        let end = read_frame(&mut wire, &mut buffer).await.unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_or_cut_off_is_an_error() {
        let mut buffer = [0; 2000];
        for (wire, kind) in [
            (&[0x07, 0xd1, 0][..], io::ErrorKind::InvalidData),
            (&[0, 3, 1, 2], io::ErrorKind::UnexpectedEof),
            (&[0], io::ErrorKind::UnexpectedEof),
        ] {
            let mut wire = wire;
            let error = read_frame(&mut wire, &mut buffer).await.unwrap_err();
            assert_eq!(error.kind(), kind);
        }
    }

    #[tokio::test]
    async fn what_a_full_queue_or_a_closed_connection_does_not_take_is_dropped() {
        let (stream, queued) = stream();
        for _ in 0..QUEUE_MAX {
            assert!(stream.send(Bytes::from_static(b"x")));
        }
        assert!(!stream.send(Bytes::from_static(b"x")));
        stream.close();
        let mut wire = Vec::new();
        write(&stream, &mut wire, queued).await.unwrap();
        assert_eq!(wire.len(), QUEUE_MAX * 3);
        assert!(!stream.send(Bytes::from_static(b"x")));
    }
}
