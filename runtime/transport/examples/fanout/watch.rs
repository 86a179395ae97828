//! All the viewers: a few sockets, and an address of 127.0.0.0/8 for each viewer.

use std::{
    collections::HashMap,
    io::IoSliceMut,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Interest},
    net::{TcpStream, UdpSocket},
    sync::mpsc,
    task::JoinSet,
    time::MissedTickBehavior,
};
use webrtc::runtime::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use crate::{
    Outcome,
    bare::{SOCKETS, address},
    flag,
    light::{Kit, Light},
    number,
};

/// What all viewers together have seen.
#[derive(Default)]
struct Totals {
    connected: AtomicU64,
    expected: AtomicU64,
    received: AtomicU64,
}

pub(crate) async fn run() -> Outcome {
    let clients = number("--clients", 100)?;
    let server: SocketAddr = flag("--server").ok_or("--server is missing")?.parse()?;
    let kit = Arc::new(Kit::new(flag("--profile").as_deref() != Some("cm"))?);
    let totals = Arc::<Totals>::default();
    let mut groups = JoinSet::new();
    let mut entries = Vec::new();
    for _ in 0..SOCKETS {
        let (sender, receiver) = mpsc::channel(1024);
        entries.push(sender);
        groups.spawn(group(receiver, Arc::clone(&kit), Arc::clone(&totals)));
    }
    let joining = async {
        let mut stream = BufReader::new(TcpStream::connect(server).await?);
        for at in 0..clients {
            let offer = Light::offer(&kit, at);
            let request = format!("OFFER {}\n{offer}", offer.len());
            stream.get_mut().write_all(request.as_bytes()).await?;
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            let mut answer = vec![0; line.trim().parse()?];
            stream.read_exact(&mut answer).await?;
            let answer = String::from_utf8(answer)?;
            let light = Light::new(&kit, at, address(at), &answer)?;
            entries[at as usize % SOCKETS]
                .send(light)
                .await
                .map_err(|_| "a group ended")?;
            // As many at a time as a server may have to shake hands with.
            while u64::from(at) > totals.connected.load(Relaxed) + 64 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        while totals.connected.load(Relaxed) < u64::from(clients) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The server takes orders from one connection at a time.
        drop(stream);
        println!("CONNECTED");
        let seen = Arc::clone(&totals);
        let orders = tokio::task::spawn_blocking(move || {
            for _ in std::io::stdin().lines() {
                let (expected, received) = (&seen.expected, &seen.received);
                println!("SEEN {} {}", expected.load(Relaxed), received.load(Relaxed));
            }
        });
        Ok(orders.await?)
    };
    tokio::select! {
        outcome = joining => outcome,
        Some(ended) = groups.join_next() => ended?,
    }
}

/// The viewers of one socket.
async fn group(mut entries: mpsc::Receiver<Light>, kit: Arc<Kit>, totals: Arc<Totals>) -> Outcome {
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
    let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), 8 << 20);
    let mut lights: Vec<Light> = Vec::new();
    let mut places: HashMap<IpAddr, usize> = HashMap::new();
    let mut buffers = vec![vec![0u8; 1 << 16]; BATCH_SIZE];
    let mut meta = vec![RecvMeta::default(); BATCH_SIZE];
    let mut tick = tokio::time::interval(Duration::from_millis(100 / TURNS as u64));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut turn = 0;
    loop {
        tokio::select! {
            Some(mut light) = entries.recv() => {
                light.tick(&kit, Instant::now())?;
                flush(&socket, &state, &mut light);
                places.insert(light.from, lights.len());
                lights.push(light);
            }
            received = socket.async_io(Interest::READABLE, || {
                let mut slices: Vec<IoSliceMut<'_>> =
                    buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
                state.recv(UdpSockRef::from(&socket), &mut slices, &mut meta)
            }) => {
                let now = Instant::now();
                for (buffer, meta) in buffers.iter().zip(&meta).take(received?) {
                    let Some(light) = meta.dst_ip.and_then(|to| places.get(&to)).and_then(|at| lights.get_mut(*at)) else {
                        continue;
                    };
                    let was = light.is_connected();
                    let before = (light.expected, light.received);
                    for datagram in buffer[..meta.len].chunks(meta.stride.max(1)) {
                        light.handle(&kit, now, datagram)?;
                    }
                    totals.connected.fetch_add(u64::from(!was && light.is_connected()), Relaxed);
                    totals.expected.fetch_add(light.expected - before.0, Relaxed);
                    totals.received.fetch_add(light.received - before.1, Relaxed);
                    flush(&socket, &state, light);
                }
            }
            _ = tick.tick() => {
                let now = Instant::now();
                for light in lights.iter_mut().skip(turn).step_by(TURNS) {
                    light.tick(&kit, now)?;
                    flush(&socket, &state, light);
                }
                turn = (turn + 1) % TURNS;
            }
        }
    }
}

fn flush(socket: &UdpSocket, state: &UdpSocketState, light: &mut Light) {
    for datagram in light.out.drain(..) {
        let _ = state.try_send(
            UdpSockRef::from(socket),
            &Transmit {
                destination: light.server,
                ecn: None,
                contents: &datagram,
                segment_size: None,
                src_ip: Some(light.from),
            },
        );
    }
}

/// Each viewer has its turn once in 100 ms.
const TURNS: usize = 10;
