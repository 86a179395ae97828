//! What is decided about sound where no pictures are shown: about whoever only hears, as about any viewer.

use std::sync::Arc;

use lockgate_ports::{Place, Selection};
use tokio::sync::watch;

use super::attendance::Attendance;
use crate::{
    Effect,
    audience::Audience,
    viewer::{Shown, Viewer},
};

/// One of the audience of the first voice that is played, who is sent no pictures.
pub(crate) struct Ear {
    audience: Arc<Audience>,
    place: Arc<dyn Place>,
    viewer: Arc<Viewer>,
}

impl Ear {
    /// What was decided last.
    pub(crate) fn effect(&self) -> Effect {
        self.viewer.effect()
    }

    fn hears(&self, audience: &Arc<Audience>, place: &Arc<dyn Place>) -> bool {
        Arc::ptr_eq(&self.audience, audience)
            && Arc::ptr_eq(&self.place, place)
            && audience.viewers().contains_key(&self.viewer.id)
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        // Not let go: that would empty the place.
        self.audience.viewers().remove(&self.viewer.id);
    }
}

impl Attendance {
    /// Sees to it that somebody is decided about while there is sound alone, and nobody in addition while there is not.
    pub(crate) fn listen(&mut self, cap_kbps: Option<u32>) {
        let sees = self.seen.iter().any(|seen| seen.viewer().is_some());
        let voice = self.seen.iter().filter(|_| !sees).find_map(|seen| {
            let (audience, _) = seen.sound()?;
            Some((Arc::clone(audience), Arc::clone(&seen.place)))
        });
        let Some((audience, place)) = voice else {
            self.ear = None;
            return;
        };
        if (self.ear.as_ref()).is_some_and(|ear| ear.hears(&audience, &place)) {
            return;
        }
        let shown = Shown {
            place: Arc::clone(&place),
            peer: Arc::clone(&self.peer),
            video_codecs: Vec::new(),
            cap_kbps,
            scores: self.scores(),
        };
        // What the place plays is selected with all others (`show::share`).
        let viewer = Viewer::of_place(shown, watch::Sender::new(Selection::default()));
        audience.seat(Arc::clone(&viewer));
        self.ear = Some(Ear {
            audience,
            place,
            viewer,
        });
    }
}
