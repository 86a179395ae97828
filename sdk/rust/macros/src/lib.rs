//! `#[policy]`: makes a plain function a policy. Read through `lockgate_sdk`.

use std::{fmt::Write, fs, path::Path};

use proc_macro::{TokenStream, TokenTree};

/// Exports a function as the policy of a kind, and puts the manifest of `plugin.toml` into the component.
///
/// `#[policy(KIND)]` or `#[policy(KIND, config = Type)]`, where KIND is `abr`, `optimize`, `score`, `ladder` or `auth`.
/// The function stays as it is and can be called by tests.
#[proc_macro_attribute]
pub fn policy(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let glue = function_name(&item).and_then(|function| {
        let text = arguments.to_string();
        let (kind, config) = match text.split_once(',') {
            None => (text.trim(), "()"),
            Some((kind, rest)) => {
                let config = rest.trim().strip_prefix("config").unwrap_or_default();
                let config = config.trim_start().strip_prefix('=');
                let what = "after the kind there may stand `config = Type`";
                (kind.trim(), config.ok_or_else(|| what.to_owned())?)
            }
        };
        glue(config.trim(), &[(kind.to_owned(), function)])
    });
    item.into_iter().chain(tokens(glue)).collect()
}

/// Exports functions as the policies of several kinds: `policies!(config = Type, abr = recommend, score = grade)`.
#[proc_macro]
pub fn policies(arguments: TokenStream) -> TokenStream {
    let text = arguments.to_string();
    let mut config = "()".to_owned();
    let mut kinds = Vec::new();
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        match part.split_once('=') {
            Some((key, value)) if key.trim() == "config" => value.trim().clone_into(&mut config),
            Some((kind, function)) => {
                kinds.push((kind.trim().to_owned(), function.trim().to_owned()));
            }
            None => return tokens(Err(format!("{part}: KIND = FUNCTION is wanted"))),
        }
    }
    tokens(glue(&config, &kinds))
}

fn tokens(glue: Result<String, String>) -> TokenStream {
    let text = glue.unwrap_or_else(|error| format!("::core::compile_error!({error:?});"));
    text.parse().unwrap_or_else(|error| {
        let text = format!("::core::compile_error!(\"#[policy]: {error}\");");
        text.parse().unwrap_or_default()
    })
}

fn function_name(item: &TokenStream) -> Result<String, String> {
    let mut words = item.clone().into_iter();
    while let Some(word) = words.next() {
        if let (TokenTree::Ident(word), Some(TokenTree::Ident(name))) =
            (&word, words.clone().next())
            && word.to_string() == "fn"
        {
            return Ok(name.to_string());
        }
    }
    Err("#[policy] stands on a function".to_owned())
}

/// The exports and the manifest, as source text.
fn glue(config: &str, kinds: &[(String, String)]) -> Result<String, String> {
    let root = std::env::var("CARGO_MANIFEST_DIR").map_err(|error| error.to_string())?;
    let manifest = read_manifest(&Path::new(&root).join("plugin.toml"))?;
    let json = manifest.to_string();
    let mut out = String::from("const _: () = {");
    // Named so that a change of the file builds the plugin anew.
    out.push_str(
        "const _: &[u8] = include_bytes!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/plugin.toml\"));",
    );
    let (bytes, length) = (byte_string(&json), json.len());
    let _ = write!(
        out,
        "#[cfg(target_arch = \"wasm32\")] #[used] #[unsafe(link_section = \"lockgate:manifest\")]\
         static MANIFEST: [u8; {length}] = *{bytes};"
    );
    let _ = write!(out, "::lockgate_sdk::__lifecycle!({config});");
    let claimed = manifest["kinds"].as_object();
    for (kind, function) in kinds {
        if !KINDS.contains(&kind.as_str()) {
            return Err(format!(
                "{kind:?} is no kind of policy; there are {KINDS:?}"
            ));
        }
        let wants = claimed
            .and_then(|claimed| claimed.get(kind))
            .ok_or_else(|| format!("plugin.toml has no [kinds.{kind}]"))?;
        let names = |key: &str| {
            wants
                .get(key)
                .map_or_else(|| "[]".to_owned(), ToString::to_string)
        };
        let (columns, rungs) = (names("columns"), names("rung_columns"));
        let memo = wants.get("memo").and_then(serde_json::Value::as_u64);
        let memo = memo.unwrap_or(0);
        let _ = write!(
            out,
            "::lockgate_sdk::__{kind}!({config}, {function}, &{columns}, &{rungs}, {memo});"
        );
    }
    out.push_str("};");
    Ok(out)
}

fn read_manifest(path: &Path) -> Result<serde_json::Value, String> {
    let fail = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    let text = fs::read_to_string(path).map_err(|error| fail(&error))?;
    let table: toml::Table = text.parse().map_err(|error| fail(&error))?;
    serde_json::to_value(table).map_err(|error| fail(&error))
}

fn byte_string(text: &str) -> String {
    let escaped: String = text
        .bytes()
        .flat_map(std::ascii::escape_default)
        .map(char::from)
        .collect();
    format!("b\"{escaped}\"")
}

const KINDS: &[&str] = &["abr", "optimize", "score", "ladder", "auth"];
