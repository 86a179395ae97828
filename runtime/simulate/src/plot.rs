//! A session as a picture: an SVG that stands alone and follows the reader's light or dark scheme.

use std::fmt::Write;

use crate::{Ladder, Mode, Outcome, Step, Trace};

/// Draws a session: the capacity and the bitrate that was chosen, below them the buffer (WebRTC: the queue), and
/// behind all of it when the picture stood still.
pub fn svg(title: &str, ladder: &Ladder, trace: &Trace, outcome: &Outcome) -> String {
    let plot = Plot::new(ladder, trace, outcome);
    let title = escaped(title);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n\
         <style>{STYLE}</style>\n<rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"22\">{title}</text>\n\
         <text x=\"{LEFT}\" y=\"40\">{}</text>\n",
        plot.summary()
    );
    plot.stalls(&mut out);
    plot.axes(&mut out);
    plot.capacity(&mut out);
    plot.bitrate(&mut out);
    plot.lower(&mut out);
    out.push_str("</svg>\n");
    out
}

struct Plot<'a> {
    ladder: &'a Ladder,
    trace: &'a Trace,
    outcome: &'a Outcome,
    /// Not every step of a long session is drawn.
    steps: Vec<&'a Step>,
    end_s: f64,
    /// The ends of the logarithmic axis.
    kbps: (f64, f64),
    /// The lower panel's unit and highest value.
    lower: (&'static str, f64),
}

impl<'a> Plot<'a> {
    fn new(ladder: &'a Ladder, trace: &'a Trace, outcome: &'a Outcome) -> Self {
        let stride = outcome.course.len().div_ceil(POINTS_MAX).max(1);
        let rungs = ladder.kbps();
        let highest = |value: fn(&Step) -> f64, least: f64| {
            let values = outcome.course.iter().map(value);
            values
                .filter(|value| value.is_finite())
                .fold(least, f64::max)
        };
        let lower = match outcome.mode {
            Mode::Vod | Mode::Live => ("buffer, s", highest(|step| step.buffer_s, 2.0)),
            Mode::Rtc => ("queue, ms", highest(|step| step.queue_ms, 50.0)),
        };
        Self {
            ladder,
            trace,
            outcome,
            steps: outcome.course.iter().step_by(stride).collect(),
            end_s: highest(|step| step.end_s, 1.0),
            kbps: (rungs[0] / 8.0, rungs[rungs.len() - 1] * 2.5),
            lower,
        }
    }

    fn x(&self, at_s: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * (at_s / self.end_s).clamp(0.0, 1.0)
    }

    fn y(&self, kbps: f64) -> f64 {
        let (low, high) = self.kbps;
        let part = (kbps.clamp(low, high) / low).ln() / (high / low).ln();
        UPPER.1 - (UPPER.1 - UPPER.0) * part
    }

    fn y_lower(&self, value: f64) -> f64 {
        LOWER.1 - (LOWER.1 - LOWER.0) * (value / self.lower.1).clamp(0.0, 1.0)
    }

    fn summary(&self) -> String {
        let out = self.outcome;
        let unit = if out.mode == Mode::Rtc {
            "second"
        } else {
            "segment"
        };
        let mut text = format!(
            "QoE {:.2} a {unit} · stalled {:.1} % · {:.0} kbit/s · {} switches",
            out.qoe, out.stalled_pct, out.kbps, out.switches
        );
        if let Some(p95_ms) = out.p95_ms {
            put(&mut text, format_args!(" · delay p95 {p95_ms:.0} ms"));
        }
        text
    }

    fn axes(&self, out: &mut String) {
        let mut label_y = f64::INFINITY;
        for kbps in self.ladder.kbps() {
            let y = self.y(*kbps);
            line(out, "rung", (LEFT, y), (RIGHT, y));
            if label_y - y >= 11.0 {
                put(
                    out,
                    format_args!(
                        "<text class=\"end\" x=\"{}\" y=\"{:.1}\">{kbps}</text>\n",
                        LEFT - 6.0,
                        y + 3.5
                    ),
                );
                label_y = y;
            }
        }
        put(
            out,
            format_args!(
                "<text x=\"8\" y=\"{:.0}\">kbit/s</text>\n<text x=\"{LEFT}\" y=\"{:.0}\">{}</text>\n\
                 <text class=\"end\" x=\"{}\" y=\"{:.1}\">{:.0}</text>\n",
                UPPER.0 + 8.0,
                LOWER.0 - 4.0,
                self.lower.0,
                LEFT - 6.0,
                LOWER.0 + 8.0,
                self.lower.1,
            ),
        );
        line(out, "axis", (LEFT, UPPER.1), (RIGHT, UPPER.1));
        line(out, "axis", (LEFT, LOWER.1), (RIGHT, LOWER.1));
        let every_s = TICKS_S
            .into_iter()
            .find(|every_s| self.end_s / every_s <= 8.0);
        let every_s = every_s.unwrap_or(self.end_s / 8.0);
        let mut at_s = 0.0;
        while at_s <= self.end_s {
            let (x, y) = (self.x(at_s), LOWER.1 + 14.0);
            put(
                out,
                format_args!("<text class=\"mid\" x=\"{x:.1}\" y=\"{y}\">{at_s:.0} s</text>\n"),
            );
            at_s += every_s;
        }
    }

    fn stalls(&self, out: &mut String) {
        let mut path = String::new();
        for step in self.steps.iter().filter(|step| step.stalled_s > 0.0) {
            // In WebRTC only the second is known in which a freeze falls.
            let from_s = match self.outcome.mode {
                Mode::Vod | Mode::Live => step.end_s - step.stalled_s,
                Mode::Rtc => step.at_s,
            };
            let (from, to) = (self.x(from_s), self.x(from_s + step.stalled_s));
            put(
                &mut path,
                format_args!(
                    "M{from:.1} {}H{:.1}V{}H{from:.1}z",
                    UPPER.0,
                    to.max(from + 0.5),
                    LOWER.1
                ),
            );
        }
        shape(out, "stall", &path);
    }

    fn capacity(&self, out: &mut String) {
        let mut path = format!("M{LEFT} {}", UPPER.1);
        let column_s = self.end_s / COLUMNS as f64;
        for column in 0..COLUMNS {
            let (from_s, to_s) = (column as f64 * column_s, (column + 1) as f64 * column_s);
            let y = self.y(self.trace.mean_kbps_between(from_s, to_s));
            put(&mut path, format_args!("V{y:.1}H{:.1}", self.x(to_s)));
        }
        put(&mut path, format_args!("V{}z", UPPER.1));
        shape(out, "capacity", &path);
    }

    fn bitrate(&self, out: &mut String) {
        let mut path = String::new();
        for (index, step) in self.steps.iter().enumerate() {
            let y = self.y(step.kbps);
            let to_s = self
                .steps
                .get(index + 1)
                .map_or(step.end_s, |next| next.at_s);
            let begin = if path.is_empty() {
                format!("M{:.1} {y:.1}", self.x(step.at_s))
            } else {
                format!("V{y:.1}")
            };
            put(&mut path, format_args!("{begin}H{:.1}", self.x(to_s)));
        }
        shape(out, "bitrate", &path);
    }

    fn lower(&self, out: &mut String) {
        let mut path = String::new();
        let mut to = |at_s: f64, value: f64| {
            let begin = if path.is_empty() { 'M' } else { 'L' };
            let (x, y) = (self.x(at_s), self.y_lower(value));
            put(&mut path, format_args!("{begin}{x:.1} {y:.1}"));
        };
        for step in &self.steps {
            if self.outcome.mode == Mode::Rtc {
                to(step.end_s, step.queue_ms);
                continue;
            }
            if step.stalled_s > 0.0 {
                to(step.end_s - step.stalled_s, 0.0);
                to(step.end_s, 0.0);
            }
            to(step.end_s, step.buffer_s);
        }
        shape(out, "lower", &path);
        put(
            out,
            format_args!(
                "<g class=\"end\"><text class=\"k-capacity\" x=\"{}\" y=\"40\">capacity</text>\
                 <text class=\"k-bitrate\" x=\"{}\" y=\"40\">chosen</text>\
                 <text class=\"k-stall\" x=\"{RIGHT}\" y=\"40\">stalled</text></g>\n",
                RIGHT - 100.0,
                RIGHT - 50.0,
            ),
        );
    }
}

fn line(out: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    put(
        out,
        format_args!(
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>\n",
            from.0, from.1, to.0, to.1
        ),
    );
}

fn shape(out: &mut String, class: &str, path: &str) {
    if !path.is_empty() {
        put(
            out,
            format_args!("<path class=\"{class}\" d=\"{path}\"/>\n"),
        );
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes all text");
}

/// Text for elements and attributes: marked up, no control characters, not longer than a line.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars().take(TITLE_MAX) {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                out.push(' ')
            }
            letter => out.push(letter),
        }
    }
    out
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 430.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 840.0;
/// Top and bottom of the two panels.
const UPPER: (f64, f64) = (54.0, 290.0);
const LOWER: (f64, f64) = (316.0, 404.0);
/// The distances of the marks on the time axis to choose from.
const TICKS_S: [f64; 6] = [10.0, 30.0, 50.0, 100.0, 300.0, 600.0];
const COLUMNS: usize = 300;
const POINTS_MAX: usize = 600;
const TITLE_MAX: usize = 120;
const STYLE: &str = "\
svg{--paper:#fff;--ink:#333;--faint:#ddd;--capacity:#c9d3dc;--k-capacity:#6b7a88;--bitrate:#0b61c4;--lower:#1f7a3d;--stall:#d92d20}\
@media (prefers-color-scheme:dark){svg{--paper:#14171a;--ink:#d5d9dd;--faint:#343a40;--capacity:#39454f;--k-capacity:#93a3b1;\
--bitrate:#6cb0ff;--lower:#6fcf8e;--stall:#ff6b5e}}\
text{font:11px system-ui,sans-serif;fill:var(--ink)}.title{font-size:14px;font-weight:600}.end,.end text{text-anchor:end}\
.mid{text-anchor:middle}.paper{fill:var(--paper)}.rung{stroke:var(--faint)}.axis{stroke:var(--ink)}\
.capacity{fill:var(--capacity);fill-opacity:.7}.bitrate,.lower{fill:none;stroke:var(--bitrate);stroke-width:2}\
.lower{stroke:var(--lower);stroke-width:1.5}.stall{fill:var(--stall);fill-opacity:.35}\
.end .k-capacity{fill:var(--k-capacity)}.end .k-bitrate{fill:var(--bitrate)}.end .k-stall{fill:var(--stall)}";

#[cfg(test)]
mod tests;
