//! `lockgate policy test`: the cases beside a policy, and the rules that every policy keeps, on the artifact that ships.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use lockgate_cases::{Cases, Report, run};
use lockgate_policy::conformance;
use serde::Serialize;

use super::{CHECK_VECTORS, PolicyFile};

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    file: PolicyFile,
    /// The case file; NAME.cases.toml beside the policy where it is not named.
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// What is told to machines.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    report: &'a Report,
    holds: bool,
    /// The rule of every policy that this one broke.
    broken: Option<String>,
}

/// The case file of a policy.
pub(super) fn beside(policy: &Path) -> PathBuf {
    policy.with_extension("cases.toml")
}

pub(super) fn execute(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (artifact, config) = arguments.file.load()?;
    let path = arguments
        .cases
        .clone()
        .unwrap_or_else(|| beside(&arguments.file.file));
    let cases = match read(&path) {
        Ok(cases) => cases,
        Err(what) => {
            writeln!(std::io::stderr(), "{what}")?;
            return Ok(ExitCode::from(2));
        }
    };
    let report = run(&*artifact, &config, &cases);
    let broken = conformance::check(&*artifact, &config, CHECK_VECTORS).err();
    let holds = report.holds() && broken.is_none();
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let told = Told {
            report: &report,
            holds,
            broken: broken.map(|broken| broken.to_string()),
        };
        serde_json::to_writer_pretty(&mut out, &told)?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
        match broken {
            None => writeln!(out, "keeps every rule on {CHECK_VECTORS} vectors a kind")?,
            Some(broken) => writeln!(out, "breaks a rule: {broken}")?,
        }
    }
    Ok(ExitCode::from(u8::from(!holds)))
}

fn read(path: &Path) -> Result<Cases, String> {
    let told = path.display();
    let text = fs::read_to_string(path).map_err(|error| {
        format!("the cases {told} cannot be read: {error}; write them, or name a file with --cases")
    })?;
    Cases::parse(&text).map_err(|bad| format!("{told}, {bad}"))
}
