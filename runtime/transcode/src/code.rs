//! A number that can be read out of a picture again: how tests measure latency and loss through the whole house.
//!
//! The row of [`CELLS`] blocks stands between 82 % and 94 % of the picture's height and from 1/16 to 15/16 of its
//! width. From left to right: white, black (so that the row is found and the levels are known), 24 bits of the number
//! with the highest first, a bit that makes the count of ones even, and that bit inverted. White is 1. At 640×360 a
//! block is 20×43 pixels.

/// Blocks in the row.
pub const CELLS: u32 = 28;

const NUMBER_BITS: u32 = 24;

/// The colour of each block for the lowest 24 bits of a number; true is white.
pub fn cells(number: u32) -> [bool; CELLS as usize] {
    let bits = number & ((1 << NUMBER_BITS) - 1);
    let parity = bits.count_ones() % 2 == 1;
    let mut cells = [false; CELLS as usize];
    cells[0] = true;
    for (at, cell) in cells
        .iter_mut()
        .enumerate()
        .skip(2)
        .take(NUMBER_BITS as usize)
    {
        *cell = bits >> (NUMBER_BITS as usize + 1 - at) & 1 == 1;
    }
    cells[CELLS as usize - 2] = parity;
    cells[CELLS as usize - 1] = !parity;
    cells
}

/// Where a block stands in a picture: left, top, right and bottom in pixels, the last two exclusive.
pub fn cell_at(cell: u32, width: u32, height: u32) -> (u32, u32, u32, u32) {
    let left = |cell: u32| width / 16 + (width - width / 8) * cell / CELLS;
    (
        left(cell),
        height * 82 / 100,
        left(cell + 1),
        height * 94 / 100,
    )
}

/// Reads the number from a luma plane of `stride` bytes a row. `None` where there is no sound code: too little
/// contrast, or the check bits do not fit.
pub fn read(luma: &[u8], stride: usize, width: u32, height: u32) -> Option<u32> {
    let level = |cell: u32| {
        let (left, top, right, bottom) = cell_at(cell, width, height);
        // The middle of the block: its edges are blurred by scaling.
        let (x, y) = ((right - left) / 4, (bottom - top) / 4);
        let (mut sum, mut count) = (0u32, 0u32);
        for row in top + y..bottom - y {
            for column in left + x..right - x {
                sum += u32::from(*luma.get(row as usize * stride + column as usize)?);
                count += 1;
            }
        }
        sum.checked_div(count)
    };
    let (white, black) = (level(0)?, level(1)?);
    if white < black + 64 {
        return None;
    }
    let threshold = (white + black) / 2;
    let mut number = 0;
    for cell in 2..2 + NUMBER_BITS {
        number = number << 1 | u32::from(level(cell)? > threshold);
    }
    let parity = level(CELLS - 2)? > threshold;
    let inverse = level(CELLS - 1)? > threshold;
    (parity == (number.count_ones() % 2 == 1) && inverse != parity).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn draw(number: u32, width: u32, height: u32) -> Vec<u8> {
        let mut luma = vec![100; (width * height) as usize];
        for (cell, white) in (0..).zip(cells(number)) {
            let (left, top, right, bottom) = cell_at(cell, width, height);
            for row in top..bottom {
                for column in left..right {
                    luma[(row * width + column) as usize] = if white { 235 } else { 16 };
                }
            }
        }
        luma
    }

    proptest! {
        #[test]
        fn a_number_is_read_back(number in 0u32..1 << 24, width in 80u32..400, height in 50u32..300) {
            let luma = draw(number, width, height);
            prop_assert_eq!(read(&luma, width as usize, width, height), Some(number));
        }

        #[test]
        fn no_picture_makes_it_panic(luma in proptest::collection::vec(any::<u8>(), 0..2000), width in 0u32..90, height in 0u32..90) {
            let _ = read(&luma, width as usize, width, height);
        }
    }

    #[test]
    fn a_wrong_bit_is_seen() {
        let mut luma = draw(5, 160, 90);
        let (left, top, right, bottom) = cell_at(20, 160, 90);
        for row in top..bottom {
            for column in left..right {
                luma[(row * 160 + column) as usize] = 235;
            }
        }
        assert_eq!(read(&luma, 160, 160, 90), None);
    }
}
