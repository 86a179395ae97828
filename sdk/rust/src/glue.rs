//! Between the exports and the plain function. Written by the macros; not for use by hand.

use std::{
    any::{Any, TypeId},
    cell::RefCell,
};

use serde::de::DeserializeOwned;

use crate::columns::{RUNG, Row, SOURCE, VIEWER};

/// Where each column of the contract stands in the rows this plugin gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    row: [u16; MOST],
    row_width: usize,
    rung: [u16; MOST],
    rung_width: usize,
    memo: usize,
}

impl Layout {
    /// The layout of rows of viewers with the columns of a manifest; none means all.
    pub const fn viewers(columns: &[&str], rungs: &[&str], memo: usize) -> Self {
        Self::new(VIEWER, columns, rungs, memo)
    }

    /// The layout of rows of sources.
    pub const fn sources(columns: &[&str], rungs: &[&str], memo: usize) -> Self {
        Self::new(SOURCE, columns, rungs, memo)
    }

    const fn new(known: &[Row], columns: &[&str], rungs: &[&str], memo: usize) -> Self {
        let (row, row_width) = places(known, columns);
        let (rung, rung_width) = places(RUNG, rungs);
        Self {
            row,
            row_width,
            rung,
            rung_width,
            memo,
        }
    }

    pub(crate) fn rung_width(&self) -> usize {
        self.rung_width
    }

    pub(crate) fn rung_places(&self) -> &[u16; MOST] {
        &self.rung
    }

    /// The places of a row's columns.
    pub fn places(&self) -> &[u16; MOST] {
        &self.row
    }

    /// Numbers in a row of the question.
    pub fn width(&self) -> usize {
        self.row_width
    }
}

pub(crate) const fn places(known: &[Row], wanted: &[&str]) -> ([u16; MOST], usize) {
    let mut places = [ABSENT; MOST];
    let mut width = 0;
    let mut at = 0;
    let count = if wanted.is_empty() {
        known.len()
    } else {
        wanted.len()
    };
    while at < count {
        let mut column = at;
        if !wanted.is_empty() {
            column = 0;
            while !same(known[column].0.as_bytes(), wanted[at].as_bytes()) {
                // Beyond the end this fails the build: plugin.toml names a column that does not exist.
                column += 1;
            }
        }
        places[column] = width as u16;
        width += known[column].1;
        at += 1;
    }
    (places, width)
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

thread_local! {
    static CONFIG: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

/// Takes the configuration.
pub fn configure<C: DeserializeOwned + Default + 'static>(json: &str) -> Result<(), String> {
    CONFIG.set(Some(Box::new(configuration::<C>(json)?)));
    Ok(())
}

/// Reads a configuration; `null` is the default, and so is an empty one where a policy takes none.
pub fn configuration<C: DeserializeOwned + Default + 'static>(json: &str) -> Result<C, String> {
    let takes_none = TypeId::of::<C>() == TypeId::of::<()>();
    match json.trim() {
        "" | "null" => Ok(C::default()),
        "{}" if takes_none => Ok(C::default()),
        _ if takes_none => Err("this policy takes no configuration".to_owned()),
        json => crate::json::read(json),
    }
}

/// Calls with the configuration taken, or with the default where none was.
pub fn with_config<C: Default + 'static, T>(call: impl FnOnce(&C) -> T) -> T {
    CONFIG.with_borrow(
        |config| match config.as_ref().and_then(|config| config.downcast_ref()) {
            Some(config) => call(config),
            None => call(&C::default()),
        },
    )
}

/// Walks a batch, row by row.
#[inline]
pub fn batch(
    layout: &Layout,
    rows: &[f64],
    memo: &mut [f64],
    answer_width: usize,
    mut each: impl FnMut(&[f64], &mut [f64], &mut Vec<f64>),
) -> Vec<f64> {
    let count = rows.len() / layout.row_width.max(1);
    let mut answer = Vec::with_capacity(count * answer_width);
    let mut rest = memo;
    for row in rows.chunks_exact(layout.row_width.max(1)) {
        let (own, others) = rest.split_at_mut(layout.memo.min(rest.len()));
        each(row, own, &mut answer);
        rest = others;
    }
    answer
}

#[doc(hidden)]
#[macro_export]
macro_rules! __lifecycle {
    ($config:ty) => {
        struct Lifecycle;
        impl $crate::bindings::lifecycle::exports::lockgate::policy::lifecycle::Guest for Lifecycle {
            fn configure(json: String) -> Result<(), String> {
                $crate::configure::<$config>(&json)
            }
        }
        $crate::bindings::lifecycle::export!(Lifecycle with_types_in $crate::bindings::lifecycle);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __batch {
    ($kind:ident, $guest:ident, $function:ident, $row:ident, $layout:ident, $width:expr,
     $config:ty, $policy:path, $columns:expr, $rungs:expr, $memo:expr) => {
        struct $guest;
        impl $crate::bindings::$kind::exports::lockgate::policy::$kind::Guest for $guest {
            fn $function(
                t: $crate::bindings::$kind::exports::lockgate::policy::$kind::Tick,
                rungs: Vec<f64>,
                rows: Vec<f64>,
                mut memo: Vec<f64>,
            ) -> $crate::bindings::$kind::exports::lockgate::policy::$kind::Answer {
                static LAYOUT: $crate::Layout = $crate::Layout::$layout($columns, $rungs, $memo);
                let tick = $crate::Tick {
                    now_ms: t.now_ms,
                    seed: t.seed,
                    mode: t.mode,
                    cause: t.cause,
                };
                let ladder = $crate::Ladder::over(&rungs, &LAYOUT);
                let width = $width(ladder.len());
                let rows = $crate::with_config::<$config, _>(|config| {
                    $crate::batch(&LAYOUT, &rows, &mut memo, width, |row, memo, answer| {
                        let row = $crate::$row::over(row, LAYOUT.places());
                        let mut memo = $crate::Memo::over(memo);
                        $policy(config, &tick, &ladder, &row, &mut memo).push(answer);
                    })
                });
                $crate::bindings::$kind::exports::lockgate::policy::$kind::Answer { rows, memo }
            }
        }
        $crate::bindings::$kind::export!($guest with_types_in $crate::bindings::$kind);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __abr {
    ($($given:tt)*) => { $crate::__batch!(abr, Abr, recommend, Viewer, viewers, |_| 6, $($given)*); };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __optimize {
    ($($given:tt)*) => { $crate::__batch!(optimize, Optimize, optimize, Viewer, viewers, |_| 10, $($given)*); };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __score {
    ($($given:tt)*) => { $crate::__batch!(score, Score, score, Viewer, viewers, |_| 5, $($given)*); };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __ladder {
    ($($given:tt)*) => { $crate::__batch!(ladder, LadderPolicy, plan, Source, sources, |rungs| rungs + 3, $($given)*); };
}

/// A column that a plugin does not get.
pub(crate) const ABSENT: u16 = u16::MAX;

/// Room for the columns of any row.
pub(crate) const MOST: usize = 64;
