//! The numbers that a broadcast's HLS counts from: never ones that an earlier broadcast of the name had, whatever became
//! of the server or its clock meanwhile.

use std::{sync::Arc, time::Duration};

use lockgate_media::BroadcastName;
use lockgate_ports::{Change, Records, Table};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, interval};

/// Where counting starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct From {
    /// Media sequence number of the first segment.
    pub(crate) segment: u32,
    /// Discontinuity sequence number of the first segment.
    pub(crate) discontinuity: u64,
}

/// What is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// No segment has had this number or a greater one.
    segment: u32,
    /// The same of discontinuities.
    discontinuity: u64,
}

/// Where a broadcast that starts now counts from. Segments last a second at least, so that the time in s alone is
/// greater than all that was before, as long as the clock is not set back.
pub(crate) fn from(records: Option<&dyn Records>, name: &BroadcastName, now_s: u32) -> From {
    let read = records.map(|records| records.get(Table::Broadcasts, name.as_str()));
    let kept = match read {
        Some(Ok(Some(value))) => serde_json::from_slice::<Kept>(&value).ok(),
        Some(Err(error)) => {
            tracing::warn!(broadcast = %name, %error, "the numbers it had cannot be read: it counts from the time");
            None
        }
        _ => None,
    };
    kept.map_or(
        From {
            segment: now_s,
            discontinuity: 0,
        },
        |kept| From {
            segment: now_s.max(kept.segment),
            discontinuity: kept.discontinuity,
        },
    )
}

/// Writes down what will have been used in a while, again and again, until it is dropped.
pub(crate) async fn keep(records: Arc<dyn Records>, name: BroadcastName, from: From) {
    let began = Instant::now();
    let mut tick = interval(EVERY);
    loop {
        tick.tick().await;
        let ahead = u32::try_from((began.elapsed() + 2 * EVERY).as_secs()).unwrap_or(u32::MAX);
        let kept = Kept {
            segment: from.segment.saturating_add(ahead),
            discontinuity: from.discontinuity.saturating_add(DISCONTINUITIES_MAX),
        };
        let Ok(value) = serde_json::to_vec(&kept) else {
            continue;
        };
        let change = Change::Put {
            table: Table::Broadcasts,
            key: name.to_string(),
            value,
        };
        if let Err(error) = records.write(vec![change]).await {
            tracing::warn!(broadcast = %name, %error, "the numbers in use cannot be recorded");
        }
    }
}

/// How often what is in use is written down.
const EVERY: Duration = Duration::from_secs(60);
/// More than any broadcast has.
const DISCONTINUITIES_MAX: u64 = 1_000;

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Mutex};

    use lockgate_ports::{
        BoxFuture, RecordError,
        records::{Listed, Range},
    };

    use super::*;

    /// Records in memory.
    #[derive(Default)]
    struct Memory(Mutex<HashMap<String, Vec<u8>>>);

    impl Records for Memory {
        fn write(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<(), RecordError>> {
            for change in changes {
                if let Change::Put { key, value, .. } = change {
                    self.0.lock().unwrap().insert(key, value);
                }
            }
            Box::pin(async { Ok(()) })
        }

        fn get(&self, _: Table, key: &str) -> Result<Option<Vec<u8>>, RecordError> {
            Ok(self.0.lock().unwrap().get(key).cloned())
        }

        fn list(&self, _: Table, _: Range<'_>, _: usize) -> Result<Listed, RecordError> {
            Ok(Listed::new())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_number_is_used_twice_even_if_the_clock_is_set_back() {
        let records = Arc::new(Memory::default());
        let name = BroadcastName::new("cam").unwrap();
        let ask = |now_s| from(Some(records.as_ref()), &name, now_s);
        let first = ask(1_000_000);
        assert_eq!((first.segment, first.discontinuity), (1_000_000, 0));
        let live = keep(
            Arc::clone(&records) as Arc<dyn Records>,
            name.clone(),
            first,
        );
        // Ten minutes with a segment each second; then the power goes, and the clock with it.
        tokio::time::timeout(Duration::from_secs(600), live)
            .await
            .unwrap_err();
        let second = ask(0);
        assert!(second.segment > 1_000_600 && second.discontinuity > first.discontinuity);
        assert_eq!(ask(2_000_000).segment, 2_000_000);
        records
            .0
            .lock()
            .unwrap()
            .insert("cam".to_owned(), b"{}".to_vec());
        assert_eq!(ask(7).segment, 7);
    }
}
