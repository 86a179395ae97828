//! Where segments start, and what they are called: the agreement between all renditions of a broadcast.
//!
//! Media time is divided into cells of `segment_s`. A rendition opens at most one segment in a cell and epoch, so
//! a cell names a segment: a rendition that starts late, or again, finds the number the others use for it. A
//! rendition that runs on counts up by one, whatever the cells do, because a playlist derives the numbers of its
//! segments by counting (RFC 8216 §3).
//!
//! After a break a rendition does not count but looks its number up again. What it has no media for is a gap in its
//! playlist, and what it has no number for, because another has named its cell already, joins the cell that follows
//! or is left out.
//!
//! A break is where a timeline does not continue: a new epoch, a jump, other parameter sets, a missing keyframe.
//! Breaks are numbered for the whole broadcast, because matching content must have matching discontinuity sequence
//! numbers in all renditions (RFC 8216 §6.2.4). A rendition takes part in a break at its first segment after it,
//! even where its own media went on.

use std::collections::VecDeque;

/// The start of a segment, as the first rendition to open one in its cell decided it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) epoch: u32,
    pub(crate) cell: i64,
    pub(crate) pts_90k: i64,
    pub(crate) number: u64,
    /// It ended a segment. The start of a rendition, anywhere in a cell, gives way to the first cut that did.
    firm: bool,
}

#[derive(Debug, Clone, Copy)]
struct Break {
    epoch: u32,
    pts_90k: i64,
}

/// What a segment is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Media sequence number.
    pub(crate) number: u64,
    /// Discontinuity sequence number.
    pub(crate) discontinuity: u64,
}

/// A segment that may be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) place: Place,
    /// The cell it stands for.
    pub(crate) cell: i64,
    /// Numbers before it for which this rendition has nothing, although it runs.
    pub(crate) missing: u64,
}

/// Where a rendition stands when it opens a segment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Standing {
    /// The last segment it closed.
    pub(crate) last: Option<Place>,
    /// It has run on since then, without a pause.
    pub(crate) running: bool,
    /// Its media does not continue from there.
    pub(crate) broke: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Cuts {
    cell_90k: i64,
    cuts: VecDeque<Cut>,
    number_next: u64,
    epoch_first: Option<u32>,
    breaks: VecDeque<Break>,
    /// Breaks before the first one kept.
    breaks_forgotten: u64,
    /// `EXT-X-TARGETDURATION`, once a playlist with a segment was published.
    target_s: Option<u32>,
    segment_s: u32,
    passthrough: bool,
}

impl Cuts {
    /// Lets the first segment have this number, and this number of breaks before it.
    pub(crate) fn number_from(&mut self, first: u64, breaks: u64) {
        self.breaks_forgotten = self.breaks_forgotten.max(breaks);
        self.number_next = self.number_next.max(first);
    }

    pub(crate) fn new(segment_s: u32) -> Self {
        Self {
            cell_90k: i64::from(segment_s.max(1)) * 90_000,
            cuts: VecDeque::new(),
            number_next: 0,
            epoch_first: None,
            breaks: VecDeque::new(),
            breaks_forgotten: 0,
            target_s: None,
            segment_s: segment_s.max(1),
            passthrough: false,
        }
    }

    /// Whether this is the number of the newest segment of any rendition, or the next.
    pub(crate) fn expects(&self, number: u64) -> bool {
        number <= self.number_next && number + 1 >= self.number_next
    }

    /// The end of the cell that a segment which starts then stands for.
    pub(crate) fn line_after(&self, pts_90k: i64) -> i64 {
        (self.cell(pts_90k.saturating_add(SNAP_MAX_90K)) + 1).saturating_mul(self.cell_90k)
    }

    /// How long a cell is, in 1/90000 s.
    pub(crate) fn cell_90k(&self) -> i64 {
        self.cell_90k
    }

    /// The cell of a time.
    pub(crate) fn cell(&self, pts_90k: i64) -> i64 {
        pts_90k.div_euclid(self.cell_90k)
    }

    /// Some track is passed through: its keyframes are where its sender puts them.
    pub(crate) fn allow_passthrough(&mut self) {
        self.passthrough = true;
    }

    /// The target duration in s. It is one for all playlists of the broadcast (RFC 8216 §6.2.4) and constant from
    /// the first published segment on: `segment_s`, or twice that where a track is passed through, whose segments
    /// last up to its GOP more than a cell.
    pub(crate) fn target_s(&self) -> u32 {
        self.target_s.unwrap_or(if self.passthrough {
            2 * self.segment_s
        } else {
            self.segment_s
        })
    }

    /// The longest a segment may last in 1/90000 s, so that its rounded `EXTINF` stays within the target duration.
    ///
    /// Before the first segment is published a passed-through track may show that its GOPs are longer.
    pub(crate) fn limit_90k(&self) -> i64 {
        let target_s = match self.target_s {
            None if self.passthrough => self.target_s().max(FIRST_GOP_MAX_S),
            _ => self.target_s(),
        };
        i64::from(target_s) * 90_000 + 44_999
    }

    /// Fixes the target duration with the first segment that is published.
    pub(crate) fn publish(&mut self, duration_90k: i64) {
        if self.target_s.is_none() {
            let rounded = u32::try_from((duration_90k + 45_000) / 90_000).unwrap_or(0);
            self.target_s = Some(self.target_s().max(rounded));
        }
    }

    /// Names the segment that a rendition opens at `pts_90k`, and remembers the cut for the others. `None`: there is
    /// no number for it; a later keyframe may have one.
    pub(crate) fn open(
        &mut self,
        epoch: u32,
        cell: i64,
        pts_90k: i64,
        standing: Standing,
    ) -> Option<Opened> {
        let after = standing.last.map_or(0, |last| last.number + 1);
        let runs = standing.running && standing.last.is_some();
        let (number, cell) = if runs && !standing.broke {
            (after, cell)
        } else {
            self.find(epoch, cell, pts_90k, standing)?
        };
        // The tail of a past epoch: others have gone on to the next one under this number.
        let is_taken = |cut: &Cut| cut.epoch > epoch && cut.number <= number;
        if self.cuts.iter().any(is_taken) {
            return None;
        }
        self.number_next = self.number_next.max(number + 1);
        let cut = Cut {
            epoch,
            cell,
            pts_90k,
            number,
            firm: standing.running,
        };
        match self
            .cuts
            .iter_mut()
            .find(|cut| cut.epoch == epoch && cut.cell == cell)
        {
            Some(known) if cut.firm && !known.firm => *known = cut,
            Some(_) => {}
            None => {
                if self.cuts.len() == CUTS_MAX {
                    self.cuts.pop_front();
                }
                self.cuts.push_back(cut);
            }
        }
        Some(Opened {
            place: Place {
                number,
                discontinuity: self.discontinuity_at(epoch, pts_90k, standing),
            },
            cell,
            missing: if runs { number - after } else { 0 },
        })
    }

    /// The number and the cell of a segment that does not continue the one before.
    fn find(&self, epoch: u32, cell: i64, pts_90k: i64, standing: Standing) -> Option<(u64, i64)> {
        let until = |cell: i64| cell.saturating_mul(self.cell_90k).saturating_sub(pts_90k);
        let is_known = self
            .cuts
            .iter()
            .any(|cut| cut.epoch == epoch && cut.cell == cell);
        // Just before a line of the grid others may start just behind it; and a segment of a few frames helps nobody.
        let cell = if !is_known && until(cell + 1) < SNAP_MAX_90K {
            cell + 1
        } else {
            cell
        };
        let Some(last) = standing.last else {
            return Some((self.number_at(epoch, cell), cell));
        };
        let after = last.number + 1;
        let newest = self.newest_before(epoch, cell);
        if standing.running && newest.is_some_and(|newest| newest.number == last.number) {
            // It jumped, and no other has gone where it comes to.
            return Some((after, cell));
        }
        let number = self.number_at(epoch, cell);
        if number >= after {
            return Some((number, cell));
        }
        if after - number > 2 {
            // Time went back: what was there before is no guide.
            return Some((after, cell));
        }
        let later = cell.saturating_add(i64::try_from(after - number).unwrap_or(i64::MAX));
        (until(later) <= JOIN_MAX_90K).then_some((after, later))
    }

    /// Where a rendition that follows, and is in this cell, cuts at this time or next: the last cut that it has
    /// passed, or the first one to come.
    pub(crate) fn next(&self, epoch: u32, cell: i64, pts_90k: i64) -> Option<Cut> {
        let later = || {
            self.cuts
                .iter()
                .filter(|cut| cut.firm && cut.epoch == epoch && cut.cell > cell)
        };
        let passed = later()
            .filter(|cut| cut.pts_90k <= pts_90k)
            .max_by_key(|cut| cut.cell);
        passed
            .or_else(|| later().min_by_key(|cut| cut.cell))
            .copied()
    }

    /// The last cut of an epoch at or before this time.
    pub(crate) fn last_before(&self, epoch: u32, pts_90k: i64) -> Option<Cut> {
        let earlier = self
            .cuts
            .iter()
            .filter(|cut| cut.epoch == epoch && cut.pts_90k <= pts_90k);
        earlier.max_by_key(|cut| cut.cell).copied()
    }

    /// Whether any cut of this epoch is known.
    pub(crate) fn knows(&self, epoch: u32) -> bool {
        self.cuts.iter().any(|cut| cut.epoch == epoch)
    }

    fn number_at(&self, epoch: u32, cell: i64) -> u64 {
        let same = || self.cuts.iter().filter(|cut| cut.epoch == epoch);
        let ahead = |from: i64, to: i64| u64::try_from(to.saturating_sub(from)).unwrap_or(0);
        if let Some(before) = self.newest_before(epoch, cell) {
            before.number.saturating_add(ahead(before.cell, cell))
        } else if let Some(after) = same().min_by_key(|cut| cut.cell) {
            after.number.saturating_sub(ahead(cell, after.cell))
        } else {
            self.number_next
        }
    }

    /// The last cut of an epoch in this cell or an earlier one.
    fn newest_before(&self, epoch: u32, cell: i64) -> Option<&Cut> {
        let earlier = self
            .cuts
            .iter()
            .filter(|cut| cut.epoch == epoch && cut.cell <= cell);
        earlier.max_by_key(|cut| cut.cell)
    }

    /// When the media with a discontinuity sequence number starts, by the rendition that broke first; `None` for the
    /// broadcast's start, and where it was too long ago.
    pub(crate) fn break_90k(&self, discontinuity: u64) -> Option<i64> {
        self.numbered()
            .find(|(number, _)| *number == discontinuity)
            .map(|(_, at)| at.pts_90k)
    }

    fn discontinuity_at(&mut self, epoch: u32, pts_90k: i64, standing: Standing) -> u64 {
        let first = *self.epoch_first.get_or_insert(epoch);
        let opened = self
            .numbered()
            .find(|(_, at)| at.epoch == epoch)
            .map(|(number, _)| number);
        // A break of another epoch that lies more than a cell back was missed: take part in it late.
        let passed = self.numbered().filter(|(_, at)| {
            (at.epoch == epoch && pts_90k >= at.pts_90k)
                || pts_90k >= at.pts_90k.saturating_add(self.cell_90k)
        });
        let passed = passed.map(|(number, _)| number).max();
        let reached = passed.max(opened).unwrap_or(0).max(self.breaks_forgotten);
        match standing.last.map(|last| last.discontinuity) {
            None if opened.is_some() || epoch == first => reached,
            Some(last) if !standing.broke || reached > last => reached.max(last),
            last => {
                // Another rendition may have broken at the same moment, at a frame a little later than ours.
                let near = self.numbered().find(|(number, at)| {
                    last.is_none_or(|last| *number > last)
                        && at.epoch == epoch
                        && (at.pts_90k - pts_90k).abs() < self.cell_90k
                });
                match near {
                    Some((number, _)) => number,
                    None => self.add_break(epoch, pts_90k),
                }
            }
        }
    }

    /// The breaks with their discontinuity sequence numbers, oldest first.
    fn numbered(&self) -> impl Iterator<Item = (u64, &Break)> {
        (self.breaks_forgotten + 1..).zip(&self.breaks)
    }

    fn add_break(&mut self, epoch: u32, pts_90k: i64) -> u64 {
        if self.breaks.len() == BREAKS_MAX {
            self.breaks.pop_front();
            self.breaks_forgotten += 1;
        }
        self.breaks.push_back(Break { epoch, pts_90k });
        self.numbered().last().map_or(0, |(number, _)| number)
    }
}

/// Cuts kept: enough for the slowest rendition to find where the fastest cut, even with ten-second holds.
const CUTS_MAX: usize = 64;
/// A segment that does not continue another and starts so close to the end of its cell stands for the next one.
const SNAP_MAX_90K: i64 = 9_000;
/// Media before its cell that a segment may have in front; more would round its duration up.
const JOIN_MAX_90K: i64 = 36_000;
/// Breaks kept; a rendition that lags further behind takes part in the older ones at once.
const BREAKS_MAX: usize = 64;
/// The longest GOP of a passed-through track that is accepted as its segment length, in s.
const FIRST_GOP_MAX_S: u32 = 20;
