//! `lockgate sessions`: the records of sessions out of and into a store that no server has open.

use std::{
    fs::File,
    io::{BufWriter, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use clap::Subcommand;
use lockgate_ports::Records;
use lockgate_session::{
    History,
    history::{Query, read_lines},
};
use lockgate_store::Store;

use crate::cli::ConfigArgs;

/// What is to be done with the records of sessions.
#[derive(Subcommand)]
pub(crate) enum SessionsCommand {
    /// Writes all records, oldest first, a line of JSON each. Of a running server: GET /api/sessions/export.
    Export {
        #[command(flatten)]
        config: ConfigArgs,
        /// The file, written over; standard output if absent.
        file: Option<PathBuf>,
    },
    /// Takes in the lines of an export; exit code 1 if one of them is bad, and then none is taken. Sent again it changes
    /// nothing. Into a running server: POST /api/sessions/import.
    Import {
        #[command(flatten)]
        config: ConfigArgs,
        /// The file; `-` reads standard input.
        file: PathBuf,
    },
}

pub(crate) fn execute(command: SessionsCommand) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match command {
        SessionsCommand::Export { config, file } => {
            runtime.block_on(export(&config, file.as_deref()))
        }
        SessionsCommand::Import { config, file } => runtime.block_on(import(&config, &file)),
    }
}

async fn open(config: &ConfigArgs) -> anyhow::Result<Arc<History>> {
    let config = config.load()?.store;
    let folder = &config.path;
    anyhow::ensure!(
        folder.is_dir(),
        "{}: there is no such folder; store.path names it",
        folder.display()
    );
    let store = Store::open(folder).context(
        "a running server gives and takes records itself: /api/sessions/export and …/import",
    )?;
    let records: Arc<dyn Records> = Arc::new(store);
    Ok(History::open(records, config.keep()).await)
}

async fn export(config: &ConfigArgs, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let history = open(config).await?;
    let mut out: Box<dyn Write> = match file {
        Some(path) => Box::new(
            File::create(path).with_context(|| format!("{} cannot be written", path.display()))?,
        ),
        None => Box::new(std::io::stdout()),
    };
    let mut out = BufWriter::new(&mut out);
    let query = Query::default().oldest_first(PAGE);
    let mut page = history.list(query.clone()).await?;
    loop {
        for session in &page.sessions {
            serde_json::to_writer(&mut out, &session.record)?;
            writeln!(out)?;
        }
        let Some(cursor) = page.next else { break };
        page = history.list(query.clone().after(cursor)).await?;
    }
    out.flush().context("the records cannot be written")?;
    Ok(ExitCode::SUCCESS)
}

async fn import(config: &ConfigArgs, file: &Path) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    if file.as_os_str() == "-" {
        std::io::stdin().read_to_end(&mut text)?;
    } else {
        File::open(file)
            .and_then(|mut file| file.read_to_end(&mut text))
            .with_context(|| format!("{} cannot be read", file.display()))?;
    }
    let records = match read_lines(&text) {
        Ok(records) => records,
        Err(bad) => {
            for bad in &bad {
                let name = file.display();
                writeln!(std::io::stderr(), "{name}:{}: {}", bad.line, bad.error)?;
            }
            anyhow::bail!(
                "nothing was imported; take away or mend the bad lines, {} of them are named",
                bad.len()
            );
        }
    };
    let imported = open(config).await?.import(records).await?;
    writeln!(
        std::io::stdout(),
        "{} added, {} replaced, {} unchanged, {} older than store.keep_days and not taken",
        imported.added,
        imported.replaced,
        imported.unchanged,
        imported.too_old
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Records read at a time.
const PAGE: usize = 500;
