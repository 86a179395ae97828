//! Layers that a publisher sends, chosen from like rungs.

use super::*;

#[tokio::test]
async fn a_viewer_is_given_the_layer_that_its_link_carries_instead_of_a_rung() {
    let house = house();
    house
        .streams
        .publish(name("cam"), offer(), me())
        .await
        .unwrap();
    let broadcast = house.streams.live(&name("cam")).unwrap().broadcast.clone();
    let layer = |id: TrackId, kbps: u64, height: u32| {
        let format = VideoFormat {
            codec: VideoCodec::H264,
            width: height * 16 / 9,
            height,
            frame_rate: None,
            bitrate_bps: Some(kbps * 1000),
            parameter_sets: None,
            reordered: false,
        };
        broadcast
            .publish(id, Role::Ingest, Format::Video(format))
            .unwrap()
    };
    let _source = layer(TrackId::source(), 2000, 720);
    let _best = layer(TrackId::layer("f").unwrap(), 2000, 720);
    let middle = layer(TrackId::layer("h").unwrap(), 500, 360);
    let _least = layer(TrackId::layer("q").unwrap(), 150, 180);
    let joined = house
        .streams
        .subscribe(&name("cam"), offer(), Watcher::default())
        .await
        .unwrap();
    let peer = house.signaller.peer(1);
    let mut selection = peer.selection.clone().unwrap();
    let mut becomes = async |id: &str, bandwidth_kbps: f64| {
        *peer.link.lock().unwrap() = LinkStats {
            bandwidth_kbps: Some(bandwidth_kbps),
            ..LinkStats::default()
        };
        selection
            .wait_for(|selection| selection.video.as_ref().map(TrackId::as_str) == Some(id))
            .await
            .unwrap();
    };
    becomes("source", 9000.0).await;
    // The rung 360p30 would fit as well, and need an encoder.
    becomes("source-h", 900.0).await;
    becomes("source-q", 300.0).await;
    becomes("source", 9000.0).await;
    becomes("source-h", 900.0).await;
    // The publisher has switched it off: the rung of its size is back.
    drop(middle);
    becomes("360p30", 1000.0).await;
    // Each layer can be asked for by its name, the one that is the source already too.
    for id in ["source-q", "source-f"] {
        let choice = TrackId::new(id).unwrap();
        house
            .streams
            .choose(&name("cam"), joined.session, Some(choice))
            .await
            .unwrap();
        becomes(id, 9000.0).await;
    }
}
