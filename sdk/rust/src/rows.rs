//! Reading rows of numbers by name.

use serde::{Deserialize, Deserializer, de::Error};

use crate::{Rung, columns::RUNG, glue::Layout};

/// When and why a question is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tick {
    /// The time in ms on a clock that never goes back.
    pub now_ms: u64,
    /// A number that differs from call to call.
    pub seed: u64,
    /// 0 WebRTC, 1 HLS, 2 low-latency HLS.
    pub mode: u8,
    /// 0 a second has passed, 1 segment, 2 stall, 3 congestion, 4 keyframe due, 5 layout.
    pub cause: u8,
}

/// The rungs there are, lowest bitrate first.
#[derive(Debug, Clone, Copy)]
pub struct Ladder<'a> {
    numbers: &'a [f64],
    layout: &'a Layout,
    len: usize,
}

impl<'a> Ladder<'a> {
    #[doc(hidden)]
    #[inline]
    pub fn over(numbers: &'a [f64], layout: &'a Layout) -> Self {
        let len = numbers.len().checked_div(layout.rung_width()).unwrap_or(0);
        Self {
            numbers,
            layout,
            len,
        }
    }

    /// For tests: rungs, lowest first, that know these columns and no others.
    pub fn with(rungs: &[&[(&str, f64)]]) -> Ladder<'static> {
        static LAYOUT: Layout = Layout::viewers(&[], &[], 0);
        let width = LAYOUT.rung_width();
        let mut numbers = vec![f64::NAN; width * rungs.len()];
        for (row, rung) in numbers.chunks_exact_mut(width).zip(rungs) {
            for (name, value) in *rung {
                let column = RUNG.iter().position(|column| column.0 == *name);
                let column = column.unwrap_or_else(|| panic!("there is no column {name:?}"));
                row[usize::from(LAYOUT.rung_places()[column])] = *value;
            }
        }
        Ladder::over(numbers.leak(), &LAYOUT)
    }

    /// How many rungs there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A rung by its number. One that does not exist knows nothing of itself.
    #[inline]
    pub fn rung(&self, at: usize) -> Rung<'a> {
        let width = self.layout.rung_width();
        let row = self
            .numbers
            .get(at * width..)
            .and_then(|rest| rest.get(..width));
        Rung::over(row.unwrap_or(&[]), self.layout.rung_places())
    }

    /// All rungs, lowest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Rung<'a>> + ExactSizeIterator {
        let ladder = *self;
        (0..self.len).map(move |at| ladder.rung(at))
    }

    /// The highest rung that needs no more than this.
    #[inline]
    pub fn highest_within(&self, kbps: f64) -> Option<usize> {
        (0..self.len)
            .rev()
            .find(|at| self.rung(*at).need_kbps().is_some_and(|need| need <= kbps))
    }
}

/// Numbers that the host carries from one call about a row to the next.
#[derive(Debug)]
pub struct Memo<'a>(&'a mut [f64]);

impl<'a> Memo<'a> {
    /// A memo over numbers, NaN for what is not there yet.
    #[inline]
    pub fn over(numbers: &'a mut [f64]) -> Self {
        Self(numbers)
    }

    /// What was carried in a place.
    #[inline]
    pub fn get(&self, at: usize) -> Option<f64> {
        self.0.get(at).copied().filter(|number| number.is_finite())
    }

    /// Carries a number, or nothing. A place beyond what the manifest asks for is forgotten.
    #[inline]
    pub fn set(&mut self, at: usize, number: Option<f64>) {
        if let Some(place) = self.0.get_mut(at) {
            *place = number.unwrap_or(f64::NAN);
        }
    }
}

/// For a field of a configuration: a number from 0 on. `#[serde(deserialize_with = "from_zero")]`
pub fn from_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if number.is_finite() && number >= 0.0 {
        Ok(number)
    } else {
        Err(D::Error::custom("a number from 0 on is wanted"))
    }
}
