//! `pages`: what a first visit costs in a real browser, in bytes and until the first picture.

use std::path::PathBuf;

use serde_json::Value;

use crate::{process, table::Report};

pub(crate) async fn measure() -> anyhow::Result<Vec<Report>> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../browser/first-picture.js");
    let mut command = process::command("node");
    command.arg(script).env("LOCKGATE_BIN", process::server()?);
    let seen: Value = serde_json::from_str(&process::output(&mut command).await?)?;
    let ms = |by: &str, key: &str| seen[by][key].as_f64().unwrap_or(f64::NAN);
    let pictures = Report {
        title: "First picture in Chromium",
        notes: vec![format!(
            "from the navigation, nothing cached, on the machine of the server; the rung runs already; {} visits each",
            seen["whep"]["visits"]
        )],
        head: vec!["", "median ms", "most ms"],
        rows: [("WHEP", "whep"), ("LL-HLS", "hls")]
            .map(|(name, by)| {
                let figure = |key| format!("{:.0}", ms(by, key));
                vec![name.to_owned(), figure("median_ms"), figure("most_ms")]
            })
            .into(),
        figures: seen.clone(),
    };
    let pages = seen["weight_bytes"].as_object();
    let weight = Report {
        title: "Weight of the pages",
        notes: vec!["on the wire with headers; hls.js and its worker only by HLS".to_owned()],
        head: vec!["", "kB"],
        rows: pages
            .into_iter()
            .flatten()
            .map(|(page, bytes)| {
                let kilobytes = bytes.as_f64().unwrap_or(f64::NAN) / 1000.0;
                vec![page.clone(), format!("{kilobytes:.1}")]
            })
            .collect(),
        figures: Value::Null,
    };
    Ok(vec![pictures, weight])
}
