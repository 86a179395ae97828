//! `lockgate check`.

use super::lockgate;

/// Runs `lockgate check`; its exit code, and its report.
pub(crate) async fn check_server(arguments: &[&str]) -> (Option<i32>, serde_json::Value) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = tokio::process::Command::from(lockgate(folder.path()));
    let output = command
        .arg("check")
        .args(arguments)
        .arg("--json")
        .output()
        .await
        .expect("the binary runs");
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), report)
}

/// The rules of a report with this outcome.
pub(crate) fn with(report: &serde_json::Value, outcome: &str) -> Vec<String> {
    let findings = report["findings"].as_array().expect("there are findings");
    findings
        .iter()
        .filter(|finding| finding["outcome"] == outcome)
        .map(|finding| finding["rule"].as_str().unwrap_or_default().to_owned())
        .collect()
}
