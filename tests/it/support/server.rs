//! The real binary on ports of its own.

use std::{
    fs,
    io::{Read as _, Write as _},
    ops::Deref,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{http::Http, until};

/// The binary with arguments, in a folder of its own and without our environment's configuration.
pub(crate) fn lockgate(folder: &Path) -> Command {
    in_folder(Command::new(env!("CARGO_BIN_EXE_lockgate")), folder)
}

/// The binary with a disk of so many MiB as `data` in its folder, in a mount namespace of its own, which ends with it.
fn on_small_disk(folder: &Path, mib: u32) -> Command {
    fs::create_dir_all(folder.join("data")).expect("a folder is made");
    let mut command = in_folder(Command::new("unshare"), folder);
    let mount = format!("mount -t tmpfs -o size={mib}m tmpfs data && exec \"$0\" \"$@\"");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", &mount])
        .arg(env!("CARGO_BIN_EXE_lockgate"));
    command
}

fn in_folder(mut command: Command, folder: &Path) -> Command {
    command.current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars() {
        if name.starts_with("LOCKGATE_")
            || [
                "PORT",
                "DEFAULT_QUALITY",
                "MAX_QUALITY",
                "MAX_PARTICIPANTS",
                "STREAM_TIMEOUT",
            ]
            .contains(&name.as_str())
        {
            command.env_remove(name);
        }
    }
    command
}

/// A running server. Dropping it kills it.
pub(crate) struct Server {
    http: Http,
    child: Child,
    folder: tempfile::TempDir,
    /// What it said of itself.
    ready: serde_json::Value,
}

impl Server {
    /// Starts `serve` with a configuration and further arguments, and waits until it is ready.
    pub(crate) async fn start(config: &str, arguments: &[&str]) -> Self {
        Self::start_with(config, arguments, &[]).await
    }

    /// The same with files in its folder.
    pub(crate) async fn start_with(
        config: &str,
        arguments: &[&str],
        files: &[(&str, &str)],
    ) -> Self {
        let config = format!("{HTTP}{WEBRTC}{config}");
        Self::start_as(&config, arguments, files, &[]).await
    }

    /// The same with variables in its environment.
    pub(crate) async fn start_in(
        config: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let config = format!("{HTTP}{WEBRTC}{config}");
        Self::start_as(&config, arguments, &[], variables).await
    }

    /// The same with a configuration that goes on with keys of `[http]`.
    pub(crate) async fn start_secure(
        config: &str,
        arguments: &[&str],
        files: &[(&str, &str)],
    ) -> Self {
        let config = format!("{WEBRTC}{HTTP}{config}");
        Self::start_as(&config, arguments, files, &[]).await
    }

    async fn start_as(
        config: &str,
        arguments: &[&str],
        files: &[(&str, &str)],
        variables: &[(&str, &str)],
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in [("lockgate.toml", config)].iter().chain(files) {
            fs::write(folder.path().join(name), text).expect("a file is written");
        }
        let command = lockgate(folder.path());
        let (child, http, ready) = Self::launch(command, &folder, arguments, variables).await;
        Self {
            http,
            child,
            folder,
            ready,
        }
    }

    /// Starts one whose own files are on a disk of so many MiB.
    pub(crate) async fn start_on_small_disk(mib: u32, config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = format!("{HTTP}{WEBRTC}{config}");
        fs::write(folder.path().join("lockgate.toml"), config).expect("a file is written");
        let command = on_small_disk(folder.path(), mib);
        let (child, http, ready) = Self::launch(command, &folder, &[], &[]).await;
        Self {
            http,
            child,
            folder,
            ready,
        }
    }

    /// Its own files, as it sees them itself.
    pub(crate) fn data(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid()));
        let folder = self.folder.path().join("data");
        let folder = folder.strip_prefix("/").expect("it is absolute");
        root.join(folder)
    }

    /// Kills it as a crash would, and starts another in the same folder.
    pub(crate) async fn crash_and_start_again(&mut self, arguments: &[&str]) {
        self.child.kill().expect("the server runs");
        self.child.wait().expect("the server can be waited for");
        fs::remove_file(self.folder.path().join("ready.json")).expect("it was ready");
        (self.child, self.http, self.ready) =
            Self::launch(lockgate(self.folder.path()), &self.folder, arguments, &[]).await;
    }

    async fn launch(
        mut command: Command,
        folder: &tempfile::TempDir,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> (Child, Http, serde_json::Value) {
        let at = |name: &str| folder.path().join(name);
        let file = |name: &str| fs::File::create(at(name)).expect("a file for the output");
        let mut child = command
            .args(["serve", "--config", "lockgate.toml"])
            .args(UNLIMITED.iter().flat_map(|key| ["--set", key]))
            .args(arguments)
            .envs(variables.iter().copied())
            .env("LOCKGATE_READY_FILE", at("ready.json"))
            // Many tests share few cores; only those about load want to lose a rung over it.
            .env("LOCKGATE__LADDER__SHED", "false")
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .expect("the server starts");
        let ready = until("the server to be ready", Duration::from_secs(30), || {
            let ended = child.try_wait().expect("the server can be waited for");
            let said = || fs::read_to_string(at("stderr")).unwrap_or_default();
            assert!(ended.is_none(), "the server ended at once: {}", said());
            let ready = fs::read(at("ready.json")).ok();
            async move { ready }
        })
        .await;
        let ready: serde_json::Value =
            serde_json::from_slice(&ready).expect("the ready file is JSON");
        let text = |key: &str| {
            ready[key]
                .as_str()
                .expect("the ready file is complete")
                .to_owned()
        };
        let http = Http::new(text("http"), text("token"));
        (child, http, ready)
    }

    /// Where it takes publishers in: `rtmp` or `srt`.
    pub(crate) fn address(&self, protocol: &str) -> String {
        let address = self.ready[protocol].as_str();
        address.expect("the port is configured").to_owned()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Takes a file away.
    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.folder.path().join(name)).expect("the file was there");
    }

    /// What it printed for a person.
    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(self.folder.path().join("stdout")).expect("standard output was kept")
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).expect("the log was kept")
    }

    /// The stream as the API shows it.
    pub(crate) async fn stream(&self, name: &str) -> serde_json::Value {
        let answer = self.get(&format!("/api/streams/{name}")).await;
        if answer.status.is_success() {
            answer.json()
        } else {
            serde_json::Value::Null
        }
    }

    /// Waits until the stream's ladder runs; its worker's process id.
    pub(crate) async fn running(&self, name: &str) -> u64 {
        until("a running ladder", Duration::from_secs(30), || async {
            let ladder = &self.stream(name).await["ladder"];
            (ladder["state"] == "running")
                .then(|| ladder["worker_pid"].as_u64())
                .flatten()
        })
        .await
    }

    /// The same where nobody may look without a token.
    pub(crate) async fn running_as(&self, name: &str) {
        until("a running ladder", Duration::from_secs(30), || async {
            let path = format!("/api/streams/{name}");
            let answer = self.call(hyper::Method::GET, &path).await;
            (answer.status.is_success() && answer.json()["ladder"]["state"] == "running")
                .then_some(())
        })
        .await;
    }

    /// A token made by the command line from the server's own secret.
    pub(crate) fn mint(&self, scope: &str) -> String {
        self.mint_all(scope)
    }

    /// The same with several scopes, separated by spaces.
    pub(crate) fn mint_all(&self, scopes: &str) -> String {
        let scopes = scopes.split(' ').flat_map(|scope| ["--scope", scope]);
        let output = lockgate(self.folder.path())
            .args(["token", "mint", "--config", "lockgate.toml"])
            .args(scopes)
            .output()
            .expect("the binary runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The folder it runs in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file in the server's folder, written whole.
    pub(crate) fn write(&self, name: &str, text: &str) {
        self.write_bytes(name, text.as_bytes());
    }

    /// The same with any bytes.
    pub(crate) fn write_bytes(&self, name: &str, bytes: &[u8]) {
        let path = self.folder.path().join(name);
        let draft = path.with_extension("draft");
        fs::write(&draft, bytes)
            .and_then(|()| fs::rename(&draft, &path))
            .expect("the file is written");
    }

    /// Sends it a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }

    /// Asks it to go down, and returns its exit code.
    pub(crate) async fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.down().await
    }

    /// Whether it has ended, and with which exit code.
    pub(crate) fn ended(&mut self) -> Option<Option<i32>> {
        let status = self.child.try_wait().expect("the server can be waited for");
        status.map(|status| status.code())
    }

    /// Waits until it has gone down, and returns its exit code.
    pub(crate) async fn down(&mut self) -> Option<i32> {
        until("the server to go down", Duration::from_secs(60), || {
            let status = self.child.try_wait().expect("the server can be waited for");
            async move { status }
        })
        .await
        .code()
    }
}

#[async_trait::async_trait]
impl lockgate_tests_peer::Server for Server {
    async fn offer(&self, path: &str, sdp: String) -> anyhow::Result<(String, String)> {
        lockgate_tests_peer::Server::offer(&self.http, path, sdp).await
    }

    async fn end(&self, session: &str) -> anyhow::Result<()> {
        self.http.end(session).await
    }
}

impl Deref for Server {
    type Target = Http;

    fn deref(&self) -> &Http {
        &self.http
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, as asked or not.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let mut log = String::new();
            if let Ok(mut file) = fs::File::open(self.folder.path().join("stderr")) {
                drop(file.read_to_string(&mut log));
            }
            let skipped = log.lines().count().saturating_sub(60);
            let tail: Vec<&str> = log.lines().skip(skipped).collect();
            drop(writeln!(
                std::io::stderr(),
                "--- the server's log ends:\n{}",
                tail.join("\n")
            ));
        }
    }
}

const HTTP: &str = "[http]\nlisten = \"127.0.0.1:0\"\n";
const WEBRTC: &str = "[webrtc]\nudp_listen = \"127.0.0.1:0\"\n";

/// Tests ask more often than anybody, and wait for nobody to leave. Those of the limits and of going down set their own.
pub(crate) const UNLIMITED: [&str; 7] = [
    "server.drain_s=0",
    "rate_limit.connects=0",
    "rate_limit.requests=0",
    "rate_limit.admin_requests=0",
    "rate_limit.joins=0",
    "rate_limit.signals=0",
    "rate_limit.failed_logins=0",
];
