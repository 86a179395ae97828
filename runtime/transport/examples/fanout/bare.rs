//! The bare loop: the packets of so many viewers, encrypted and sent on time, and nothing else.

use std::{
    io::{BufRead as _, IoSliceMut},
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use rtc::crypto::{
    AeadAlgorithm, AeadCipher, HmacAlgorithm, Mac, StreamCipher, StreamCipherAlgorithm,
    default_provider,
};
use webrtc::runtime::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use crate::{
    Outcome, flag,
    media::{AUDIO_BYTES, FPS, GOP, payload_sizes},
    number,
};

/// The header of every packet: RTP and the extension with the transport-wide number.
const HEADER: usize = 12 + 8;

enum Cipher {
    Gcm(Box<dyn AeadCipher>),
    Cm(Box<dyn StreamCipher>, Box<dyn Mac>),
}

struct Viewer {
    cipher: Cipher,
    seq: u16,
    to: SocketAddr,
}

impl Viewer {
    fn packet(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        let begin = out.len();
        self.seq = self.seq.wrapping_add(1);
        let mut header = [0u8; HEADER];
        header[0] = 0x90;
        header[2..4].copy_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(payload);
        let (head, body) = out[begin..].split_at_mut(HEADER);
        let [first, second] = self.seq.to_be_bytes();
        let mut tag = [0; 20];
        match &mut self.cipher {
            Cipher::Gcm(aead) => {
                let nonce = [0, 0, 1, 2, 3, 4, 0, 0, 0, 0, first, second];
                aead.seal_in_place(&nonce, head, body, &mut tag[..16])
                    .unwrap();
                out.extend_from_slice(&tag[..16]);
            }
            Cipher::Cm(stream, mac) => {
                let iv = [0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, first, second, 0, 0];
                stream.apply_keystream(&iv, body).unwrap();
                mac.sign(&[&out[begin..], &[0; 4]], &mut tag).unwrap();
                out.extend_from_slice(&tag[..10]);
            }
        }
    }
}

pub(crate) fn run() -> Outcome {
    let (kbps, clients) = (number("--kbps", 600)?, number("--clients", 100)?);
    let seconds = number("--seconds", 5)?;
    let provider = default_provider()?;
    let crypto = provider.crypto();
    let ports: Vec<u16> = flag("--ports")
        .unwrap_or_default()
        .split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let is_gcm = flag("--profile").as_deref() != Some("cm");
    let mut viewers = Vec::new();
    for at in 0..clients {
        let cipher = if is_gcm {
            Cipher::Gcm(crypto.new_aead(AeadAlgorithm::Aes128Gcm, &[1; 16])?)
        } else {
            Cipher::Cm(
                crypto.new_stream_cipher(StreamCipherAlgorithm::Aes128Ctr, &[1; 16])?,
                crypto.new_hmac(HmacAlgorithm::Sha1, &[1; 20])?,
            )
        };
        let (port, ip) = (ports[at as usize % ports.len()], address(at));
        viewers.push(Viewer {
            cipher,
            seq: 0,
            to: SocketAddr::new(ip, port),
        });
    }
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
    // As many at a time as the transport sends together.
    let gso = state.max_gso_segments().min(3);
    let payload = vec![7u8; 1200];
    let mut out = Vec::with_capacity(1 << 16);
    let mut unit = |sizes: &[usize]| {
        let mut packets = 0u64;
        for viewer in &mut viewers {
            let mut left = sizes;
            while let Some(first) = left.first() {
                // Packets of one size, and a last one that may be smaller.
                let same = left.iter().take_while(|size| *size == first).count();
                let shorter = left.get(same).is_some_and(|size| size < first);
                let count = (same + usize::from(shorter)).min(gso);
                out.clear();
                for size in &left[..count] {
                    viewer.packet(&payload[..*size], &mut out);
                }
                let segment = out.len().min(HEADER + first + if is_gcm { 16 } else { 10 });
                let sent = state.try_send(
                    UdpSockRef::from(&socket),
                    &Transmit {
                        destination: viewer.to,
                        ecn: None,
                        contents: &out,
                        segment_size: Some(segment),
                        src_ip: Some(Ipv4Addr::LOCALHOST.into()),
                    },
                );
                packets += if sent.is_ok() { count as u64 } else { 0 };
                left = &left[count..];
            }
        }
        packets
    };
    let (key, other, audio) = (
        payload_sizes(kbps, true),
        payload_sizes(kbps, false),
        [AUDIO_BYTES],
    );
    let start = Instant::now();
    let (mut pictures, mut sounds, mut packets) = (0u32, 0u32, 0u64);
    while start.elapsed() < Duration::from_secs(seconds.into()) {
        let picture_at = Duration::from_micros(u64::from(pictures) * 1_000_000 / u64::from(FPS));
        let sound_at = Duration::from_millis(u64::from(sounds) * 20);
        std::thread::sleep(picture_at.min(sound_at).saturating_sub(start.elapsed()));
        if picture_at <= sound_at {
            packets += unit(if pictures % GOP == 0 { &key } else { &other });
            pictures += 1;
        } else {
            packets += unit(&audio);
            sounds += 1;
        }
    }
    println!("SENT {packets} {gso}");
    // What was used is read before this process ends.
    let _ = std::io::stdin().lock().read_line(&mut String::new());
    Ok(())
}

/// The address of a viewer.
pub(crate) fn address(at: u32) -> IpAddr {
    let at = at / SOCKETS as u32;
    Ipv4Addr::new(127, 1, (at / 250) as u8, (at % 250 + 1) as u8).into()
}

/// Receives what the bare loop sends, as the viewers do.
pub(crate) fn sink() -> Outcome {
    let mut threads = Vec::new();
    let mut ports = Vec::new();
    for _ in 0..SOCKETS {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        ports.push(socket.local_addr()?.port().to_string());
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        socket.set_nonblocking(false)?;
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), 8 << 20);
        threads.push(std::thread::spawn(move || {
            let mut buffers = vec![vec![0u8; 1 << 16]; BATCH_SIZE];
            let mut meta = vec![RecvMeta::default(); BATCH_SIZE];
            loop {
                let mut slices: Vec<IoSliceMut<'_>> = buffers
                    .iter_mut()
                    .map(|buffer| IoSliceMut::new(buffer))
                    .collect();
                if state
                    .recv(UdpSockRef::from(&socket), &mut slices, &mut meta)
                    .is_err()
                {
                    return;
                }
            }
        }));
    }
    println!("PORTS {}", ports.join(","));
    for thread in threads {
        let _ = thread.join();
    }
    Ok(())
}

/// Sockets of all viewers together.
pub(crate) const SOCKETS: usize = 16;
