//! `host-log`: lines of a policy, as many as somebody could read.

use std::collections::VecDeque;

use serde::Serialize;

/// How much a line matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = PolicyLogLevel)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For the author.
    Debug,
    /// For whoever wants to know.
    #[default]
    Info,
    /// Somebody should look.
    Warn,
    /// Something is wrong.
    Error,
}

impl From<u8> for Level {
    /// As it crosses: 0 debug, 1 info, 2 warn, 3 error; others are info.
    fn from(level: u8) -> Self {
        match level {
            0 => Self::Debug,
            2 => Self::Warn,
            3 => Self::Error,
            _ => Self::Info,
        }
    }
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = PolicyLogLine)]
pub struct Line {
    /// When, on the policy's clock in ms.
    pub now_ms: u64,
    /// How much it matters.
    pub level: Level,
    /// What it says: one line, at most [`LINE_BYTES_MAX`].
    pub text: String,
}

#[derive(Debug)]
pub(super) struct Log {
    lines: VecDeque<Line>,
    /// How many of the newest were not taken yet.
    fresh: usize,
    dropped: u64,
    now_ms: u64,
    /// Lines that may be logged now, in thousandths.
    allowance: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            lines: VecDeque::new(),
            fresh: 0,
            dropped: 0,
            now_ms: 0,
            allowance: BURST,
        }
    }
}

impl Log {
    pub(super) fn begin(&mut self, now_ms: u64) {
        // The policy's clock, so that the same calls log the same lines.
        let passed = now_ms.saturating_sub(self.now_ms);
        self.allowance = BURST.min(
            self.allowance
                .saturating_add(passed.saturating_mul(LINES_A_SECOND)),
        );
        self.now_ms = now_ms;
    }

    pub(super) fn line(&mut self, level: Level, text: &str) {
        let Some(left) = self.allowance.checked_sub(LINE) else {
            self.dropped = self.dropped.saturating_add(1);
            return;
        };
        self.allowance = left;
        if self.lines.len() >= LINES_KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(Line {
            now_ms: self.now_ms,
            level,
            text: one_line(text),
        });
        self.fresh = (self.fresh + 1).min(LINES_KEPT);
    }

    pub(super) fn take(&mut self) -> Vec<Line> {
        let from = self.lines.len().saturating_sub(self.fresh);
        self.fresh = 0;
        self.lines.iter().skip(from).cloned().collect()
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        self.lines.iter().cloned().collect()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// What can stand in a log: no control characters, which would forge further lines or move a terminal's cursor.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(LINE_BYTES_MAX));
    for character in text.chars() {
        let character = if character.is_control() {
            ' '
        } else {
            character
        };
        if line.len() + character.len_utf8() > LINE_BYTES_MAX {
            break;
        }
        line.push(character);
    }
    line
}

/// Bytes of a line; the rest is cut off.
pub const LINE_BYTES_MAX: usize = 1024;
/// Lines that are kept for people.
const LINES_KEPT: usize = 100;
/// Lines a second in the long run, …
const LINES_A_SECOND: u64 = 10;
const LINE: u64 = 1000;
/// … and at once.
const BURST: u64 = 20 * LINE;
