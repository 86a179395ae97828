//! The ports of publishers that do not come by HTTP.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use lockgate_ports::{Gate, task::Task};
use lockgate_rtmp as rtmp;
use lockgate_srt as srt;

use crate::{Config, config};

/// Bound, but not yet served.
pub(crate) struct Ports {
    rtmp: Option<rtmp::Listener>,
    srt: Option<srt::Listener>,
}

/// Where they are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Addresses {
    pub(crate) rtmp: Option<SocketAddr>,
    pub(crate) srt: Option<SocketAddr>,
}

impl Ports {
    /// Binds what is configured.
    pub(crate) async fn bind(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            rtmp: bind_rtmp(&config.ingest.rtmp)
                .await
                .context("change ingest.rtmp.listen, or end the program that has the port")?,
            srt: bind_srt(&config.ingest.srt)
                .await
                .context("change ingest.srt.listen, or end the program that has the port")?,
        })
    }

    pub(crate) fn addresses(&self) -> std::io::Result<Addresses> {
        let rtmp = self.rtmp.as_ref().map(rtmp::Listener::local_addr);
        let srt = self.srt.as_ref().map(srt::Listener::local_addr);
        Ok(Addresses {
            rtmp: rtmp.transpose()?,
            srt: srt.transpose()?,
        })
    }

    /// Takes publishers in until the tasks are dropped.
    pub(crate) fn serve(self, gate: &Arc<dyn Gate>) -> Vec<Task> {
        let rtmp = self.rtmp.map(|listener| listener.serve(Arc::clone(gate)));
        let srt = self.srt.map(|listener| listener.serve(Arc::clone(gate)));
        rtmp.into_iter().chain(srt).collect()
    }
}

async fn bind_rtmp(config: &config::Rtmp) -> std::io::Result<Option<rtmp::Listener>> {
    let Some(listen) = config.listen else {
        return Ok(None);
    };
    let config = rtmp::Config {
        listen,
        connections_max: config.connections_max,
        silence_max: Duration::from_secs(config.silence_s),
    };
    rtmp::Listener::bind(config).await.map(Some)
}

async fn bind_srt(config: &config::Srt) -> std::io::Result<Option<srt::Listener>> {
    let Some(listen) = config.listen else {
        return Ok(None);
    };
    let config = srt::Config {
        listen,
        connections_max: config.connections_max,
        silence_max: Duration::from_secs(config.silence_s),
        latency: Duration::from_millis(config.latency_ms),
        passphrase: (config.passphrase.as_ref()).map(|text| text.reveal().to_owned()),
    };
    srt::Listener::bind(config).await.map(Some)
}
