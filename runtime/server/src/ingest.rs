//! The ports of publishers that do not come by HTTP.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use lockgate_ports::{Gate, task::Task};
use lockgate_rtmp as rtmp;

use crate::Config;

/// Bound, but not yet served.
pub(crate) struct Ports {
    rtmp: Option<rtmp::Listener>,
}

/// Where they are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Addresses {
    pub(crate) rtmp: Option<SocketAddr>,
}

impl Ports {
    /// Binds what is configured.
    pub(crate) async fn bind(config: &Config) -> anyhow::Result<Self> {
        let config = &config.ingest.rtmp;
        let rtmp = match config.listen {
            Some(listen) => {
                let config = rtmp::Config {
                    listen,
                    connections_max: config.connections_max,
                    silence_max: Duration::from_secs(config.silence_s),
                };
                let bound = rtmp::Listener::bind(config).await;
                Some(bound.context("change ingest.rtmp.listen, or end the program that has the port")?)
            }
            None => None,
        };
        Ok(Self { rtmp })
    }

    pub(crate) fn addresses(&self) -> anyhow::Result<Addresses> {
        let rtmp = self.rtmp.as_ref().map(rtmp::Listener::local_addr);
        Ok(Addresses {
            rtmp: rtmp.transpose()?,
        })
    }

    /// Takes publishers in until the tasks are dropped.
    pub(crate) fn serve(self, gate: &Arc<dyn Gate>) -> Vec<Task> {
        let rtmp = self.rtmp.map(|listener| listener.serve(Arc::clone(gate)));
        rtmp.into_iter().collect()
    }
}
