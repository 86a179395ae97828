//! A full disk: nothing acknowledged is lost, and writing goes on by itself once there is room.

use std::process::Command;

#[test]
fn a_full_disk_costs_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut program = std::env::current_exe().expect("this test is a file");
    program.pop();
    program.pop();
    program.push("examples/full");
    // A disk of 24 MiB, in a mount namespace that ends with the program.
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
        .arg("mount -t tmpfs -o size=24m tmpfs \"$0\" && exec \"$1\" \"$0\"")
        .arg(folder.path())
        .arg(&program)
        .output()
        .expect("unshare is part of the system");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
