//! Composition: what is put together, in which order, and how it goes down again.

use std::{
    num::NonZero,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use anyhow::Context as _;
use lockgate_api::{
    Account, Adopt, App, Configuration as _, Door, IceServer, Limits, Listener, LogFilter, Scope,
    Scopes, SocketTerms, Sockets, StreamGate, Traffic, token,
};
use lockgate_media::BroadcastName;
use lockgate_ports::{
    Gate, Records, Signaller,
    task::{Task, own},
    transcoder::Input,
};
use lockgate_session::{
    Container, Desk, DvrConfig, History, HlsConfig, LadderConfig, SegmentConfig, Streams, sweep_dvr,
};
use lockgate_store::Store;
use lockgate_telemetry::Telemetry;
use lockgate_transport::Transport;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    Config,
    announce::Announcement,
    cli::{ConfigArgs, unix_now},
    config::{self, Loaded},
    door::{self, Keys},
    drain::{Down, Stops},
    ingest,
    live::{Live, Parts},
    policies::{self, Policies},
    supervisor,
};

/// A server that has bound its ports and started its sources.
pub struct Server {
    listener: Listener,
    live: Arc<Live>,
    streams: Streams,
    desk: Desk,
    /// That of the start; those that follow share what it needs to close.
    door: Arc<Door>,
    sockets: Arc<Sockets>,
    health: Arc<lockgate_api::Health>,
    _tasks: Vec<Task>,
    /// The ports for RTMP and SRT.
    publishers: Vec<Task>,
    /// How long who is there may stay when it goes down.
    stay: Duration,
    segment: Duration,
}

impl Server {
    /// Puts the server together. Whatever fails, nothing is left behind.
    pub(crate) async fn start(
        loaded: Loaded,
        args: ConfigArgs,
        demo: bool,
        telemetry: &Telemetry,
    ) -> anyhow::Result<Self> {
        let config = loaded.config.clone();
        let keys = Keys::load(&config, None)?;
        let (rules, keeper) = door::port(&config)?;
        let sockets = Sockets::new(SocketTerms {
            most: rules.connections_max,
            per_address: rules.per_address_max,
        });
        // Ports first: a second server must fail before it starts a single worker.
        let listener = Listener::bind(config.http.listen, rules)
            .await
            .context("change http.listen or PORT, or end the program that has the port")?;
        let transport = Transport::bind(transport_config(&config, demo))
        .await
        .context(
            "change webrtc.udp_listen (and webrtc.tcp_listen, if it is set), or end the program that has the port",
        )?;
        let (udp, tcp) = (
            transport.udp_addresses().to_vec(),
            transport.tcp_addresses().to_vec(),
        );
        let ports = ingest::Ports::bind(&config).await?;
        let addresses = ports.addresses()?;
        let workers = lockgate_transcode::Config::this_program()
            .context("the program file cannot be found")?;
        let transcoder = lockgate_transcode::Ladders::new(workers);
        let desk = Desk::start(
            Duration::from_millis(config.policies.deadline_ms),
            config.decision_log(),
            |kind| policies::builtin_parameters(&config, kind),
            |kind| policies::grants(&config, kind),
        )
        .context("the thread of the policies cannot be started")?;
        let folder = config.store.path.clone();
        let records: Arc<dyn Records> =
            Arc::new(tokio::task::spawn_blocking(move || Store::open(&folder)).await??);
        // After the store, whose lock keeps a second server out.
        let folder = dvr_path(&config);
        if let Err(error) = tokio::task::spawn_blocking(move || sweep_dvr(&folder)).await? {
            tracing::warn!(%error, "what an earlier run left of long windows cannot be removed");
        }
        let policies = Arc::new(Policies::start(&config, &desk, Arc::clone(&records)).await?);
        let revoked = door::revoked(Arc::clone(&records))?;
        let rules = door::rules(&config, keys.verifier, desk.clone(), revoked)?;
        let door = Arc::new(Door::new(rules));
        let streams = Streams::new(
            session_config(&config, demo),
            desk.clone(),
            Arc::clone(&transport) as Arc<dyn Signaller>,
            Arc::new(transcoder),
        );
        streams.confer_over(transport);
        let history = History::open(Arc::clone(&records), config.store.keep()).await;
        streams.write_down_in(Arc::clone(&history));
        streams.remember_in(records);

        let mut broadcasts = Vec::new();
        if demo {
            let name = BroadcastName::new("demo")?;
            streams.add_source(
                name.clone(),
                Input::Demo {
                    width: 1280,
                    height: 720,
                    fps: 30,
                },
            )?;
            broadcasts.push(name);
        }
        for source in &config.ingest.source {
            streams
                .add_source(source.name.clone(), input(source))
                .with_context(|| format!("ingest.source {}", source.name))?;
            broadcasts.push(source.name.clone());
        }

        let all = ["publish:*", "play:*", "join:*"]
            .iter()
            .filter_map(|scope| scope.parse::<Scope>().ok())
            .collect();
        let wish = door::wish(&config, Scopes::new(all), TOKEN_TTL);
        let token = token::mint(&keys.signer, &wish, unix_now())?;
        let limits = Arc::new(Limits::new(
            config.rate_limit.settings(),
            config.rate_limit.proxies(),
        ));
        let gate = Arc::new(StreamGate::new(
            streams.clone(),
            Arc::clone(&door),
            Arc::clone(&limits),
        ));
        let publishers = ports.serve(&(Arc::clone(&gate) as Arc<dyn Gate>));
        let announcement = Announcement {
            http: listener.local_addr()?,
            secure: config.http.is_secure(),
            udp: &udp,
            tcp: &tcp,
            ingest: addresses,
            token: &token,
            broadcasts: &broadcasts,
        };
        announcement
            .print()
            .context("standard output cannot be written")?;
        if let Some(path) = std::env::var_os("LOCKGATE_READY_FILE") {
            announcement
                .write(Path::new(&path))
                .context("LOCKGATE_READY_FILE cannot be written")?;
        }
        let adopt = telemetry
            .has_traces()
            .then(|| Arc::new(lockgate_telemetry::adopt) as Adopt);
        let health: Arc<lockgate_api::Health> = Arc::default();
        let app = App::from(lockgate_api::Parts {
            streams: streams.clone(),
            desk: desk.clone(),
            policies: policies.store(),
            door: Arc::clone(&door),
            limits,
            headers: Arc::new(door::headers(&config)),
            body_within: config.http.timeouts.resolve().body,
            ice_servers: ice_servers(&config),
            sockets: Arc::clone(&sockets),
            metrics: config.http.metrics,
            traffic: Arc::new(Traffic::new(adopt)),
            health: Arc::clone(&health),
            log: Arc::new(Lines(telemetry.filter())),
            configuration: Weak::<Live>::new(),
        });
        let parts = Parts {
            app,
            gate,
            proxies: listener.proxies(),
            policies: Arc::clone(&policies),
            published: keys.published,
        };
        let live = Live::new(loaded, args, demo, parts);
        let mut tasks = vec![
            policies.watch(),
            live.watch(),
            own(history.keep()),
            own(Arc::clone(&sockets).watch()),
        ];
        tasks.extend(keeper.map(own));
        Ok(Self {
            listener,
            live,
            streams,
            desk,
            door,
            sockets,
            health,
            _tasks: tasks,
            publishers,
            stay: Duration::from_secs(config.server.drain_s),
            segment: Duration::from_secs(config.hls.segment_s.into()),
        })
    }

    /// Serves until SIGINT or SIGTERM, then takes nobody in any more, lets who is there go on for a while, ends what is live
    /// and lets requests finish. The second signal ends it at once. SIGHUP has the configuration read again.
    pub async fn run(self) -> anyhow::Result<()> {
        let stops = Stops::listen()?;
        let (streams, health) = (self.streams, self.health);
        let _watch = own(supervisor::watch(
            Arc::clone(&health),
            self.desk.clone(),
            streams.clone(),
        ));
        let down = Down {
            streams: streams.clone(),
            desk: self.desk,
            door: self.door,
            sockets: self.sockets,
            health,
            publishers: self.publishers,
            stay: self.stay,
            segment: self.segment,
        };
        let (first, second) = (stops.wait(1), stops.wait(2));
        let stop = async move {
            first.await;
            down.go().await;
        };
        supervisor::ready();
        tokio::select! {
            () = self.listener.serve(self.live.router(), stop) => streams.recorded().await,
            () = second => {
                tracing::info!("told to stop once more: ending at once");
                streams.end_all();
                // Recordings play however they end; what is in memory may still get to the disk.
                tokio::time::timeout(AT_ONCE, streams.recorded()).await.ok();
                streams.forget();
            }
            error = on_hangup(&self.live) => return Err(error),
        }
        Ok(())
    }
}

/// Reads the configuration again whenever SIGHUP comes. Returns only if it cannot be waited for.
async fn on_hangup(live: &Live) -> anyhow::Error {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return error.into(),
    };
    while let Some(()) = hangup.recv().await {
        supervisor::reloading();
        // What was refused is in the log.
        drop(live.reload().await);
        supervisor::ready();
    }
    std::future::pending().await
}

/// How the transport listens and what it tells peers.
pub(crate) fn transport_config(config: &Config, demo: bool) -> lockgate_transport::Config {
    lockgate_transport::Config {
        udp_listen: config.webrtc.udp_listen.addresses().to_vec().into(),
        tcp_listen: (config.webrtc.tcp_listen.as_ref())
            .map(|listen| listen.addresses().to_vec().into()),
        public_addresses: config.webrtc.public_addresses.clone(),
        stun_server: config.webrtc.stun_server.clone(),
        private_addresses: config.webrtc.private_addresses,
        // Who looks at a demo mostly sits at this machine, with a network or without.
        advertise_loopback: demo,
        peers_max: config.webrtc.peers_max,
        connect_max: Duration::from_secs(config.webrtc.connect_s),
        silence_max: Duration::from_secs(config.webrtc.silence_s),
        ..lockgate_transport::Config::default()
    }
}

pub(crate) fn session_config(config: &Config, demo: bool) -> lockgate_session::Config {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    // The demo shows the whole ladder at work, watched or not.
    let on_demand = config.ladder.on_demand && !demo;
    lockgate_session::Config {
        ladder: LadderConfig {
            rungs: config.ladder.rungs.clone(),
            max_quality: Some(config.ladder.max_quality.clone()),
            passthrough: config.ladder.passthrough,
            cpu_budget: config.ladder.cpu_budget * cores as f64,
            shed: config.ladder.shed,
        },
        encode: config::encode_settings(config, on_demand),
        hls: HlsConfig {
            segments: SegmentConfig {
                container: match config.hls.container {
                    config::Container::Fmp4 => Container::Fmp4,
                    config::Container::Ts => Container::Ts,
                },
                segment_s: config.hls.segment_s,
                window: config.hls.window,
                part_ms: config.hls.part_ms,
            },
            on_demand,
            keep_alive: Duration::from_secs(config.hls.keep_alive_s),
            dvr: (config.hls.dvr_s > 0).then(|| DvrConfig {
                path: dvr_path(config),
                keep: Duration::from_secs(config.hls.dvr_s),
                bytes_max: config.hls.dvr_mb.saturating_mul(1_000_000),
                by_default: config.hls.dvr_default,
            }),
        },
        record: config.record.session(),
        rooms: config.room.session(),
        viewers_max: config.webrtc.viewers_max,
        playout_delay_max: Duration::from_millis(config.webrtc.playout_delay_max_ms),
        resume: Duration::from_secs(config.ingest.resume_s),
        linger: Duration::from_secs(30),
    }
}

/// The folder of long windows.
fn dvr_path(config: &Config) -> PathBuf {
    let beside = || config.store.path.join("dvr");
    config.hls.dvr_path.clone().unwrap_or_else(beside)
}

/// What a source is to the transcoder.
pub(crate) fn input(source: &config::Source) -> Input {
    Input::Url {
        url: source.url.reveal().to_owned(),
        looped: source.looped,
    }
}

/// STUN and TURN servers for peers.
pub(crate) fn ice_servers(config: &Config) -> Arc<[IceServer]> {
    config.webrtc.ice_servers.iter().map(ice_server).collect()
}

fn ice_server(server: &config::IceServer) -> IceServer {
    let username = server.username.clone();
    let fixed = |(username, credential)| Account::Fixed {
        username,
        credential,
    };
    let account = match &server.secret {
        Some(secret) => Some(Account::Timed {
            user: username.unwrap_or_else(|| "lockgate".to_owned()),
            secret: secret.reveal().to_owned(),
            ttl: server.ttl_s.map_or(TURN_TTL, Duration::from_secs),
        }),
        None => username
            .zip(
                server
                    .credential
                    .as_ref()
                    .map(|text| text.reveal().to_owned()),
            )
            .map(fixed),
    };
    IceServer {
        url: server.url.clone(),
        account,
    }
}

/// The log's filter, as the API changes it.
struct Lines(lockgate_telemetry::Filter);

impl LogFilter for Lines {
    fn text(&self) -> String {
        self.0.text()
    }

    fn set(&self, filter: &str) -> Result<(), String> {
        self.0.set(filter).map_err(|error| error.to_string())
    }
}

/// What a server that is told to end at once still waits for.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How long a TURN name is good for where nothing is configured.
const TURN_TTL: Duration = Duration::from_secs(86_400);

/// The token printed at the start is good for a day.
const TOKEN_TTL: Duration = Duration::from_secs(86_400);
