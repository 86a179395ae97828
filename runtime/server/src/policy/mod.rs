//! `lockgate policy …`: what an author does with a policy before anybody watches.

mod chooser;
mod new;
mod replay;
mod report;
mod sdk;
mod simulate;
mod test;

use std::{fs, io::Write as _, path::PathBuf, process::ExitCode, sync::Arc, time::Instant};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use lockgate_policy::{Answer, Artifact, Kind, conformance, project::Projection};
use serde_json::Value;

use crate::{config::PolicyLimits, policies::Forms};

#[derive(Subcommand)]
pub(crate) enum PolicyCommand {
    /// Writes a working policy to start from.
    New(new::Arguments),
    /// Loads a policy in its sandbox, lists what it answers and wants, and tries it on the conformance vectors.
    Check {
        #[command(flatten)]
        file: PolicyFile,
    },
    /// Runs the cases beside a policy, and the rules that every policy keeps.
    Test(test::Arguments),
    /// Measures decisions a second, steps and memory.
    Bench {
        #[command(flatten)]
        file: PolicyFile,
        /// Rows in a batch.
        #[arg(long, default_value_t = 1000)]
        rows: usize,
    },
    /// Plays network traces through policies in virtual time.
    Simulate(simulate::Arguments),
    /// Asks again what a decision log says was asked: which answers differ, and what that would have cost.
    Replay(replay::Arguments),
}

#[derive(Args)]
pub(crate) struct PolicyFile {
    /// The policy: a Luau script or a Wasm component.
    file: PathBuf,
    /// Its configuration, as JSON.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    config: String,
    /// Gives it the limits of a large policy, as `large = true` does in [policies.limits].
    #[arg(long)]
    large: bool,
}

/// Runs a command. Trouble found in the policy is exit code 1, told on standard output.
pub(crate) fn execute(command: PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::New(arguments) => new::run(&arguments),
        PolicyCommand::Check { file } => check(&file),
        PolicyCommand::Test(arguments) => test::execute(&arguments),
        PolicyCommand::Bench { file, rows } => bench(&file, rows),
        PolicyCommand::Simulate(arguments) => simulate::run(&arguments),
        PolicyCommand::Replay(arguments) => replay::run(&arguments),
    }
}

impl PolicyFile {
    fn load(&self) -> anyhow::Result<(Arc<dyn Artifact>, Value)> {
        let config = serde_json::from_str(&self.config).context("--config is not JSON")?;
        let artifact = read(&self.file, self.large)?;
        if let Err(error) = artifact.manifest().check_config(&config) {
            anyhow::bail!("{}: --config is wrong at {error}", self.file.display());
        }
        Ok((artifact, config))
    }
}

/// Loads a policy with the manifest beside it.
fn read(path: &std::path::Path, large: bool) -> anyhow::Result<Arc<dyn Artifact>> {
    let bytes = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let manifest = fs::read_to_string(path.with_extension("toml")).ok();
    let forms = Forms::new(None)?;
    let limits = PolicyLimits {
        large,
        ..PolicyLimits::default()
    };
    Ok(forms.load(
        &path.display().to_string(),
        &bytes,
        manifest.as_deref(),
        limits.resolve(),
    )?)
}

fn check(file: &PolicyFile) -> anyhow::Result<ExitCode> {
    let (artifact, config) = file.load()?;
    let mut out = std::io::stdout().lock();
    let manifest = artifact.manifest();
    writeln!(
        out,
        "{} {} (api {})\ndigest {}",
        manifest.name,
        manifest.version,
        manifest.api,
        artifact.digest()
    )?;
    for (kind, wants) in &manifest.kinds {
        let columns = if wants.columns.is_empty() {
            "all".to_owned()
        } else {
            wants.columns.join(", ")
        };
        writeln!(
            out,
            "  {kind}: carries {} numbers a row; columns: {columns}",
            wants.memo
        )?;
    }
    if !manifest.imports.is_empty() {
        let wanted = serde_json::to_string(&manifest.imports)?;
        for kind in manifest.kinds.keys() {
            writeln!(
                out,
                "  imports: a server that is to use it needs `{kind} = {wanted}` under [policies.grants]"
            )?;
        }
    }
    match conformance::check(&*artifact, &config, CHECK_VECTORS) {
        Ok(()) => {
            writeln!(out, "keeps every rule on {CHECK_VECTORS} vectors a kind")?;
            let cases = test::beside(&file.file);
            if cases.exists() {
                writeln!(
                    out,
                    "has cases: lockgate policy test {}",
                    file.file.display()
                )?;
            } else {
                writeln!(out, "has no cases: {} is not there", cases.display())?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(broken) => {
            writeln!(out, "breaks a rule: {broken}")?;
            Ok(ExitCode::from(1))
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts for a person to read")]
fn bench(file: &PolicyFile, rows: usize) -> anyhow::Result<ExitCode> {
    let (artifact, config) = file.load()?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:<9} {:>12} {:>10} {:>10} {:>11} {:>9}",
        "kind", "decisions/s", "p50 µs", "p99 µs", "steps/row", "memory"
    )?;
    for kind in artifact
        .manifest()
        .kinds
        .keys()
        .copied()
        .filter(|kind| *kind != Kind::Auth)
    {
        let projection = Projection::new(artifact.manifest(), kind);
        let Some(full) = repeated(kind, rows) else {
            continue;
        };
        let mut asked = conformance::empty();
        projection.apply(&full, &mut asked);
        asked.memo = vec![f64::NAN; projection.memo() * full.row_count];
        let mut policy = artifact.instantiate(&config)?;
        let (mut answer, mut times, mut steps, mut memory) = (Answer::default(), Vec::new(), 0, 0);
        let began = Instant::now();
        while times.len() < 20 || (began.elapsed().as_secs() < 2 && times.len() < 5000) {
            let call = Instant::now();
            let spent = policy.decide(kind, &asked, &mut answer)?;
            times.push(call.elapsed().as_secs_f64());
            if let Some(refusal) = answer.refused.first() {
                anyhow::bail!("{kind}, row {}: {}", refusal.row, refusal.fault);
            }
            asked.memo.clone_from(&answer.memo);
            (steps, memory) = (spent.steps, spent.memory_bytes.max(memory));
        }
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize] * 1e6;
        let rate = full.row_count as f64 / (at(0.5) / 1e6);
        let per_row = steps as f64 / full.row_count as f64;
        writeln!(
            out,
            "{kind:<9} {rate:>12.0} {:>10.1} {:>10.1} {per_row:>11.1} {:>6} kB",
            at(0.5),
            at(0.99),
            memory / 1024
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A batch of so many rows, made of the ordinary vectors.
fn repeated(kind: Kind, rows: usize) -> Option<lockgate_policy::Batch> {
    let vectors = conformance::vectors(kind, 30, 1);
    let mut batch = vectors
        .into_iter()
        .find(|batch| batch.row_count > 0 && batch.rung_count > 2)?;
    if kind != Kind::Ladder {
        let width = batch.rows.len() / batch.row_count;
        let own = batch.rows.clone();
        batch.rows = own.into_iter().cycle().take(width * rows).collect();
        batch.row_count = rows;
    }
    Some(batch)
}

/// Vectors a kind that `check` tries.
const CHECK_VECTORS: usize = 300;
