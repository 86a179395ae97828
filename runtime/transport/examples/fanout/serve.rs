//! The server: one broadcast of synthetic media, and viewers that come by TCP.

use std::{sync::Arc, time::Duration};

use lockgate_broadcast::{
    Broadcast, Limits, Origin,
    track::{Producer, Role},
};
use lockgate_media::{
    AccessUnit, AudioFormat, BroadcastName, Format, TrackId, VideoCodec, VideoFormat,
};
use lockgate_ports::{Accepted, Selection, Signaller as _, ViewerFeed};
use lockgate_transport::{Config, Transport};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, MissedTickBehavior},
};

use crate::{
    Outcome,
    media::{FPS, GOP, picture, sound},
    number,
};

pub(crate) async fn run() -> Outcome {
    let kbps = number("--kbps", 600)?;
    let transport = Transport::bind(Config {
        udp_listen: "127.0.0.1:0".parse()?,
        peers_max: 100_000,
        connect_max: Duration::from_secs(120),
        ..Config::default()
    })
    .await?;
    let broadcast = Broadcast::new(
        BroadcastName::new("fanout")?,
        Origin::now(),
        Limits::default(),
    );
    let format = VideoFormat {
        codec: VideoCodec::H264,
        width: 640,
        height: 360,
        frame_rate: None,
        bitrate_bps: None,
        parameter_sets: None,
        reordered: false,
    };
    let video = broadcast.publish(TrackId::source(), Role::Rung, Format::Video(format))?;
    let opus = Format::Audio(AudioFormat::opus(2, None));
    let audio = broadcast.publish(TrackId::opus(), Role::Rung, opus)?;
    let (selection, selected) = watch::channel(Selection::default());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("READY {}", listener.local_addr()?);
    let viewers = async {
        let mut viewers = Vec::new();
        loop {
            let (stream, _) = listener.accept().await?;
            commands(
                stream,
                &transport,
                &broadcast,
                (&selection, &selected),
                &mut viewers,
            )
            .await?;
        }
    };
    tokio::select! {
        outcome = viewers => outcome,
        () = film(&video, kbps) => Ok(()),
        () = speak(&audio) => Ok(()),
    }
}

/// Takes offers and orders until the other side ends.
async fn commands(
    stream: TcpStream,
    transport: &Transport,
    broadcast: &Broadcast,
    selection: (&watch::Sender<Selection>, &watch::Receiver<Selection>),
    viewers: &mut Vec<Accepted>,
) -> Outcome {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let answer = match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["OFFER", len] => {
                let mut sdp = vec![0; len.parse()?];
                stream.read_exact(&mut sdp).await?;
                let feed = ViewerFeed {
                    broadcast: broadcast.clone(),
                    selection: selection.1.clone(),
                    congested: Arc::default(),
                };
                let accepted = transport.subscribe(String::from_utf8(sdp)?, feed).await?;
                let answer = format!("{}\n{}", accepted.answer.len(), accepted.answer);
                viewers.push(accepted);
                answer
            }
            ["PLAY"] => {
                selection.0.send_replace(Selection {
                    video: Some(TrackId::source()),
                    audio: Some(TrackId::opus()),
                    ..Selection::default()
                });
                "0\n".to_owned()
            }
            ["SKIPPED"] => {
                let skipped: u64 = viewers
                    .iter()
                    .map(|viewer| viewer.peer.link().units_skipped)
                    .sum();
                let counters = transport.counters();
                format!("{skipped} {} {}\n", counters.unsent, counters.overflowed)
            }
            _ => return Err(format!("unknown: {line}").into()),
        };
        stream.get_mut().write_all(answer.as_bytes()).await?;
    }
}

async fn film(producer: &Producer, kbps: u32) {
    let (key, other) = (picture(kbps, true), picture(kbps, false));
    let mut demand = producer.demand();
    let mut asked = 0;
    let start = Instant::now();
    for number in 0u32.. {
        let at = Duration::from_nanos(u64::from(number) * 1_000_000_000 / u64::from(FPS));
        tokio::time::sleep_until(start + at).await;
        let now = demand.borrow_and_update().keyframes_asked;
        let keyframe = number % GOP == 0 || now > asked;
        asked = now;
        let data = if keyframe { key.clone() } else { other.clone() };
        let pts = i64::from(number) * 90_000 / i64::from(FPS);
        producer.push(AccessUnit::new(pts, keyframe, data));
    }
}

async fn speak(producer: &Producer) {
    let data = sound();
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0i64.. {
        pace.tick().await;
        producer.push(AccessUnit::new(number * 1800, true, data.clone()));
    }
}
