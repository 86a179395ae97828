//! Media time. Inside the house every timestamp is a signed count of 1/90000 s on the broadcast's own
//! timeline, whose zero is the moment the broadcast started.

/// Ticks of media time in a second: the clock of MPEG-TS and of video over RTP (RFC 6184 §5.1).
pub const CLOCK_90K: i64 = 90_000;

/// Turns a count of `from_hz` ticks into `to_hz` ticks, rounded to the nearest, ties away from zero.
///
/// Exact over the whole range of a broadcast: the product is taken in 128 bits. Saturates at the ends of `i64`.
pub fn rescale(ticks: i64, from_hz: u32, to_hz: u32) -> i64 {
    debug_assert!(from_hz > 0, "a clock has a rate");
    let product = i128::from(ticks) * i128::from(to_hz);
    let half = i128::from(from_hz / 2);
    let rounded = if product >= 0 {
        (product + half) / i128::from(from_hz.max(1))
    } else {
        (product - half) / i128::from(from_hz.max(1))
    };
    i64::try_from(rounded).unwrap_or(if rounded > 0 { i64::MAX } else { i64::MIN })
}

/// Extends the 32-bit timestamps of RTP (RFC 3550 §5.1) to 64 bits.
///
/// Each timestamp is taken as the one nearest to the last, so reordered packets and a wrap in either direction
/// come out right as long as neighbours are less than 2³¹ ticks apart.
#[derive(Debug, Clone, Default)]
pub struct RtpUnwrap {
    last: Option<i64>,
}

impl RtpUnwrap {
    /// The extended timestamp; the first one given stands for itself.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low 32 bits are what is compared"
    )]
    #[expect(
        clippy::cast_sign_loss,
        reason = "the low 32 bits are what is compared"
    )]
    pub fn extend(&mut self, timestamp: u32) -> i64 {
        let extended = match self.last {
            None => i64::from(timestamp),
            Some(last) => {
                let step = timestamp.wrapping_sub(last as u32).cast_signed();
                last.saturating_add(i64::from(step))
            }
        };
        self.last = Some(extended);
        extended
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rescale_rounds_to_the_nearest() {
        assert_eq!(rescale(1024, 44_100, 90_000), 2090); // 2089.79…
        assert_eq!(rescale(-1024, 44_100, 90_000), -2090);
        assert_eq!(rescale(960, 48_000, 90_000), 1800);
        assert_eq!(rescale(i64::MAX, 1, 90_000), i64::MAX);
    }

    proptest! {
        #[test]
        fn a_wrap_is_seen_as_a_step(start: u32, steps in proptest::collection::vec(-90_000i32..900_000, 1..200)) {
            let mut unwrap = RtpUnwrap::default();
            let mut truth = i64::from(start);
            prop_assert_eq!(unwrap.extend(start), truth);
            for step in steps {
                truth += i64::from(step);
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "this is the wrap")]
                let on_the_wire = truth as u32;
                prop_assert_eq!(unwrap.extend(on_the_wire), truth);
            }
        }

        #[test]
        fn rescale_there_and_back_is_exact_when_finer(ticks in -1_000_000_000_000i64..1_000_000_000_000) {
            prop_assert_eq!(rescale(rescale(ticks, 48_000, 90_000 * 8), 90_000 * 8, 48_000), ticks);
        }
    }
}
