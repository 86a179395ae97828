//! What real publishers sent, and what becomes of it with bytes changed, cut out, doubled: nothing panics or hangs.

use std::path::Path;

use rand::{Rng as _, RngCore as _, SeedableRng as _, rngs::StdRng};

#[test]
fn nothing_that_is_like_a_real_exchange_makes_it_panic() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus is there") {
        let path = entry.expect("an entry").path();
        let seed = std::fs::read(&path).expect("it can be read");
        lockgate_srt::fuzz(&seed);
        let mut rng = StdRng::seed_from_u64(7);
        for _ in 0..MUTATIONS {
            lockgate_srt::fuzz(&mutated(&seed, &mut rng));
        }
        count += 1;
    }
    assert!(count > 0, "the corpus is empty");
}

fn mutated(seed: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..rng.random_range(1..6) {
        if data.is_empty() {
            break;
        }
        let at = rng.random_range(0..data.len());
        let len = rng.random_range(1..64).min(data.len() - at);
        match rng.next_u32() % 5 {
            0 => data[at] = rng.next_u32() as u8,
            1 => data[at] ^= 1 << (rng.next_u32() % 8),
            2 => drop(data.drain(at..at + len)),
            3 => {
                let piece = data[at..at + len].to_vec();
                data.splice(at..at, piece);
            }
            _ => data[at..at + len].fill(if rng.next_u32() % 2 == 0 { 0 } else { 0xff }),
        }
    }
    data
}

const MUTATIONS: u32 = 2_000;
