//! The `webrtc` crate's view of the network: a runtime whose sockets are places at the mux.
//!
//! That crate binds a socket of its own for every peer. Its [`Runtime`] is the seam made for changing that: the
//! socket it bound is dropped, and a [`PeerSocket`] that reads the peer's queue takes its place.

use std::{
    future::Future,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use lockgate_ports::task::{Task, own};
use tokio::task::AbortHandle;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime,
    TokioRuntime, Transmit,
};

use super::{
    mux::Mux,
    slot::{STILL, Slot},
};

/// The runtime of one peer.
pub(crate) struct PeerRuntime {
    mux: Arc<Mux>,
    slot: Arc<Slot>,
    tasks: Arc<Mutex<Vec<Task>>>,
}

/// The tasks that the `webrtc` crate started for one peer; dropping this ends them.
pub(crate) struct Drivers(Arc<Mutex<Vec<Task>>>);

impl Drop for Drivers {
    fn drop(&mut self) {
        let tasks = std::mem::take(&mut *lock(&self.0));
        drop(tasks);
    }
}

impl PeerRuntime {
    pub(crate) fn new(mux: Arc<Mux>, slot: Arc<Slot>) -> (Arc<Self>, Drivers) {
        let tasks = Arc::new(Mutex::new(Vec::new()));
        let drivers = Drivers(Arc::clone(&tasks));
        (Arc::new(Self { mux, slot, tasks }), drivers)
    }
}

impl std::fmt::Debug for PeerRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PeerRuntime")
    }
}

impl Runtime for PeerRuntime {
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Box<dyn JoinHandle> {
        let task = own(future);
        let handle = task.abort_handle();
        let mut tasks = lock(&self.tasks);
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
        Box::new(Handle(handle))
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        // The address only names the socket inside the driver; the port is free again once `socket` is dropped here.
        Ok(Arc::new(PeerSocket {
            mux: Arc::clone(&self.mux),
            slot: Arc::clone(&self.slot),
            local: socket.local_addr()?,
        }))
    }

    fn wrap_tcp_listener(
        &self,
        listener: std::net::TcpListener,
    ) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(
        &'a self,
        _remote: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Arc<dyn AsyncTcpStream>>> + Send + 'a>> {
        // A remote candidate must never make this server open a connection.
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn resolve_host<'a>(
        &'a self,
        _host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        // Nor look a name up.
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        TokioRuntime.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }
}

struct Handle(AbortHandle);

impl JoinHandle for Handle {
    fn detach(&self) {}

    fn abort(&self) {
        self.0.abort();
    }

    fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

struct PeerSocket {
    mux: Arc<Mux>,
    slot: Arc<Slot>,
    local: SocketAddr,
}

impl std::fmt::Debug for PeerSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PeerSocket({})", self.local)
    }
}

impl AsyncUdpSocket for PeerSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn poll_send(&self, _cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        self.mux.send(&self.slot, transmit);
        Poll::Ready(Ok(transmit.contents.len()))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (bufs.first_mut(), meta.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        let Poll::Ready(datagram) = self.slot.poll(cx) else {
            return Poll::Pending;
        };
        let len = datagram.len().min(buffer.len());
        buffer[..len].copy_from_slice(&datagram[..len]);
        *meta = RecvMeta::default();
        meta.addr = STILL;
        meta.len = len;
        meta.stride = len.max(1);
        Poll::Ready(Ok(1))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The list is only pushed to and taken from; a panic leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
