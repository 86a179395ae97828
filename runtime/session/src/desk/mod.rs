//! The desk where policies decide: one thread of its own that owns every instance, and a handle to ask it.
//!
//! Nobody on a runtime worker ever runs a policy, and nobody waits for one beyond the deadline: then the last decision
//! holds. Dropping the last handle ends the thread once its current call is over, which its budget bounds.

mod files;
mod log;
mod measures;
mod thread;

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use lockgate_policy::{
    Artifact, Batch, Kind,
    auth::{Request, Verdict},
    host::Grants,
    slot::{self, Admitted, Decided, SlotInfo, SwapError},
};
use serde_json::Value;
use tokio::sync::{oneshot, watch};

pub use files::FilesInfo;
use files::Writer;
pub use lockgate_policy::decision::Entry;
pub(crate) use log::reading as named;
pub use log::{FilesConfig, Follow, LogConfig, Record};
pub use measures::{Durations, Measures};
use thread::Ask;

/// The desk. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Desk {
    inner: Arc<Inner>,
}

struct Inner {
    asks: Option<SyncSender<Ask>>,
    thread: Option<JoinHandle<()>>,
    deadline: Duration,
    late: AtomicU64,
    /// The generation of the `auth` policy; 0 while the built-in decides.
    auth: AtomicU64,
    /// Told of each change of who decides.
    changes: watch::Sender<()>,
    started: Instant,
    /// What policies of each kind may import.
    grants: RwLock<[(Kind, Grants); 5]>,
    writer: Option<Arc<Writer>>,
}

/// Why the desk gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeskError {
    /// It did not answer within its deadline, or too many wait already.
    #[error("the policies did not answer in time")]
    Late,
    /// The swap was refused.
    #[error(transparent)]
    Swap(#[from] SwapError),
    /// Too many follow the decision log already.
    #[error("too many follow these decisions already")]
    Followed,
    /// The policy failed; for `auth` that means no.
    #[error("the auth policy failed: {0}")]
    Auth(String),
    /// The desk is gone.
    #[error("the policies have been shut down")]
    Gone,
}

/// What a batch is about, for the log.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// The broadcast.
    pub stream: Arc<str>,
    /// The name of each row.
    pub rows: Vec<String>,
}

impl Desk {
    /// A desk where the built-ins decide, each with its parameters, and other policies may import what is granted. The
    /// thread starts at once.
    pub fn start(
        deadline: Duration,
        log: LogConfig,
        parameters: impl Fn(Kind) -> Value,
        grants: impl Fn(Kind) -> Grants,
    ) -> std::io::Result<Self> {
        let (asks, inbox) = sync_channel(ASKS_MAX);
        let slots = Kind::ALL.map(|kind| (kind, parameters(kind)));
        let grants = Kind::ALL.map(|kind| (kind, grants(kind)));
        let writer = log
            .files
            .clone()
            .map(Writer::start)
            .transpose()?
            .map(Arc::new);
        let (log, logs_to) = (Arc::new(log), writer.clone());
        let thread = std::thread::Builder::new()
            .name("policies".to_owned())
            .spawn(move || thread::run(&inbox, slots, &log, logs_to.as_ref()))?;
        let inner = Inner {
            asks: Some(asks),
            thread: Some(thread),
            deadline,
            late: AtomicU64::new(0),
            auth: AtomicU64::new(0),
            changes: watch::Sender::default(),
            started: Instant::now(),
            grants: RwLock::new(grants),
            writer,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The desk's clock in ms: what policies see as `now_ms`.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.inner.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How many batches were not answered in time.
    pub fn late(&self) -> u64 {
        self.inner.late.load(Ordering::Relaxed)
    }

    /// Whether the thread answers within `within`: what it does for anybody is bounded by the budgets of policies.
    pub async fn answers(&self, within: Duration) -> bool {
        let (reply, answer) = oneshot::channel();
        if self.post(Ask::Alive { reply }).is_err() {
            return false;
        }
        matches!(tokio::time::timeout(within, answer).await, Ok(Ok(())))
    }

    /// Decides a batch within the deadline.
    #[tracing::instrument(target = "lockgate::span", name = "decide", skip_all, fields(%kind, broadcast = &*about.stream, rows = batch.row_count), err)]
    pub async fn decide(
        &self,
        kind: Kind,
        batch: Batch,
        keys: Vec<u64>,
        about: About,
    ) -> Result<Arc<Decided>, DeskError> {
        let (reply, answer) = oneshot::channel();
        self.post(Ask::Decide {
            kind,
            batch,
            keys,
            about,
            reply,
        })?;
        match tokio::time::timeout(self.inner.deadline, answer).await {
            Ok(Ok(decided)) => Ok(decided),
            Ok(Err(_)) => Err(DeskError::Gone),
            Err(_) => Err(self.is_late()),
        }
    }

    /// Decides a batch from a thread that may wait a moment.
    pub fn decide_here(
        &self,
        kind: Kind,
        batch: Batch,
        about: About,
    ) -> Result<Arc<Decided>, DeskError> {
        let (reply, answer) = sync_channel(1);
        self.post(Ask::DecideHere {
            kind,
            batch,
            about,
            reply,
        })?;
        answer
            .recv_timeout(self.inner.deadline.max(PLAN_WITHIN))
            .map_err(|_| self.is_late())
    }

    /// Asks whether a request is let in. Anything but a clear answer is an error, and an error means no.
    #[tracing::instrument(
        target = "lockgate::span",
        name = "decide",
        skip_all,
        fields(kind = "auth"),
        err
    )]
    pub async fn authorize(&self, request: Request) -> Result<Verdict, DeskError> {
        let answer = self.call(|reply| Ask::Authorize { request, reply }).await?;
        answer.map_err(|fault| DeskError::Auth(fault.to_string()))
    }

    /// The generation of the `auth` policy; 0 while none is there and the scopes of tokens decide.
    pub fn auth_generation(&self) -> u64 {
        self.inner.auth.load(Ordering::Acquire)
    }

    /// Changes when somebody puts a policy in charge or takes one back: what it decides differently is asked at once, not at
    /// the next tick.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.inner.changes.subscribe()
    }

    /// Puts a policy in charge of a kind, after every check. Returns its generation.
    pub async fn swap(
        &self,
        kind: Kind,
        artifact: Arc<dyn Artifact>,
        config: Value,
    ) -> Result<u64, DeskError> {
        let admitted = self.admit(kind, artifact, config).await?;
        let generation = self.call(|reply| Ask::Swap { admitted, reply }).await?;
        self.note(kind, generation);
        Ok(generation)
    }

    /// Goes back to the policy before the active one; its generation, 0 for the built-in.
    pub async fn rollback(&self, kind: Kind) -> Result<u64, DeskError> {
        let generation = self.call(|reply| Ask::Rollback { kind, reply }).await??;
        self.note(kind, generation);
        Ok(generation)
    }

    /// Gives the built-in of a kind other parameters; with `alone`, it decides from now on.
    pub async fn settle(&self, kind: Kind, builtin: Value, alone: bool) -> Result<(), DeskError> {
        let settled = |reply| Ask::Settle {
            kind,
            builtin,
            alone,
            reply,
        };
        let generation = self.call(settled).await?;
        self.note(kind, generation);
        Ok(())
    }

    /// Grants imports to policies of a kind that come from now on.
    pub fn grant(&self, kind: Kind, granted: Grants) {
        let all = self.inner.grants.write();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        if let Some((_, grants)) = all.iter_mut().find(|(of, _)| *of == kind) {
            *grants = granted;
        }
    }

    fn note(&self, kind: Kind, generation: u64) {
        if kind == Kind::Auth {
            self.inner.auth.store(generation, Ordering::Release);
        }
        self.inner.changes.send_replace(());
    }

    /// Lets a candidate decide beside the active policy without effect; `None` ends it.
    pub async fn shadow(
        &self,
        kind: Kind,
        candidate: Option<(Arc<dyn Artifact>, Value)>,
    ) -> Result<(), DeskError> {
        let candidate = match candidate {
            Some((artifact, config)) => Some(self.admit(kind, artifact, config).await?),
            None => None,
        };
        self.call(|reply| Ask::Shadow {
            kind,
            candidate,
            reply,
        })
        .await
    }

    /// Checks a policy away from the desk, where others would wait meanwhile.
    async fn admit(
        &self,
        kind: Kind,
        artifact: Arc<dyn Artifact>,
        config: Value,
    ) -> Result<Admitted, DeskError> {
        let grants = {
            let all = self.inner.grants.read();
            let all = all.unwrap_or_else(PoisonError::into_inner);
            let granted = all.iter().find(|(of, _)| *of == kind);
            granted
                .map(|(_, grants)| grants.clone())
                .unwrap_or_default()
        };
        let checked =
            tokio::task::spawn_blocking(move || slot::admit(kind, &grants, artifact, config)).await;
        Ok(checked.map_err(|_| DeskError::Gone)??)
    }

    /// All slots as people see them.
    pub async fn info(&self) -> Result<Vec<SlotInfo>, DeskError> {
        self.call(|reply| Ask::Info { reply }).await
    }

    /// What has been done of each kind, in numbers.
    pub async fn measures(&self) -> Result<Vec<Measures>, DeskError> {
        self.call(|reply| Ask::Measures { reply }).await
    }

    /// The last decisions of a kind that were logged, oldest first.
    pub async fn decisions(&self, kind: Kind) -> Result<Vec<Arc<Entry>>, DeskError> {
        self.call(|reply| Ask::Decisions { kind, reply }).await
    }

    /// The last decisions of a kind that were logged, and those to come, without a gap. A reader that is too slow loses
    /// some and is told how many.
    pub async fn follow(&self, kind: Kind) -> Result<Follow, DeskError> {
        self.call(|reply| Ask::Follow { kind, reply })
            .await?
            .ok_or(DeskError::Followed)
    }

    /// Ends whatever follows decisions: the server is going down.
    pub fn end_follows(&self) {
        // Where the desk is too busy to hear it, its end ends them.
        drop(self.post(Ask::EndFollows));
    }

    /// How the log's files are doing; `None` where it is kept in memory only.
    pub fn files(&self) -> Option<FilesInfo> {
        self.inner.writer.as_ref().map(|writer| writer.info())
    }

    async fn call<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, DeskError> {
        let (reply, answer) = oneshot::channel();
        self.post(ask(reply))?;
        match tokio::time::timeout(CALL_WITHIN, answer).await {
            Ok(answer) => answer.map_err(|_| DeskError::Gone),
            Err(_) => Err(DeskError::Late),
        }
    }

    fn post(&self, ask: Ask) -> Result<(), DeskError> {
        let asks = self.inner.asks.as_ref().ok_or(DeskError::Gone)?;
        asks.try_send(ask).map_err(|error| match error {
            TrySendError::Full(_) => self.is_late(),
            TrySendError::Disconnected(_) => DeskError::Gone,
        })
    }

    fn is_late(&self) -> DeskError {
        self.inner.late.fetch_add(1, Ordering::Relaxed);
        DeskError::Late
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.asks.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the policies had panicked");
        }
    }
}

/// Batches waiting: a second of a few hundred broadcasts.
const ASKS_MAX: usize = 512;
/// Swaps try a policy on its vectors first; several may wait for each other.
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// A ladder is planned once a publication; a moment more does no harm.
const PLAN_WITHIN: Duration = Duration::from_millis(200);
