//! Plain tables, and what a row of them is made of.

use std::fmt;

use serde_json::{Value, json};

/// What one measurement has to say: for a person, and the same figures for a program.
pub(crate) struct Report {
    pub(crate) title: &'static str,
    /// What was compared with what, a line each.
    pub(crate) notes: Vec<String>,
    pub(crate) head: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) figures: Value,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}", self.title)?;
        let all = || {
            let head = self.head.iter().map(|cell| (*cell).to_owned()).collect();
            std::iter::once(head).chain(self.rows.iter().cloned())
        };
        let mut widths = vec![0; self.head.len()];
        for row in all() {
            let row: Vec<String> = row;
            for (width, cell) in widths.iter_mut().zip(&row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in all() {
            write!(f, " ")?;
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                match at {
                    0 => write!(f, " {cell:<width$}")?, // names to the left, figures to the right
                    _ => write!(f, "  {cell:>width$}")?,
                }
            }
            writeln!(f)?;
        }
        for note in &self.notes {
            writeln!(f, "  · {note}")?;
        }
        Ok(())
    }
}

/// How a figure stands to the most it should be; nothing without a goal.
pub(crate) fn goal(figure: f64, most: Option<f64>) -> String {
    match most {
        Some(most) if figure <= most => format!("≤ {most}: met"),
        Some(most) => format!("≤ {most}: missed"),
        None => String::new(),
    }
}

/// A sample, sorted.
pub(crate) struct Distribution(Vec<f64>);

impl Distribution {
    pub(crate) fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest value that at least this share of the sample does not exceed; 0 of nothing.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let rank = (share * self.0.len() as f64).ceil().max(1.0) as usize - 1;
        self.0.get(rank).or(self.0.last()).copied().unwrap_or(0.0)
    }

    pub(crate) fn min(&self) -> f64 {
        self.quantile(0.0)
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub(crate) fn max(&self) -> f64 {
        self.quantile(1.0)
    }

    pub(crate) fn figures(&self) -> Value {
        json!({
            "n": self.count(),
            "min": self.min(),
            "median": self.median(),
            "p99": self.quantile(0.99),
            "max": self.max(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_of_the_sample() {
        let some = Distribution::new((1..=200).rev().map(f64::from).collect());
        assert_eq!((some.min(), some.median(), some.max()), (1.0, 100.0, 200.0));
        assert_eq!(some.quantile(0.99), 198.0);
        assert_eq!(Distribution::new(vec![7.0]).quantile(0.99), 7.0);
        assert_eq!(Distribution::new(Vec::new()).median(), 0.0);
    }
}
