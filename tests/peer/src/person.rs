//! Somebody in a room: signalling by Socket.IO, media by the light peers of `lockgate-load`.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use lockgate_load::room::{Downlink, Peers, Uplink};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::signalling::Signalling;

/// One person. Dropping it loses the socket; what it sends goes on as long as its [`Peers`] are there.
pub struct Person {
    /// The socket.
    pub signalling: Signalling,
    /// What it was told when it came in.
    pub joined: Value,
    peers: Arc<Peers>,
}

impl Person {
    /// Connects to `http://HOST:PORT` and joins a room.
    pub async fn join(
        server: &str,
        token: Option<&str>,
        room: &str,
        name: &str,
        peers: &Arc<Peers>,
    ) -> anyhow::Result<Self> {
        let signalling = Signalling::connect(server, token).await?;
        Self::enter(signalling, json!({ "room": room, "name": name }), peers).await
    }

    /// Joins over a connection there is.
    pub async fn enter(
        signalling: Signalling,
        wish: Value,
        peers: &Arc<Peers>,
    ) -> anyhow::Result<Self> {
        let joined = signalling.ask("join", wish).await?;
        Ok(Self {
            signalling,
            joined,
            peers: Arc::clone(peers),
        })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        self.joined["you"]["id"].as_str().unwrap_or_default()
    }

    /// Its role when it came in.
    pub fn role(&self) -> &str {
        self.joined["you"]["role"].as_str().unwrap_or_default()
    }

    /// Sends an event, and returns the fields of its acknowledgement.
    pub async fn ask(&self, event: &str, data: Value) -> anyhow::Result<Value> {
        self.signalling.ask(event, data).await
    }

    /// Begins to send from its camera: sound, pictures, or both.
    pub async fn send(&self, audio: bool, video: bool) -> anyhow::Result<Uplink> {
        self.send_from("camera", audio, video).await
    }

    /// The same from its `camera` or its `screen`.
    pub async fn send_from(
        &self,
        source: &str,
        audio: bool,
        video: bool,
    ) -> anyhow::Result<Uplink> {
        let offer = self.peers.offer_up(audio, video)?;
        let asked = json!({ "sdp": &offer.sdp, "source": source });
        let answer = self.ask("offer", asked).await?;
        Ok(self.peers.send(offer, sdp(&answer, "publish")?).await?)
    }

    /// Begins to receive, with so many places for pictures and so many for sound, which are named in this order from 0.
    pub async fn watch(&self, videos: usize, audios: usize) -> anyhow::Result<Downlink> {
        let offer = self.peers.offer_down(videos, audios)?;
        let answer = self.ask("offer", json!({ "sdp": &offer.sdp })).await?;
        let answer = sdp(&answer, "subscribe")?;
        Ok(self.peers.receive(offer, answer).await?)
    }

    /// Whom its places for `video` or `audio` show now, by what it was told last: the id, and whether it is the camera or
    /// the screen.
    pub fn shown(&self, kind: &str) -> Vec<(String, String)> {
        let places = self.signalling.last("places");
        let places = places.as_ref().and_then(Value::as_array);
        let of_kind = places
            .into_iter()
            .flatten()
            .filter(|place| place["kind"] == kind);
        let shown = of_kind.filter_map(|place| {
            let text = |key: &str| place[key].as_str().map(str::to_owned);
            text("participant").zip(text("source"))
        });
        shown.collect()
    }

    /// The name of the place that shows somebody now.
    pub fn place_of(&self, kind: &str, id: &str) -> Option<String> {
        let places = self.signalling.last("places")?;
        let mut places = places.as_array()?.iter();
        let place = places.find(|place| place["kind"] == kind && place["participant"] == id)?;
        place["mid"].as_str().map(str::to_owned)
    }

    /// Waits until its places are as `is` says of the person.
    pub async fn sees(&self, what: &str, is: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let seen = self.signalling.hear("places", |_| is(self)).await;
        seen.with_context(|| format!("{what}: {:?}", self.signalling.last("places")))?;
        Ok(())
    }
}

/// Waits until a place is sent something that is not there yet.
pub async fn moves(downlink: &Downlink, mid: &str) -> anyhow::Result<()> {
    let place = downlink.place(mid).context("there is no such place")?;
    let (before, deadline) = (place.packets(), Instant::now() + WITHIN);
    while place.packets() < before + MOVES {
        anyhow::ensure!(
            Instant::now() < deadline,
            "nothing comes in place {mid}: {before} packets before and {} now",
            place.packets()
        );
        sleep(POLL).await;
    }
    Ok(())
}

/// Waits until a place is sent nothing any more.
pub async fn rests(downlink: &Downlink, mid: &str) -> anyhow::Result<()> {
    let place = downlink.place(mid).context("there is no such place")?;
    let (mut before, mut since) = (place.packets(), Instant::now());
    let deadline = Instant::now() + WITHIN;
    while since.elapsed() < RESTS {
        anyhow::ensure!(Instant::now() < deadline, "something comes in place {mid}");
        sleep(POLL).await;
        let now = place.packets();
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
    Ok(())
}

fn sdp<'a>(answer: &'a Value, direction: &str) -> anyhow::Result<&'a str> {
    anyhow::ensure!(
        answer["direction"] == direction,
        "it is taken for something else than {direction}: {answer}"
    );
    answer["sdp"].as_str().context("the answer has no sdp")
}

/// Packets that show that a place is sent something.
const MOVES: u64 = 20;
/// What is silent for so long is sent nothing: ten pictures and 15 packets of sound.
const RESTS: Duration = Duration::from_millis(300);
const WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
