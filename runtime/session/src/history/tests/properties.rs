//! What holds of every record, and of every list in pages.

use proptest::{option, prelude::*, sample::select};

use super::*;

/// Any record there can be.
fn any_record() -> impl Strategy<Value = SessionRecord> {
    let text = || option::of("\\PC{0,100}");
    let who = ("\\PC{0,100}", text(), text(), text(), text(), text());
    let times = (
        0..9_999_999_999u64,
        0..1_000_000_000u64,
        any::<u64>(),
        any::<bool>(),
    );
    let stats = (
        any::<u64>(),
        option::of(0.0..=100.0f64),
        any::<u64>(),
        any::<u64>(),
    );
    let reason = option::of(select(EndReason::ALL.to_vec()));
    let people = prop::collection::vec(any::<u128>(), 0..PARTICIPANTS_MAX);
    (any::<u128>(), who, times, stats, reason, people).prop_map(
        |(id, who, (started, lasted, _, is_live), stats, end_reason, people)| {
            let id_of = |id: u128| format!("{id:032x}").parse().unwrap();
            let (title, host, subject, address, agent, quality) = who;
            SessionRecord {
                id: id_of(id),
                title,
                host,
                subject,
                address,
                agent,
                quality,
                state: if is_live {
                    RecordState::Live
                } else {
                    RecordState::Ended
                },
                ended_at_ms: (!is_live).then_some(started + lasted),
                end_reason,
                participants: people.into_iter().map(id_of).collect(),
                stats: SessionStats {
                    total_viewers: stats.0,
                    average_quality: stats.1,
                    quality_samples: stats.2,
                    data_used_bytes: stats.3,
                    received_bytes: stats.3,
                    sent_bytes: 0,
                },
                ..past(id, started, lasted, 0)
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(record in any_record()) {
        let value = record.encode().unwrap();
        prop_assert!(value.len() < 60 << 10);
        prop_assert_eq!(SessionRecord::decode(&value).unwrap(), record.clone());
        let line = serde_json::to_vec(&record).unwrap();
        prop_assert!(!line.contains(&b'\n'));
        prop_assert_eq!(SessionRecord::of_line(&line).unwrap(), record);
    }

    /// Pages end to end are the whole list, each session once, whatever comes in between.
    #[test]
    fn pages_have_everything_once_and_in_order(
        sessions in prop::collection::vec((0..50u64, 0..20u64, 0..9u64), 1..120),
        later in prop::collection::vec((0..50u64, 0..20u64, 0..9u64), 0..40),
        sort in select(vec!["started_at", "ended_at", "duration", "data_used"]),
        descending: bool,
        limit in 1..40usize,
        only_one: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let make = |from: u128, some: &[(u64, u64, u64)]| -> Vec<SessionRecord> {
            let ids = from..;
            ids.zip(some).map(|(id, (start, lasted, bytes))| past(id, *start, *lasted, *bytes)).collect()
        };
        let (first, more) = (make(0, &sessions), make(10_000, &later));
        runtime.block_on(async {
            let history = History::open(Arc::<Disk>::default(), Keep::default()).await;
            history.import(first.clone()).await.unwrap();
            let sort = format!("{}{sort}", if descending { "-" } else { "" });
            let limit_text = limit.to_string();
            let mut pairs = vec![("sort", sort.as_str()), ("limit", limit_text.as_str())];
            if only_one {
                pairs.push(("stream", "one"));
            }
            let query = Query::of(pairs.clone()).unwrap();
            let mut seen = Vec::new();
            let mut page = history.list(query).await.unwrap();
            let mut coming = more.chunks(7);
            loop {
                prop_assert!(page.sessions.len() <= limit);
                seen.extend(page.sessions);
                if let Some(some) = coming.next() {
                    history.import(some.to_vec()).await.unwrap();
                }
                let Some(next) = page.next else { break };
                let next = next.to_string();
                let pairs = pairs.iter().copied().chain([("cursor", next.as_str())]);
                page = history.list(Query::of(pairs).unwrap()).await.unwrap();
            }
            let place = |record: &SessionRecord| {
                let value = match sort.trim_start_matches('-') {
                    "started_at" => record.started_at_ms,
                    "ended_at" => record.ended_at_ms.unwrap(),
                    "duration" => record.duration_ms(0),
                    _ => record.stats.data_used_bytes,
                };
                (value, record.id)
            };
            let mut places: Vec<_> = seen.iter().map(|view| place(&view.record)).collect();
            let as_they_came = places.clone();
            places.sort_unstable();
            places.dedup();
            if descending {
                places.reverse();
            }
            prop_assert_eq!(as_they_came, places);
            let wanted = first.iter().filter(|record| !only_one || record.stream.as_str() == "one");
            for record in wanted {
                let count = seen.iter().filter(|view| view.record.id == record.id).count();
                prop_assert_eq!(count, 1);
            }
            Ok(())
        })?;
    }
}
