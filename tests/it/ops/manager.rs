//! systemd's side: a socket for notifications, and a watchdog that is fed only while everything works.

use std::{
    os::unix::net::UnixDatagram,
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        ptrace,
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};

use crate::support::{Server, until};

/// A service manager as a service sees it.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    _folder: tempfile::TempDir,
    heard: Vec<String>,
    /// What was heard before has been looked at.
    at: usize,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_nonblocking(true).expect("a socket can be asked");
        Self {
            socket,
            path,
            _folder: folder,
            heard: Vec::new(),
            at: 0,
        }
    }

    async fn server(&self, watchdog: Duration) -> Server {
        let micros = watchdog.as_micros().to_string();
        let variables = [
            ("NOTIFY_SOCKET", self.path.to_str().expect("a path is text")),
            ("WATCHDOG_USEC", &micros),
        ];
        Server::start_in("", &["--demo"], &variables).await
    }

    /// Takes what has come, line by line.
    fn listen(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(len) = self.socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            self.heard.extend(text.lines().map(str::to_owned));
        }
    }

    /// Waits for a line that begins so, after those that were waited for before.
    async fn hears(&mut self, beginning: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            self.listen();
            let mut new = self.heard[self.at..].iter();
            if let Some(found) = new.position(|line| line.starts_with(beginning)) {
                self.at += found + 1;
                return self.heard[self.at - 1].clone();
            }
            assert!(
                Instant::now() < deadline,
                "no {beginning}: {:?}",
                self.heard
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The thread of a process with this name.
fn thread(process: u32, name: &str) -> Pid {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("the process runs");
    let thread = tasks.flatten().find(|task| {
        let comm = std::fs::read_to_string(task.path().join("comm"));
        comm.is_ok_and(|comm| comm.trim() == name)
    });
    let id = thread.expect("there is such a thread").file_name();
    Pid::from_raw(id.to_string_lossy().parse().expect("a number"))
}

#[tokio::test]
async fn the_manager_is_told_of_each_step() {
    let mut manager = Manager::new();
    let mut server = manager.server(Duration::from_secs(20)).await;
    manager.hears("READY=1").await;
    // In any order.
    let begun = manager.at;
    manager
        .hears("STATUS=broadcasts: 1, publishers and WebRTC viewers: 0")
        .await;
    manager.at = begun;
    manager.hears("WATCHDOG=1").await;
    server.signal("HUP");
    manager.hears("RELOADING=1").await;
    // In the same message, as reloads want it.
    let clock = manager.hears("MONOTONIC_USEC=").await;
    let micros = clock.strip_prefix("MONOTONIC_USEC=").expect("it begins so");
    assert!(
        micros.parse::<u64>().is_ok_and(|micros| micros > 0),
        "{clock}"
    );
    assert_eq!(manager.heard[manager.at - 2], "RELOADING=1");
    manager.hears("READY=1").await;
    server.signal("TERM");
    manager.hears("STOPPING=1").await;
    assert_eq!(server.down().await, Some(0));
}

#[tokio::test]
async fn a_part_that_hangs_is_not_fed_for_and_shows() {
    let mut manager = Manager::new();
    // Fed every 100 ms.
    let server = manager.server(Duration::from_millis(300)).await;
    server.running("demo").await;
    manager.hears("WATCHDOG=1").await;
    let policies = thread(server.pid(), "policies");
    // Stops this thread alone: the process and all its other threads go on.
    ptrace::seize(policies, ptrace::Options::empty()).expect("we may trace our child");
    ptrace::interrupt(policies).expect("it stops");
    waitpid(policies, Some(WaitPidFlag::__WALL)).expect("it has stopped");
    manager.hears("STATUS=the policies do not answer").await;
    let alive = server.get("/livez").await;
    assert!(alive.problem(503).contains("policies"), "{}", alive.text());
    server.get("/readyz").await.problem(503);
    // Not once more, however often it is looked.
    tokio::time::sleep(Duration::from_secs(2)).await;
    manager.listen();
    let since = &manager.heard[manager.at..];
    assert!(!since.contains(&"WATCHDOG=1".to_owned()), "{since:?}");
    ptrace::detach(policies, None).expect("it goes on");
    manager.hears("WATCHDOG=1").await;
    until("health", Duration::from_secs(20), || async {
        (server.get("/livez").await.status == 200).then_some(())
    })
    .await;
}

#[test]
fn the_unit_is_one_that_systemd_takes() {
    let unit =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/systemd/lockgate.service");
    let text = std::fs::read_to_string(&unit).expect("the unit is there");
    for line in [
        "Type=notify\n",
        "WatchdogSec=",
        "DynamicUser=yes",
        "NoNewPrivileges=yes",
    ] {
        assert!(text.contains(line), "{line}");
    }
    // What it starts is to exist, which is looked at too.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = env!("CARGO_BIN_EXE_lockgate");
    let here = folder.path().join("lockgate.service");
    std::fs::write(&here, text.replace("/usr/local/bin/lockgate", program)).expect("a file");
    match std::process::Command::new("systemd-analyze")
        .arg("verify")
        .arg(&here)
        .output()
    {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let ours: Vec<&str> = said
                .lines()
                .filter(|line| line.contains("lockgate.service"))
                .collect();
            assert!(output.status.success() && ours.is_empty(), "{said}");
        }
        // A system without systemd has nobody to read it.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
    }
}
