//! Fuzz targets for what comes from the disk, from an import and from a query.

use lockgate_tests_fuzz::run;

use super::{Cursor, Query, SessionRecord, read_lines};

#[test]
fn records() {
    run("record", 3000, |data| {
        for record in [SessionRecord::decode(data), SessionRecord::of_line(data)]
            .into_iter()
            .flatten()
        {
            let written = record.encode().expect("what was read can be written");
            assert_eq!(SessionRecord::decode(&written), Ok(record));
        }
        match read_lines(data) {
            Ok(records) => assert!(records.len() <= data.len()),
            Err(bad) => {
                let lines = data.split(|byte| *byte == b'\n').count();
                assert!(!bad.is_empty() && bad.iter().all(|bad| (1..=lines).contains(&bad.line)));
            }
        }
    });
}

#[test]
fn queries() {
    run("query", 3000, |data| {
        let text = String::from_utf8_lossy(data);
        let pairs = text
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        drop(Query::of(pairs));
        if let Ok(cursor) = text.parse::<Cursor>() {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    });
}
