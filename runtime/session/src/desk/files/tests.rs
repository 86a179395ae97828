use lockgate_policy::{
    Kind, Tick,
    auth::{Action, Request},
    decision::{About, Asked, Author, Call, Ladder, Mode, Settings},
    engine,
    host::Reads,
    slot::Level,
};

use super::*;

/// An entry that is known by its row.
fn entry(row: usize) -> Arc<Entry> {
    let request = Request {
        action: Action::Play,
        stream: "demo".to_owned(),
        peer: String::new(),
        claims: [].into(),
        now_s: 0,
        answered: None,
    };
    Arc::new(Entry {
        kind: Kind::Auth,
        row: row.to_string(),
        call: Arc::new(Call {
            unix_ms: 1,
            stream: "demo".into(),
            tick: Tick {
                now_ms: 1,
                seed: 1,
                mode: engine::Mode::Webrtc,
                cause: engine::Cause::Tick,
            },
            ladder: Ladder::default(),
            rows: 1,
            faults: Vec::new(),
            late: false,
            took_us: 1,
        }),
        author: Arc::new(Author {
            mode: Mode::Active,
            level: Level::Active,
            name: "test".to_owned(),
            version: "1.0.0".to_owned(),
            digest: "abc".to_owned(),
            generation: 1,
            config: Settings::Known(Arc::default()),
            reads: Reads::default(),
            steps: 1,
        }),
        about: About::Request(Box::new(Asked::of(request, None, &[]))),
        reason: String::new(),
        refused: None,
    })
}

fn write(folder: &Path, file_bytes: u64, files: usize, rows: std::ops::Range<usize>) -> FilesInfo {
    let writer = Writer::start(FilesConfig {
        folder: folder.to_owned(),
        file_bytes,
        files,
    })
    .unwrap();
    for row in rows {
        writer.write(entry(row));
    }
    let state = Arc::clone(&writer.state);
    drop(writer);
    FilesInfo {
        written: state.written.load(Ordering::Relaxed),
        dropped: state.dropped.load(Ordering::Relaxed),
        trouble: state.trouble().clone(),
    }
}

/// The rows of each file, oldest file first.
fn read(folder: &Path) -> Vec<Vec<usize>> {
    let mut all = numbers(folder).unwrap();
    all.sort_unstable();
    let rows = |number: u64| -> Vec<usize> {
        let text = fs::read_to_string(path(folder, number)).unwrap();
        let row = |line: &str| Entry::parse(line.as_bytes()).unwrap().row.parse().unwrap();
        text.lines().map(row).collect()
    };
    all.into_iter().map(rows).collect()
}

#[test]
fn files_are_rotated_and_their_space_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let line = serde_json::to_vec(&*entry(100)).unwrap().len() as u64 + 1;
    let info = write(folder.path(), 4 * line, 3, 100..122);
    assert_eq!((info.written, info.dropped), (22, 0));
    let rows = read(folder.path());
    assert_eq!(
        rows,
        [
            vec![112, 113, 114, 115],
            vec![116, 117, 118, 119],
            vec![120, 121]
        ]
    );
}

#[test]
fn a_start_goes_on_with_the_newest_file_and_takes_off_a_torn_line() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1 << 20, 3, 0..2);
    let file = path(folder.path(), 1);
    let mut torn = OpenOptions::new().append(true).open(&file).unwrap();
    torn.write_all(br#"{"v":1,"unix_ms":17"#).unwrap();
    write(folder.path(), 1 << 20, 3, 2..4);
    assert_eq!(read(folder.path()), [[0, 1, 2, 3]]);
    // Nothing but a torn line, longer than what is looked at in one go.
    fs::write(&file, vec![b'x'; PIECE_BYTES * 3 + 5]).unwrap();
    write(folder.path(), 1 << 20, 3, 4..5);
    assert_eq!(read(folder.path()), [[4]]);
}

#[test]
fn what_cannot_be_written_is_dropped_and_counted_and_nobody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let in_the_way = folder.path().join("file");
    fs::write(&in_the_way, "a file, no folder").unwrap();
    let info = write(&in_the_way, 1 << 20, 3, 0..50);
    assert_eq!((info.written, info.dropped), (0, 50));
    assert!(info.trouble.is_some_and(|what| what.contains("file")));
}

#[test]
fn a_full_disk_loses_entries_and_is_told() {
    // A device that is always full (full(4)).
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", path(folder.path(), 1)).unwrap();
    let info = write(folder.path(), 1 << 20, 3, 0..2000);
    assert_eq!((info.written, info.dropped), (0, 2000));
    assert!(
        info.trouble.is_some_and(|what| what.contains("space")),
        "no trouble told"
    );
}
