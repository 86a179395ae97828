//! Sound that lasts a sample more or less than it did, so that it follows a clock without a gap that is heard.

/// How many samples a block of `len` becomes that is to come nearer to a time `gap` samples later, or earlier if
/// negative. One sample in some hundred is 2 ‰ of pitch at most.
pub(crate) fn length(len: usize, gap: i64) -> usize {
    match gap {
        _ if len < LEN_MIN => len,
        1.. => len + 1,
        0 => len,
        _ => len - 1,
    }
}

/// Appends a block in so many samples: its first and its last stay, and what is between is drawn straight.
pub(crate) fn append(out: &mut Vec<f32>, block: &[f32], len: usize) {
    if len == block.len() {
        return out.extend_from_slice(block);
    }
    let step = (block.len() - 1) as f64 / (len - 1) as f64;
    out.extend((0..len).map(|at| {
        let place = at as f64 * step;
        let (before, share) = (place as usize, place.fract() as f32);
        let first = block.get(before).copied().unwrap_or(0.0);
        let second = block.get(before + 1).copied().unwrap_or(first);
        first + (second - first) * share
    }));
}

/// Shorter blocks stay as they are: a sample would be too much of them.
const LEN_MIN: usize = 480;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_keeps_its_ends_and_has_no_step() {
        let block: Vec<f32> = (0..960).map(|at| (at as f32 * 0.13).sin()).collect();
        for gap in [-500, 0, 500] {
            let len = length(block.len(), gap);
            assert_eq!(len as i64, 960 + gap.signum());
            let mut out = vec![9.0];
            append(&mut out, &block, len);
            assert_eq!(
                (out.len(), out[1], out[len]),
                (len + 1, block[0], block[959])
            );
            let steps = out[1..].windows(2).map(|pair| (pair[1] - pair[0]).abs());
            assert!(steps.fold(0.0, f32::max) < 0.15);
        }
        assert_eq!(length(100, 500), 100);
    }
}
