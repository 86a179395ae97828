//! A ladder under load.

use lockgate_broadcast::track::{Start, Track};
use lockgate_media::FrameRate;
use lockgate_ports::transcoder::{Plan, SourceInfo, VideoSource};

use super::*;

impl House {
    fn track(&self, id: &str) -> Track {
        self.streams
            .live(&name("cam"))
            .unwrap()
            .broadcast
            .track(&TrackId::new(id).unwrap())
            .unwrap()
    }
}

#[tokio::test]
async fn a_ladder_that_cannot_keep_up_sheds_its_top_while_viewers_move_on() {
    let house = house();
    house
        .streams
        .publish(name("cam"), offer(), me())
        .await
        .unwrap();
    let viewer = house
        .streams
        .subscribe(&name("cam"), offer(), Watcher::default())
        .await
        .unwrap();
    house
        .streams
        .choose(&name("cam"), viewer.session, TrackId::new("720p60").ok())
        .await
        .unwrap();
    let reader = house.track("720p60").consume(Start::NextKeyframe);
    let low = house.track("360p30").consume(Start::NextKeyframe);
    let rungs = default_rungs();
    let plan = rungs
        .iter()
        .filter(|rung| ["720p60", "360p30"].contains(&rung.name.as_str()));
    let plan = Plan {
        rungs: plan.cloned().collect(),
        passthrough: false,
    };
    let status = house.statuses.lock().unwrap()[0].clone();
    status.send_replace(Status {
        state: State::Running,
        source: Some(SourceInfo {
            video: Some(VideoSource {
                codec: "vp8".to_owned(),
                width: 1280,
                height: 720,
                frame_rate: FrameRate::new(30, 1),
                bitrate_bps: None,
                b_frames: false,
                gop_max_s: None,
            }),
            ..SourceInfo::default()
        }),
        plan: Some(plan),
        speed: 1.0,
        frames_kept: 0.5,
        rungs_active: 2,
        ..Status::default()
    });
    let selection = house.signaller.peer(1).selection.clone().unwrap();
    let mut shed = house.shed.subscribe();
    let moved = async {
        let mut selection = selection;
        let is_low = |it: &Selection| it.video == TrackId::new("360p30").ok();
        selection.wait_for(is_low).await.unwrap();
        assert!(
            house.shed.borrow().is_empty(),
            "its rung ended before the viewer moved"
        );
        shed.wait_for(|shed| !shed.is_empty())
            .await
            .unwrap()
            .clone()
    };
    let shed = tokio::time::timeout(Duration::from_secs(20), moved)
        .await
        .unwrap();
    assert_eq!(shed, [TrackId::new("720p60").unwrap()]);
    let info = house.streams.info(&name("cam")).unwrap().load;
    assert_eq!(info.shed, shed);
    assert!(
        info.reason
            .is_some_and(|reason| reason.contains("shed from the top"))
    );
    drop((reader, low));
}
