//! The names a peer is given for TURN are good at a real TURN server (coturn), and only while they last.

use std::{
    net::UdpSocket,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

use hmac::{Hmac, Mac as _};
use hyper::header;
use sha1::Sha1;

use crate::{
    refused::OFFER,
    support::{Server, until},
};

const SECRET: &str = "what both servers know";

pub(crate) struct Coturn {
    child: Child,
    pub(crate) port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Coturn {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Coturn {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Free a moment ago: only this machine's tests take ports here.
        let port = UdpSocket::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .expect("a port")
            .port();
        let child = Command::new("turnserver")
            .args([
                "-n",
                "--no-cli",
                "--no-tls",
                "--no-dtls",
                "--log-file=stdout",
            ])
            .args(["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"])
            .args([
                "--allow-loopback-peers",
                "--use-auth-secret",
                "--realm=test",
            ])
            .arg(format!("--listening-port={port}"))
            .arg(format!("--static-auth-secret={SECRET}"))
            .arg(format!("--pidfile={}", folder.path().join("pid").display()))
            .arg(format!("--userdb={}", folder.path().join("db").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("coturn is installed by `make test`");
        let coturn = Self {
            child,
            port,
            _folder: folder,
        };
        until("the TURN server", Duration::from_secs(20), || async {
            let listens = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
            listens.is_ok().then_some(())
        })
        .await;
        coturn
    }

    /// Whether the name gets a relay, and what is sent through it comes out.
    async fn relays_for(&self, username: &str, credential: &str) -> bool {
        let client = tokio::process::Command::new("turnutils_uclient")
            .args([
                "-u",
                username,
                "-w",
                credential,
                "-p",
                &self.port.to_string(),
            ])
            .args(["-y", "-c", "-n", "1", "-m", "1", "127.0.0.1"])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = client.await.expect("coturn is installed by `make test`");
        let said = String::from_utf8_lossy(&output.stdout);
        let refused = said.contains("Cannot complete Allocation");
        assert_eq!(output.status.success(), !refused, "{said}");
        assert!(refused || said.contains("Total lost packets 0 "), "{said}");
        !refused
    }
}

/// A parameter of a `Link` that quotes nothing inside.
fn parameter<'a>(link: &'a str, name: &str) -> &'a str {
    let (_, rest) = link
        .split_once(&format!("; {name}=\""))
        .unwrap_or_else(|| panic!("no {name} in {link}"));
    rest.split('"').next().unwrap_or_default()
}

fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("a clock after 1970").as_secs()
}

#[tokio::test]
async fn a_peers_name_gets_it_a_relay_for_as_long_as_is_configured() {
    let coturn = Coturn::start().await;
    // The test server's own configuration ends within [webrtc].
    let servers = format!(
        "ice_servers = [{{ url = \"turn:127.0.0.1:{}\", secret = \"{SECRET}\", ttl_s = 600 }}]\n",
        coturn.port
    );
    let server = Server::start(&servers, &[]).await;
    let before = now_s();
    let created = server.offer("/whip/live", OFFER).await;
    let after = now_s();
    assert_eq!(created.status, 201);
    let link = created.header(header::LINK);
    let (username, credential) = (parameter(link, "username"), parameter(link, "credential"));
    let (end, user) = username.split_once(':').expect("an end and a user");
    let end: u64 = end.parse().expect("the end, in s since 1970");
    assert_eq!(user, "lockgate");
    assert!((before + 600..=after + 600).contains(&end), "{end}");

    assert!(coturn.relays_for(username, credential).await);
    // The same server refuses one that is made up, and one that was good.
    assert!(
        !coturn
            .relays_for(&format!("{}:lockgate", end + 1), credential)
            .await
    );
    let old = format!("{}:lockgate", before - 600);
    let mac = Hmac::<Sha1>::new_from_slice(SECRET.as_bytes()).expect("any length");
    let mac = mac.chain_update(&old).finalize().into_bytes();
    let password = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, mac);
    assert!(!coturn.relays_for(&old, &password).await);
}

#[tokio::test]
async fn an_ice_server_that_cannot_be_is_named_at_the_start() {
    let cases = [
        ("turn.example.org", "no scheme"),
        ("http://turn.example.org", "scheme is none of"),
        ("turn://turn.example.org", "after the scheme comes a host"),
        ("turn:turn.example.org", "needs a username"),
        ("turn:t\", credential = \"c", "no username"),
        ("turn:t\", username = \"u", "neither credential nor secret"),
        (
            "turn:t\", secret = \"s\", credential = \"c",
            "give one of both",
        ),
        ("stun:t\", secret = \"s", "only TURN"),
    ];
    for (server, expected) in cases {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Should it be taken after all, the server ends at an address that is not this machine's.
        let config = format!(
            "[http]\nlisten = \"192.0.2.1:1\"\n[webrtc]\nice_servers = [{{ url = \"{server}\" }}]\n"
        );
        std::fs::write(folder.path().join("lockgate.toml"), config).expect("the file is written");
        let output = crate::support::lockgate(folder.path())
            .args(["serve", "--config", "lockgate.toml"])
            .output()
            .expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains(expected),
            "{server}: {said}"
        );
        assert!(said.contains("webrtc.ice_servers"), "{said}");
    }
}
