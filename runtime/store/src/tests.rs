use std::fs;

use super::*;

fn put(table: Table, key: &str, value: &str) -> Change {
    Change::Put {
        table,
        key: key.to_owned(),
        value: value.as_bytes().to_vec(),
    }
}

fn keys(listed: Listed) -> Vec<String> {
    listed.into_iter().map(|(key, _)| key).collect()
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store
        .write(vec![
            put(Table::Sessions, "b", "2"),
            put(Table::Sessions, "a", "1"),
            put(Table::Policies, "abr", "x"),
        ])
        .await
        .unwrap();
    store
        .write(vec![
            put(Table::Sessions, "c", "3"),
            Change::Remove {
                table: Table::Sessions,
                key: "a".to_owned(),
            },
        ])
        .await
        .unwrap();
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.get(Table::Sessions, "b"), Ok(Some(b"2".to_vec())));
    assert_eq!(store.get(Table::Sessions, "a"), Ok(None));
    assert_eq!(store.get(Table::Policies, "b"), Ok(None));
    let all = store.list(Table::Sessions, Range::default(), 10).unwrap();
    assert_eq!(keys(all), ["b", "c"]);
}

#[tokio::test]
async fn a_store_closed_and_opened_at_once_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    for turn in 0..60 {
        let store = Store::open(folder.path()).unwrap();
        let all = store.list(Table::Sessions, Range::default(), 100).unwrap();
        assert_eq!(all.len(), turn);
        let written = (0..20).map(|_| put(Table::Sessions, &format!("{turn:02}"), "x"));
        store.write(written.collect()).await.unwrap();
    }
}

#[tokio::test]
async fn a_table_is_read_page_by_page_in_both_directions() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let names = ["a1", "a2", "a3", "aé", "b1"];
    store
        .write(names.map(|name| put(Table::Sessions, name, name)).to_vec())
        .await
        .unwrap();
    store
        .write(vec![put(Table::Revoked, "a2", "")])
        .await
        .unwrap();
    let page = |prefix, beyond, reverse| {
        let range = Range {
            prefix,
            beyond,
            reverse,
        };
        keys(store.list(Table::Sessions, range, 2).unwrap())
    };
    assert_eq!(page("", None, false), ["a1", "a2"]);
    assert_eq!(page("", Some("a2"), false), ["a3", "aé"]);
    assert_eq!(page("a", Some("a3"), false), ["aé"]);
    assert_eq!(page("a", None, true), ["aé", "a3"]);
    assert_eq!(page("a", Some("a2"), true), ["a1"]);
    assert_eq!(page("b", Some("a2"), true), [""; 0]);
    assert_eq!(page("z", None, false), [""; 0]);
}

#[tokio::test]
async fn a_record_too_large_is_refused_and_nothing_of_its_batch_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let large = put(Table::Sessions, "large", &"x".repeat(65 << 10));
    let refused = store
        .write(vec![put(Table::Sessions, "small", ""), large])
        .await;
    assert_eq!(refused, Err(RecordError::TooLarge("large".to_owned())));
    assert_eq!(store.get(Table::Sessions, "small"), Ok(None));
}

#[test]
fn a_folder_has_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let second = Store::open(folder.path()).unwrap_err();
    assert_eq!(second, OpenError::InUse(folder.path().to_owned()));
    drop(store);
    Store::open(folder.path()).unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "no folder").unwrap();
    let error = Store::open(&file).unwrap_err().to_string();
    assert!(error.contains("store.path"), "{error}");
}

#[tokio::test]
async fn records_of_a_later_format_are_left_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store
        .write(vec![put(Table::Sessions, "a", "1")])
        .await
        .unwrap();
    drop(store);
    let mark = |format: &str| {
        let db = sled::open(folder.path().join("records")).unwrap();
        let before = db.insert(b"\0format", format).unwrap();
        db.flush().unwrap();
        before
    };
    let ours = mark("2").expect("a new database says its format");
    let refused = Store::open(folder.path()).unwrap_err();
    assert!(
        matches!(&refused, OpenError::Newer { found, .. } if found == "2"),
        "{refused}"
    );
    assert!(refused.to_string().contains("store.path"), "{refused}");
    mark(std::str::from_utf8(&ours).unwrap());
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.get(Table::Sessions, "a"), Ok(Some(b"1".to_vec())));
    let quarantined = fs::read_dir(folder.path()).unwrap().any(|entry| {
        let name = entry.unwrap().file_name();
        let name = name.to_string_lossy().into_owned();
        name.starts_with("quarantine") || name.starts_with("damaged")
    });
    assert!(!quarantined);
}

#[tokio::test]
async fn a_snapshot_torn_at_start_up_is_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store
        .write(vec![put(Table::Sessions, "a", "1")])
        .await
        .unwrap();
    drop(store);
    fs::write(
        folder
            .path()
            .join("records/snap.0000000000FFFFFF.generating"),
        "torn",
    )
    .unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.get(Table::Sessions, "a"), Ok(Some(b"1".to_vec())));
}

#[tokio::test]
async fn a_foreign_file_is_put_aside_and_kept() {
    for foreign in [
        &b"this is somebody's text, not a database"[..],
        &[0xff; 600_000],
        b"",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let records = folder.path().join("records");
        fs::create_dir_all(&records).unwrap();
        fs::write(records.join("db"), foreign).unwrap();
        fs::write(records.join("conf"), foreign).unwrap();
        let store = Store::open(folder.path()).unwrap();
        store
            .write(vec![put(Table::Sessions, "a", "1")])
            .await
            .unwrap();
        let aside: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .filter_map(Result::ok)
            .filter(|entry| {
                entry
                    .file_name()
                    .to_string_lossy()
                    .starts_with("quarantine-")
            })
            .collect();
        if foreign.is_empty() {
            // Nothing in them: sled takes empty files for new ones, or they are put aside like others.
            continue;
        }
        assert_eq!(aside.len(), 1);
        assert_eq!(fs::read(aside[0].path().join("conf")).unwrap(), foreign);
    }
}

#[tokio::test]
async fn a_damaged_record_is_put_aside_and_the_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store
        .write(vec![
            put(Table::Sessions, "a", "1"),
            put(Table::Sessions, "b", "2"),
        ])
        .await
        .unwrap();
    drop(store);
    // A flipped bit that sled's own checksum does not see: written through sled.
    let place = open::Place::claim(folder.path()).unwrap();
    let db = place.open().unwrap().unwrap();
    let mut value = db.get("sa").unwrap().unwrap().to_vec();
    *value.last_mut().unwrap() ^= 1;
    db.insert("sa", value).unwrap();
    db.flush().unwrap();
    drop((db, place));
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.get(Table::Sessions, "a"), Ok(None));
    assert_eq!(store.get(Table::Sessions, "b"), Ok(Some(b"2".to_vec())));
    let aside = fs::read_to_string(folder.path().join("damaged.ndjson")).unwrap();
    assert!(aside.contains("\"sa\""), "{aside}");
}
