//! The least delay a viewer is told to show pictures with: the header extension `playout-delay`, 12 bits each of the
//! least and the most in units of 10 ms (WebRTC project, rtp-hdrext/playout-delay).

/// The name it is negotiated by.
pub(crate) const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";

/// What a viewer has been told, and whether it knows. Goes with every packet until a report shows that one arrived.
#[derive(Debug, Default)]
pub(super) struct Playout {
    told_ms: Option<u32>,
    payload: [u8; 3],
    /// The first packet that carries it.
    first: Option<u16>,
    known: bool,
}

impl Playout {
    /// What goes with a packet of video that leaves, when the viewer is to be told `wanted_ms`.
    pub(super) fn with(&mut self, seq: u16, wanted_ms: Option<u32>) -> Option<[u8; 3]> {
        let wanted = wanted_ms?;
        if self.told_ms != Some(wanted) {
            // No delay is what a viewer begins with: that need not be said.
            let is_said = self.told_ms.is_some() || wanted > 0;
            *self = Self {
                told_ms: Some(wanted),
                payload: payload(wanted),
                first: Some(seq),
                known: !is_said,
            };
        }
        (!self.known).then_some(self.payload)
    }

    /// The viewer reports the highest number it has received (RFC 3550 §6.4.1).
    pub(super) fn reported(&mut self, highest: u16) {
        // That packet carried it itself.
        if self
            .first
            .is_some_and(|first| highest.wrapping_sub(first) < 1 << 15)
        {
            self.known = true;
        }
    }
}

/// The most stays as large as can be said, so that the viewer may still delay more where it has to.
fn payload(min_ms: u32) -> [u8; 3] {
    let min = (min_ms / 10).min(MOST);
    let [_, high, middle, low] = ((min << 12) | MOST).to_be_bytes();
    [high, middle, low]
}

/// 40.95 s.
const MOST: u32 = 0xfff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_said_until_a_report_shows_that_it_arrived() {
        let mut playout = Playout::default();
        assert_eq!(playout.with(10, None), None);
        assert_eq!(playout.with(11, Some(0)), None);
        let said = playout.with(65_535, Some(250)).unwrap();
        assert_eq!(said, [0x01, 0x9f, 0xff]);
        playout.reported(65_534);
        assert!(playout.with(0, Some(250)).is_some());
        playout.reported(1);
        assert_eq!(playout.with(2, Some(250)), None);
        // Taken back, it is said again.
        let said = playout.with(3, Some(0)).unwrap();
        assert_eq!(said, [0x00, 0x0f, 0xff]);
        playout.reported(3);
        assert_eq!(playout.with(4, Some(0)), None);
    }
}
