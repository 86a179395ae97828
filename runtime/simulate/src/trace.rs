//! A network's capacity over time.

/// Measured capacity, piecewise constant, replayed from the start when a session outlasts it.
///
/// Neither empty nor silent: it lasts longer than no time and carries more than no bits.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Where pieces begin and the last ends, in s from the start; never falls.
    at_s: Vec<f64>,
    /// Bits carried until then; never falls.
    carried: Vec<f64>,
}

/// Why a text is no trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct TraceError {
    /// Which line of the text, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl Trace {
    /// Reads `t_s,kbps[,rtt_ms]` rows below a header line. A row holds until the next begins, the last only marks
    /// the end. Round trips are checked and not kept: the models have their own.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let mut lines = text.lines().enumerate();
        match lines.next() {
            Some((_, header)) if header.trim_end().starts_with(HEADER) => {}
            _ => {
                return Err(wrong(1, format!("the header must begin with \"{HEADER}\"")));
            }
        }
        let mut rows: Vec<(f64, f64)> = Vec::new();
        let mut last_line = 1;
        for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let row = row(line).map_err(|what| wrong(index + 1, what))?;
            if rows.last().is_some_and(|before| row.0 < before.0) {
                return Err(wrong(index + 1, "time runs backwards".to_owned()));
            }
            if rows.len() == ROWS_MAX {
                return Err(wrong(index + 1, format!("more than {ROWS_MAX} rows")));
            }
            rows.push(row);
            last_line = index + 1;
        }
        Self::of_rows(&rows).map_err(|what| wrong(last_line, what.to_owned()))
    }

    fn of_rows(rows: &[(f64, f64)]) -> Result<Self, &'static str> {
        let Some(first) = rows.first() else {
            return Err("no rows");
        };
        let at_s: Vec<f64> = rows.iter().map(|row| row.0 - first.0).collect();
        let mut carried = vec![0.0];
        let mut sum = 0.0;
        for (row, times) in rows.iter().zip(at_s.windows(2)) {
            sum += row.1 * 1000.0 * (times[1] - times[0]);
            carried.push(sum);
        }
        if at_s[at_s.len() - 1] <= 0.0 {
            return Err("the trace ends as it begins: it needs a second row at a later time");
        }
        if !(sum > 0.0 && sum.is_finite()) {
            return Err("the trace carries nothing at all");
        }
        Ok(Self { at_s, carried })
    }

    /// How long one round of the trace is.
    pub fn duration_s(&self) -> f64 {
        self.at_s[self.at_s.len() - 1]
    }

    /// The mean capacity.
    pub fn mean_kbps(&self) -> f64 {
        self.round_bits() / self.duration_s() / 1000.0
    }

    /// The mean capacity between two times of the looped trace.
    pub fn mean_kbps_between(&self, from_s: f64, to_s: f64) -> f64 {
        let bits = self.carried_until(to_s) - self.carried_until(from_s);
        if to_s > from_s {
            bits / (to_s - from_s) / 1000.0
        } else {
            0.0
        }
    }

    /// The bits the looped trace can have carried by `at_s`.
    pub(crate) fn carried_until(&self, at_s: f64) -> f64 {
        let rounds = (at_s / self.duration_s()).floor();
        rounds * self.round_bits() + self.within_round(at_s - rounds * self.duration_s())
    }

    /// When `bits` have arrived that were asked for at `start_s`.
    pub(crate) fn arrival_s(&self, start_s: f64, bits: f64) -> f64 {
        let rounds = (start_s / self.duration_s()).floor();
        let into_s = start_s - rounds * self.duration_s();
        let i = self.piece_at(into_s);
        let (t0, t1) = (self.at_s[i - 1], self.at_s[i]);
        let (c0, c1) = (self.carried[i - 1], self.carried[i]);
        let part = if t1 > t0 {
            (c1 - c0) * (into_s - t0) / (t1 - t0)
        } else {
            0.0
        };
        self.time_of(rounds * self.round_bits() + c0 + part + bits)
    }

    /// When the looped trace has carried `bits` in all: the earliest such time.
    pub(crate) fn time_of(&self, bits: f64) -> f64 {
        let rounds = (bits / self.round_bits()).floor();
        let rest = bits - rounds * self.round_bits();
        let begun_s = rounds * self.duration_s();
        if rest <= 0.0 {
            return begun_s;
        }
        let i = self
            .carried
            .partition_point(|carried| *carried < rest)
            .clamp(1, self.carried.len() - 1);
        let (t0, t1) = (self.at_s[i - 1], self.at_s[i]);
        let (c0, c1) = (self.carried[i - 1], self.carried[i]);
        let into_piece_s = if c1 > c0 {
            (t1 - t0) * (rest - c0) / (c1 - c0)
        } else {
            0.0
        };
        begun_s + (t0 + into_piece_s)
    }

    fn round_bits(&self) -> f64 {
        self.carried[self.carried.len() - 1]
    }

    fn within_round(&self, into_s: f64) -> f64 {
        if into_s >= self.duration_s() {
            return self.round_bits();
        }
        let i = self.piece_at(into_s);
        let slope = (self.carried[i] - self.carried[i - 1]) / (self.at_s[i] - self.at_s[i - 1]);
        slope * (into_s - self.at_s[i - 1]) + self.carried[i - 1]
    }

    /// The end of the piece that holds at a time of the first round.
    fn piece_at(&self, into_s: f64) -> usize {
        self.at_s
            .partition_point(|at| *at <= into_s)
            .clamp(1, self.at_s.len() - 1)
    }
}

fn row(line: &str) -> Result<(f64, f64), String> {
    let mut cells = line.trim_end().split(',');
    let mut number = |name: &str| -> Result<Option<f64>, String> {
        let Some(cell) = cells.next() else {
            return Ok(None);
        };
        match cell.trim().parse::<f64>() {
            Ok(value) if value.is_finite() && value >= 0.0 => Ok(Some(value)),
            _ => Err(format!("{name} is {cell:?}, not a number from 0 up")),
        }
    };
    let at_s = number("t_s")?;
    let kbps = number("kbps")?;
    let _rtt_ms = number("rtt_ms")?;
    let (Some(at_s), Some(kbps)) = (at_s, kbps) else {
        return Err("a row needs t_s and kbps".to_owned());
    };
    if cells.next().is_some() {
        return Err("a row has at most t_s, kbps and rtt_ms".to_owned());
    }
    Ok((at_s, kbps))
}

fn wrong(line: usize, what: String) -> TraceError {
    TraceError { line, what }
}

/// How the header of a capacity trace begins.
pub(crate) const HEADER: &str = "t_s,kbps";

const ROWS_MAX: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(Trace::parse(text).unwrap_err().to_string(), expected);
    }

    #[test]
    fn errors_name_the_line() {
        check("", "line 1: the header must begin with \"t_s,kbps\"");
        check(
            "t_s,rtt_ms\n0,1\n",
            "line 1: the header must begin with \"t_s,kbps\"",
        );
        check("t_s,kbps\n", "line 1: no rows");
        check(
            "t_s,kbps\n0,100\n1,x\n",
            "line 3: kbps is \"x\", not a number from 0 up",
        );
        check(
            "t_s,kbps\n0,100\n1,NaN\n",
            "line 3: kbps is \"NaN\", not a number from 0 up",
        );
        check(
            "t_s,kbps\n0,-1\n1,1\n",
            "line 2: kbps is \"-1\", not a number from 0 up",
        );
        check("t_s,kbps\n0\n", "line 2: a row needs t_s and kbps");
        check(
            "t_s,kbps\n0,1,2,3\n",
            "line 2: a row has at most t_s, kbps and rtt_ms",
        );
        check("t_s,kbps\n5,100\n4,100\n", "line 3: time runs backwards");
        check(
            "t_s,kbps\n0,0\n9,100\n",
            "line 3: the trace carries nothing at all",
        );
        check(
            "t_s,kbps\n3,100\n",
            "line 2: the trace ends as it begins: it needs a second row at a later time",
        );
    }

    #[test]
    fn bits_arrive_at_the_capacity_and_the_trace_repeats() {
        // 1 s at 1000 kbit/s, 1 s of outage, 2 s at 500 kbit/s.
        let trace = Trace::parse("t_s,kbps,rtt_ms\n10,1000,40\n11,0,40\n12,500,\r\n14,7,1\n");
        assert!(trace.is_err(), "an empty round trip is no number");
        let trace = Trace::parse("t_s,kbps\r\n10,1000\r\n11,0\r\n12,500\r\n14,7\r\n\r\n").unwrap();
        assert_eq!(trace.duration_s(), 4.0);
        assert_eq!(trace.mean_kbps(), 500.0);
        assert_eq!(trace.arrival_s(0.0, 500e3), 0.5);
        assert_eq!(trace.arrival_s(0.0, 1000e3), 1.0);
        assert_eq!(trace.arrival_s(0.5, 1000e3), 3.0);
        assert_eq!(trace.arrival_s(1.5, 2000e3), 5.0);
        assert_eq!(trace.arrival_s(0.0, 20_000e3 + 1.0), 40.0 + 1e-6);
        assert_eq!(trace.mean_kbps_between(0.5, 2.5), 375.0);
        assert_eq!(trace.mean_kbps_between(2.0, 2.0), 0.0);
    }

    #[test]
    fn a_row_of_no_length_carries_nothing() {
        let trace = Trace::parse("t_s,kbps\n0,9000\n0,1000\n1,500\n2,800\n2,800\n").unwrap();
        assert_eq!(trace.duration_s(), 2.0);
        assert_eq!(trace.mean_kbps(), 750.0);
        assert_eq!(trace.arrival_s(0.0, 1250e3), 1.5);
    }

    proptest! {
        #[test]
        fn what_has_arrived_is_what_was_carried(
            rows in prop::collection::vec((0.01..5.0_f64, 0.0..50_000.0_f64), 1..20),
            start_s in 0.0..500.0_f64,
            bits in 1.0..1e9_f64,
        ) {
            let mut text = "t_s,kbps\n0,100\n1,100\n".to_owned();
            let mut at = 2.0;
            for (length_s, kbps) in rows {
                text.push_str(&format!("{at},{kbps}\n"));
                at += length_s;
            }
            text.push_str(&format!("{at},0\n"));
            let trace = Trace::parse(&text).unwrap();
            let end_s = trace.arrival_s(start_s, bits);
            prop_assert!(end_s >= start_s);
            let carried = trace.carried_until(end_s) - trace.carried_until(start_s);
            prop_assert!((carried - bits).abs() < 1e-6 * bits.max(1e6), "{carried} of {bits}");
        }
    }
}
