//! The five kinds of judgement.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::column::{self, Column};

/// A kind of judgement.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Which rendition a viewer gets.
    Abr,
    /// What is saved for a poor link.
    Optimize,
    /// How good a network is.
    Score,
    /// What is worth encoding.
    Ladder,
    /// Who may enter.
    Auth,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::Abr,
        Self::Optimize,
        Self::Score,
        Self::Ladder,
        Self::Auth,
    ];

    /// Its name in manifests, configuration and URLs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Abr => "abr",
            Self::Optimize => "optimize",
            Self::Score => "score",
            Self::Ladder => "ladder",
            Self::Auth => "auth",
        }
    }

    /// All columns a row of its input can have; none for `auth`, which is asked in words.
    pub fn inputs(self) -> &'static [Column] {
        match self {
            Self::Abr | Self::Optimize | Self::Score => column::VIEWER,
            Self::Ladder => column::SOURCE,
            Self::Auth => &[],
        }
    }

    /// The columns of a row of its answer. `ladder` adds one number for each rung.
    pub fn outputs(self) -> &'static [Column] {
        match self {
            Self::Abr => column::PICK,
            Self::Optimize => column::SAVING,
            Self::Score => column::GRADE,
            Self::Ladder => column::PLAN,
            Self::Auth => &[],
        }
    }

    /// Numbers in a row of its answer, given how many rungs there are.
    pub fn output_width(self, rungs: usize) -> usize {
        let extra = if self == Self::Ladder { rungs } else { 0 };
        column::width(self.outputs()) + extra
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("{text:?} is no kind of policy; there are {}", known()))
    }
}
