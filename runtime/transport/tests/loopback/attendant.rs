//! Somebody in a room as the tests of places have it: who is shown there, and what reaches each place.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use lockgate_broadcast::{
    Broadcast, Limits, Origin,
    track::{Demand, Producer},
};
use lockgate_media::{AccessUnit, BroadcastName, TrackId, VideoCodec, h264, vp8};
use lockgate_ports::{
    Attending, Conference as _, Selection, ViewerFeed,
    signaller::PeerState,
    task::{Task, own},
};
use lockgate_transport::Transport;
use rtc::{
    rtp::{
        Packet,
        codec::{h264::H264Packet, vp8::Vp8Packet},
        packetizer::Depacketizer,
    },
    rtp_transceiver::rtp_sender::RtpCodecKind,
};
use tokio::{
    net::UdpSocket,
    sync::{Notify, mpsc, watch},
};
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use crate::{
    client::{Client, H264, within},
    loss::through,
    units::{picture, sound},
    view::{opus, rung},
};

/// Somebody who sends pictures and sound with a number of their own in them.
pub(crate) struct Speaker {
    pub(crate) number: u32,
    broadcast: Broadcast,
    pub(crate) demand: watch::Receiver<Demand>,
    _tasks: [Task; 2],
}

/// A speaker whose timeline began so long ago.
pub(crate) fn speaker(number: u32, codec: VideoCodec, began: Duration) -> Speaker {
    let now = Origin::now();
    let began_us = i64::try_from(began.as_micros()).unwrap();
    let broadcast = Broadcast::new(
        BroadcastName::new(&format!("speaker-{number}")).unwrap(),
        Origin::at(now.instant_of(0) - began, now.unix_us_of(0) - began_us),
        Limits::default(),
    );
    let video = rung(&broadcast, "source", codec);
    let demand = video.demand();
    let pictures = move |at, key| picture(codec, key, mark(number, at));
    let sounds = move |at, _| sound(mark(number, at));
    let audio = opus(&broadcast);
    Speaker {
        number,
        demand,
        _tasks: [
            live(&broadcast, video, pictures),
            live(&broadcast, audio, sounds),
        ],
        broadcast,
    }
}

/// Twenty milliseconds after twenty milliseconds, a keyframe once in 50 and whenever one is asked for.
fn live(
    broadcast: &Broadcast,
    producer: Producer,
    unit: impl Fn(u32, bool) -> Bytes + Send + 'static,
) -> Task {
    let origin = broadcast.origin();
    own(async move {
        let mut demand = producer.demand();
        let mut asked = 0;
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        let mut last = 0;
        for at in 0..1 << 24 {
            pace.tick().await;
            let now = demand.borrow_and_update().keyframes_asked;
            let keyframe = at % 50 == 0 || now > asked;
            asked = now;
            last = origin.pts_now().max(last + 1);
            producer.push(AccessUnit::new(last, keyframe, unit(at, keyframe)));
        }
    })
}

fn mark(number: u32, at: u32) -> u32 {
    (number << 24) | at
}

/// The mark, in as many bytes as it has halves of bytes.
fn marked(bytes: &[u8]) -> (u32, u32) {
    let halves = bytes[..8].iter();
    let mark = halves.fold(0, |mark, half| (mark << 4) | u32::from(half & 15));
    (mark >> 24, mark & 0xff_ffff)
}

/// A picture or a sound that reached a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) speaker: u32,
    pub(crate) at: u32,
    pub(crate) key: bool,
    pub(crate) timestamp: u32,
}

/// Somebody in a room, and what reaches each of its places.
pub(crate) struct Attendant {
    _client: Client,
    pub(crate) attending: Attending,
    pub(crate) reached: Vec<mpsc::Receiver<Reached>>,
    pub(crate) tracks: watch::Receiver<Vec<(u32, Arc<dyn TrackRemote>)>>,
    pub(crate) ssrcs: Vec<u32>,
    _reading: Task,
}

/// An attendant with places for video, and for audio after them.
pub(crate) async fn attendant(
    transport: &Transport,
    codecs: &[VideoCodec],
    kinds: [usize; 2],
    relay: Option<SocketAddr>,
) -> Attendant {
    let mut client = Client::new(codecs).await;
    for (kind, count) in [RtpCodecKind::Video, RtpCodecKind::Audio]
        .into_iter()
        .zip(kinds)
    {
        for _ in 0..count {
            client.receives(kind).await;
        }
    }
    let offer = client.offer().await;
    let attending = transport.attend(offer).await.unwrap();
    let answer = attending.accepted.answer.clone();
    let heard = match relay {
        Some(relay) => through(&answer, transport.local_addr(), relay),
        None => answer.clone(),
    };
    client.answer(&heard).await;
    attended(client, attending, &answer).await
}

/// An attendant that answers an offer.
pub(crate) async fn invited(
    transport: &Transport,
    codecs: &[VideoCodec],
    [video, audio]: [usize; 2],
) -> Attendant {
    let mut client = Client::new(codecs).await;
    let invitation = transport.invite(video, audio).unwrap();
    let answer = client.takes(&invitation.offer).await;
    let attending = (invitation.answered)(answer).await.unwrap();
    attended(client, attending, &invitation.offer).await
}

/// Reads what comes once there is a connection. `description` is what the transport said.
pub(crate) async fn attended(
    mut client: Client,
    attending: Attending,
    description: &str,
) -> Attendant {
    // Its name, and the first source of each section that is sent; the second is that of retransmissions.
    let (mids, ssrcs): (Vec<&str>, Vec<u32>) = description
        .split("\nm=")
        .skip(1)
        .filter_map(|section| {
            let (_, rest) = section.split_once("a=ssrc:")?;
            let (_, mid) = section.split_once("a=mid:")?;
            let ssrc: u32 = rest.split_once(' ')?.0.parse().unwrap();
            Some((mid.lines().next()?, ssrc))
        })
        .unzip();
    let places = attending.places.iter().map(|place| place.mid());
    assert!(places.eq(mids));
    client.connected().await;
    let mut state = attending.accepted.peer.state();
    within(state.wait_for(|state| *state == PeerState::Connected))
        .await
        .unwrap();
    let (senders, reached): (Vec<_>, Vec<_>) = ssrcs.iter().map(|_| mpsc::channel(1024)).unzip();
    let (known, tracks) = watch::channel(Vec::new());
    let mut opened = std::mem::replace(&mut client.tracks, mpsc::channel(1).1);
    let numbers = ssrcs.clone();
    let reading = own(async move {
        let mut readers = Vec::new();
        while let Some(track) = opened.recv().await {
            let ssrc = track.ssrcs().await[0];
            let at = numbers.iter().position(|one| *one == ssrc).unwrap();
            known.send_modify(|known: &mut Vec<_>| known.push((ssrc, Arc::clone(&track))));
            readers.push(own(read(track, senders[at].clone())));
        }
    });
    Attendant {
        _client: client,
        attending,
        reached,
        tracks,
        ssrcs,
        _reading: reading,
    }
}

/// Takes units apart, and checks that none begins in what it does not follow.
async fn read(track: Arc<dyn TrackRemote>, out: mpsc::Sender<Reached>) {
    let is_audio = track.kind().await == RtpCodecKind::Audio;
    let mut order = Order::default();
    let mut data: Vec<u8> = Vec::new();
    let (mut last, mut broken): (Option<Reached>, bool) = (None, false);
    let mut h264 = H264Packet::default();
    while let Some(event) = track.poll().await {
        let TrackRemoteEvent::OnRtpPacket(packet) = event else {
            continue;
        };
        order.waiting.insert(order.number(&packet), packet);
        while let Some((is_next, packet)) = order.next() {
            if !is_next {
                data.clear();
                broken = true;
            }
            let header = &packet.header;
            let is_h264 = header.payload_type == H264;
            if !is_audio {
                data.extend_from_slice(&if is_h264 {
                    h264.depacketize(&packet.payload).unwrap()
                } else {
                    Vp8Packet::default().depacketize(&packet.payload).unwrap()
                });
                if !header.marker {
                    continue;
                }
            }
            let unit = std::mem::take(&mut data);
            let ((speaker, at), key) = if is_audio {
                (marked(&packet.payload[1..]), true)
            } else if is_h264 {
                let slice = h264::nals(&unit).last().unwrap();
                (marked(&slice[2..]), h264::is_idr(&unit))
            } else {
                let key = vp8::is_keyframe(&unit);
                (marked(&unit[if key { 10 } else { 3 }..]), key)
            };
            let now = Reached {
                speaker,
                at,
                key,
                timestamp: header.timestamp,
            };
            if let Some(before) = last {
                let step = now.timestamp.wrapping_sub(before.timestamp);
                assert!(
                    (1..1 << 31).contains(&step),
                    "back in time: {before:?} {now:?}"
                );
                let follows = !broken && (speaker, at) == (before.speaker, before.at + 1);
                assert!(key || follows, "a reference is missing: {before:?} {now:?}");
            } else {
                assert!(key, "the first picture is a keyframe");
            }
            (last, broken) = (Some(now), false);
            if out.send(now).await.is_err() {
                return;
            }
        }
    }
}

/// Packets in the order of their numbers, as a player has them.
#[derive(Default)]
struct Order {
    next: Option<i64>,
    waiting: BTreeMap<i64, Packet>,
}

impl Order {
    /// Its number, counted on past 16 bits.
    fn number(&self, packet: &Packet) -> i64 {
        let number = packet.header.sequence_number;
        let Some(next) = self.next else {
            return number.into();
        };
        next + i64::from(number.wrapping_sub(next as u16).cast_signed())
    }

    /// The next packet, and whether it follows the one before it. What is missing for long will not come any more.
    fn next(&mut self) -> Option<(bool, Packet)> {
        let (&number, _) = self.waiting.first_key_value()?;
        let next = *self.next.get_or_insert(number);
        if number > next && self.waiting.len() < 60 {
            return None;
        }
        let packet = self.waiting.remove(&number)?;
        if number < next {
            return self.next(); // it came twice
        }
        self.next = Some(number + 1);
        Some((number == next, packet))
    }
}

impl Attendant {
    pub(crate) fn show(&self, place: usize, speaker: Option<&Speaker>) -> Shown {
        let (selection, congested) = (watch::Sender::new(selection()), Arc::<Notify>::default());
        self.attending.places[place].show(speaker.map(|speaker| ViewerFeed {
            broadcast: speaker.broadcast.clone(),
            selection: selection.subscribe(),
            congested: Arc::clone(&congested),
        }));
        Shown {
            selection,
            congested,
        }
    }

    /// The next that reaches a place from this speaker.
    pub(crate) async fn next(&mut self, place: usize, speaker: &Speaker) -> Reached {
        loop {
            let reached = within(self.reached[place].recv()).await.unwrap();
            if reached.speaker == speaker.number {
                return reached;
            }
        }
    }
}

pub(crate) struct Shown {
    pub(crate) selection: watch::Sender<Selection>,
    pub(crate) congested: Arc<Notify>,
}

pub(crate) fn selection() -> Selection {
    Selection {
        video: Some(TrackId::source()),
        audio: Some(TrackId::opus()),
        ..Selection::default()
    }
}

/// A relay before the transport through which so much goes towards the client, and what has to wait waits.
pub(crate) async fn narrow(transport: SocketAddr, bps: f64) -> (SocketAddr, [Task; 2]) {
    let outside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let inside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    inside.connect(transport).await.unwrap();
    let address = outside.local_addr().unwrap();
    let (client, clients) = watch::channel(None);
    let (up, down) = (
        (Arc::clone(&outside), Arc::clone(&inside)),
        (outside, inside),
    );
    let there = own(async move {
        let mut datagram = [0; 2000];
        while let Ok((len, from)) = up.0.recv_from(&mut datagram).await {
            client.send_replace(Some(from));
            up.1.send(&datagram[..len]).await.unwrap();
        }
    });
    let back = own(async move {
        let (queue, mut waiting) = mpsc::channel::<Vec<u8>>(1000);
        let clients = clients;
        let _serving = own(async move {
            while let Some(datagram) = waiting.recv().await {
                let takes = Duration::from_secs_f64(datagram.len() as f64 * 8.0 / bps);
                tokio::time::sleep(takes).await;
                let client = *clients.borrow();
                if let Some(client) = client {
                    down.0.send_to(&datagram, client).await.unwrap();
                }
            }
        });
        let mut datagram = [0; 2000];
        while let Ok(len) = down.1.recv(&mut datagram).await {
            let _full = queue.try_send(datagram[..len].to_vec());
        }
    });
    (address, [there, back])
}
