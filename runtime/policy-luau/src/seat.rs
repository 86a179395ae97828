//! What an instance keeps for one kind: its buffers, and the ladder it has seen last.

use std::{io::Read as _, ops::Range, sync::Arc};

use lockgate_policy::{
    Answer, Batch, Fault, Kind, Refusal,
    column::{self, Column, SAMPLE_WIDTH},
};
use mlua::{Buffer, Error, Function, Lua, Table, chunk::ChunkMode};

use crate::{artifact::Script, fault, fill, state::State, steps};

/// Rows that cross at once. Buffers count as the policy's memory, so they must not grow with the number of viewers.
const ROWS: usize = 64;
/// Rungs a ladder may have.
const RUNGS_MAX: usize = 64;
const NUMBER: usize = size_of::<f64>();

/// A kind, ready to be judged.
pub(crate) struct Seat {
    pub(crate) kind: Kind,
    columns: usize,
    /// Where the lists among the columns stand in a row.
    lists: Vec<Range<usize>>,
    /// Where rungs stand in a row: counted from 1 in Luau, so that `ladder[viewer.current]` is the rung.
    rungs_at: Vec<usize>,
    rung_columns: Vec<Column>,
    memo: usize,
    /// Where the author's function stands, for words about what it answered.
    line: Option<usize>,
    run: Function,
    set_tick: Function,
    set_ladder: Function,
    /// What the prelude says of a call that failed.
    shared: Table,
    input: Buffer,
    output: Buffer,
    ladder: Option<Ladder>,
    /// Reused to gather bytes.
    bytes: Vec<u8>,
    /// An output in which nothing is there.
    nothing: Vec<u8>,
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
        script: &Script,
        kind: Kind,
        judge: &Function,
    ) -> mlua::Result<Self> {
        let (lua, manifest) = (&state.lua, &script.manifest);
        let columns = manifest.columns(kind);
        let input = lua.create_buffer_with_capacity(ROWS * fill::stride(manifest, kind))?;
        let output = lua.create_buffer_with_capacity(0)?;
        let reasons = lua.create_table()?;
        if let Some(wants) = manifest.kinds.get(&kind) {
            for (number, reason) in wants.reasons.iter().enumerate() {
                reasons.raw_set(reason.as_str(), number)?;
            }
        }
        let fields = lua.create_table()?;
        for column in &columns {
            fields.raw_set(column.name, true)?;
        }
        let rows = lua
            .load(script.rows.get(&kind).map_or(&[][..], Vec::as_slice))
            .set_name("=prelude")
            .set_mode(ChunkMode::Binary)
            .into_function()?;
        let layout = lua.create_table()?;
        layout.raw_set("memo", manifest.memo(kind))?;
        layout.raw_set("reasons", reasons)?;
        layout.raw_set("fields", fields)?;
        layout.raw_set("rows", rows)?;
        let (run, set_tick, set_ladder, shared) = state.seat.call((judge, layout))?;
        Ok(Self {
            kind,
            columns: column::width(&columns),
            lists: lists(&columns),
            rungs_at: rungs_at(&columns),
            rung_columns: manifest.rung_columns(kind),
            memo: manifest.memo(kind),
            line: judge.info().line_defined,
            run,
            set_tick,
            set_ladder,
            shared,
            input,
            output,
            ladder: None,
            bytes: Vec::new(),
            nothing: Vec::new(),
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
            self.nothing = f64::NAN.to_le_bytes().repeat(ROWS * answer / NUMBER);
        }
        self.set_ladder
            .call::<()>((ladder, batch.rung_count, answer))?;
        self.ladder = Some(Ladder {
            numbers: batch.rungs.clone(),
            names: batch.rung_names.clone(),
            count: batch.rung_count,
        });
        Ok(())
    }

    /// Judges all rows, and says how much memory was in use at most. On an error `answer` is in any state.
    ///
    /// A row that fails is refused, and the next one is asked: an instance of Luau survives its errors. What ends the
    /// batch is an error after the last step or the last of the memory, and something that rows have left behind.
    pub(crate) fn judge(
        &mut self,
        state: &State,
        script: &str,
        batch: &Batch,
        answer: &mut Answer,
    ) -> mlua::Result<usize> {
        answer.clear();
        let tick = &batch.tick;
        self.set_tick.call::<()>((
            exact(tick.now_ms),
            exact(tick.seed),
            tick.mode as u8,
            tick.cause as u8,
        ))?;
        let (mut first, mut peak) = (0, 0);
        while first < batch.row_count {
            let count = (batch.row_count - first).min(ROWS);
            self.write(batch, first, count);
            let mut from = 0;
            loop {
                let ran = self
                    .run
                    .call::<()>((&self.input, &self.output, from, count));
                let Err(error) = ran else { break };
                let rows = from..count;
                from = self.refuse(&error, script, first, rows, answer)? + 1;
                peak = peak.max(state.tidy()?);
            }
            self.read(batch.rung_count, count, answer)?;
            first += count;
            peak = peak.max(state.tidy()?);
        }
        self.blank(batch, answer);
        Ok(peak)
    }

    /// Notes which of `rows`, counted from the first that crossed, an error has ended; an error about more is passed on.
    fn refuse(
        &self,
        error: &Error,
        script: &str,
        first: usize,
        rows: Range<usize>,
        answer: &mut Answer,
    ) -> mlua::Result<usize> {
        let end_of: Option<String> = self.shared.raw_get("end_of")?;
        let row: usize = self.shared.raw_get("row")?;
        let is_over = steps::are_over() || fault::is_memory(error);
        if is_over || end_of.as_deref() == Some("batch") || !rows.contains(&row) {
            return Err(error.clone());
        }
        let is_refused = end_of.is_some();
        let mut fault = fault::of_row(error, script, is_refused);
        if let (Fault::BadOutput(what), Some(line)) = (&mut fault, self.line) {
            *what = format!("{script}:{line}: {what}");
        }
        answer.refused.push(Refusal {
            row: first + row,
            fault,
        });
        Ok(row)
    }

    /// Refused rows hold what was written before they failed: it means nothing, and they carry what they had.
    fn blank(&self, batch: &Batch, answer: &mut Answer) {
        let (width, memo) = (self.kind.output_width(batch.rung_count), self.memo);
        for refusal in &answer.refused {
            let at = refusal.row;
            if let Some(row) = answer.rows.get_mut(at * width..(at + 1) * width) {
                row.fill(f64::NAN);
            }
            let range = at * memo..(at + 1) * memo;
            if let (Some(carried), Some(had)) =
                (answer.memo.get_mut(range.clone()), batch.memo.get(range))
            {
                carried.copy_from_slice(had);
            }
        }
    }

    fn write(&mut self, batch: &Batch, first: usize, count: usize) {
        let stride = self.columns + self.lists.len() + self.memo;
        self.bytes.resize(count * stride * NUMBER, 0);
        let rows = self
            .bytes
            .as_chunks_mut::<NUMBER>()
            .0
            .chunks_exact_mut(stride.max(1));
        for (row, to) in (first..).zip(rows) {
            let numbers = &batch.rows[row * self.columns..(row + 1) * self.columns];
            let memo = &batch.memo[row * self.memo..(row + 1) * self.memo];
            let (columns, rest) = to.split_at_mut(self.columns);
            let (lists, carried) = rest.split_at_mut(self.lists.len());
            put(columns, numbers);
            put(carried, memo);
            for (to, list) in lists.iter_mut().zip(&self.lists) {
                let is_there = numbers[list.clone()]
                    .iter()
                    .any(|number| number.is_finite());
                *to = if is_there { 1.0f64 } else { 0.0 }.to_le_bytes();
            }
            for at in &self.rungs_at {
                let rung = present(numbers[*at]);
                if rung.fract() == 0.0 {
                    columns[*at] = (rung + 1.0).to_le_bytes();
                }
            }
        }
        self.input.write_bytes(0, &self.bytes);
        let answer = self.nothing.len() / ROWS * count;
        self.output.write_bytes(0, &self.nothing[..answer]);
    }

    fn read(&mut self, rungs: usize, count: usize, answer: &mut Answer) -> mlua::Result<()> {
        let width = self.kind.output_width(rungs);
        let stride = (width + self.memo) * NUMBER;
        self.bytes.resize(count * stride, 0);
        self.output.clone().cursor().read_exact(&mut self.bytes)?;
        // There are many NaN; answers are compared bit for bit.
        let number = |bytes: &[u8; NUMBER]| {
            let number = f64::from_le_bytes(*bytes);
            if number.is_nan() { f64::NAN } else { number }
        };
        let numbers = self.bytes.as_chunks::<NUMBER>().0;
        for row in numbers.chunks_exact(width + self.memo) {
            let (row, memo) = row.split_at(width);
            answer.rows.extend(row.iter().map(number));
            answer.memo.extend(memo.iter().map(number));
        }
        Ok(())
    }
}

/// What is not finite is absent.
fn present(number: f64) -> f64 {
    if number.is_finite() { number } else { f64::NAN }
}

fn put(to: &mut [[u8; NUMBER]], numbers: &[f64]) {
    for (to, number) in to.iter_mut().zip(numbers) {
        *to = present(*number).to_le_bytes();
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

fn rungs_at(columns: &[Column]) -> Vec<usize> {
    let (mut rungs, mut at) = (Vec::new(), 0);
    for column in columns {
        match column.name {
            "current" => rungs.push(at),
            // The last number of a sample is the rung it was fetched from.
            "samples" => rungs.extend(
                (at..at + column.width)
                    .skip(SAMPLE_WIDTH - 1)
                    .step_by(SAMPLE_WIDTH),
            ),
            _ => (),
        }
        at += column.width;
    }
    rungs
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
