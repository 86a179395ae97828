//! `lockgate doctor`: what this machine and an input can do, in plain words.

mod input;
mod machine;

use std::{io::Write as _, process::ExitCode};

use clap::Args;
use serde::Serialize;

use crate::cli::ConfigArgs;

/// What is looked at.
#[derive(Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// A file or URL to look at, too.
    input: Option<String>,
    /// Prints JSON for machines.
    #[arg(long)]
    json: bool,
}

/// How good a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Fine,
    /// It works, but not as well as it could.
    Warning,
    /// Something will not work.
    Trouble,
}

/// One thing that was found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    level: Level,
    about: &'static str,
    text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn fine(about: &'static str, text: impl Into<String>) -> Self {
        Self {
            level: Level::Fine,
            about,
            text: text.into(),
            advice: None,
        }
    }

    fn warning(about: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            about,
            text: text.into(),
            advice: Some(advice.into()),
        }
    }

    fn trouble(about: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            level: Level::Trouble,
            ..Self::warning(about, text, advice)
        }
    }
}

/// Looks, and prints; exit code 1 on trouble.
pub(crate) fn execute(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut findings = Vec::new();
    match args.config.load() {
        Ok(config) => {
            machine::look(&config, &mut findings);
            if let Some(input) = &args.input {
                input::look(&config, input, &mut findings);
            }
        }
        Err(error) => findings.push(Finding::trouble(
            "configuration",
            format!("{error:#}"),
            "`lockgate check-config FILE` says what is read from where",
        )),
    }
    let worst = findings.iter().map(|finding| finding.level).max();
    let is_fine = worst != Some(Level::Trouble);
    let mut out = std::io::stdout().lock();
    if args.json {
        let report = serde_json::json!({ "fine": is_fine, "findings": findings });
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        for finding in &findings {
            let mark = match finding.level {
                Level::Fine => "  ok   ",
                Level::Warning => "  note ",
                Level::Trouble => "  BAD  ",
            };
            writeln!(out, "{mark} {:<14} {}", finding.about, finding.text)?;
            if let Some(advice) = &finding.advice {
                writeln!(out, "{:>24}→ {advice}", "")?;
            }
        }
        let count = |level| findings.iter().filter(|one| one.level == level).count();
        let (bad, notes) = (count(Level::Trouble), count(Level::Warning));
        writeln!(
            out,
            "\n{}",
            match (bad, notes) {
                (0, 0) => "All is well.".to_owned(),
                (0, notes) => format!("It works; {notes} could be better."),
                (bad, _) => format!("{bad} will not work."),
            }
        )?;
    }
    Ok(ExitCode::from(u8::from(!is_fine)))
}
