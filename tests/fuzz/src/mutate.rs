//! How an input becomes another.

use rand::{Rng as _, rngs::StdRng};

/// Longer than any datagram, and than any offer that a parser here takes whole.
const LEN_MAX: usize = 16 << 10;

/// One to eight changes.
pub(crate) fn mutate(base: &[u8], other: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut input = base.to_vec();
    for _ in 0..1 << rng.random_range(0..4) {
        change(&mut input, other, rng);
        input.truncate(LEN_MAX);
    }
    input
}

/// A part of an input, which may be empty.
fn part(len: usize, rng: &mut StdRng) -> std::ops::Range<usize> {
    let from = rng.random_range(0..=len);
    let most = (len - from).min(64);
    from..from + rng.random_range(0..=most)
}

fn change(input: &mut Vec<u8>, other: &[u8], rng: &mut StdRng) {
    let len = input.len();
    match rng.random_range(0..11) {
        0 if len > 0 => input[rng.random_range(0..len)] ^= 1 << rng.random_range(0..8),
        1 if len > 0 => input[rng.random_range(0..len)] = rng.random(),
        // Where a length, a count or a type may stand.
        2 if len > 0 => {
            let odd = [
                0, 1, 0x7f, 0x80, 0xff, b'0', b'9', b':', b' ', b'\r', b'\n', b'=',
            ];
            input[rng.random_range(0..len)] = odd[rng.random_range(0..odd.len())];
        }
        3 if len > 1 => {
            let at = rng.random_range(0..len - 1);
            let value: u16 = [0, 1, 0xff, 0x7fff, 0xffff, len as u16][rng.random_range(0..6)];
            input[at..at + 2].copy_from_slice(&value.to_be_bytes());
        }
        4 => {
            input.drain(part(len, rng));
        }
        5 => {
            let copy = input[part(len, rng)].to_vec();
            let at = rng.random_range(0..=len);
            input.splice(at..at, copy);
        }
        6 => {
            let copy = &other[part(other.len(), rng)];
            let at = rng.random_range(0..=len);
            input.splice(at..at, copy.iter().copied());
        }
        7 => input.truncate(rng.random_range(0..=len)),
        // The head of one and the tail of another.
        8 => {
            input.truncate(rng.random_range(0..=len));
            input.extend_from_slice(&other[rng.random_range(0..=other.len())..]);
        }
        9 => lines(input, rng),
        _ => {
            let range = part(len, rng);
            let copy = input[range.clone()].repeat(rng.random_range(1..64));
            input.splice(range, copy);
        }
    }
}

/// Drops, doubles or swaps a line of text.
fn lines(input: &mut Vec<u8>, rng: &mut StdRng) {
    let mut lines: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
    if lines.is_empty() {
        return;
    }
    let at = rng.random_range(0..lines.len());
    match rng.random_range(0..3) {
        0 => {
            lines.remove(at);
        }
        1 => lines.insert(at, lines[at]),
        _ => {
            let to = rng.random_range(0..lines.len());
            lines.swap(at, to);
        }
    }
    *input = lines.concat();
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_seed_makes_the_same_inputs_and_another_makes_others() {
        let inputs = |seed| -> Vec<Vec<u8>> {
            let mut rng = StdRng::seed_from_u64(seed);
            (0..1000)
                .map(|_| mutate(b"a=1\r\nb=2\r\n", b"other", &mut rng))
                .collect()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        assert!(inputs(1).iter().all(|input| input.len() <= LEN_MAX));
        let empty = mutate(&[], &[], &mut StdRng::seed_from_u64(3));
        assert!(empty.len() <= LEN_MAX);
    }
}
