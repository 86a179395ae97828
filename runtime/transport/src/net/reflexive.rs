//! The address that others see us at, asked of a STUN server from the very socket that peers will talk to.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rtc::stun::message::TransactionId;
use tokio::sync::oneshot;

use super::{
    mux::Mux,
    stun::{self, BindingSuccess},
    via::Via,
};

/// Questions that wait for their answer.
#[derive(Default)]
pub(super) struct Questions(Mutex<HashMap<TransactionId, Question>>);

struct Question {
    server: SocketAddr,
    answer: oneshot::Sender<SocketAddr>,
}

impl Questions {
    /// Takes the answer to a question of ours; false if it is none.
    pub(super) fn answered(&self, via: &Via, answer: &BindingSuccess) -> bool {
        let mut waiting = self.lock();
        // Who does not see our questions cannot guess their 96 bits (RFC 8489 §5).
        let ours = waiting
            .get(&answer.id())
            .is_some_and(|question| question.server == via.remote());
        if !ours {
            return false;
        }
        if let Some(question) = waiting.remove(&answer.id())
            && let Some(mapped) = answer.mapped()
        {
            // Whoever asked may have given up.
            question.answer.send(mapped).ok();
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TransactionId, Question>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks from a socket; `None` if nothing came back in [`ANSWER_MAX`].
pub(crate) async fn ask(mux: &Mux, socket: usize, server: SocketAddr) -> Option<SocketAddr> {
    let id = TransactionId::new();
    let request = stun::question(id)?;
    let (sender, receiver) = oneshot::channel();
    let question = Question {
        server,
        answer: sender,
    };
    mux.questions().lock().insert(id, question);
    let _asked = Asked { mux, id };
    let via = Via::Udp {
        socket,
        remote: server,
        local: None,
    };
    // RFC 8489 §6.2.1: 500 ms, and twice as long each time.
    let sending = async {
        let mut pause = FIRST_PAUSE;
        loop {
            mux.transmit(&via, &request);
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    };
    tokio::select! {
        mapped = receiver => mapped.ok(),
        () = sending => None,
        () = tokio::time::sleep(ANSWER_MAX) => None,
    }
}

/// Takes the question back, answered or given up.
struct Asked<'a> {
    mux: &'a Mux,
    id: TransactionId,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.mux.questions().lock().remove(&self.id);
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Four tries.
const ANSWER_MAX: Duration = Duration::from_secs(5);
