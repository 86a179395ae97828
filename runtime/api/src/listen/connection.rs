//! One connection from its first byte to its last.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body, http::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::Watcher},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{MissedTickBehavior, interval, timeout},
};
use tower::{Service as _, service_fn};

use crate::caller::Peer;

use super::{
    Rules,
    activity::{Activity, Cut},
    paced::{Cutter, Held, Paced},
    penalty::Penalties,
    proxy,
    tally::{Counted, Tally},
};

/// What all connections have in common.
pub(super) struct Terms {
    pub(super) rules: Rules,
    pub(super) tally: Tally,
    pub(super) penalties: Penalties,
    pub(super) router: Router,
}

/// Serves a connection to its end, or until it has become another one (RFC 9110 §7.8), which keeps its place.
pub(super) async fn run(
    mut stream: TcpStream,
    peer: SocketAddr,
    place: Option<OwnedSemaphorePermit>,
    terms: Arc<Terms>,
    watcher: Watcher,
) {
    let rules = &terms.rules;
    let handshake = rules.timeouts.handshake;
    let is_proxy = rules.proxies.trust(peer.ip());
    let mut client = peer;
    let mut speaks_for_client = false;
    if is_proxy && rules.proxy_protocol {
        match timeout(handshake, proxy::read(&mut stream)).await {
            Ok(Ok(Some(source))) => {
                client = source;
                speaks_for_client = true;
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "a connection ended early"),
            Err(_) => return tracing::debug!(%peer, "no PROXY header came"),
        }
    }
    let counted = if is_proxy && !speaks_for_client {
        Some(Counted::freely())
    } else {
        terms.tally.enter(client.ip())
    };
    let Some(counted) = counted else {
        return tracing::debug!(peer = %client, "as many connections as an address may have");
    };
    // A proxy that speaks for all its clients is none of them.
    let offender = (!is_proxy || speaks_for_client).then(|| client.ip());
    if let Some(address) = offender
        && !hold(&stream, terms.penalties.left(address), rules).await
    {
        return tracing::debug!(peer = %client, "a connection that was held is gone");
    }
    let cutter = Cutter::default();
    let held = Held {
        _counted: counted,
        _place: place,
    };
    let stream = Paced::new(stream, rules.timeouts.write, cutter.clone(), held);
    match &rules.tls {
        None => serve(stream, (client, offender), &terms, &cutter, watcher).await,
        Some(tls) => match timeout(handshake, tls.accept(stream)).await {
            Ok(Ok(Some(stream))) => {
                serve(stream, (client, offender), &terms, &cutter, watcher).await;
            }
            Ok(Ok(None)) => tracing::debug!(peer = %client, "a challenge of ACME was answered"),
            Ok(Err(error)) => tracing::debug!(peer = %client, %error, "a handshake failed"),
            Err(_) => tracing::debug!(peer = %client, "a handshake took too long"),
        },
    }
}

/// Holds a connection from an address that was cut a while ago. Over plain HTTP only HTTP/2 is held, as its first bytes tell
/// (RFC 9113 §3.4); over TLS that is not known before a handshake, which is what costs most. False if there is no
/// connection any more.
async fn hold(stream: &TcpStream, left: Duration, rules: &Rules) -> bool {
    if left.is_zero() {
        return true;
    }
    if rules.tls.is_none() {
        let mut first = [0; 3];
        match timeout(rules.timeouts.header, stream.peek(&mut first)).await {
            Ok(Ok(len @ 1..)) => {
                if !b"PRI".starts_with(first.get(..len).unwrap_or_default()) {
                    return true;
                }
            }
            _ => return false,
        }
    }
    tokio::time::sleep(left).await;
    true
}

async fn serve<S>(
    stream: S,
    (peer, offender): (SocketAddr, Option<IpAddr>),
    terms: &Arc<Terms>,
    cutter: &Cutter,
    watcher: Watcher,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let timeouts = terms.rules.timeouts;
    let activity = Activity::new(timeouts);
    let builder = builder(timeouts.header);
    let service = {
        let (activity, router) = (Arc::clone(&activity), terms.router.clone());
        service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            let under_way = activity.begin();
            let mut router = router.clone();
            async move {
                let response = router.call(request).await?;
                let (parts, body) = response.into_parts();
                let body = under_way.answered(body);
                Ok::<_, std::convert::Infallible>(axum::http::Response::<Body>::from_parts(
                    parts, body,
                ))
            }
        })
    };
    let connection = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(watcher.watch(connection.into_owned()));
    let mut tick = interval(
        LOOK_EVERY
            .min(timeouts.header / 4)
            .max(Duration::from_millis(10)),
    );
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    if let Some(address) = offender && is_flood(error.as_ref()) {
                        terms.penalties.add(address);
                    }
                    tracing::debug!(%peer, %error, "a connection ended early");
                }
                return;
            }
            () = activity.flooded() => {}
            _ = tick.tick() => {}
        }
        let Some(cut) = activity.look(std::time::Instant::now()) else {
            continue;
        };
        match cut {
            Cut::Idle => tracing::trace!(%peer, "an idle connection is closed"),
            Cut::Resets | Cut::Unread => {
                cutter.cut();
                if let (Cut::Resets, Some(address)) = (cut, offender) {
                    terms.penalties.add(address);
                }
                tracing::debug!(%peer, why = ?cut, "a connection is cut");
            }
        }
        return;
    }
}

/// Whether the library has ended a connection for what the peer did to it (RFC 9113 §7, `ENHANCE_YOUR_CALM`).
fn is_flood(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_library() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
        }
        next = error.source();
    }
    false
}

fn builder(header: Duration) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header)
        .max_buf_size(HEAD_LEN_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(32 << 10)
        .max_send_buf_size(256 << 10)
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(1 << 20)
        // Streams that were begun and given up before we saw them, and those that we had to give up (CVE-2023-44487).
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// How often a connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// HTTP/2 streams at a time on one connection.
const STREAMS_MAX: u32 = 128;
/// A request's head over HTTP/1, and what is read ahead of a body.
const HEAD_LEN_MAX: usize = 64 << 10;
