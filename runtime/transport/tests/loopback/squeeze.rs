//! A link squeezed from 5 Mbit/s to 1 and let go again: a real socket behind a real token bucket.
//!
//! The kernel's shaper needs a network of its own.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use lockgate_media::{TrackId, VideoCodec};
use lockgate_ports::{
    Selection, Signaller, ViewerFeed,
    signaller::PeerState,
    task::{Task, own},
};
use lockgate_transport::{Config, Transport};
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use tokio::sync::{Notify, watch};

use crate::{
    client::{Client, within},
    network::{inside, shell},
    player::{Shown, play_at, watch_pictures},
    publish::broadcast,
    view::rung,
};

/// Set for the whole course, up to the highest rung again: waiting for the policy is not for every run.
const WHOLE: &str = "LOCKGATE_TEST_WHOLE";
const PORT: u16 = 8189;
/// Rung and bitrate in bit/s, lowest first.
const RUNGS: [(&str, f64); 3] = [("low", 500e3), ("mid", 1.2e6), ("high", 3e6)];

fn squeeze(verb: &str, mbit: u32) {
    shell(&format!(
        "tc qdisc {verb} dev lo parent 1:2 handle 20: tbf rate {mbit}mbit burst 16kb latency 300ms"
    ));
}

/// What comes from the transport goes through a class of its own.
fn prepare() {
    shell("tc qdisc add dev lo root handle 1: htb default 1 r2q 100000");
    for class in [1, 2] {
        shell(&format!(
            "tc class add dev lo parent 1: classid 1:{class} htb rate 10gbit"
        ));
    }
    shell(&format!(
        "tc filter add dev lo parent 1: protocol ip u32 match ip sport {PORT} 0xffff flowid 1:2"
    ));
}

/// What the built-in policy does: down at once, up one step after five seconds.
fn choose(bandwidth_kbps: Option<f64>, current: usize, fits_since: &mut Option<Instant>) -> usize {
    let Some(kbps) = bandwidth_kbps else {
        return current;
    };
    let fits = RUNGS
        .iter()
        .rposition(|(_, bps)| bps / 1000.0 <= 0.8 * kbps)
        .unwrap_or(0);
    if fits <= current {
        *fits_since = None;
        return fits;
    }
    let since = *fits_since.get_or_insert_with(Instant::now);
    if since.elapsed() < Duration::from_secs(5) {
        return current;
    }
    *fits_since = Some(Instant::now());
    current + 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_goes_down_with_its_link_without_a_long_freeze_and_comes_back_up() {
    let name = "squeeze::a_viewer_goes_down_with_its_link_without_a_long_freeze_and_comes_back_up";
    if !inside(name) {
        return;
    }
    prepare();
    squeeze("add", 5);
    let transport = Transport::bind(Config {
        udp_listen: format!("127.0.0.1:{PORT}").parse().unwrap(),
        ..Config::default()
    })
    .await
    .unwrap();
    let broadcast = broadcast();
    let _players: Vec<Task> = RUNGS
        .iter()
        .map(|(id, bps)| play_at(rung(&broadcast, id, VideoCodec::H264), *bps))
        .collect();
    let selection = |at: usize| Selection {
        video: Some(TrackId::new(RUNGS[at].0).unwrap()),
        useful_kbps: Some(4500),
        ..Selection::default()
    };
    let (selected, receiver) = watch::channel(selection(2));
    let congested = Arc::new(Notify::new());
    let mut client = Client::new(&[VideoCodec::H264]).await;
    client.receives(RtpCodecKind::Video).await;
    let offer = client.offer().await;
    let feed = ViewerFeed {
        broadcast: broadcast.clone(),
        selection: receiver,
        congested: Arc::clone(&congested),
    };
    let accepted = transport.subscribe(offer, feed).await.unwrap();
    client.answer(&accepted.answer).await;
    client.connected().await;
    let mut state = accepted.peer.state();
    within(state.wait_for(|state| *state == PeerState::Connected))
        .await
        .unwrap();
    let track = within(client.tracks.recv()).await.unwrap();
    let shown = Shown::none_yet();
    let _watching = own(watch_pictures(track, Arc::clone(&shown)));

    let start = Instant::now();
    let whole = std::env::var_os(WHOLE).is_some();
    let (squeezed_at, freed_at, end) = if whole { (6, 14, 30) } else { (3, 7, 18) };
    let (mut current, mut fits_since) = (2, None);
    let (mut down, mut up): (Option<Duration>, Option<Duration>) = (None, None);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.tick().await;
    let mut second = 0;
    println!("  s  link  estimate  sent kbit/s  rung  frozen ms");
    while second < end {
        let ticked = tokio::select! {
            _ = tick.tick() => true,
            () = congested.notified() => false,
        };
        let link = accepted.peer.link();
        let chosen = choose(link.bandwidth_kbps, current, &mut fits_since);
        if chosen != current {
            current = chosen;
            selected.send_replace(selection(chosen));
        }
        let since = |second: u64| start.elapsed().checked_sub(Duration::from_secs(second));
        if current == 0 && down.is_none() {
            down = since(squeezed_at);
        }
        let risen = link
            .bandwidth_kbps
            .is_some_and(|kbps| kbps * 0.8 >= RUNGS[2].1 / 1000.0);
        if (current == 2 || (!whole && risen)) && up.is_none() {
            up = since(freed_at).filter(|_| second > freed_at);
        }
        if !ticked {
            continue;
        }
        second += 1;
        let frozen: Duration = shown
            .lock()
            .unwrap()
            .freezes
            .iter()
            .filter(|(since, _)| (*since - start).as_secs() == second - 1)
            .map(|(_, gap)| *gap)
            .sum();
        println!(
            " {second:2}  {:4}  {:8.0}  {:11.0}  {:4}  {:9}",
            if (squeezed_at..freed_at).contains(&(second - 1)) {
                1
            } else {
                5
            },
            link.bandwidth_kbps.unwrap_or(0.0),
            link.sent_kbps.unwrap_or(0.0),
            RUNGS[current].0,
            frozen.as_millis(),
        );
        if second == squeezed_at {
            squeeze("change", 1);
        }
        if second == freed_at {
            squeeze("change", 5);
        }
        if up.is_some() {
            break;
        }
    }
    let shown = shown.lock().unwrap();
    println!(
        "freezes: {:?}",
        shown
            .freezes
            .iter()
            .map(|(at, gap)| (*at - start, *gap))
            .collect::<Vec<_>>()
    );
    let down = down.expect("it went down");
    assert!(down < Duration::from_secs(2), "down after {down:?}");
    let up = up.expect("it came back up");
    assert!(up < Duration::from_secs(15), "up after {up:?}");
    let longest = shown.longest();
    // The bucket alone holds 300 ms, this peer reports every 100 ms, and other tests run beside: the figure is printed.
    assert!(
        longest < Duration::from_millis(800),
        "frozen for {longest:?}"
    );
}
