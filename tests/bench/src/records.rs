//! Records acknowledged durably: our store, which is sled with an `fdatasync` of our own, against redb doing the same.
//!
//! Both have one thread that writes: it gathers what waits, makes it one transaction, brings it to the disk, and
//! acknowledges then. So many writers at a time wait for their record before they give the next; both are measured in
//! turn, in the same folder, with the same records.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use async_trait::async_trait;
use lockgate_ports::{Change, Records as _, Table};
use lockgate_store::Store;
use redb::{Database, TableDefinition};
use serde_json::json;
use tokio::sync::oneshot;

use crate::table::{Distribution, Report};

/// Something that has a record on the disk when it returns.
#[async_trait]
trait Keeper: Send + Sync + 'static {
    async fn keep(&self, key: String, value: Vec<u8>) -> anyhow::Result<()>;
}

#[async_trait]
impl Keeper for Store {
    async fn keep(&self, key: String, value: Vec<u8>) -> anyhow::Result<()> {
        let table = Table::Sessions;
        Ok(self.write(vec![Change::Put { table, key, value }]).await?)
    }
}

/// redb behind a thread like that of our store.
struct Redb(SyncSender<Put>);

struct Put {
    key: String,
    value: Vec<u8>,
    ack: oneshot::Sender<Result<(), String>>,
}

const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");

impl Redb {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let database = Database::create(path)?;
        let (puts, inbox) = sync_channel(4096);
        std::thread::Builder::new()
            .name("redb".to_owned())
            .spawn(move || Self::run(&database, &inbox))?;
        Ok(Self(puts))
    }

    fn run(database: &Database, inbox: &Receiver<Put>) {
        while let Ok(first) = inbox.recv() {
            let mut puts = vec![first];
            puts.extend(inbox.try_iter().take(GATHER_MAX - 1));
            let result = Self::commit(database, &puts).map_err(|error| error.to_string());
            for put in puts {
                drop(put.ack.send(result.clone()));
            }
        }
    }

    fn commit(database: &Database, puts: &[Put]) -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for put in puts {
                table.insert(put.key.as_str(), put.value.as_slice())?;
            }
        }
        // Durable when it returns: that is what it does unless told otherwise.
        transaction.commit()?;
        Ok(())
    }
}

#[async_trait]
impl Keeper for Redb {
    async fn keep(&self, key: String, value: Vec<u8>) -> anyhow::Result<()> {
        let (ack, acknowledged) = oneshot::channel();
        self.0
            .try_send(Put { key, value, ack })
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        acknowledged.await?.map_err(anyhow::Error::msg)
    }
}

/// What a run came to.
struct Outcome {
    per_s: f64,
    /// In ms.
    waits: Vec<f64>,
}

async fn run(keeper: Arc<dyn Keeper>, writers: usize, round: usize) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let keeper = Arc::clone(&keeper);
        tasks.spawn(async move {
            let mut waits = Vec::new();
            while begun.elapsed() < RUN {
                let key = format!("t/{round:013}/{writer:08}{:024}", waits.len());
                let at = Instant::now();
                keeper.keep(key, vec![b'x'; VALUE_LEN]).await?;
                waits.push(at.elapsed().as_secs_f64() * 1000.0);
            }
            anyhow::Ok(waits)
        });
    }
    let mut waits = Vec::new();
    while let Some(some) = tasks.join_next().await {
        waits.extend(some??);
    }
    Ok(Outcome {
        per_s: waits.len() as f64 / begun.elapsed().as_secs_f64(),
        waits,
    })
}

/// The table.
pub(crate) async fn measure() -> anyhow::Result<Report> {
    // On the disk of the checkout: a folder for temporary files may be in memory.
    let beside = PathBuf::from("target");
    let folder = if beside.is_dir() {
        tempfile::tempdir_in(beside)
    } else {
        tempfile::tempdir_in(".")
    }
    .context("a folder for the records")?;
    let ours: Arc<dyn Keeper> = Arc::new(Store::open(&folder.path().join("store"))?);
    let redb: Arc<dyn Keeper> = Arc::new(Redb::open(&folder.path().join("redb"))?);
    let mut rows = Vec::new();
    let mut figures = Vec::new();
    for writers in WRITERS {
        let mut outcomes = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            for (keeper, outcomes) in [&ours, &redb].into_iter().zip(&mut outcomes) {
                outcomes.push(run(Arc::clone(keeper), writers, round).await?);
            }
        }
        let [ours, redb] = outcomes.map(|outcomes| {
            let per_s = Distribution::new(outcomes.iter().map(|one| one.per_s).collect());
            let waits = outcomes.into_iter().flat_map(|one| one.waits);
            (per_s.median(), Distribution::new(waits.collect()))
        });
        let ratio = ours.0 / redb.0;
        let ms = |value: f64| format!("{value:.2}");
        rows.push(vec![
            format!("{writers}"),
            format!("{:.0}", ours.0),
            ms(ours.1.median()),
            ms(ours.1.quantile(0.99)),
            format!("{:.0}", redb.0),
            ms(redb.1.median()),
            ms(redb.1.quantile(0.99)),
            format!("{ratio:.2}"),
        ]);
        figures.push(json!({
            "writers": writers,
            "store_per_s": ours.0,
            "store_ms": ours.1.figures(),
            "redb_per_s": redb.0,
            "redb_ms": redb.1.figures(),
            "ratio": ratio,
        }));
    }
    Ok(Report {
        title: "Records acknowledged durably",
        notes: vec![
            format!(
                "records of {VALUE_LEN} bytes, each on the disk before its writer gives the next; {ROUNDS} rounds of {} s each, in turn",
                RUN.as_secs()
            ),
            "store: sled, flush and fdatasync for each group; redb: a commit for each group"
                .to_owned(),
            "ratio: records/s of the store over those of redb".to_owned(),
        ],
        head: vec![
            "writers", "store/s", "p50 ms", "p99 ms", "redb/s", "p50 ms", "p99 ms", "ratio",
        ],
        rows,
        figures: json!({ "records": figures }),
    })
}

/// Writers at a time.
const WRITERS: [usize; 3] = [1, 16, 256];
const ROUNDS: usize = 3;
/// How long a round lasts.
const RUN: Duration = Duration::from_secs(3);
/// A session's record has about so many bytes.
const VALUE_LEN: usize = 600;
/// As in our store.
const GATHER_MAX: usize = 512;
