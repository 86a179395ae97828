//! Who is shown in which place. Plain functions.

use serde::{Deserialize, Serialize};

use crate::SessionId;

/// What somebody sends media from.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Camera and microphone.
    #[default]
    Camera,
    /// A screen, and what is heard of it.
    Screen,
}

/// What somebody wants in a place.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Wish {
    /// The place, by the name of its section.
    pub mid: String,
    /// Who; without it, who speaks.
    #[serde(default)]
    pub participant: Option<SessionId>,
    /// What of them; without it, the camera.
    #[serde(default)]
    pub source: Option<Source>,
    /// Most lines to be sent there, in pixels.
    #[serde(default)]
    pub height_max: Option<u32>,
    /// Nothing is to be sent there.
    #[serde(default)]
    pub off: bool,
}

/// Whom, and what of them.
pub(crate) type Target = (SessionId, Source);

/// What can be shown of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stage {
    pub(crate) target: Target,
    pub(crate) video: bool,
    pub(crate) audio: bool,
}

/// Who looks, and what they want.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Looker<'a> {
    /// Who they are: nobody is shown to themselves.
    pub(crate) me: SessionId,
    pub(crate) wishes: &'a [Wish],
    /// How many places show somebody at most.
    pub(crate) video_max: usize,
}

/// Whom each place for video is to show. `stages` are in order: who speaks, who spoke last, who was here first.
pub(crate) fn video(
    looker: Looker<'_>,
    mids: &[&str],
    now: &[Option<Target>],
    stages: &[Stage],
) -> Vec<Option<Target>> {
    let mut shown: Vec<Option<Target>> = vec![None; mids.len()];
    let wish = |mid: &str| looker.wishes.iter().find(|wish| wish.mid == mid);
    let (mut cameras, mut screens) = (Vec::new(), Vec::new());
    let mut left = looker.video_max;
    for (at, mid) in mids.iter().enumerate() {
        match wish(mid) {
            Some(wish) if wish.off => {}
            Some(Wish {
                participant: Some(who),
                source,
                ..
            }) => {
                if left > 0
                    && let Some(shown) = shown.get_mut(at)
                {
                    *shown = Some((*who, source.unwrap_or_default()));
                    left -= 1;
                }
            }
            Some(Wish {
                source: Some(Source::Screen),
                ..
            }) => screens.push(at),
            _ => cameras.push(at),
        }
    }
    let pinned = shown.clone();
    for (source, mut places) in [(Source::Screen, screens), (Source::Camera, cameras)] {
        places.truncate(left);
        // Whoever has wished for nothing may not know how: they are shown screens all the same.
        let all = looker.wishes.is_empty();
        let wanted = stages.iter().filter(|stage| {
            let (who, of) = stage.target;
            let is_pinned = pinned.contains(&Some(stage.target));
            stage.video && (of == source || all) && who != looker.me && !is_pinned
        });
        let mut wanted: Vec<Target> = wanted.map(|stage| stage.target).collect();
        // Stable: screens, then cameras in their order.
        wanted.sort_by_key(|(_, of)| *of == Source::Camera);
        wanted.truncate(places.len());
        left -= wanted.len();
        fill(&mut shown, &places, now, wanted);
    }
    shown
}

/// Whom each place for audio is to play. What is heard of screens comes first, since nobody speaks there.
pub(crate) fn audio(
    looker: Looker<'_>,
    mids: &[&str],
    now: &[Option<Target>],
    stages: &[Stage],
) -> Vec<Option<Target>> {
    let mut shown: Vec<Option<Target>> = vec![None; mids.len()];
    let off = |mid: &str| looker.wishes.iter().any(|wish| wish.mid == mid && wish.off);
    let places: Vec<usize> = (mids.iter().enumerate())
        .filter(|(_, mid)| !off(mid))
        .map(|(at, _)| at)
        .collect();
    let of = |source| {
        let heard = stages.iter().filter(move |stage| {
            stage.audio && stage.target.1 == source && stage.target.0 != looker.me
        });
        heard.map(|stage| stage.target)
    };
    let wanted = of(Source::Screen)
        .chain(of(Source::Camera))
        .take(places.len())
        .collect();
    fill(&mut shown, &places, now, wanted);
    shown
}

/// Whoever is shown already and still is to be stays where it is; the others take what is free.
fn fill(
    shown: &mut [Option<Target>],
    places: &[usize],
    now: &[Option<Target>],
    mut wanted: Vec<Target>,
) {
    let mut free = Vec::new();
    for at in places {
        let stays = now.get(*at).copied().flatten();
        match stays.and_then(|target| wanted.iter().position(|one| *one == target)) {
            Some(found) => {
                let target = wanted.remove(found);
                if let Some(shown) = shown.get_mut(*at) {
                    *shown = Some(target);
                }
            }
            None => free.push(*at),
        }
    }
    for (at, target) in free.into_iter().zip(wanted) {
        if let Some(shown) = shown.get_mut(at) {
            *shown = Some(target);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stages(ids: &[SessionId]) -> Vec<Stage> {
        let stage = |id: &SessionId| Stage {
            target: (*id, Source::Camera),
            video: true,
            audio: true,
        };
        ids.iter().map(stage).collect()
    }

    fn wish(mid: &str) -> Wish {
        Wish {
            mid: mid.to_owned(),
            participant: None,
            source: None,
            height_max: None,
            off: false,
        }
    }

    #[test]
    fn who_speaks_is_shown_and_whoever_is_shown_stays_where_it_is() {
        let ids: Vec<SessionId> = (0..5).map(|_| SessionId::random()).collect();
        let me = ids[4];
        let looker = Looker {
            me,
            wishes: &[],
            video_max: 9,
        };
        let mids = ["0", "1"];
        let camera = |at: usize| Some((ids[at], Source::Camera));
        let first = video(looker, &mids, &[None, None], &stages(&ids));
        assert_eq!(first, [camera(0), camera(1)]);
        // Somebody else speaks: only who has to give way does.
        let order = [ids[2], ids[1], ids[0], me];
        assert_eq!(
            video(looker, &mids, &first, &stages(&order)),
            [camera(2), camera(1)]
        );
        assert_eq!(
            audio(looker, &mids, &first, &stages(&order)),
            [camera(2), camera(1)]
        );
    }

    #[test]
    fn what_is_asked_for_is_shown_and_what_is_off_is_not() {
        let ids: Vec<SessionId> = (0..4).map(|_| SessionId::random()).collect();
        let mut all = stages(&ids[..3]);
        all.push(Stage {
            target: (ids[2], Source::Screen),
            video: true,
            audio: true,
        });
        let wishes = [
            Wish {
                participant: Some(ids[0]),
                ..wish("a")
            },
            Wish {
                off: true,
                ..wish("b")
            },
            Wish {
                source: Some(Source::Screen),
                ..wish("c")
            },
        ];
        let looker = |video_max| Looker {
            me: ids[3],
            wishes: &wishes,
            video_max,
        };
        let mids = ["a", "b", "c", "d"];
        let shown = video(looker(9), &mids, &[None; 4], &all);
        let camera = |at: usize| Some((ids[at], Source::Camera));
        assert_eq!(
            shown,
            [camera(0), None, Some((ids[2], Source::Screen)), camera(1)]
        );
        let fewer = video(looker(2), &mids, &[None; 4], &all);
        assert_eq!(
            fewer,
            [camera(0), None, Some((ids[2], Source::Screen)), None]
        );
        let nothing_wished = Looker {
            wishes: &[],
            ..looker(9)
        };
        let screen = Some((ids[2], Source::Screen));
        let shown = video(nothing_wished, &["a", "b"], &[None; 2], &all);
        assert_eq!(shown, [screen, camera(0)]);
        // What is heard of a screen is played whoever speaks.
        let heard = audio(looker(9), &["x", "b"], &[None; 2], &all);
        assert_eq!(heard, [Some((ids[2], Source::Screen)), None]);
    }

    proptest! {
        #[test]
        fn nobody_is_shown_twice_or_to_themselves_and_no_place_is_left_empty(
            people in 1usize..12, places in 1usize..8, turns in prop::collection::vec(any::<prop::sample::Index>(), 1..20),
        ) {
            let ids: Vec<SessionId> = (0..people).map(|_| SessionId::random()).collect();
            let looker = Looker { me: ids[0], wishes: &[], video_max: usize::MAX };
            let names: Vec<String> = (0..places).map(|at| at.to_string()).collect();
            let mids: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut order = ids.clone();
            let mut shown = vec![None; places];
            for turn in turns {
                let at = turn.index(order.len());
                let speaker = order.remove(at);
                order.insert(0, speaker);
                let next = video(looker, &mids, &shown, &stages(&order));
                let mut targets: Vec<Target> = next.iter().flatten().copied().collect();
                prop_assert_eq!(targets.len(), places.min(people - 1));
                prop_assert!(targets.iter().all(|(who, _)| *who != ids[0]));
                targets.sort_unstable();
                targets.dedup();
                prop_assert_eq!(targets.len(), places.min(people - 1));
                let moved = next.iter().zip(&shown).filter(|(one, other)| one != other).count();
                prop_assert!(shown.iter().all(Option::is_none) || moved <= 1);
                if speaker != ids[0] {
                    prop_assert!(next.contains(&Some((speaker, Source::Camera))));
                }
                shown = next;
            }
        }
    }
}
