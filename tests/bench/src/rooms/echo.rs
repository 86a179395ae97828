//! The bare echo: one thread that returns what comes over WebSockets, by the library that the server uses too.

use std::{
    path::PathBuf,
    sync::mpsc::{SyncSender, sync_channel},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async, tungstenite::Message};

use super::storm::{CANDIDATE, MEASURED, PEOPLE, RELAY_EVERY, ROOMS, Storm};
use crate::{process, table::Distribution};

/// The thread; it ends when this is dropped.
struct Echo {
    address: String,
    thread: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    joins: Option<JoinHandle<()>>,
}

impl Echo {
    fn start() -> anyhow::Result<Self> {
        let (told, ready) = sync_channel(1);
        let (stop, stopped) = oneshot::channel();
        let joins = std::thread::Builder::new()
            .name("echo".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                if let Ok(runtime) = runtime {
                    runtime.block_on(async {
                        tokio::select! {
                            _ = serve(told) => {}
                            _ = stopped => {}
                        }
                    });
                }
            })?;
        let ready = ready.recv_timeout(WITHIN);
        let (address, thread) = ready.context("the echo does not begin")?;
        Ok(Self {
            address,
            thread,
            stop: Some(stop),
            joins: Some(joins),
        })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.joins.take() {
            thread.join().ok();
        }
    }
}

async fn serve(told: SyncSender<(String, PathBuf)>) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    told.send((address, process::this_thread()?))?;
    let mut sockets = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        sockets.spawn(async move {
            let mut socket = accept_async(stream).await?;
            while let Some(message) = socket.next().await {
                let message = message?;
                if message.is_text() {
                    socket.send(message).await?;
                }
            }
            anyhow::Ok(())
        });
    }
}

/// As many sockets, as often, each time with what a candidate takes.
pub(super) async fn storm() -> anyhow::Result<Storm> {
    let echo = Echo::start()?;
    let mut sockets = Vec::new();
    for _ in 0..ROOMS * PEOPLE {
        let stream = TcpStream::connect(&echo.address).await?;
        stream.set_nodelay(true)?;
        let url = format!("ws://{}/", echo.address);
        sockets.push(client_async(url, stream).await?.0);
    }
    let said = json!(["ice-candidate", {
        "to": "0".repeat(32), "at_us": 1_000_000,
        "candidate": { "candidate": CANDIDATE, "sdpMid": "0", "sdpMLineIndex": 0 },
    }]);
    let (count, began) = (sockets.len(), Instant::now());
    let cpu_before_s = process::thread_cpu_s(&echo.thread)?;
    let mut senders = JoinSet::new();
    for (number, socket) in sockets.into_iter().enumerate() {
        let phase = RELAY_EVERY.mul_f64(number as f64 / count as f64);
        senders.spawn(ask(
            socket,
            began + phase,
            began + MEASURED,
            format!("421{said}"),
        ));
    }
    let (mut acks_ms, mut open) = (Vec::new(), Vec::new());
    while let Some(done) = senders.join_next().await {
        let (socket, ms) = done??;
        acks_ms.extend(ms);
        open.push(socket);
    }
    let cpu_s = process::thread_cpu_s(&echo.thread)? - cpu_before_s;
    drop(open);
    ensure!(!acks_ms.is_empty() && cpu_s > 0.0, "nothing came back");
    let seconds = MEASURED.as_secs_f64();
    Ok(Storm {
        what: "bare echo over WebSocket",
        events_per_s: acks_ms.len() as f64 / seconds,
        messages_per_s: 2.0 * acks_ms.len() as f64 / seconds,
        cpu_s,
        seconds,
        ack_ms: Distribution::new(acks_ms),
        arrive_ms: None,
        missing: 0,
    })
}

type Socket = WebSocketStream<TcpStream>;

async fn ask(
    mut socket: Socket,
    first: Instant,
    until: Instant,
    said: String,
) -> anyhow::Result<(Socket, Vec<f64>)> {
    let mut acks_ms = Vec::new();
    let mut turns = interval_at(first, RELAY_EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while turns.tick().await < until {
        let asked = Instant::now();
        socket.send(Message::text(said.clone())).await?;
        socket.next().await.context("the echo closes")??;
        acks_ms.push(asked.elapsed().as_secs_f64() * 1000.0);
    }
    Ok((socket, acks_ms))
}

const WITHIN: Duration = Duration::from_secs(10);
