//! How packaging goes, for people and for machines.

use std::{
    io::{IsTerminal as _, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lockgate_ports::transcoder::Plan;

use super::shelves::Made;

/// A bar on a terminal, lines of JSON for machines, a line now and then for a log.
pub(super) struct Progress {
    json: bool,
    bar: ProgressBar,
    length_s: Option<f64>,
    /// Where this run began.
    from_s: f64,
    position_s: f64,
    started: Instant,
    told: Option<Instant>,
}

impl Progress {
    pub(super) fn new(json: bool, length_s: Option<f64>, resume_90k: Option<i64>) -> Self {
        let bar = match length_s {
            Some(length_s) => ProgressBar::new((length_s * 1000.0) as u64),
            None => ProgressBar::no_length(),
        };
        if json || !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = "{percent:>3}% [{wide_bar}] {msg}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self {
            json,
            bar,
            length_s,
            from_s: resume_90k.map_or(0.0, |at| at as f64 / 90_000.0),
            position_s: 0.0,
            started: Instant::now(),
            told: None,
        }
    }

    pub(super) fn begin(&self, plan: &Plan, written: usize) {
        let rungs: Vec<&str> = plan.rungs.iter().map(|rung| rung.name.as_str()).collect();
        if self.json {
            self.line(&serde_json::json!({
                "event": "begin", "rungs": rungs, "passthrough": plan.passthrough,
                "duration_s": self.length_s, "segments_kept": written, "from_s": self.from_s,
            }));
            return;
        }
        let mut what = rungs.join(", ");
        if plan.passthrough {
            what = format!("the source as it is, {what}");
        }
        self.say(&format!("packaging {what} and sound"));
        if written > 0 {
            self.say(&format!(
                "going on at {:.1} s, with {written} segments of an earlier run",
                self.from_s
            ));
        }
    }

    pub(super) fn came_to(&mut self, at_90k: i64) {
        self.position_s = self.position_s.max(at_90k as f64 / 90_000.0);
        let now = Instant::now();
        let every = if self.json || self.bar.is_hidden() {
            SELDOM
        } else {
            OFTEN
        };
        if self.told.is_some_and(|told| now < told + every) {
            return;
        }
        self.told = Some(now);
        let speed = self.speed();
        self.bar.set_position((self.position_s * 1000.0) as u64);
        self.bar.set_message(format!("{speed:.1}× real time"));
        if self.json {
            let percent = self.length_s.map(|length| self.position_s / length * 100.0);
            self.line(&serde_json::json!({
                "event": "progress", "position_s": self.position_s, "duration_s": self.length_s,
                "percent": percent.map(|percent| percent.min(100.0)), "speed": speed,
            }));
        }
    }

    /// Media seconds encoded per second since this run began to encode.
    fn speed(&self) -> f64 {
        let elapsed = self.started.elapsed().as_secs_f64().max(0.001);
        (self.position_s - self.from_s).max(0.0) / elapsed
    }

    pub(super) fn problem(&self, text: &str) {
        if self.json {
            self.line(&serde_json::json!({ "event": "problem", "text": text }));
        } else {
            self.say(text);
        }
    }

    pub(super) fn finish(&self, output: &Path, made: &Made) {
        self.bar.finish_and_clear();
        if self.json {
            self.line(&serde_json::json!({
                "event": "done", "output": output, "renditions": made.renditions, "segments": made.segments,
                "bytes": made.bytes, "duration_s": self.position_s, "speed": self.speed(), "dash": made.has_manifest,
            }));
            return;
        }
        self.say(&format!(
            "{}: {} renditions, {} segments, {:.1} MB, {:.1}× real time",
            output.display(),
            made.renditions,
            made.segments,
            made.bytes as f64 / 1e6,
            self.speed()
        ));
        self.say("  HLS   playlist.m3u8");
        self.say(if made.has_manifest {
            "  DASH  manifest.mpd"
        } else {
            "  no DASH: the source changes its coding on the way"
        });
    }

    fn say(&self, text: &str) {
        self.bar.suspend(|| {
            // Nobody is left to tell if even this fails.
            writeln!(std::io::stderr(), "{text}").ok();
        });
    }

    fn line(&self, value: &serde_json::Value) {
        writeln!(std::io::stdout(), "{value}").ok();
    }
}

const OFTEN: Duration = Duration::from_millis(100);
const SELDOM: Duration = Duration::from_secs(1);
