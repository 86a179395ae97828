//! HTTPS, as curl sees it.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::support::{Server, until};

/// A root, and certificates by it.
struct Root {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

impl Root {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key is made");
        let pem = params.self_signed(&key).expect("a root is made").pem();
        Self { params, key, pem }
    }

    /// Certificate and key for a name.
    fn certify(&self, name: &str, common: &str) -> (String, String) {
        let names = vec![name.to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("good names");
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, common);
        let key = KeyPair::generate().expect("a key is made");
        let issuer = Issuer::from_params(&self.params, &self.key);
        let made = params
            .signed_by(&key, &issuer)
            .expect("a certificate is made");
        (made.pem(), key.serialize_pem())
    }
}

/// What curl says of a URL, with more arguments: its output, or its exit code.
async fn curl(folder: &Path, arguments: &[&str]) -> Result<String, i32> {
    let output = tokio::process::Command::new("curl")
        .current_dir(folder)
        .args(["--silent", "--show-error", "--max-time", "10"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .expect("curl is installed by `make test`");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(output.status.code().unwrap_or(-1))
    }
}

const SEEN: &str = "%{http_version} %{http_code} %header{strict-transport-security}";

#[tokio::test]
async fn a_certificate_in_files_is_served_and_renewed_while_serving() {
    let root = Root::new();
    let (certificate, key) = root.certify("localhost", "first");
    let config = "tls = \"files\"\n[http.files]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n";
    let files = [
        ("cert.pem", certificate.as_str()),
        ("key.pem", &key),
        ("root.pem", &root.pem),
    ];
    let server = Server::start_secure(config, &[], &files).await;
    let url = server.url("/livez");
    assert!(url.starts_with("https://"), "{url}");
    let get = async |arguments: &[&str]| {
        let all = [
            &[
                "--cacert",
                "root.pem",
                "--output",
                "/dev/null",
                "--write-out",
                SEEN,
                &url,
            ],
            arguments,
        ]
        .concat();
        curl(server.folder(), &all).await
    };
    assert_eq!(
        get(&["--http2"]).await.as_deref(),
        Ok("2 200 max-age=31536000")
    );
    assert_eq!(
        get(&["--http1.1"]).await.as_deref(),
        Ok("1.1 200 max-age=31536000")
    );
    assert_eq!(
        get(&["--tlsv1.3"]).await.as_deref(),
        Ok("2 200 max-age=31536000")
    );
    // TLS 1.1 is over (RFC 8996): 35 is a failed handshake.
    assert_eq!(get(&["--tls-max", "1.1"]).await, Err(35));
    // 60: without the root nobody believes it.
    assert_eq!(curl(server.folder(), &[&url]).await, Err(60));

    let subject = async || {
        let all = ["--cacert", "root.pem", "--verbose", "--stderr", "-", &url];
        let told = curl(server.folder(), &all).await.unwrap_or_default();
        told.lines()
            .find_map(|line| {
                line.split_once("CN=")
                    .map(|(_, name)| name.trim().to_owned())
            })
            .unwrap_or_default()
    };
    assert_eq!(subject().await, "first");
    // Only half of it is there yet: the old one stays.
    let (certificate, key) = root.certify("localhost", "second");
    server.write("cert.pem", &certificate);
    until(
        "the refusal to be told",
        Duration::from_secs(10),
        || async { server.log().contains("the old one stays").then_some(()) },
    )
    .await;
    assert_eq!(subject().await, "first");
    server.write("key.pem", &key);
    until("the new certificate", Duration::from_secs(10), || async {
        (subject().await == "second").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_certificate_of_our_own_is_made_once_and_kept() {
    let mut server = Server::start_secure("tls = \"self-signed\"\n", &[], &[]).await;
    let seen = async |server: &Server| {
        let url = server.url("/livez");
        let all = [
            "--cacert",
            "data/tls/self-signed.crt",
            "--output",
            "/dev/null",
            "--write-out",
            SEEN,
            &url,
        ];
        curl(server.folder(), &all).await
    };
    // No HSTS: there would be no way back from it.
    assert_eq!(seen(&server).await.as_deref(), Ok("2 200 "));
    let path = server.folder().join("data/tls/self-signed.crt");
    let before = std::fs::read(&path).expect("it is kept");
    server.crash_and_start_again(&[]).await;
    assert_eq!(std::fs::read(&path).expect("it is kept"), before);
    assert_eq!(seen(&server).await.as_deref(), Ok("2 200 "));
    let mode = std::fs::metadata(server.folder().join("data/tls/self-signed.key"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&mode.expect("it is kept").permissions());
    assert_eq!(mode & 0o777, 0o600);
}

/// Programs that end with the test.
struct Programs(Vec<Child>);

impl Programs {
    fn start(&mut self, command: &mut Command) {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pebble is installed by `make test`");
        self.0.push(child);
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Pebble is the ACME server that Let's Encrypt tests its own clients with.
#[tokio::test]
async fn a_certificate_is_ordered_of_an_acme_server() {
    let root = Root::new();
    let (certificate, key) = root.certify("localhost", "pebble");
    let [ours, directory, management, dns, control] = std::array::from_fn(|_| free_port());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let pebble = serde_json::json!({"pebble": {
        "listenAddress": format!("127.0.0.1:{directory}"),
        "managementListenAddress": format!("127.0.0.1:{management}"),
        "certificate": at("cert.pem"), "privateKey": at("key.pem"),
        "httpPort": 1, "tlsPort": ours,
    }});
    for (name, text) in [
        ("cert.pem", certificate),
        ("key.pem", key),
        ("pebble.json", pebble.to_string()),
    ] {
        std::fs::write(at(name), text).expect("a file is written");
    }
    let mut programs = Programs(Vec::new());
    // It answers every question for a name with 127.0.0.1.
    programs.start(
        Command::new("pebble-challtestsrv")
            .args(["-dns01", &format!("127.0.0.1:{dns}")])
            .args([
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
                "-defaultIPv6",
                "",
                "-management",
                &format!("127.0.0.1:{control}"),
            ]),
    );
    programs.start(
        Command::new("pebble")
            .args([
                "-config",
                &at("pebble.json"),
                "-dnsserver",
                &format!("127.0.0.1:{dns}"),
            ])
            // It neither waits nor refuses good requests for a test's sake.
            .envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "0")]),
    );
    let config = format!(
        "tls = \"acme\"\n[http.acme]\ndomains = [\"live.lockgate.test\"]\ncontact = [\"mailto:a@lockgate.test\"]\n\
         directory = \"https://localhost:{directory}/dir\"\nroots = \"root.pem\"\n"
    );
    let mut pebble_is_up = async || {
        let url = format!("https://localhost:{management}/roots/0");
        curl(folder.path(), &["--insecure", &url]).await.ok()
    };
    let issuer = until("pebble", Duration::from_secs(20), &mut pebble_is_up).await;
    let listen = format!("http.listen=127.0.0.1:{ours}");
    let files = [("root.pem", root.pem.as_str()), ("issuer.pem", &issuer)];
    let mut server = Server::start_secure(&config, &["--set", &listen], &files).await;
    let seen = async |server: &Server| {
        let (url, resolve) = (
            format!("https://live.lockgate.test:{ours}/livez"),
            format!("live.lockgate.test:{ours}:127.0.0.1"),
        );
        let all = [
            "--cacert",
            "issuer.pem",
            "--resolve",
            &resolve,
            "--output",
            "/dev/null",
            "--write-out",
            SEEN,
            &url,
        ];
        curl(server.folder(), &all).await.ok()
    };
    let first = until("the certificate", Duration::from_secs(60), || seen(&server)).await;
    assert_eq!(first, "2 200 max-age=31536000");
    // It is kept: no server needs to be asked again.
    drop(programs);
    server.crash_and_start_again(&["--set", &listen]).await;
    let again = until("the kept certificate", Duration::from_secs(20), || {
        seen(&server)
    })
    .await;
    assert_eq!(again, first);
}
