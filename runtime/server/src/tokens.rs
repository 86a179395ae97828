//! `lockgate token`: makes and explains access tokens, and hashes passwords.

use std::{
    io::{Read as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use lockgate_api::{
    Scope, Scopes,
    door::hash_password,
    token::{self, Algorithm, Signer},
};

use crate::{
    cli::{ConfigArgs, duration, unix_now},
    door::{self, Keys},
};

/// What is to be done with tokens.
#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Prints a new token.
    Mint(Mint),
    /// Says what a token allows, and whether this server would take it; exit code 1 if not.
    Inspect {
        #[command(flatten)]
        config: ConfigArgs,
        /// The token; `-` reads it from standard input.
        token: String,
    },
    /// Reads a password from standard input and prints its Argon2 hash, for `[[auth.users]]`.
    Hash,
}

/// A new token.
#[derive(Args)]
pub(crate) struct Mint {
    #[command(flatten)]
    config: ConfigArgs,
    /// What it allows: publish:NAME, play:NAME, join:NAME (NAME may end in '*') or admin. May be given again.
    #[arg(long, required = true, value_name = "SCOPE")]
    scope: Vec<Scope>,
    /// How long it is good: a number with s, m, h or d.
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = duration)]
    ttl: Duration,
    /// From when on it is good: so long after now.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    not_before: Option<Duration>,
    /// Who is given it.
    #[arg(long, value_name = "NAME")]
    sub: Option<String>,
    /// Who makes it; the first of `auth.issuer` if absent.
    #[arg(long, value_name = "ISSUER")]
    iss: Option<String>,
    /// Whom it is for; the first of `auth.audience` if absent.
    #[arg(long, value_name = "AUDIENCE")]
    aud: Option<String>,
    /// Signs with this private key in PEM instead of the server's secret.
    #[arg(long, value_name = "FILE", requires = "alg")]
    key: Option<PathBuf>,
    /// For which algorithm that key is, such as ES256 or RS256.
    #[arg(long, value_name = "ALGORITHM")]
    alg: Option<Algorithm>,
    /// The id of the key, as the token's header is to name it.
    #[arg(long, value_name = "ID")]
    kid: Option<String>,
}

pub(crate) fn execute(command: TokenCommand) -> anyhow::Result<ExitCode> {
    match command {
        TokenCommand::Mint(wanted) => mint(wanted),
        TokenCommand::Inspect { config, token } => inspect(&config, token),
        TokenCommand::Hash => hash(),
    }
}

fn mint(wanted: Mint) -> anyhow::Result<ExitCode> {
    let config = wanted.config.load()?;
    let mut wish = door::wish(&config, Scopes::new(wanted.scope), wanted.ttl);
    wish.subject = wanted.sub;
    wish.not_before = wanted.not_before;
    wish.issuer = wanted.iss.or(wish.issuer);
    wish.audience = wanted.aud.or(wish.audience);
    let signer = match (&wanted.key, wanted.alg) {
        (Some(path), Some(algorithm)) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("{} cannot be read", path.display()))?;
            Signer::file(wanted.kid, algorithm, &text)
                .with_context(|| path.display().to_string())?
        }
        _ => {
            anyhow::ensure!(
                wanted.kid.is_none() && wanted.alg.is_none(),
                "--kid and --alg say which --key it is; give the file, too"
            );
            Keys::load(&config, None)?.signer
        }
    };
    let token = token::mint(&signer, &wish, unix_now())?;
    writeln!(std::io::stdout(), "{token}")?;
    Ok(ExitCode::SUCCESS)
}

fn inspect(config: &ConfigArgs, mut token: String) -> anyhow::Result<ExitCode> {
    if token == "-" {
        token.clear();
        std::io::stdin().read_to_string(&mut token)?;
    }
    let keys = Keys::load(&config.load()?, None)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let claims = runtime.block_on(keys.verifier.verify(token.trim()))?;
    let left = claims.exp.saturating_sub(unix_now());
    let mut out = std::io::stdout();
    writeln!(out, "good for {left} s more\nscope: {}", claims.scope)?;
    for (name, value) in claims.all.iter().filter(|(name, _)| *name != "scope") {
        writeln!(out, "{name}: {value}")?;
    }
    writeln!(
        out,
        "whether it was revoked, the running server knows: GET /api/revocations"
    )?;
    Ok(ExitCode::SUCCESS)
}

fn hash() -> anyhow::Result<ExitCode> {
    let mut password = String::new();
    std::io::stdin()
        .read_line(&mut password)
        .context("the password cannot be read from standard input")?;
    let password = password.trim_end_matches(['\r', '\n']);
    anyhow::ensure!(!password.is_empty(), "the password is empty");
    let hash = hash_password(password).context("the password is longer than 1024 bytes")?;
    writeln!(std::io::stdout(), "{hash}")?;
    Ok(ExitCode::SUCCESS)
}
