//! Fuzzing without a special compiler: a target is a plain function of bytes, as cargo-fuzz has them, and is run over a
//! committed corpus and over seeded mutations of it.
//!
//! Under `make test` each target gets a few thousand inputs, always the same. `make fuzz SECONDS=600` gives each of them
//! so many seconds of new ones. What breaks a target is written to `target/fuzz/` and belongs into `tests/fuzz/corpus/`
//! once it is mended.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "what a test was given is said where it fails"
)]

mod mutate;

use std::{
    env, fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// Runs a target over its corpus, `tests/fuzz/corpus/NAME/`, and over mutations of it: `few` of them, or for
/// `LOCKGATE_FUZZ_SECONDS`.
///
/// # Panics
///
/// Where the target does, once the input is saved; and where there is no corpus.
pub fn run(name: &str, few: u32, mut target: impl FnMut(&[u8])) {
    let corpus = corpus(name);
    for (path, input) in &corpus {
        attempt(name, &path.display().to_string(), input, &mut target);
    }
    let seconds = env::var("LOCKGATE_FUZZ_SECONDS").ok();
    let seconds = seconds.map(|text| text.parse().expect("LOCKGATE_FUZZ_SECONDS is a number"));
    let (seed, end) = match seconds {
        Some(seconds) => {
            let seed = rand::random();
            println!("{name}: {seconds} s with the seed {seed}");
            (seed, Some(Instant::now() + Duration::from_secs(seconds)))
        }
        None => (0, None),
    };
    let mut rng = StdRng::seed_from_u64(seed);
    let mut count = 0;
    while end.map_or(count < few, |end| Instant::now() < end) {
        let (_, base) = &corpus[rng.random_range(0..corpus.len())];
        let (_, other) = &corpus[rng.random_range(0..corpus.len())];
        let input = mutate::mutate(base, other, &mut rng);
        attempt(
            name,
            &format!("seed {seed}, input {count}"),
            &input,
            &mut target,
        );
        count += 1;
    }
    println!("{name}: {} of the corpus, {count} more", corpus.len());
}

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut all: Vec<(PathBuf, Vec<u8>)> = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .map(|path| {
            let bytes = fs::read(&path).expect("the corpus can be read");
            (path, bytes)
        })
        .collect();
    all.sort();
    assert!(!all.is_empty(), "{} is empty", folder.display());
    all
}

fn attempt(name: &str, what: &str, input: &[u8], target: &mut impl FnMut(&[u8])) {
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| target(input)));
    if let Err(panic) = outcome {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz");
        let path = folder.join(format!("{name}-{:016x}", hash(input)));
        let saved = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, input));
        println!("{name} broke over {what}: {} ({saved:?})", path.display());
        panic::resume_unwind(panic);
    }
}

/// FNV-1a, to name a file.
fn hash(input: &[u8]) -> u64 {
    input.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_a_target_is_found_and_kept() {
        let breaks =
            |input: &[u8]| input.len() > 2 && input.get(2).is_some_and(|byte| *byte == 0xff);
        let outcome = panic::catch_unwind(|| {
            run("self", 100_000, |input| {
                assert!(!breaks(input), "as it should")
            });
        });
        assert!(outcome.is_err(), "it was not found");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz");
        let kept = fs::read_dir(folder).unwrap();
        let is_kept = kept
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("self-"))
            })
            .any(|path| breaks(&fs::read(path).unwrap()));
        assert!(is_kept);
    }
}
