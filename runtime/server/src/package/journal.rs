//! What an unfinished run has done: one line of JSON for each segment that is whole.

use std::{
    fs,
    io::{BufRead as _, Write as _},
    path::Path,
};

use anyhow::{Context as _, bail};
use lockgate_hls::vod::Written;
use lockgate_media::TrackId;
use lockgate_ports::transcoder::Plan;
use serde::{Deserialize, Serialize};

use crate::Config;

/// What a run is about. A run about anything else cannot go on from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    input: String,
    len: Option<u64>,
    modified_ms: Option<u128>,
    plan: Plan,
    encoder: String,
    preset: String,
    segment_s: u32,
    aac_kbps: u32,
}

impl Header {
    pub(super) fn new(input: &str, config: &Config, plan: &Plan) -> Self {
        let about = fs::metadata(input.strip_prefix("file:").unwrap_or(input)).ok();
        let modified = about.as_ref().and_then(|about| about.modified().ok());
        Self {
            input: input.to_owned(),
            len: about.as_ref().map(fs::Metadata::len),
            modified_ms: modified
                .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok())
                .map(|at| at.as_millis()),
            plan: plan.clone(),
            encoder: config.ladder.encoder.clone(),
            preset: config.ladder.preset.clone(),
            segment_s: config.hls.segment_s,
            aac_kbps: config.ladder.aac_kbps,
        }
    }
}

/// A segment that is whole on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) track: TrackId,
    number: u64,
    init: u32,
    start_90k: i64,
    duration_90k: i64,
    len: u64,
}

impl Line {
    pub(super) fn new(track: &TrackId, written: Written) -> Self {
        Self {
            track: track.clone(),
            number: written.number,
            init: written.init,
            start_90k: written.start_90k,
            duration_90k: written.duration_90k,
            len: written.len,
        }
    }

    pub(super) fn written(&self) -> Written {
        Written {
            number: self.number,
            init: self.init,
            start_90k: self.start_90k,
            duration_90k: self.duration_90k,
            len: self.len,
        }
    }
}

/// The journal, open for more.
pub(super) struct Journal {
    file: fs::File,
    /// What an earlier run has done.
    pub(super) lines: Vec<Line>,
}

impl Journal {
    /// Opens the journal of a folder, or begins one.
    pub(super) fn open(folder: &Path, header: &Header) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)
            .with_context(|| format!("{} cannot be made", folder.display()))?;
        let path = folder.join(NAME);
        let context = || format!("{} cannot be used", path.display());
        let mut lines = Vec::new();
        let file = fs::File::options()
            .create(true)
            .read(true)
            .append(true)
            .open(&path)
            .with_context(context)?;
        if file.try_lock().is_err() {
            bail!("another run is at work in {}", folder.display());
        }
        let mut texts = std::io::BufReader::new(&file).lines().map_while(Result::ok);
        match texts.next() {
            None => {
                writeln!(&file, "{}", serde_json::to_string(header)?).with_context(context)?;
            }
            Some(first) if serde_json::from_str::<Header>(&first).ok().as_ref() == Some(header) => {
                // The last line may be torn; what it says is then not done.
                lines.extend(texts.map_while(|text| serde_json::from_str(&text).ok()));
            }
            Some(_) => bail!(
                "{} holds an unfinished run about something else; remove it or give another folder with -o",
                folder.display()
            ),
        }
        Ok(Self { file, lines })
    }

    pub(super) fn add(&mut self, line: &Line) -> anyhow::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.file
            .write_all(text.as_bytes())
            .context("the journal cannot be written")
    }

    /// Replaces it by these lines only: what comes after them is done anew.
    pub(super) fn rewrite(
        &mut self,
        folder: &Path,
        header_line: &str,
        lines: &[Line],
    ) -> anyhow::Result<()> {
        let mut text = format!("{header_line}\n");
        for line in lines {
            text.push_str(&serde_json::to_string(line)?);
            text.push('\n');
        }
        // In place, because the file is what is locked.
        self.file
            .set_len(0)
            .context("the journal cannot be written")?;
        self.file
            .write_all(text.as_bytes())
            .with_context(|| format!("the journal in {} cannot be written", folder.display()))
    }

    /// The first line, as it stands.
    pub(super) fn header_line(folder: &Path) -> anyhow::Result<String> {
        let text = fs::read_to_string(folder.join(NAME))?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }
}

pub(super) const NAME: &str = "unfinished.jsonl";

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u64) -> Line {
        let written = Written {
            number,
            init: 0,
            start_90k: 0,
            duration_90k: 180_000,
            len: 7,
        };
        Line::new(&TrackId::aac(), written)
    }

    #[test]
    fn whole_lines_are_done_and_a_torn_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let header = Header::new("film.mp4", &Config::default(), &Plan::default());
        let mut journal = Journal::open(folder.path(), &header).unwrap();
        journal.add(&line(0)).unwrap();
        journal.add(&line(1)).unwrap();
        assert!(
            Journal::open(folder.path(), &header).is_err(),
            "two at once"
        );
        journal
            .file
            .write_all(b"{\"track\":\"aac\",\"numb")
            .unwrap();
        drop(journal);
        let journal = Journal::open(folder.path(), &header).unwrap();
        assert_eq!(journal.lines, [line(0), line(1)]);
        drop(journal);
        let other = Header::new("other.mp4", &Config::default(), &Plan::default());
        assert!(Journal::open(folder.path(), &other).is_err());
    }
}
