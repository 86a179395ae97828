//! The hub's end of an ingest: units into a track that is published when the first one comes.

use lockgate_broadcast::{
    Broadcast,
    track::{Demand, Producer, Role},
};
use lockgate_media::{AccessUnit, AudioFormat, Format, TrackId};

use tokio::sync::watch;

use super::{Place, Unit};

/// A track of the broadcast that this publisher writes.
pub(super) struct Output {
    broadcast: Broadcast,
    id: TrackId,
    producer: Option<Producer>,
    demand: Option<watch::Receiver<Demand>>,
    keyframes_asked: u64,
    last_pts_90k: Option<i64>,
}

impl Output {
    pub(super) fn new(broadcast: Broadcast, id: TrackId) -> Self {
        Self {
            broadcast,
            id,
            producer: None,
            demand: None,
            keyframes_asked: 0,
            last_pts_90k: None,
        }
    }

    /// Whether the track is in the hub.
    pub(super) fn is_published(&self) -> bool {
        self.producer.is_some()
    }

    /// Whether somebody reads the track.
    pub(super) fn is_read(&self) -> bool {
        let demand = self.demand.as_ref();
        demand.is_some_and(|demand| demand.borrow().readers > 0)
    }

    /// Whether a reader asked for a keyframe since this was called last.
    pub(super) fn wants_keyframe(&mut self) -> bool {
        let Some(demand) = &mut self.demand else {
            return false;
        };
        let asked = demand.borrow_and_update().keyframes_asked;
        let more = asked > self.keyframes_asked;
        self.keyframes_asked = asked;
        more
    }

    /// What readers want, each time the track was published anew.
    pub(super) fn new_demand(&mut self) -> Option<watch::Receiver<Demand>> {
        let producer = self.producer.as_ref()?;
        if self.demand.is_some() {
            return None;
        }
        self.keyframes_asked = 0;
        self.demand = Some(producer.demand());
        self.demand.clone()
    }

    /// Takes the track out of the hub. The next keyframe brings it back.
    pub(super) fn withdraw(&mut self) {
        self.producer = None;
        self.demand = None;
    }

    /// Writes a unit. `format` is given where it may be new: with every keyframe. False if the track cannot be
    /// written yet, because another publisher still holds it or its format is not known.
    pub(super) fn write(
        &mut self,
        unit: Unit,
        place: Place,
        duration_90k: u32,
        format: Option<Format>,
    ) -> bool {
        match (&self.producer, format) {
            (Some(producer), Some(format)) => producer.set_format(format),
            (Some(_), None) => {}
            (None, None) => return false,
            (None, Some(format)) => {
                match self
                    .broadcast
                    .publish(self.id.clone(), Role::Ingest, format)
                {
                    Ok(producer) => self.producer = Some(producer),
                    Err(error) => {
                        tracing::debug!(%error, "the publisher's track waits");
                        return false;
                    }
                }
            }
        }
        let Some(producer) = &self.producer else {
            return false;
        };
        // The contract of the hub: strictly rising. Corrections of the timeline may land on the same tick.
        let pts = self
            .last_pts_90k
            .map_or(place.pts_90k, |last| place.pts_90k.max(last + 1));
        self.last_pts_90k = Some(pts);
        producer.push(
            AccessUnit::new(pts, unit.keyframe, unit.data)
                .with_duration(duration_90k)
                .with_epoch(place.epoch)
                .with_discardable(unit.discardable)
                .with_temporal_layer(unit.temporal_layer, unit.layer_sync),
        );
        true
    }
}

/// The format of an Opus track: what is negotiated is always two channels (RFC 7587 §7).
pub(super) fn opus_format() -> Format {
    Format::Audio(AudioFormat::opus(2, None))
}

/// How long an Opus packet lasts in 1/90000 s (RFC 6716 §3.1); 0 if it is broken.
pub(super) fn opus_duration_90k(packet: &[u8]) -> u32 {
    let Some(&toc) = packet.first() else {
        return 0;
    };
    let config = toc >> 3;
    // In units of 2.5 ms, which are 225 ticks.
    let frame = match config {
        0..=11 => [4, 8, 16, 24][usize::from(config & 3)],
        12..=15 => [4, 8][usize::from(config & 1)],
        _ => [1, 2, 4, 8][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => packet.get(1).map_or(0, |count| u32::from(count & 0x3f)),
    };
    // RFC 6716 §3.2.5: at most 120 ms.
    (frame * frames).min(48) * 225
}
