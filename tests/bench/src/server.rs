//! The real server on ports of its own, and the few requests that are made of it.

use std::{fs, process::Stdio, time::Duration};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::process;

/// A running server; it is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    http: Client<HttpConnector, Full<Bytes>>,
    base: String,
    token: String,
    ready: Value,
    folder: TempDir,
}

/// A server on one core.
pub(crate) struct Pinned {
    pub(crate) core: usize,
    /// Besides the ports.
    pub(crate) config: String,
}

fn text(ready: &Value, key: &str) -> anyhow::Result<String> {
    let text = ready[key].as_str().map(str::to_owned);
    text.with_context(|| format!("the ready file has no {key}"))
}

impl Server {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        Self::start_with("", &[]).await
    }

    /// The same with more of a configuration, and further arguments.
    pub(crate) async fn start_with(more: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::launch(process::command(process::server()?), more, arguments).await
    }

    /// The same, pinned to a core.
    pub(crate) async fn start_pinned(pinned: &Pinned) -> anyhow::Result<Self> {
        // It becomes the server, whose process has the same number.
        let mut command = process::command("taskset");
        command
            .args(["-c", &pinned.core.to_string()])
            .arg(process::server()?);
        Self::launch(command, &pinned.config, &[]).await
    }

    async fn launch(
        mut command: Command,
        config: &str,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        fs::write(at("bench.toml"), config)?;
        let mut child = command
            .args(["serve", "--config", "bench.toml"])
            .args(["--set", "http.listen=127.0.0.1:0"])
            .args(["--set", "webrtc.udp_listen=127.0.0.1:0"])
            .args(UNLIMITED.iter().flat_map(|key| ["--set", key]))
            .args(arguments)
            .current_dir(folder.path())
            .env("LOCKGATE_READY_FILE", at("ready.json"))
            // Who measures shares the cores; what is measured is to stay the same.
            .env("LOCKGATE__LADDER__SHED", "false")
            .stdout(Stdio::null())
            .stderr(fs::File::create(at("log"))?)
            .spawn()
            .context("the server cannot be started")?;
        let deadline = Instant::now() + WITHIN;
        let ready = loop {
            if let Ok(ready) = fs::read(at("ready.json")) {
                break ready;
            }
            if child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!(
                    "the server did not get ready: {}",
                    fs::read_to_string(at("log"))?
                );
            }
            sleep(POLL).await;
        };
        let ready: Value = serde_json::from_slice(&ready)?;
        let text = |key| text(&ready, key);
        // No connection is kept: what the server holds is to be its peers and nothing of ours.
        let http = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build_http();
        Ok(Self {
            http,
            base: text("http")?,
            token: text("token")?,
            ready: ready.clone(),
            child,
            folder,
        })
    }

    /// Picks the rendition of a viewer, as soon as there is such a one.
    pub(crate) async fn pick(&self, session: &str, rung: &str) -> anyhow::Result<()> {
        let path = format!("{session}/layer");
        let choice = serde_json::json!({ "encodingId": rung }).to_string();
        let deadline = Instant::now() + WITHIN;
        loop {
            let request = self
                .request(Method::POST, &path)
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::from(choice.clone()))?;
            let (status, _, body) = self.send(request).await?;
            if status.is_success() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{path}: {status} {body}");
            sleep(POLL).await;
        }
    }

    /// What the API says.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.request(Method::GET, path).body(Full::default())?;
        let (status, _, body) = self.send(request).await?;
        ensure!(status.is_success(), "{path}: {status} {body}");
        Ok(serde_json::from_str(&body)?)
    }

    fn request(&self, method: Method, path: &str) -> hyper::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<(StatusCode, Option<String>, String)> {
        let asked = tokio::time::timeout(WITHIN, self.http.request(request)).await;
        let (head, body) = asked.context("the server does not answer")??.into_parts();
        let location = head.headers.get(header::LOCATION);
        let location = location.and_then(|value| value.to_str().ok().map(str::to_owned));
        let body = body.collect().await?.to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok((head.status, location, body))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Another address that it told when it was ready, by its protocol.
    pub(crate) fn ready(&self, protocol: &str) -> anyhow::Result<String> {
        text(&self.ready, protocol)
    }

    /// Host and port of its HTTP.
    pub(crate) fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// The process that encodes a broadcast.
    pub(crate) async fn worker(&self, broadcast: &str) -> anyhow::Result<u64> {
        let stream = self.get(&format!("/api/streams/{broadcast}")).await?;
        let pid = stream["ladder"]["worker_pid"].as_u64();
        pid.context("the broadcast has no worker")
    }

    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the server has ended")
    }

    /// Asks it to go down and waits until it is gone; it takes its encoders with it.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = fs::read_to_string(self.folder.path().join("log"))?;
            bail!("the server ended by itself ({status}): {log}");
        }
        let pid = self.pid()?.to_string();
        process::output(process::command("kill").args(["-TERM", &pid])).await?;
        if tokio::time::timeout(WITHIN, self.child.wait())
            .await
            .is_err()
        {
            self.child.kill().await?;
            bail!("the server did not go down when asked");
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl lockgate_tests_peer::Server for Server {
    async fn offer(&self, path: &str, sdp: String) -> anyhow::Result<(String, String)> {
        let request = self
            .request(Method::POST, path)
            .header(header::CONTENT_TYPE, "application/sdp")
            .body(Full::from(sdp))?;
        let (status, location, body) = self.send(request).await?;
        ensure!(status == StatusCode::CREATED, "{path}: {status} {body}");
        Ok((
            body,
            location.with_context(|| format!("{path}: no Location"))?,
        ))
    }

    async fn end(&self, session: &str) -> anyhow::Result<()> {
        let request = self
            .request(Method::DELETE, session)
            .body(Full::default())?;
        let (status, _, body) = self.send(request).await?;
        ensure!(status == StatusCode::OK, "{session}: {status} {body}");
        Ok(())
    }
}

/// For everything that takes a moment on a busy machine.
const WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
/// Everybody is one address here, and asks more than anybody. It is counted nevertheless: that is part of what is measured.
const UNLIMITED: [&str; 4] = [
    "rate_limit.requests=1000000000",
    "rate_limit.joins=1000000000",
    "rate_limit.signals=1000000000",
    "http.connections_per_address_max=0",
];
