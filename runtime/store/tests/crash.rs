//! Killed at any moment, start-up included: nothing that was acknowledged is lost, and every start succeeds.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use lockgate_ports::records::{Range, Records as _, Table};
use lockgate_store::Store;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// The example beside this test, built with it.
fn hammer() -> PathBuf {
    let mut path = std::env::current_exe().expect("this test is a file");
    path.pop();
    path.pop();
    path.join("examples").join("hammer")
}

fn start(folder: &Path, first: u64) -> Child {
    Command::new(hammer())
        .arg(folder)
        .arg(first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example is built with the tests")
}

/// When a writer is killed.
enum When {
    /// So long after its start: mostly while it opens.
    After(Duration),
    /// Once it has acknowledged so many.
    Acknowledged(usize),
}

/// Kills a writer and returns the number it acknowledged last, if it came to that.
fn kill(mut child: Child, when: &When) -> Option<u64> {
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"))
        .lines()
        .map_while(Result::ok);
    let mut last = None;
    match when {
        When::After(wait) => std::thread::sleep(*wait),
        When::Acknowledged(count) => {
            last = lines
                .by_ref()
                .filter_map(|line| line.parse().ok())
                .take(*count)
                .last();
        }
    }
    child.kill().expect("it runs until it is killed");
    last = lines.filter_map(|line| line.parse().ok()).last().or(last);
    child.wait().expect("it is over");
    last
}

#[test]
fn nothing_acknowledged_is_lost_to_kills() {
    let kills: u32 =
        std::env::var("LOCKGATE_KILLS").map_or(30, |kills| kills.parse().expect("a number"));
    let seed: u64 =
        std::env::var("LOCKGATE_SEED").map_or(7, |seed| seed.parse().expect("a number"));
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let mut last: Option<u64> = None;
    for at in 0..kills {
        let child = start(folder.path(), last.map_or(0, |last| last + 1));
        let when = if random.random() {
            When::After(Duration::from_micros(random.random_range(0..100_000)))
        } else {
            When::Acknowledged(random.random_range(1..50))
        };
        last = kill(child, &when).or(last);
        if at % 5 != 4 {
            continue;
        }
        let store = Store::open(folder.path())
            .unwrap_or_else(|error| panic!("seed {seed}, kill {at}: {error}"));
        for number in 0..=last.unwrap_or(0) {
            let value = store
                .get(Table::Sessions, &format!("{number:020}"))
                .expect("the store reads");
            let whole = number.to_string().repeat(20).into_bytes();
            if last.is_some() {
                assert_eq!(
                    value,
                    Some(whole),
                    "seed {seed}, kill {at}: {number} of {last:?}"
                );
            }
        }
        let all = store
            .list(Table::Sessions, Range::default(), usize::MAX)
            .expect("the store reads");
        // Changes of one call are there together.
        let newest = all.last().and_then(|(key, _)| key.parse::<u64>().ok());
        let third = newest.map(|newest| newest - newest % 3);
        let noted = store
            .get(Table::Broadcasts, "last")
            .expect("the store reads");
        let noted = noted.and_then(|noted| String::from_utf8(noted).ok()?.parse::<u64>().ok());
        assert_eq!(noted, third, "seed {seed}, kill {at}");
    }
    assert!(last.is_some(), "nothing was ever acknowledged");
    let quarantined = std::fs::read_dir(folder.path())
        .expect("the folder is there")
        .filter_map(Result::ok)
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("quarantine")
        })
        .count();
    assert_eq!(quarantined, 0, "seed {seed}");
}
