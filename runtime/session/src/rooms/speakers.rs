//! Who speaks: from how loud each microphone is to an order that does not flap. A plain value; `now` is told.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::SessionId;

/// Those who speak or have spoken.
#[derive(Debug, Default)]
pub(crate) struct Speakers {
    voices: HashMap<SessionId, Voice>,
    /// Those who have spoken, who came to the front last first.
    order: Vec<SessionId>,
}

#[derive(Debug)]
struct Voice {
    /// dB below full scale, 0 to 127 (RFC 6464).
    level: u8,
    speaks: bool,
    /// Since when it is as loud as speech, while it does not count as speaking yet.
    rising: Option<Instant>,
    /// When it was last loud enough to go on speaking.
    heard_at: Instant,
    /// Since when it drowns whoever is in front.
    drowns: Option<Instant>,
}

impl Speakers {
    /// Takes how loud a microphone is now; `None` is silence.
    pub(crate) fn hear(&mut self, id: SessionId, level: Option<u8>, now: Instant) {
        let level = level.unwrap_or(SILENCE).min(SILENCE);
        let voice = self.voices.entry(id).or_insert(Voice {
            level,
            speaks: false,
            rising: None,
            heard_at: now,
            drowns: None,
        });
        voice.level = level;
        if voice.speaks {
            if level <= GOES_ON {
                voice.heard_at = now;
            } else if now.saturating_duration_since(voice.heard_at) >= HOLD {
                voice.speaks = false;
                voice.drowns = None;
            }
            return;
        }
        if level > BEGINS {
            voice.rising = None;
            return;
        }
        let since = *voice.rising.get_or_insert(now);
        if now.saturating_duration_since(since) >= BEGINS_AFTER {
            voice.speaks = true;
            voice.rising = None;
            voice.heard_at = now;
            self.put_first(id);
        }
    }

    /// Lets whoever has drowned the one in front for a while come before it. To be called after all were heard.
    pub(crate) fn settle(&mut self, now: Instant) {
        let front = self.speaking().next();
        let front_level = front
            .and_then(|id| self.voices.get(&id))
            .map(|voice| voice.level);
        let mut challenger: Option<(u8, SessionId)> = None;
        for (id, voice) in &mut self.voices {
            let drowns = voice.speaks
                && Some(*id) != front
                && front_level.is_some_and(|front| voice.level.saturating_add(DROWNS_BY) <= front);
            if !drowns {
                voice.drowns = None;
                continue;
            }
            let since = *voice.drowns.get_or_insert(now);
            if now.saturating_duration_since(since) >= DROWNS_AFTER {
                let loudest =
                    challenger.is_none_or(|(level, other)| (voice.level, *id) < (level, other));
                if loudest {
                    challenger = Some((voice.level, *id));
                }
            }
        }
        if let Some((_, id)) = challenger {
            if let Some(voice) = self.voices.get_mut(&id) {
                voice.drowns = None;
            }
            self.put_first(id);
        }
    }

    /// Forgets somebody.
    pub(crate) fn forget(&mut self, id: SessionId) {
        self.voices.remove(&id);
        self.order.retain(|one| *one != id);
    }

    /// Those who speak, who came to the front last first, with how loud they are.
    pub(crate) fn active(&self) -> Vec<(SessionId, u8)> {
        let level = |id: SessionId| Some((id, self.voices.get(&id)?.level));
        self.speaking().filter_map(level).collect()
    }

    /// The place of somebody among all who have spoken: those who speak come first, then who spoke last.
    pub(crate) fn rank(&self, id: SessionId) -> Option<usize> {
        let at = self.order.iter().position(|one| *one == id)?;
        let speaks = |id: &SessionId| self.voices.get(id).is_some_and(|voice| voice.speaks);
        let before = self.order.iter().take(at);
        Some(if speaks(&id) {
            before.filter(|one| speaks(one)).count()
        } else {
            let later = self.order.iter().skip(at + 1);
            before.count() + later.filter(|one| speaks(one)).count()
        })
    }

    fn speaking(&self) -> impl Iterator<Item = SessionId> {
        let speaks = |id: &SessionId| self.voices.get(id).is_some_and(|voice| voice.speaks);
        self.order.iter().copied().filter(speaks)
    }

    fn put_first(&mut self, id: SessionId) {
        self.order.retain(|one| *one != id);
        self.order.insert(0, id);
    }
}

/// Nothing at all, in dB below full scale.
const SILENCE: u8 = 127;
/// Speech begins when it is so loud, in dB below full scale: ordinary speech has 20 to 40, a quiet room more than 60.
const BEGINS: u8 = 45;
/// And goes on while it is so loud.
const GOES_ON: u8 = 55;
/// For so long, so that a click is no speech.
const BEGINS_AFTER: Duration = Duration::from_millis(200);
/// It ends after so long, so that a breath is no end.
const HOLD: Duration = Duration::from_secs(2);
/// Of two who speak, the later one comes first once it is louder by so many dB,
const DROWNS_BY: u8 = 10;
/// for so long.
const DROWNS_AFTER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STEP: Duration = Duration::from_millis(250);

    struct Talk {
        speakers: Speakers,
        ids: Vec<SessionId>,
        now: Instant,
    }

    impl Talk {
        fn new(count: usize) -> Self {
            Self {
                speakers: Speakers::default(),
                ids: (0..count).map(|_| SessionId::random()).collect(),
                now: Instant::now(),
            }
        }

        /// Lets time pass with these levels, and says who speaks.
        fn hear(&mut self, steps: u32, levels: &[u8]) -> Vec<usize> {
            for _ in 0..steps {
                self.now += STEP;
                for (id, level) in self.ids.iter().zip(levels) {
                    self.speakers.hear(*id, Some(*level), self.now);
                }
                self.speakers.settle(self.now);
            }
            let at = |id| self.ids.iter().position(|one| *one == id).unwrap();
            let active = self.speakers.active();
            active.into_iter().map(|(id, _)| at(id)).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_began_last_comes_first_and_a_click_or_a_breath_changes_nothing() {
        let mut talk = Talk::new(3);
        assert!(talk.hear(1, &[20, 127, 127]).is_empty(), "a click");
        assert!(talk.hear(1, &[127, 127, 127]).is_empty());
        assert_eq!(talk.hear(4, &[30, 127, 127]), [0]);
        assert_eq!(talk.hear(4, &[30, 35, 127]), [1, 0]);
        assert_eq!(talk.hear(40, &[30, 35, 127]), [1, 0], "about as loud");
        assert_eq!(talk.hear(7, &[30, 127, 127]), [1, 0], "a breath");
        assert_eq!(talk.hear(4, &[30, 127, 127]), [0]);
        // Who is silent keeps the place after those who speak.
        let ranks: Vec<_> = talk.ids.iter().map(|id| talk.speakers.rank(*id)).collect();
        assert_eq!(ranks, [Some(0), Some(1), None]);
        talk.speakers.forget(talk.ids[0]);
        assert_eq!(talk.speakers.rank(talk.ids[1]), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_who_speak_the_much_louder_one_comes_first_after_a_while() {
        let mut talk = Talk::new(2);
        talk.hear(4, &[20, 127]);
        assert_eq!(talk.hear(4, &[20, 40]), [1, 0]);
        assert_eq!(talk.hear(3, &[20, 40]), [1, 0]);
        assert_eq!(talk.hear(8, &[20, 40]), [0, 1]);
        assert_eq!(talk.hear(40, &[20, 29]), [0, 1]);
    }

    proptest! {
        #[test]
        fn nobody_comes_to_the_front_more_than_about_twice_in_two_seconds(
            levels in prop::collection::vec(prop::collection::vec(0u8..=127, 4), 80..200),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().start_paused(true).enable_time().build().unwrap();
            runtime.block_on(async {
                let mut talk = Talk::new(4);
                let mut came = [0usize; 4];
                let mut front = None;
                for step in &levels {
                    let order = talk.hear(1, step);
                    let mut once = order.clone();
                    once.sort_unstable();
                    once.dedup();
                    assert_eq!(once.len(), order.len());
                    if order.first() != front.as_ref() {
                        front = order.first().copied();
                        if let Some(front) = front {
                            came[front] += 1;
                        }
                    }
                }
                // Whoever loses the front does so to one who came, or by silence of two seconds.
                let seconds = levels.len() / 4;
                let most = 4 * (seconds / 2 + 1);
                assert!(came.iter().sum::<usize>() <= 2 * most, "{came:?} in {seconds} s");
            });
        }

        #[test]
        fn between_beginning_and_ending_nothing_moves(noise in prop::collection::vec((46u8..=55, 46u8..=55), 1..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().start_paused(true).enable_time().build().unwrap();
            runtime.block_on(async {
                let mut talk = Talk::new(2);
                talk.hear(4, &[40, 127]);
                let order = talk.hear(4, &[40, 40]);
                for (one, other) in noise {
                    assert_eq!(talk.hear(1, &[one, other]), order);
                }
            });
        }
    }
}
