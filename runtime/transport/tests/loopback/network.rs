//! A network of a test's own, for the kernel's shaper and filter: the test runs itself again in a fresh namespace that
//! nobody else sees and that is gone when it ends.

use std::process::Command;

/// Set inside the namespace.
const INSIDE: &str = "LOCKGATE_TEST_NETWORK";

/// Runs a script; it must succeed.
pub(crate) fn shell(script: &str) {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
}

/// Runs the test of this name inside a namespace, or says that this is where it is already.
pub(crate) fn inside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        shell("ip link set lo up");
        return true;
    }
    let allowed = |flags: &str| {
        let mut probe = Command::new("unshare");
        probe
            .args([flags, "true"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let flags = ["-n", "-rn"].into_iter().find(|flags| allowed(flags)).expect(
        "this test needs a network namespace of its own: run it as root, or where `unshare -rn true` works",
    );
    let status = Command::new("unshare")
        .arg(flags)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "inside its own network the test failed");
    false
}
