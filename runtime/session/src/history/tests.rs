use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use lockgate_ports::{
    BoxFuture, Change,
    records::{Listed, Range},
};

use super::{record::PARTICIPANTS_MAX, *};

mod properties;

/// A disk in memory that can be full.
#[derive(Default)]
struct Disk {
    rows: Mutex<BTreeMap<String, Vec<u8>>>,
    is_full: AtomicBool,
}

impl Records for Disk {
    fn write(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<(), RecordError>> {
        let full = self.is_full.load(Ordering::Relaxed);
        if !full {
            let mut rows = self.rows.lock().unwrap();
            for change in changes {
                match change {
                    Change::Put { key, value, .. } => drop(rows.insert(key, value)),
                    Change::Remove { key, .. } => drop(rows.remove(&key)),
                }
            }
        }
        Box::pin(async move { if full { Err(RecordError::Full) } else { Ok(()) } })
    }

    fn get(&self, _: Table, key: &str) -> Result<Option<Vec<u8>>, RecordError> {
        Ok(self.rows.lock().unwrap().get(key).cloned())
    }

    fn list(&self, _: Table, range: Range<'_>, limit: usize) -> Result<Listed, RecordError> {
        let rows = self.rows.lock().unwrap();
        let beyond = |key: &str| {
            range.beyond.is_none_or(|beyond| {
                if range.reverse {
                    key < beyond
                } else {
                    key > beyond
                }
            })
        };
        let matching = rows
            .iter()
            .filter(|(key, _)| key.starts_with(range.prefix) && beyond(key))
            .map(|(key, value)| (key.clone(), value.clone()));
        Ok(if range.reverse {
            matching.rev().take(limit).collect()
        } else {
            matching.take(limit).collect()
        })
    }
}

impl Disk {
    fn records(&self) -> Vec<SessionRecord> {
        let rows = self.rows.lock().unwrap();
        let rows = rows.iter().filter(|(key, _)| key.starts_with("t/"));
        rows.map(|(_, value)| SessionRecord::decode(value).unwrap())
            .collect()
    }

    fn count(&self) -> usize {
        let rows = self.rows.lock().unwrap();
        rows.keys().filter(|key| key.starts_with("t/")).count()
    }

    fn has(&self, id: SessionId, state: RecordState) -> bool {
        let rows = self.rows.lock().unwrap();
        let time = rows.get(&keys::time_of(id));
        let time = time.and_then(|time| keys::read_time(time));
        let value = time.and_then(|time| rows.get(&keys::of(time, id)));
        value.is_some_and(|value| SessionRecord::decode(value).unwrap().state == state)
    }

    fn fill(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Relaxed);
    }
}

/// Somebody whose numbers the test sets.
struct Somebody(Mutex<Numbers>);

impl Somebody {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    fn set(&self, sent_bytes: u64, quality: &str, scores: (f64, u64)) {
        *self.0.lock().unwrap() = Numbers {
            sent_bytes,
            quality: Some(quality.to_owned()),
            scores,
            ..Numbers::default()
        };
    }
}

impl Sitting for Somebody {
    fn numbers(&self) -> Numbers {
        self.0.lock().unwrap().clone()
    }
}

fn name(text: &str) -> BroadcastName {
    BroadcastName::new(text).unwrap()
}

fn begin(history: &Arc<History>, protocol: Via, subject: &str) -> (SessionId, Entry) {
    let id = SessionId::random();
    let entry = history.begin(Opening {
        id,
        role: None,
        protocol,
        stream: &name("cam"),
        visitor: Visitor {
            subject: Some(subject.to_owned()),
            ..Visitor::default()
        },
    });
    (id, entry)
}

struct Kept {
    disk: Arc<Disk>,
    history: Arc<History>,
    _task: lockgate_ports::task::Task,
}

async fn kept_on(disk: Arc<Disk>, keep: Keep) -> Kept {
    let history = History::open(Arc::clone(&disk) as Arc<dyn Records>, keep).await;
    Kept {
        disk,
        _task: lockgate_ports::task::own(Arc::clone(&history).keep()),
        history,
    }
}

async fn kept() -> Kept {
    kept_on(Arc::default(), Keep::default()).await
}

async fn until(what: &str, is: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited in vain for {what}");
}

#[tokio::test(start_paused = true)]
async fn a_room_is_a_record_of_its_own_that_sums_up_who_was_in_it() {
    let history = History::open(Arc::new(Disk::default()), Keep::default()).await;
    let open = |role, subject: &str| {
        let id = SessionId::random();
        let entry = history.begin(Opening {
            id,
            role: Some(role),
            protocol: Via::Room,
            stream: &name("room"),
            visitor: Visitor {
                subject: Some(subject.to_owned()),
                ..Visitor::default()
            },
        });
        (id, entry)
    };
    let (room, room_entry) = open(Role::Room, "boss");
    // What the host publishes under the same name is counted for itself.
    let (publisher, publisher_entry) = open(Role::Publisher, "boss");
    let (boss, boss_entry) = open(Role::Participant, "boss");
    let (ann, ann_entry) = open(Role::Participant, "ann");
    let came_to = |sent_bytes, received_bytes, scores| Numbers {
        sent_bytes,
        received_bytes,
        scores,
        ..Numbers::default()
    };
    boss_entry.end(EndReason::Left, came_to(1000, 500, (160.0, 2)));
    ann_entry.end(EndReason::RoomEnded, came_to(100, 50, (20.0, 1)));
    publisher_entry.end(EndReason::Left, came_to(0, 500, (0.0, 0)));
    room_entry.end(EndReason::HostLeft, Numbers::default());
    let record = history.get(room).await.unwrap().record;
    assert_eq!((record.role, record.protocol), (Role::Room, Via::Room));
    assert_eq!(
        (record.host.as_deref(), record.title.as_str()),
        (Some("boss"), "room")
    );
    assert_eq!(record.participants, [boss, ann]);
    assert_eq!(record.end_reason, Some(EndReason::HostLeft));
    let stats = &record.stats;
    assert_eq!(
        (stats.total_viewers, stats.average_quality),
        (2, Some(60.0))
    );
    assert_eq!(
        (
            stats.received_bytes,
            stats.sent_bytes,
            stats.data_used_bytes
        ),
        (550, 1100, 1650)
    );
    let record = history.get(ann).await.unwrap().record;
    assert_eq!(
        (record.role, record.host.as_deref()),
        (Role::Participant, Some("boss"))
    );
    assert_eq!(record.stats.data_used_bytes, 150);
    let record = history.get(publisher).await.unwrap().record;
    assert_eq!(
        (record.stats.total_viewers, record.stats.received_bytes),
        (0, 500)
    );
    // As it lies on the disk.
    let written = record.encode().unwrap();
    assert_eq!(SessionRecord::decode(&written).unwrap(), record);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_written_when_it_begins_changes_and_ends() {
    let kept = kept().await;
    let (host_id, host) = begin(&kept.history, Via::Rtmp, "ann");
    let (id, entry) = begin(&kept.history, Via::Whep, "bob");
    let bob = Somebody::new();
    entry.watch(Arc::downgrade(&bob) as Weak<dyn Sitting>);
    until("both beginnings", || {
        kept.disk.has(host_id, RecordState::Live) && kept.disk.has(id, RecordState::Live)
    })
    .await;
    bob.set(1_000, "720p30", (80.0 + 90.0, 2));
    let stored = |id: SessionId| {
        let records = kept.disk.records();
        records.into_iter().find(|record| record.id == id).unwrap()
    };
    until("the change", || stored(id).quality.is_some()).await;
    assert_eq!(stored(id).stats.sent_bytes, 1_000);
    // What moves all the time is written once a minute only.
    bob.set(2_000, "720p30", (80.0 + 90.0 + 40.0, 3));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(stored(id).stats.sent_bytes, 1_000);
    let shown = kept.history.get(id).await.unwrap();
    assert_eq!(
        (shown.record.stats.sent_bytes, shown.recorded),
        (2_000, true)
    );
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(stored(id).stats.sent_bytes, 2_000);

    bob.set(3_000, "360p30", (80.0 + 90.0 + 40.0, 3));
    entry.end(EndReason::Left, bob.numbers());
    until("the end", || kept.disk.has(id, RecordState::Ended)).await;
    let ended = stored(id);
    assert_eq!(ended.end_reason, Some(EndReason::Left));
    assert_eq!(ended.stats.sent_bytes, 3_000);
    assert_eq!(ended.stats.average_quality, Some(70.0));
    assert_eq!(
        (ended.role, ended.host.as_deref()),
        (Role::Viewer, Some("ann"))
    );
    // The first reason counts.
    entry.end(EndReason::Kicked, Numbers::default());
    drop(entry);
    assert_eq!(stored(id).end_reason, Some(EndReason::Left));
    // What was sent to viewers is its publisher's, too.
    drop(host);
    until("the publisher's end", || {
        kept.disk.has(host_id, RecordState::Ended)
    })
    .await;
    let host = stored(host_id);
    assert_eq!(host.end_reason, Some(EndReason::Gone));
    assert_eq!(host.participants, [id]);
    assert_eq!(
        (host.stats.total_viewers, host.stats.sent_bytes),
        (1, 3_000)
    );
    assert_eq!(host.stats.average_quality, Some(70.0));
    assert!(
        !kept
            .disk
            .rows
            .lock()
            .unwrap()
            .keys()
            .any(|key| key.starts_with("l/"))
    );
    assert_eq!(kept.history.counts().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_comes_back_has_the_viewers_that_stayed() {
    let kept = kept().await;
    let (_, first) = begin(&kept.history, Via::Whip, "ann");
    let viewers: Vec<(SessionId, Entry)> = (0..PARTICIPANTS_MAX + 5)
        .map(|_| begin(&kept.history, Via::Hls, "crowd"))
        .collect();
    let (second_id, second) = begin(&kept.history, Via::Whip, "ann");
    first.end(EndReason::Replaced, Numbers::default());
    drop((second, viewers));
    until("the end", || kept.disk.has(second_id, RecordState::Ended)).await;
    let records = kept.disk.records();
    let second = records
        .iter()
        .find(|record| record.id == second_id)
        .unwrap();
    assert_eq!(second.participants.len(), PARTICIPANTS_MAX);
    assert_eq!(second.stats.total_viewers, PARTICIPANTS_MAX as u64 + 5);
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_left_live_is_closed_and_what_is_live_is_not() {
    let disk = Arc::<Disk>::default();
    let before = kept_on(Arc::clone(&disk), Keep::default()).await;
    let (id, entry) = begin(&before.history, Via::Whip, "ann");
    until("the beginning", || disk.has(id, RecordState::Live)).await;
    std::mem::forget(entry);
    drop(before);
    // Not while the disk is full, and as soon as it is not.
    disk.fill(true);
    let after = kept_on(Arc::clone(&disk), Keep::default()).await;
    let (new, _entry) = begin(&after.history, Via::Whip, "ann");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!after.history.get(new).await.unwrap().recorded);
    disk.fill(false);
    until("both", || {
        disk.has(id, RecordState::Ended) && disk.has(new, RecordState::Live)
    })
    .await;
    let closed = after.history.get(id).await.unwrap().record;
    assert_eq!(closed.end_reason, Some(EndReason::ServerCrashed));
    assert_eq!(closed.ended_at_ms, Some(closed.updated_at_ms));
    after.history.settle().await.unwrap();
    assert!(disk.has(new, RecordState::Live));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_delays_records_and_loses_none() {
    let kept = kept().await;
    let (id, entry) = begin(&kept.history, Via::Whep, "bob");
    until("the beginning", || kept.disk.has(id, RecordState::Live)).await;
    kept.disk.fill(true);
    let others: Vec<SessionId> = (0..600)
        .map(|_| begin(&kept.history, Via::Whep, "bob").0)
        .collect();
    entry.end(EndReason::Kicked, Numbers::default());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let shown = kept.history.get(id).await.unwrap();
    assert_eq!(
        (shown.record.state, shown.recorded),
        (RecordState::Ended, false)
    );
    let counts = kept.history.counts();
    assert_eq!((counts.waiting, counts.lost), (601, 0));
    kept.disk.fill(false);
    until("all", || kept.history.counts().waiting == 0).await;
    assert!(
        others
            .iter()
            .all(|id| kept.disk.has(*id, RecordState::Ended))
    );
    assert!(kept.history.get(id).await.unwrap().recorded);
}

#[tokio::test(start_paused = true)]
async fn going_down_ends_all_with_the_reason() {
    let kept = kept().await;
    let (id, _entry) = begin(&kept.history, Via::Hls, "bob");
    kept.history.close(Duration::from_secs(5)).await;
    assert!(kept.disk.has(id, RecordState::Ended));
    let record = kept.history.get(id).await.unwrap().record;
    assert_eq!(record.end_reason, Some(EndReason::ServerStopped));
}

fn past(id: u128, started_at_ms: u64, lasted_ms: u64, bytes: u64) -> SessionRecord {
    SessionRecord {
        id: format!("{id:032x}").parse().unwrap(),
        role: Role::Viewer,
        protocol: Via::Whep,
        stream: name(if id.is_multiple_of(3) { "one" } else { "other" }),
        title: "a title".to_owned(),
        host: None,
        subject: None,
        address: None,
        agent: None,
        quality: None,
        state: RecordState::Ended,
        started_at_ms,
        ended_at_ms: Some(started_at_ms + lasted_ms),
        updated_at_ms: started_at_ms + lasted_ms,
        end_reason: Some(EndReason::Left),
        participants: Vec::new(),
        stats: SessionStats {
            data_used_bytes: bytes,
            sent_bytes: bytes,
            ..SessionStats::default()
        },
    }
}

#[tokio::test(start_paused = true)]
async fn the_oldest_go_first_and_what_is_live_stays() {
    let now = now_ms();
    let keep = |age, count| Keep { age, count };
    let kept = kept_on(Arc::default(), keep(None, Some(10))).await;
    let (live, _entry) = begin(&kept.history, Via::Whip, "ann");
    let day = 86_400_000;
    let records: Vec<_> = (0..700)
        .map(|n| past(n, now - 10 * day + n as u64, 5, 0))
        .collect();
    kept.history.import(records.clone()).await.unwrap();
    until("the live one", || kept.disk.has(live, RecordState::Live)).await;
    until("the others to go", || kept.disk.count() == 10).await;
    let left = kept.disk.records();
    assert_eq!(left.len(), 10);
    assert_eq!(left[0], records[691]);
    assert!(kept.disk.has(live, RecordState::Live));
    until("the count", || kept.history.counts().kept == Some(10)).await;

    let disk = Arc::<Disk>::default();
    let for_good = kept_on(Arc::clone(&disk), Keep::default()).await;
    let young = past(1, now - day / 2, 5, 0);
    let long = past(2, now - 2 * day, 2 * day, 0);
    let old = past(3, now - 2 * day, 5, 0);
    let all = vec![young.clone(), old.clone(), long.clone()];
    for_good.history.import(all).await.unwrap();
    drop(for_good);
    let by_age = kept_on(disk, keep(Some(Duration::from_secs(86_400)), None)).await;
    until("the old one to go", || by_age.disk.count() == 2).await;
    // Nor does it come in again.
    let again = by_age.history.import(vec![old]).await.unwrap();
    assert_eq!((again.too_old, again.added), (1, 0));
    assert_eq!(by_age.disk.records(), [long, young]);
}

#[tokio::test]
async fn an_import_is_the_same_the_second_time() {
    let history = History::open(Arc::<Disk>::default(), Keep::default()).await;
    let mut live = past(7, 1_000, 0, 5);
    live.state = RecordState::Live;
    (live.ended_at_ms, live.end_reason) = (None, None);
    let records = vec![past(1, 100, 5, 1), past(2, 200, 5, 2), live.clone()];
    let added = |added, replaced, unchanged| Imported {
        added,
        replaced,
        unchanged,
        too_old: 0,
    };
    assert_eq!(history.import(records.clone()).await, Ok(added(3, 0, 0)));
    assert_eq!(history.import(records).await, Ok(added(0, 0, 3)));
    let over = history.get(live.id).await.unwrap().record;
    assert_eq!(over.end_reason, Some(EndReason::Exported));
    // A newer one takes the place of the older, wherever that stood; an older one does not.
    let newer = past(1, 150, 500, 9);
    assert_eq!(
        history.import(vec![newer.clone()]).await,
        Ok(added(0, 1, 0))
    );
    assert_eq!(
        history.import(vec![past(1, 100, 5, 1)]).await,
        Ok(added(0, 0, 1))
    );
    let all = history
        .list(Query::default().oldest_first(10))
        .await
        .unwrap();
    assert_eq!(all.sessions.len(), 3);
    assert_eq!(all.sessions[0].record, newer);
}

#[test]
fn bad_lines_are_named_by_their_numbers_and_nothing_is_taken() {
    let line = |record: &SessionRecord| serde_json::to_string(record).unwrap();
    let good = line(&past(1, 5, 5, 5));
    let early = good.replace("\"ended_at_ms\":10", "\"ended_at_ms\":1");
    let text = format!("{good}\n\nnot json\n{early}\n{good}\r\n{{\"id\":\"x\"}}\n");
    let bad = read_lines(text.as_bytes()).unwrap_err();
    let lines: Vec<usize> = bad.iter().map(|bad| bad.line).collect();
    assert_eq!(lines, [3, 4, 6]);
    assert!(
        bad[1].error.contains("ended_at_ms is before started_at_ms"),
        "{bad:?}"
    );
    assert!(bad[2].error.starts_with("column 10: "), "{bad:?}");
    // Of two the newer counts.
    let two = format!("{}\n{}\n", line(&past(1, 5, 9, 9)), good);
    assert_eq!(read_lines(two.as_bytes()), Ok(vec![past(1, 5, 9, 9)]));
    assert_eq!(read_lines(b"\n\n"), Ok(Vec::new()));
    assert_eq!(read_lines(&b"x\n".repeat(1000)).unwrap_err().len(), 100);
}

#[test]
fn a_later_format_is_refused_in_words() {
    let mut value = past(1, 5, 5, 5).encode().unwrap();
    // A member of a later version is no other format.
    let more = String::from_utf8(value.split_off(1)).unwrap();
    let more = more
        .replacen('{', "{\"mood\":\"good\",", 1)
        .replace("left", "bored");
    value.extend(more.into_bytes());
    let read = SessionRecord::decode(&value).unwrap();
    assert_eq!(read.end_reason, Some(EndReason::Unknown));
    value[0] = 9;
    let refused = SessionRecord::decode(&value).unwrap_err();
    assert_eq!(refused, FormatError::Format(9));
    assert!(refused.to_string().contains("use the version"), "{refused}");
    assert!(SessionRecord::decode(&[]).is_err());
}

#[test]
fn a_query_is_taken_whole_or_refused_with_what_is_wrong() {
    for (pairs, word) in [
        (vec![("sort", "size")], "data_used"),
        (vec![("limit", "0")], "1 to 1000"),
        (vec![("limit", "1001")], "1 to 1000"),
        (vec![("role", "boss")], "publisher"),
        (vec![("reason", "bored")], "server-crashed"),
        (vec![("started_after_ms", "yesterday")], "in ms"),
        (vec![("page", "2")], "cursor"),
        (vec![("stream", "")], "0 bytes"),
        (vec![("cursor", "x")], "next"),
        (
            vec![
                ("cursor", "-started_at.5.00000000000000000000000000000001"),
                ("sort", "duration"),
            ],
            "another order",
        ),
    ] {
        let refused = Query::of(pairs.clone()).unwrap_err();
        assert!(refused.contains(word), "{pairs:?}: {refused}");
    }
}
