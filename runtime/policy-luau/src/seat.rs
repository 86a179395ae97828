//! What an instance keeps for one kind: its buffers, and the ladder it has seen last.

use std::{io::Read as _, ops::Range, sync::Arc};

use lockgate_policy::{
    Answer, Batch, Kind, Manifest,
    column::{self, Column},
};
use mlua::{Buffer, Function, Lua, Table};

use crate::{fill, state::State};

/// Rows that cross at once. Buffers count as the policy's memory, so they must not grow with the number of viewers.
const ROWS: usize = 32;
/// Rungs a ladder may have.
const RUNGS_MAX: usize = 64;
const NUMBER: usize = size_of::<f64>();

/// A kind, ready to be judged.
pub(crate) struct Seat {
    pub(crate) kind: Kind,
    columns: usize,
    /// Where the lists among the columns stand in a row.
    lists: Vec<Range<usize>>,
    rung_columns: Vec<Column>,
    memo: usize,
    run: Function,
    set_ladder: Function,
    input: Buffer,
    output: Buffer,
    ladder: Option<Ladder>,
    /// Reused to gather bytes.
    bytes: Vec<u8>,
}

struct Ladder {
    numbers: Vec<f64>,
    names: Vec<Arc<str>>,
    count: usize,
}

impl Seat {
    /// Sets up a kind in a state that has no memory limit yet.
    pub(crate) fn new(
        state: &State,
        manifest: &Manifest,
        kind: Kind,
        judge: &Function,
    ) -> mlua::Result<Self> {
        let lua = &state.lua;
        let columns = manifest.columns(kind);
        let (width, memo) = (column::width(&columns), manifest.memo(kind));
        let lists = lists(&columns);
        let stride = (width + lists.len() + memo) * NUMBER;
        let input = lua.create_buffer_with_capacity(ROWS * stride)?;
        let output = lua.create_buffer_with_capacity(0)?;
        let reasons = lua.create_table()?;
        if let Some(wants) = manifest.kinds.get(&kind) {
            for (number, reason) in wants.reasons.iter().enumerate() {
                reasons.raw_set(reason.as_str(), number)?;
            }
        }
        let made = |source: String, name| -> mlua::Result<Function> {
            lua.load(source).set_name(name).eval()
        };
        let layout = lua.create_table()?;
        layout.raw_set("input", &input)?;
        layout.raw_set("output", &output)?;
        let fields = lua.create_table()?;
        for column in &columns {
            fields.raw_set(column.name, true)?;
        }
        layout.raw_set("fields", fields)?;
        layout.raw_set("stride", stride)?;
        layout.raw_set("memo", memo)?;
        layout.raw_set("reasons", reasons)?;
        layout.raw_set("fill", made(fill::fill(&columns, memo), "=prelude")?)?;
        layout.raw_set("store", made(fill::store(memo), "=prelude")?)?;
        let (run, set_ladder) = state.seat.call((kind.name(), judge, layout))?;
        Ok(Self {
            kind,
            columns: width,
            lists,
            rung_columns: manifest.rung_columns(kind),
            memo,
            run,
            set_ladder,
            input,
            output,
            ladder: None,
            bytes: Vec::new(),
        })
    }

    /// Does a batch have the widths that the manifest asks for? If not, what is wrong?
    pub(crate) fn check(&self, batch: &Batch) -> Result<(), String> {
        let rung_width = column::width(&self.rung_columns);
        let lengths = [
            ("rows", batch.rows.len(), self.columns * batch.row_count),
            ("rungs", batch.rungs.len(), rung_width * batch.rung_count),
            ("memo", batch.memo.len(), self.memo * batch.row_count),
        ];
        for (what, length, wanted) in lengths {
            if length != wanted {
                return Err(format!(
                    "the batch's {what} are {length} numbers; the manifest asks for {wanted}"
                ));
            }
        }
        if batch.rung_count > RUNGS_MAX {
            return Err(format!(
                "{} rungs; {RUNGS_MAX} is the most",
                batch.rung_count
            ));
        }
        Ok(())
    }

    /// Gives the script the ladder of a batch, if it is another than it has. Not counted as its memory or steps.
    pub(crate) fn show_ladder(&mut self, lua: &Lua, batch: &Batch) -> mlua::Result<()> {
        let is_same = |seen: &Ladder| {
            seen.count == batch.rung_count
                && seen.names == batch.rung_names
                && seen
                    .numbers
                    .iter()
                    .map(|number| number.to_bits())
                    .eq(batch.rungs.iter().map(|number| number.to_bits()))
        };
        if self.ladder.as_ref().is_some_and(is_same) {
            return Ok(());
        }
        let width = column::width(&self.rung_columns);
        let ladder = lua.create_table()?;
        for at in 0..batch.rung_count {
            let rung = lua.create_table()?;
            rung.raw_set("id", at + 1)?;
            match batch.rung_names.get(at) {
                Some(name) => rung.raw_set("name", &**name)?,
                None => rung.raw_set("name", format!("rung {}", at + 1))?,
            }
            fields(
                &rung,
                &self.rung_columns,
                &batch.rungs[at * width..(at + 1) * width],
            )?;
            rung.set_readonly(true);
            ladder.raw_push(rung)?;
        }
        ladder.set_readonly(true);
        let answer = (self.kind.output_width(batch.rung_count) + self.memo) * NUMBER;
        if self.output.len() != ROWS * answer {
            self.output = lua.create_buffer_with_capacity(ROWS * answer)?;
        }
        self.set_ladder
            .call::<()>((ladder, batch.rung_count, answer, &self.output))?;
        self.ladder = Some(Ladder {
            numbers: batch.rungs.clone(),
            names: batch.rung_names.clone(),
            count: batch.rung_count,
        });
        Ok(())
    }

    /// Judges all rows, and says how much memory was in use at most. On an error `answer` is in any state.
    pub(crate) fn judge(
        &mut self,
        state: &State,
        batch: &Batch,
        answer: &mut Answer,
    ) -> mlua::Result<usize> {
        answer.rows.clear();
        answer.memo.clear();
        let (mut first, mut peak) = (0, 0);
        while first < batch.row_count {
            let count = (batch.row_count - first).min(ROWS);
            self.write(batch, first, count);
            let tick = &batch.tick;
            self.run.call::<()>((
                count,
                first,
                exact(tick.now_ms),
                exact(tick.seed),
                tick.mode as u8,
                tick.cause as u8,
            ))?;
            self.read(batch.rung_count, count, answer)?;
            first += count;
            peak = peak.max(state.tidy()?);
        }
        Ok(peak)
    }

    fn write(&mut self, batch: &Batch, first: usize, count: usize) {
        self.bytes.clear();
        for row in first..first + count {
            let numbers = &batch.rows[row * self.columns..(row + 1) * self.columns];
            let memo = &batch.memo[row * self.memo..(row + 1) * self.memo];
            let is_known = |list: &Range<usize>| {
                let known = numbers[list.clone()]
                    .iter()
                    .any(|number| number.is_finite());
                if known { 1.0 } else { 0.0 }
            };
            let known = self.lists.iter().map(is_known);
            let all = numbers.iter().copied().chain(known);
            for number in all.chain(memo.iter().copied()) {
                self.bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        self.input.write_bytes(0, &self.bytes);
    }

    fn read(&mut self, rungs: usize, count: usize, answer: &mut Answer) -> mlua::Result<()> {
        let width = self.kind.output_width(rungs);
        let stride = (width + self.memo) * NUMBER;
        self.bytes.resize(count * stride, 0);
        self.output.clone().cursor().read_exact(&mut self.bytes)?;
        for row in self.bytes.chunks_exact(stride) {
            let mut numbers = row.as_chunks::<NUMBER>().0.iter().map(|bytes| {
                let number = f64::from_le_bytes(*bytes);
                // There are many NaN; answers are compared bit for bit.
                if number.is_nan() { f64::NAN } else { number }
            });
            answer.rows.extend(numbers.by_ref().take(width));
            answer.memo.extend(numbers);
        }
        Ok(())
    }
}

fn lists(columns: &[Column]) -> Vec<Range<usize>> {
    let (mut lists, mut at) = (Vec::new(), 0);
    for column in columns {
        if column.width > 1 {
            lists.push(at..at + column.width);
        }
        at += column.width;
    }
    lists
}

/// Sets the columns of a rung that are present.
fn fields(rung: &Table, columns: &[Column], numbers: &[f64]) -> mlua::Result<()> {
    let mut at = 0;
    for column in columns {
        if numbers[at].is_finite() {
            rung.raw_set(column.name, numbers[at])?;
        }
        at += column.width;
    }
    Ok(())
}

/// A whole number as Luau can hold it: the lowest 53 bits.
#[expect(clippy::cast_precision_loss, reason = "it has 53 bits")]
fn exact(number: u64) -> f64 {
    (number & ((1 << 53) - 1)) as f64
}
