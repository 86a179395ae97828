//! Segments on their way to the disk, and the playlists over them.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use lockgate_hls::{
    Config, Container, Packager,
    vod::{self, Finished, Written},
};
use lockgate_media::{AccessUnit, Format, TrackId};

use super::{
    journal::{self, Journal, Line},
    sync, write_whole,
};

/// The packager, and what of it is on the disk.
pub(super) struct Shelves {
    folder: PathBuf,
    packager: Packager,
    journal: Journal,
    tracks: BTreeMap<TrackId, Shelf>,
    /// Where an earlier run is continued: the number of the first segment that is made now.
    first: u64,
    video_from_90k: Option<i64>,
}

#[derive(Default)]
struct Shelf {
    segments: Vec<Written>,
    /// Initialization sections on the disk, by number.
    inits: BTreeMap<u32, Vec<u8>>,
    format: Option<Format>,
    /// Units before this were packaged by an earlier run.
    from_90k: Option<i64>,
}

/// What was made.
pub(super) struct Made {
    pub(super) renditions: usize,
    pub(super) segments: usize,
    pub(super) bytes: u64,
    pub(super) has_manifest: bool,
}

impl Shelves {
    pub(super) fn new(segment_s: u32, folder: &Path, journal: Journal) -> anyhow::Result<Self> {
        let config = Config {
            container: Container::Fmp4,
            segment_s,
            window: 64,
            part_ms: 0,
        };
        let mut shelves = Self {
            folder: folder.to_path_buf(),
            packager: Packager::new(config, 0),
            journal,
            tracks: BTreeMap::new(),
            first: 0,
            video_from_90k: None,
        };
        shelves.resume()?;
        if shelves.first > 0 {
            let first = u32::try_from(shelves.first).unwrap_or(u32::MAX);
            shelves.packager = Packager::new(config, 0).numbered_from(first, 0);
        }
        Ok(shelves)
    }

    /// Takes what an earlier run has finished in all renditions, but for the last: it is made anew, so that something
    /// always is.
    fn resume(&mut self) -> anyhow::Result<()> {
        let lines = std::mem::take(&mut self.journal.lines);
        let mut by_track: BTreeMap<TrackId, Vec<Written>> = BTreeMap::new();
        for line in &lines {
            let path = self.folder.join(line.track.as_str());
            let written = line.written();
            let file = path.join(format!("segment_{}.m4s", written.number));
            if fs::metadata(file).is_ok_and(|about| about.len() == written.len) {
                by_track
                    .entry(line.track.clone())
                    .or_default()
                    .push(written);
            }
        }
        let whole = by_track.values().map(|all| {
            let in_order = all.iter().zip(0u64..);
            in_order.take_while(|(one, at)| one.number == *at).count()
        });
        let Some(first) = whole
            .min()
            .filter(|whole| *whole > 1)
            .map(|whole| whole - 1)
        else {
            return self.keep(&[]);
        };
        let starts = |all: &Vec<Written>| all.get(first).map(|one| one.start_90k);
        self.video_from_90k = by_track
            .iter()
            .filter(|(track, _)| **track != TrackId::aac())
            .filter_map(|(_, all)| starts(all))
            .max();
        for (track, all) in by_track {
            let from_90k = starts(&all);
            let mut inits = BTreeMap::new();
            for one in all.iter().take(first) {
                if let Entry::Vacant(init) = inits.entry(one.init) {
                    let name = format!("init_{}.mp4", one.init);
                    let bytes = fs::read(self.folder.join(track.as_str()).join(name))
                        .context("an earlier run has lost a file; remove its folder")?;
                    init.insert(bytes);
                }
            }
            let shelf = Shelf {
                segments: all.into_iter().take(first).collect(),
                inits,
                format: None,
                from_90k,
            };
            self.tracks.insert(track, shelf);
        }
        self.first = first as u64;
        let kept: Vec<Line> = lines
            .into_iter()
            .filter(|line| line.written().number < self.first)
            .collect();
        self.keep(&kept)
    }

    fn keep(&mut self, lines: &[Line]) -> anyhow::Result<()> {
        let header = Journal::header_line(&self.folder)?;
        self.journal.rewrite(&self.folder, &header, lines)
    }

    /// The first picture that is encoded now, if an earlier run is continued.
    pub(super) fn resume_90k(&self) -> Option<i64> {
        let audio = self.tracks.get(&TrackId::aac()).and_then(|it| it.from_90k);
        self.video_from_90k.or(audio)
    }

    /// Segments on the disk.
    pub(super) fn written(&self) -> usize {
        self.tracks.values().map(|shelf| shelf.segments.len()).sum()
    }

    pub(super) fn set_track(&mut self, track: &TrackId, format: &Format, passthrough: bool) {
        if self.packager.set_track(track, format, passthrough) {
            self.packager.start(track);
            let shelf = self.tracks.entry(track.clone()).or_default();
            shelf.format = Some(format.clone());
        }
    }

    pub(super) fn push(&mut self, track: &TrackId, unit: AccessUnit) -> anyhow::Result<()> {
        let from_90k = self.tracks.get(track).and_then(|shelf| shelf.from_90k);
        if from_90k.is_some_and(|from| unit.pts_90k < from) {
            return Ok(());
        }
        let is_boundary = unit.keyframe;
        self.packager.push(track, Arc::new(unit));
        if is_boundary { self.save() } else { Ok(()) }
    }

    /// Writes what the packager has finished since the last time.
    fn save(&mut self) -> anyhow::Result<()> {
        for (track, shelf) in &mut self.tracks {
            let Some(rendition) = self.packager.snapshot(track) else {
                continue;
            };
            let next = shelf
                .segments
                .last()
                .map_or(self.first, |last| last.number + 1);
            let newest = rendition.segments.last().map_or(0, |last| last.number + 1);
            if newest <= next {
                continue;
            }
            let folder = self.folder.join(track.as_str());
            fs::create_dir_all(&folder)
                .with_context(|| format!("{} cannot be made", folder.display()))?;
            for segment in rendition
                .segments
                .iter()
                .filter(|one| one.number >= next && !one.gap)
            {
                let version = segment.init.unwrap_or(0);
                let init = rendition.inits.iter().find(|init| init.version == version);
                let Some(init) = init else {
                    bail!(
                        "segment {} of {track} has no initialization section",
                        segment.number
                    );
                };
                let same = shelf.inits.iter().find(|(_, bytes)| **bytes == init.bytes);
                let init = match same {
                    Some((known, _)) => *known,
                    None => {
                        write_whole(&folder.join(format!("init_{version}.mp4")), &init.bytes)?;
                        shelf.inits.insert(version, init.bytes.to_vec());
                        version
                    }
                };
                let name = format!("segment_{}.m4s", segment.number);
                write_whole(&folder.join(name), &segment.bytes)?;
                let written = Written {
                    number: segment.number,
                    init,
                    start_90k: segment.start_90k,
                    duration_90k: segment.duration_90k,
                    len: segment.bytes.len() as u64,
                };
                self.journal.add(&Line::new(track, written))?;
                shelf.segments.push(written);
            }
        }
        Ok(())
    }

    /// Writes the last segments, and the playlists over all.
    pub(super) fn finish(mut self, part: &Path) -> anyhow::Result<Made> {
        self.packager.finish();
        self.save()?;
        let listed = self.packager.multivariant();
        let mut finished = Vec::new();
        for (track, shelf) in self.tracks {
            if shelf.segments.is_empty() {
                continue;
            }
            let variant = listed
                .variants
                .iter()
                .find(|variant| variant.track == track);
            let codecs = |is_audio: bool| {
                let all = listed.variants.iter().flat_map(|one| one.codecs.split(','));
                let of_kind = |codec: &&str| codec.starts_with("mp4a") == is_audio;
                match (is_audio, variant) {
                    (false, Some(variant)) => variant.codecs.split(',').find(of_kind),
                    _ => all.into_iter().find(of_kind),
                }
            };
            let rate = match &shelf.format {
                Some(Format::Audio(audio)) => Some(audio.sample_rate),
                _ => None,
            };
            let codecs = codecs(rate.is_some()).map(str::to_owned);
            finished.push(Finished {
                codecs: codecs.with_context(|| format!("nothing is known of {track}"))?,
                resolution: variant.and_then(|variant| variant.resolution),
                frame_rate: variant.and_then(|variant| variant.frame_rate),
                sample_rate: rate,
                segments: shelf.segments,
                track,
            });
        }
        if finished.is_empty() {
            bail!("the source has nothing that can be packaged");
        }
        let mut multivariant = listed.clone();
        let audio = finished.iter().filter(|one| one.sample_rate.is_some());
        let (audio_peak, audio_mean) = audio
            .map(Finished::rates_bps)
            .fold((0, 0), |most, rates| most.max(rates));
        for variant in &mut multivariant.variants {
            let own = finished.iter().find(|one| one.track == variant.track);
            let Some(own) = own else { continue };
            let (peak, mean) = own.rates_bps();
            // A variant of sound alone is its own audio.
            let with = u64::from(own.sample_rate.is_none());
            variant.bandwidth_bps = peak + with * audio_peak;
            variant.average_bandwidth_bps = mean + with * audio_mean;
        }
        write_whole(
            &part.join("playlist.m3u8"),
            multivariant.playlist(None).as_bytes(),
        )?;
        for one in &finished {
            let path = part.join(one.track.as_str()).join("playlist.m3u8");
            write_whole(&path, one.playlist().as_bytes())?;
        }
        // Best first, as in the multivariant playlist.
        finished.sort_by_key(|one| std::cmp::Reverse(one.rates_bps()));
        let manifest = vod::manifest(&finished);
        if let Some(manifest) = &manifest {
            write_whole(&part.join("manifest.mpd"), manifest.as_bytes())?;
        }
        fs::remove_file(part.join(journal::NAME)).context("the journal cannot be removed")?;
        sync(Some(part));
        let all = finished.iter().flat_map(|one| &one.segments);
        Ok(Made {
            renditions: finished.len(),
            segments: all.clone().count(),
            bytes: all.map(|one| one.len).sum(),
            has_manifest: manifest.is_some(),
        })
    }
}
