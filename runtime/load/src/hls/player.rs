//! One player: it fetches as a player does, and plays in a buffer without a screen.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hyper::Method;
use tokio::time::sleep;

use super::{
    Choice,
    buffer::Buffer,
    playlist::{Media, Multivariant, Piece, Playlist, Segment},
};
use crate::{Error, Target};

/// What a player saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) has_playlist: bool,
    pub(crate) join_ms: Option<f64>,
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
    pub(crate) errors: u64,
    /// Fell out of the window and went back to live.
    pub(crate) skips: u64,
    pub(crate) stalls: u64,
    pub(crate) stalled: Duration,
    pub(crate) buffer_s: f64,
    /// Behind the wall clock of the media, in seconds.
    pub(crate) distance_s: Option<f64>,
    pub(crate) bandwidth_bps: Option<u64>,
    pub(crate) low_latency: bool,
    pub(crate) is_over: bool,
    pub(crate) failure: Option<String>,
}

/// Written by the player, read by whoever reports.
pub(crate) type Shared = Arc<Mutex<Seen>>;

/// The player.
pub(crate) struct Player {
    pub(crate) target: Target,
    pub(crate) number: usize,
    pub(crate) choice: Choice,
    pub(crate) low_latency: bool,
    pub(crate) seen: Shared,
}

/// What is fetched next: a segment, or one of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spot {
    sequence: u64,
    part: usize,
}

/// One rendition on its way.
struct Track {
    url: String,
    media: Media,
    loaded: Instant,
    spot: Spot,
    map: Option<String>,
}

/// What there is to fetch.
#[derive(Debug, Clone, PartialEq)]
struct Next {
    pieces: Vec<Piece>,
    /// Where to go on after it.
    then: Spot,
    date_s: Option<f64>,
    is_low_latency: bool,
}

fn lock(seen: &Shared) -> MutexGuard<'_, Seen> {
    // Counters that are only added to.
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Player {
    /// Plays until the end of the stream, or until it is dropped.
    pub(crate) async fn play(self) {
        if let Err(error) = self.run().await {
            lock(&self.seen).failure = Some(error.to_string());
        }
        lock(&self.seen).is_over = true;
    }

    async fn run(&self) -> Result<(), Error> {
        let began = Instant::now();
        let url = self.target.url_of(self.number);
        let first = self.playlist(&url).await?;
        lock(&self.seen).has_playlist = true;
        match first {
            Playlist::Media(media) => {
                let track = self.track(url, media);
                self.follow(began, track, None).await
            }
            Playlist::Multivariant(all) => {
                let start = self.choose(&all, None);
                let Some(variant) = all.variants.get(start) else {
                    return Ok(()); // a multivariant playlist has one
                };
                lock(&self.seen).bandwidth_bps = Some(variant.bandwidth_bps);
                let media = self.media(&variant.url).await?;
                let track = self.track(variant.url.clone(), media);
                let sound = async {
                    let Some(url) = &variant.audio else {
                        return Ok(());
                    };
                    let media = self.media(url).await?;
                    self.listen(self.track(url.clone(), media)).await
                };
                let picture = self.follow(began, track, Some((&all, start)));
                tokio::try_join!(picture, sound).map(drop)
            }
        }
    }

    fn choose(&self, all: &Multivariant, measured_bps: Option<f64>) -> usize {
        let last = all.variants.len().saturating_sub(1);
        match (self.choice, measured_bps) {
            (Choice::Highest, _) => last,
            (Choice::Lowest, _) | (Choice::Auto, None) => 0,
            (Choice::Auto, Some(measured_bps)) => {
                let fits = |bandwidth_bps: u64| bandwidth_bps as f64 <= measured_bps * SHARE;
                let mut variants = all.variants.iter();
                variants
                    .rposition(|variant| fits(variant.bandwidth_bps))
                    .unwrap_or(0)
            }
        }
    }

    fn track(&self, url: String, media: Media) -> Track {
        let spot = start(&media, self.uses_parts(&media));
        Track {
            url,
            media,
            loaded: Instant::now(),
            spot,
            map: None,
        }
    }

    fn uses_parts(&self, media: &Media) -> bool {
        self.low_latency && media.can_block && media.part_hold_back_s.is_some()
    }

    /// Fetches and plays pictures.
    async fn follow(
        &self,
        began: Instant,
        mut track: Track,
        mut variants: Option<(&Multivariant, usize)>,
    ) -> Result<(), Error> {
        let uses_parts = self.uses_parts(&track.media);
        lock(&self.seen).low_latency = uses_parts;
        let start_s = if uses_parts {
            track.media.part_hold_back_s.unwrap_or(0.0) / 3.0
        } else {
            0.0
        };
        let mut buffer = Buffer::new(Instant::now(), start_s);
        let mut measured_bps: Option<f64> = None;
        while let Some(next) = self.next(&mut track).await? {
            for piece in &next.pieces {
                let asked = Instant::now();
                let Some(bytes) = self.fetch(&piece.url).await? else {
                    continue; // an error, and counted
                };
                let now = Instant::now();
                let took_s = now.saturating_duration_since(asked).as_secs_f64().max(1e-4);
                let bps = bytes as f64 * 8.0 / took_s;
                measured_bps = Some(measured_bps.map_or(bps, |old| old * 0.8 + bps * 0.2));
                buffer.fill(now, piece.duration_s);
                let mut seen = lock(&self.seen);
                seen.join_ms.get_or_insert_with(|| {
                    now.saturating_duration_since(began).as_secs_f64() * 1000.0
                });
                (seen.stalls, seen.stalled) = (buffer.stalls, buffer.stalled);
                seen.buffer_s = buffer.level_s();
            }
            if let Some(date_s) = next.date_s {
                let wall = SystemTime::now().duration_since(UNIX_EPOCH);
                let wall_s = wall.unwrap_or_default().as_secs_f64();
                lock(&self.seen).distance_s = Some(wall_s - date_s + buffer.level_s());
            }
            if track.spot.part == 0
                && let Some((all, at)) = &mut variants
            {
                let better = self.choose(all, measured_bps);
                if better != *at
                    && let Some(variant) = all.variants.get(better)
                {
                    *at = better;
                    lock(&self.seen).bandwidth_bps = Some(variant.bandwidth_bps);
                    track.url.clone_from(&variant.url);
                    track.media = self.media(&variant.url).await?;
                    (track.loaded, track.map) = (Instant::now(), None);
                }
            }
            while buffer.level_s() > BUFFER_MAX_S {
                sleep(Duration::from_secs(1)).await;
                buffer.advance(Instant::now());
            }
        }
        Ok(())
    }

    /// Fetches sound that stands apart.
    async fn listen(&self, mut track: Track) -> Result<(), Error> {
        while let Some(next) = self.next(&mut track).await? {
            for piece in &next.pieces {
                self.fetch(&piece.url).await?;
            }
            // Pictures alone are played, and sound does not run ahead of live.
            if track.media.is_over {
                let played_s: f64 = next.pieces.iter().map(|piece| piece.duration_s).sum();
                sleep(Duration::from_secs_f64(played_s.clamp(0.0, 60.0))).await;
            }
        }
        Ok(())
    }

    /// What to fetch now, after as many reloads as it takes; `None` at the end of the stream.
    async fn next(&self, track: &mut Track) -> Result<Option<Next>, Error> {
        loop {
            let uses_parts = self.uses_parts(&track.media);
            if let Some(next) = find(&track.media, track.spot, uses_parts) {
                track.spot = next.then;
                if let Some(map) = track.media.map.clone()
                    && track.map.as_ref() != Some(&map)
                {
                    self.fetch(&map).await?;
                    track.map = Some(map);
                }
                return Ok(Some(next));
            }
            let end = track.media.sequence + track.media.segments.len() as u64;
            if track.spot.sequence < track.media.sequence {
                lock(&self.seen).skips += 1;
                track.spot = start(&track.media, uses_parts);
                continue;
            }
            if track.media.is_over && track.spot.sequence >= end {
                return Ok(None);
            }
            let url = if track.media.can_block {
                let mark = if track.url.contains('?') { '&' } else { '?' };
                let Spot { sequence, part } = track.spot;
                let part = if uses_parts {
                    format!("&_HLS_part={part}")
                } else {
                    String::new()
                };
                format!("{}{mark}_HLS_msn={sequence}{part}", track.url)
            } else {
                // RFC 8216 §6.3.4: half a target duration after a load that brought nothing new.
                let pause = Duration::from_secs_f64((track.media.target_s / 2.0).clamp(0.1, 30.0));
                let passed = track.loaded.elapsed();
                sleep(pause.saturating_sub(passed)).await;
                track.url.clone()
            };
            let (asked, before) = (Instant::now(), track.media.clone());
            track.media = self.media(&url).await?;
            track.loaded = Instant::now();
            // A server that says it blocks and does not is not asked in a circle.
            if track.media == before && asked.elapsed() < CIRCLE {
                sleep(CIRCLE).await;
            }
        }
    }

    async fn media(&self, url: &str) -> Result<Media, Error> {
        match self.playlist(url).await? {
            Playlist::Media(media) => Ok(media),
            Playlist::Multivariant(_) => Err(Error::Answer {
                url: url.to_owned(),
                why: "a variant leads to another multivariant playlist".to_owned(),
            }),
        }
    }

    async fn playlist(&self, url: &str) -> Result<Playlist, Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            lock(&self.seen).requests += 1;
            let called = self
                .target
                .call(Method::GET, url, &[], bytes::Bytes::new(), PLAYLIST_MAX);
            match called.await {
                Ok(answer) => {
                    lock(&self.seen).bytes += answer.body.len() as u64;
                    return Playlist::read(&answer.text(), url).map_err(|why| Error::Answer {
                        url: url.to_owned(),
                        why,
                    });
                }
                // What once was there is asked for again.
                Err(error) if tries >= TRIES_MAX || !lock(&self.seen).has_playlist => {
                    return Err(error);
                }
                Err(_) => {
                    lock(&self.seen).errors += 1;
                    sleep(RETRY * tries).await;
                }
            }
        }
    }

    /// The length of what was fetched; `None` if the server did not give it.
    async fn fetch(&self, url: &str) -> Result<Option<usize>, Error> {
        lock(&self.seen).requests += 1;
        let called = self
            .target
            .call(Method::GET, url, &[], bytes::Bytes::new(), SEGMENT_MAX);
        match called.await {
            Ok(answer) => {
                lock(&self.seen).bytes += answer.body.len() as u64;
                Ok(Some(answer.body.len()))
            }
            Err(error @ Error::Refused { .. }) => {
                let mut seen = lock(&self.seen);
                seen.errors += 1;
                if seen.errors > ERRORS_MAX {
                    return Err(error);
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Where to begin: as near to live as the server allows (RFC 8216bis §4.4.3.8), at the start of what is over.
fn start(media: &Media, uses_parts: bool) -> Spot {
    let first = Spot {
        sequence: media.sequence,
        part: 0,
    };
    if media.is_over {
        return first;
    }
    let hold_back_s = match media.part_hold_back_s.filter(|_| uses_parts) {
        Some(seconds) => seconds,
        None => media.hold_back_s.unwrap_or(3.0 * media.target_s),
    };
    let mut behind_s = 0.0;
    let edge = media.sequence + media.segments.len() as u64;
    let pieces = |segment: &Segment, sequence: u64| {
        let parts = segment.parts.iter().enumerate().rev();
        let parts: Vec<_> = parts
            .map(|(part, piece)| {
                (
                    Spot { sequence, part },
                    piece.duration_s,
                    piece.is_independent,
                )
            })
            .collect();
        match parts.is_empty() || !uses_parts {
            true => vec![(Spot { sequence, part: 0 }, segment.duration_s, true)],
            false => parts,
        }
    };
    let open = Segment {
        parts: media.parts.clone(),
        ..Segment::default()
    };
    let newest = (uses_parts && !media.parts.is_empty()).then(|| pieces(&open, edge));
    let older = (0..edge - media.sequence).rev().filter_map(|at| {
        let segment = media.segments.get(usize::try_from(at).ok()?)?;
        Some(pieces(segment, media.sequence + at))
    });
    for (spot, duration_s, is_independent) in newest.into_iter().chain(older).flatten() {
        behind_s += duration_s;
        if behind_s >= hold_back_s && is_independent {
            return spot;
        }
    }
    first
}

/// What is there at a spot.
fn find(media: &Media, spot: Spot, uses_parts: bool) -> Option<Next> {
    let at = usize::try_from(spot.sequence.checked_sub(media.sequence)?).ok()?;
    let whole = Spot {
        sequence: spot.sequence + 1,
        part: 0,
    };
    if let Some(segment) = media.segments.get(at) {
        let end = segment.date_s.map(|date| date + segment.duration_s);
        if uses_parts && spot.part > 0 && spot.part < segment.parts.len() {
            return Some(Next {
                pieces: segment.parts.get(spot.part..)?.to_vec(),
                then: whole,
                date_s: end,
                is_low_latency: true,
            });
        }
        // All of its parts were fetched while it grew.
        let is_done = spot.part > 0;
        let pieces = vec![Piece {
            url: segment.url.clone(),
            duration_s: segment.duration_s,
            is_independent: true,
        }];
        return Some(Next {
            pieces: if is_done { Vec::new() } else { pieces },
            then: whole,
            date_s: end.filter(|_| !is_done),
            is_low_latency: false,
        });
    }
    let is_open = at == media.segments.len();
    let parts = media.parts.get(spot.part..).unwrap_or_default();
    if !uses_parts || !is_open || parts.is_empty() {
        return None;
    }
    let date = media
        .segments
        .last()
        .and_then(|last| Some(last.date_s? + last.duration_s));
    let grown: f64 = media.parts.iter().map(|part| part.duration_s).sum();
    Some(Next {
        pieces: parts.to_vec(),
        then: Spot {
            sequence: spot.sequence,
            part: media.parts.len(),
        },
        date_s: date.map(|date| date + grown),
        is_low_latency: true,
    })
}

/// Of the measured throughput, what a variant may need.
const SHARE: f64 = 0.7;
/// A player does not fetch further ahead.
const BUFFER_MAX_S: f64 = 30.0;
const PLAYLIST_MAX: usize = 4 << 20;
const SEGMENT_MAX: usize = 64 << 20;
const TRIES_MAX: u32 = 6;
const RETRY: Duration = Duration::from_millis(250);
/// Segments that a server names and does not have.
const ERRORS_MAX: u64 = 50;
const CIRCLE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    fn live(text: &str) -> Media {
        let head = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:10\n";
        match Playlist::read(&format!("{head}{text}"), "http://h/p.m3u8") {
            Ok(Playlist::Media(media)) => media,
            other => panic!("{other:?}"),
        }
    }

    fn spot(sequence: u64, part: usize) -> Spot {
        Spot { sequence, part }
    }

    #[test]
    fn whole_segments_begin_three_target_durations_behind() {
        let media = live(&"#EXTINF:2.0,\ns.m4s\n".repeat(6));
        assert_eq!(start(&media, false), spot(13, 0));
        let next = find(&media, spot(13, 0), false).unwrap();
        assert_eq!((next.pieces.len(), next.then), (1, spot(14, 0)));
        assert_eq!(find(&media, spot(16, 0), false), None);
        let over = live("#EXTINF:2.0,\ns.m4s\n#EXT-X-ENDLIST\n");
        assert_eq!(start(&over, false), spot(10, 0));
    }

    #[test]
    fn parts_begin_at_an_independent_one_behind_the_hold_back() {
        let part =
            |at: u32, key: &str| format!("#EXT-X-PART:DURATION=0.5,URI=\"p{at}.m4s\"{key}\n");
        let four = part(0, ",INDEPENDENT=YES") + &part(1, "") + &part(2, "") + &part(3, "");
        let text = format!(
            "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5\n{four}#EXTINF:2.0,\ns.m4s\n{}{}",
            part(0, ",INDEPENDENT=YES"),
            part(1, ""),
        );
        let media = live(&text);
        assert_eq!(start(&media, true), spot(10, 0));
        let next = find(&media, spot(10, 0), true).unwrap();
        assert_eq!(
            (next.pieces[0].url.as_str(), next.then),
            ("http://h/s.m4s", spot(11, 0))
        );
        let next = find(&media, spot(11, 0), true).unwrap();
        assert_eq!((next.pieces.len(), next.then), (2, spot(11, 2)));
        assert_eq!(find(&media, spot(11, 2), true), None);
        // The rest of a segment that is whole by now, and one whose parts are all fetched.
        let next = find(&media, spot(10, 2), true).unwrap();
        assert_eq!((next.pieces.len(), next.then), (2, spot(11, 0)));
        let next = find(&media, spot(10, 4), true).unwrap();
        assert_eq!((next.pieces.len(), next.then), (0, spot(11, 0)));
        assert_eq!(find(&media, spot(9, 0), true), None);
    }
}
