//! A thread behind the walls tries what a worker must not do.

use std::{
    fs,
    io::Read as _,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{fd::AsFd as _, unix::net::UnixStream},
    process::Command,
    time::Duration,
};

use lockgate_ports::transcoder::{Input, Settings};

use super::{
    gate::{self, Refusals},
    reach::Reach,
    walls,
};

fn settings(hosts: &[&str]) -> Settings {
    Settings {
        encoder: "libx264".to_owned(),
        preset: "ultrafast".to_owned(),
        gop_s: 2,
        on_demand: true,
        opus_bps: 96_000,
        aac_bps: 128_000,
        protocols: Vec::new(),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
    }
}

fn url(url: &str) -> Input {
    Input::Url {
        url: url.to_owned(),
        looped: false,
    }
}

/// Does something in a thread behind the walls; what was refused at the gate is with the answer.
fn behind<T: Send + 'static>(
    input: Input,
    hosts: &[&str],
    work: impl FnOnce() -> T + Send + 'static,
) -> (T, Option<String>) {
    let (ours, its) = UnixStream::pair().unwrap();
    let (settings, refusals) = (settings(hosts), Refusals::default());
    let watched = match &input {
        Input::Url { url, .. } => Reach::new(&settings.hosts, url),
        _ => Reach::default(),
    };
    gate::watch(ours, std::process::id(), watched, refusals.clone()).unwrap();
    let thread = std::thread::spawn(move || {
        let mut missing = Vec::new();
        walls::confine(&input, &settings, its.as_fd(), &mut |text| {
            missing.push(text)
        })
        .unwrap();
        assert!(
            missing.is_empty(),
            "this kernel lacks something: {missing:?}"
        );
        work()
    });
    (thread.join().unwrap(), refusals.last())
}

#[test]
fn a_worker_reads_its_folder_and_writes_runs_and_reaches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("film.ts");
    fs::write(&film, "pictures").unwrap();
    let other = tempfile::tempdir().unwrap();
    let secret = other.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let input = url(&format!("file://{}", film.display()));
    behind(input, &["public", "private"], move || {
        assert_eq!(fs::read_to_string(&film).unwrap(), "pictures");
        assert!(fs::read_to_string("/proc/self/stat").is_ok());
        for path in [
            secret.as_path(),
            "/etc/passwd".as_ref(),
            "/etc/shadow".as_ref(),
        ] {
            let refused = fs::read(path).unwrap_err();
            assert_eq!(
                refused.kind(),
                std::io::ErrorKind::PermissionDenied,
                "{path:?}"
            );
        }
        assert!(fs::write(film.with_extension("new"), "x").is_err());
        assert!(fs::write(&film, "x").is_err());
        assert!(fs::remove_file(&film).is_err());
        assert!(Command::new("true").spawn().is_err());
        assert!(TcpStream::connect(address).is_err());
        assert!(UdpSocket::bind("127.0.0.1:0").is_err());
        // It still has threads.
        assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
    });
}

#[test]
fn a_worker_on_the_network_reads_no_file_and_reaches_only_its_host() {
    let mine = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let (at, other_at) = (mine.local_addr().unwrap(), other.local_addr().unwrap());
    let greeter = std::thread::spawn(move || {
        use std::io::Write as _;
        mine.accept().unwrap().0.write_all(b"hello").unwrap();
    });
    let input = url(&format!("http://localhost:{}/live.ts", at.port()));
    let ((), refused) = behind(input, &["public"], move || {
        let mut text = String::new();
        let mut stream = TcpStream::connect(at).unwrap();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        let refused = TcpStream::connect(other_at).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
        assert!(fs::read("/etc/shadow").is_err());
        assert!(TcpListener::bind("127.0.0.1:0").is_err(), "it listens");
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(datagrams.send_to(b"x", "10.255.255.1:9").is_err());
        let public: SocketAddr = "192.0.2.1:9".parse().unwrap();
        // Nothing is there, but asking is not refused where all is allowed.
        let within = Duration::from_millis(100);
        let kind = TcpStream::connect_timeout(&public, within)
            .unwrap_err()
            .kind();
        assert_eq!(
            kind,
            std::io::ErrorKind::PermissionDenied,
            "documentation is not public"
        );
        assert!(Command::new("true").spawn().is_err());
    });
    greeter.join().unwrap();
    assert!(refused.is_some_and(|text| text.contains("192.0.2.1:9")));
    other.set_nonblocking(true).unwrap();
    assert!(other.accept().is_err(), "the other was reached");
}

#[test]
fn what_the_operator_lists_is_reached() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = other.local_addr().unwrap();
    let input = url("http://192.0.2.7/live.ts");
    let (reached, refused) = behind(input, &["127.0.0.0/8"], move || {
        TcpStream::connect(at).is_ok()
    });
    assert!(reached && refused.is_none(), "{refused:?}");
}
