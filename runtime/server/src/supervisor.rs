//! What a service manager is told (sd_notify), and who looks after the parts that everything depends on.
//!
//! The watchdog is fed only while the runtime, the desk and each broadcast's control step move: the task runs on the
//! runtime, asks the other two, and says nothing when one of them does not answer. systemd then starts the server again.

use std::{sync::Arc, time::Duration};

use lockgate_api::Health;
use lockgate_session::{Desk, Streams};
use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

/// Tells the service manager something; without one this does nothing.
pub(crate) fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

/// What is being done, as `systemctl status` shows it.
pub(crate) fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// The configuration is being read again; [`ready`] is to follow.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "there is no clock"),
    }
}

/// Everything is in place.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Looks at the parts again and again, and feeds the watchdog while they are well.
pub(crate) async fn watch(health: Arc<Health>, desk: Desk, streams: Streams) {
    let fed = sd_notify::watchdog_enabled();
    let every = fed.map_or(LOOK_EVERY, |within| {
        (within / 3).clamp(LOOK_EVERY_MIN, LOOK_EVERY)
    });
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = String::new();
    loop {
        tick.tick().await;
        let sick = look(&desk, &streams).await;
        if sick.is_none() && fed.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
        let now = match &sick {
            Some(what) => what.clone(),
            None => format!(
                "broadcasts: {}, publishers and WebRTC viewers: {}",
                streams.count(),
                streams.peers()
            ),
        };
        if health.found(sick.clone()) {
            match sick {
                Some(what) => tracing::error!("{what}"),
                None => tracing::info!("all parts work again"),
            }
        }
        if said != now {
            status(&now);
            said = now;
        }
    }
}

/// The first part that does not work.
async fn look(desk: &Desk, streams: &Streams) -> Option<String> {
    if !desk.answers(ANSWER_WITHIN).await {
        return Some("the policies do not answer: their thread hangs".to_owned());
    }
    let stuck = streams.stuck(STEP_WITHIN)?;
    Some(format!("the control step of {stuck} stands still"))
}

const LOOK_EVERY: Duration = Duration::from_secs(2);
const LOOK_EVERY_MIN: Duration = Duration::from_millis(50);
/// The longest that a policy may take is far below.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// It comes once a second, and waits for nothing longer than some deadlines of policies.
const STEP_WITHIN: Duration = Duration::from_secs(15);
