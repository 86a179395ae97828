//! Whether a manifest can be true: what it names exists, once, and in a form that others can rely on.

use std::collections::HashSet;

use super::{API, MEMO_MAX, Manifest, Wants};
use crate::{
    Kind,
    column::{self, Column},
    schema,
};

/// What is wrong with a manifest first, as `KEY is …; what to do`.
pub(super) fn check(manifest: &Manifest) -> Result<(), String> {
    api(&manifest.api)?;
    name(&manifest.name)?;
    version(&manifest.version)?;
    if manifest.kinds.is_empty() {
        return Err("kinds name nothing; a policy answers at least one".to_owned());
    }
    for (kind, wants) in &manifest.kinds {
        if *kind == Kind::Auth {
            auth(wants)?;
        } else {
            numbers(*kind, wants)?;
        }
        budget(*kind, wants)?;
        reasons(*kind, wants)?;
    }
    if let Some(twice) = repeated(&manifest.imports) {
        return Err(format!("imports name {twice} twice; name it once"));
    }
    match &manifest.config_schema {
        Some(schema) => {
            schema::check(schema).map_err(|what| format!("config_schema is no good: {what}"))
        }
        None => Ok(()),
    }
}

/// The contract of this host, or one of its corrections.
fn api(api: &str) -> Result<(), String> {
    let parts: Vec<Option<u64>> = api.split('.').map(|part| part.parse().ok()).collect();
    let own: Vec<Option<u64>> = API.split('.').map(|part| part.parse().ok()).collect();
    match parts.as_slice() {
        [Some(_), Some(_)] | [Some(_), Some(_), Some(_)] if parts[..2] == own[..] => Ok(()),
        [Some(_), Some(_)] | [Some(_), Some(_), Some(_)] => Err(format!(
            "api is {api:?}: it is written for the contract {api}, and this host speaks {API}. Build it with the SDK \
             of {API}, or give it to a Lockgate that speaks {api}"
        )),
        _ => Err(format!(
            "api is {api:?}; it is MAJOR.MINOR of the contract, and this host speaks {API}"
        )),
    }
}

/// A name stands in logs, metrics and keys, and says whose carried numbers are whose.
fn name(name: &str) -> Result<(), String> {
    let is_good = (1..=NAME_MAX).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if is_good {
        return Ok(());
    }
    let start: String = name.chars().take(NAME_MAX).collect();
    Err(format!(
        "name is {start:?}; it is 1 to {NAME_MAX} letters, digits, '-', '_' and '.', and begins with a letter or digit"
    ))
}

/// MAJOR.MINOR.PATCH, with what may stand behind it (Semantic Versioning 2.0.0).
fn version(version: &str) -> Result<(), String> {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<&str> = core.split('.').collect();
    let is_number = |part: &&str| {
        (1..=9).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    if version.len() <= NAME_MAX && numbers.len() == 3 && numbers.iter().all(is_number) {
        return Ok(());
    }
    let start: String = version.chars().take(NAME_MAX).collect();
    Err(format!(
        "version is {start:?}; it is MAJOR.MINOR.PATCH, such as 1.2.0"
    ))
}

/// `auth` is asked in words: it gets no rows.
fn auth(wants: &Wants) -> Result<(), String> {
    for (key, is_there) in [
        ("columns", !wants.columns.is_empty()),
        ("rung_columns", !wants.rung_columns.is_empty()),
        ("memo", wants.memo != 0),
        ("reasons", !wants.reasons.is_empty()),
    ] {
        if is_there {
            return Err(format!(
                "kinds.auth.{key} is set, but auth is asked in words: it takes no rows and carries nothing. Remove it"
            ));
        }
    }
    Ok(())
}

fn numbers(kind: Kind, wants: &Wants) -> Result<(), String> {
    if wants.memo > MEMO_MAX {
        return Err(format!(
            "kinds.{kind}.memo is {}; {MEMO_MAX} is the most",
            wants.memo
        ));
    }
    for (key, names, known) in [
        ("columns", &wants.columns, kind.inputs()),
        ("rung_columns", &wants.rung_columns, column::RUNG),
    ] {
        for name in names {
            if !known.iter().any(|column| column.name == name) {
                return Err(format!(
                    "kinds.{kind}.{key} names {name:?}, which does not exist{}",
                    instead(name, known)
                ));
            }
        }
        if let Some(twice) = repeated(names) {
            return Err(format!(
                "kinds.{kind}.{key} names {twice:?} twice; name it once"
            ));
        }
    }
    Ok(())
}

/// The column that may have been meant, or where a column of this name belongs.
fn instead(name: &str, known: &[Column]) -> String {
    for (others, whose) in [
        (column::VIEWER, "a viewer"),
        (column::SOURCE, "the source of ladder"),
        (column::RUNG, "a rung"),
    ] {
        if others.iter().any(|column| column.name == name) {
            return format!(" there: it is a column of {whose}");
        }
    }
    let nearest = known
        .iter()
        .map(|column| (strsim::damerau_levenshtein(name, column.name), column.name))
        .min()
        .filter(|(distance, near)| *distance <= near.len().max(3) / 2);
    nearest.map_or_else(String::new, |(_, near)| format!("; did you mean {near:?}?"))
}

fn budget(kind: Kind, wants: &Wants) -> Result<(), String> {
    for (key, steps) in [
        ("budget", wants.budget),
        ("budget_per_row", wants.budget_per_row),
    ] {
        if steps > BUDGET_MAX {
            return Err(format!(
                "kinds.{kind}.{key} is {steps} steps; {BUDGET_MAX} is the most, and 0 leaves it to the host"
            ));
        }
    }
    Ok(())
}

fn reasons(kind: Kind, wants: &Wants) -> Result<(), String> {
    let reasons = &wants.reasons;
    if reasons.len() > REASONS_MAX {
        let count = reasons.len();
        return Err(format!(
            "kinds.{kind}.reasons are {count}; {REASONS_MAX} is the most"
        ));
    }
    if let Some(at) = reasons
        .iter()
        .position(|reason| !(1..=REASON_BYTES_MAX).contains(&reason.len()))
    {
        return Err(format!(
            "kinds.{kind}.reasons has at {at} a text of {} bytes; 1 to {REASON_BYTES_MAX} are wanted",
            reasons.get(at).map_or(0, String::len)
        ));
    }
    match repeated(reasons) {
        Some(twice) => Err(format!(
            "kinds.{kind}.reasons has {twice:?} twice; a reason has one number"
        )),
        None => Ok(()),
    }
}

fn repeated<T: Eq + std::hash::Hash>(all: &[T]) -> Option<&T> {
    let mut seen = HashSet::new();
    all.iter().find(|one| !seen.insert(*one))
}

/// Bytes of a name or a version.
const NAME_MAX: usize = 64;
/// Steps that anybody could grant: seconds of a core.
const BUDGET_MAX: u64 = 10_000_000_000;
const REASONS_MAX: usize = 1024;
const REASON_BYTES_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::host::Import;

    fn wrong(change: impl FnOnce(&mut Manifest)) -> String {
        let mut manifest = Manifest::plain("test", &[Kind::Abr, Kind::Auth]);
        assert_eq!(manifest.check(), Ok(()));
        change(&mut manifest);
        manifest.check().unwrap_err().to_string()
    }

    fn abr(manifest: &mut Manifest) -> &mut Wants {
        manifest.kinds.entry(Kind::Abr).or_default()
    }

    fn named(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_lie_is_told_with_its_key_and_what_to_do() {
        type Change = fn(&mut Manifest);
        let cases: [(Change, &[&str]); 20] = [
            (|m| m.api = "1.0".to_owned(), &["1.0", "speaks 0.1", "SDK"]),
            (|m| m.api = "0.2".to_owned(), &["speaks 0.1"]),
            (|m| m.api = "new".to_owned(), &["MAJOR.MINOR"]),
            (|m| m.kinds.clear(), &["at least one"]),
            (|m| m.name = String::new(), &["name is", "1 to 64"]),
            (|m| m.name = "a\nb".to_owned(), &["name is \"a\\nb\""]),
            (|m| m.name = "-x".to_owned(), &["begins with"]),
            (|m| m.version = "1".to_owned(), &["MAJOR.MINOR.PATCH"]),
            (|m| m.version = "1.2.x".to_owned(), &["1.2.x"]),
            (|m| abr(m).memo = 65, &["kinds.abr.memo", "64"]),
            (|m| abr(m).columns = named(&["luck"]), &["\"luck\""]),
            (
                |m| abr(m).columns = named(&["bandwith_kbps"]),
                &["did you mean \"bandwidth_kbps\"?"],
            ),
            (
                |m| abr(m).columns = named(&["cpu_budget"]),
                &["the source of ladder"],
            ),
            (
                |m| abr(m).columns = named(&["rtt_ms", "rtt_ms"]),
                &["\"rtt_ms\" twice"],
            ),
            (
                |m| abr(m).rung_columns = named(&["kbps", "kbps"]),
                &["rung_columns names \"kbps\" twice"],
            ),
            (|m| abr(m).reasons = named(&["up", "up"]), &["\"up\" twice"]),
            (
                |m| abr(m).reasons = named(&["up", ""]),
                &["at 1", "0 bytes"],
            ),
            (
                |m| abr(m).budget = u64::MAX,
                &["kinds.abr.budget is", "the most"],
            ),
            (
                |m| m.kinds.entry(Kind::Auth).or_default().memo = 1,
                &["kinds.auth.memo", "in words"],
            ),
            (
                |m| m.imports = vec![Import::Kv, Import::Kv],
                &["host-kv twice"],
            ),
        ];
        for (change, words) in cases {
            let told = wrong(change);
            for word in words {
                assert!(told.contains(word), "{word}: {told}");
            }
        }
        let told = wrong(|m| m.config_schema = Some(json!({ "type": "nmuber" })));
        assert!(
            told.contains("config_schema is no good") && told.contains("nmuber"),
            "{told}"
        );
    }

    #[test]
    fn without_names_it_gets_every_column() {
        let manifest = Manifest::plain("test", &[Kind::Abr]);
        assert_eq!(manifest.columns(Kind::Abr).len(), column::VIEWER.len());
        for version in ["0.1.0", "1.20.3-rc.1", "1.2.3+build.5"] {
            let with = Manifest {
                version: version.to_owned(),
                ..manifest.clone()
            };
            assert_eq!(with.check(), Ok(()), "{version}");
        }
        assert_eq!(
            Manifest {
                version: "12.0.0".to_owned(),
                ..manifest
            }
            .major(),
            12
        );
    }
}
