//! The bounded ring of a track: the newest units, addressed by a number that never repeats.

use std::{collections::VecDeque, sync::Arc};

use lockgate_media::AccessUnit;

/// How much a track keeps for its readers.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most access units.
    pub units_max: usize,
    /// Most bytes; one unit alone may exceed it and then stands by itself.
    pub bytes_max: usize,
}

impl Default for Limits {
    /// About ten seconds at 60 units a second, and ten seconds of 13 Mbit/s: several GOPs of any rung.
    fn default() -> Self {
        Self {
            units_max: 600,
            bytes_max: 16 << 20,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Ring {
    units: VecDeque<Arc<AccessUnit>>,
    /// The number of the unit at the front; unit `n` stands at `n - front`.
    front: u64,
    bytes: usize,
    limits: Limits,
}

/// What a reader finds at its position.
#[derive(Debug)]
pub(crate) enum Found {
    /// The unit it asked for.
    Unit(Arc<AccessUnit>),
    /// It is not written yet.
    NotYet,
    /// It was evicted; the oldest unit still there has this number.
    Gone(u64),
}

impl Ring {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            units: VecDeque::new(),
            front: 0,
            bytes: 0,
            limits,
        }
    }

    /// Appends a unit; the oldest go to make room.
    pub(crate) fn append(&mut self, unit: Arc<AccessUnit>) {
        self.bytes += unit.data.len();
        self.units.push_back(unit);
        while self.units.len() > 1
            && (self.units.len() > self.limits.units_max.max(1)
                || self.bytes > self.limits.bytes_max)
        {
            if let Some(evicted) = self.units.pop_front() {
                self.bytes -= evicted.data.len();
                self.front += 1;
            }
        }
    }

    /// The number of the next unit to be written.
    pub(crate) fn end(&self) -> u64 {
        self.front + self.units.len() as u64
    }

    pub(crate) fn at(&self, number: u64) -> Found {
        if number < self.front {
            return Found::Gone(self.front);
        }
        match usize::try_from(number - self.front)
            .ok()
            .and_then(|at| self.units.get(at))
        {
            Some(unit) => Found::Unit(Arc::clone(unit)),
            None => Found::NotYet,
        }
    }

    /// The number of the newest keyframe still there.
    pub(crate) fn newest_keyframe(&self) -> Option<u64> {
        let at = self.units.iter().rposition(|unit| unit.keyframe)?;
        Some(self.front + at as u64)
    }
}
