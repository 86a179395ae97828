//! Which of the layers that a publisher sends is the source.

use std::time::{Duration, Instant};

/// The simulcast layers of a publisher; a plain publisher has one.
///
/// The largest picture that is arriving is the source. Another layer becomes it at its next keyframe.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    layers: Vec<Layer>,
    current: Option<u32>,
}

#[derive(Debug)]
struct Layer {
    ssrc: u32,
    pixels: u64,
    last_unit: Option<Instant>,
}

/// What to do with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the source's next unit.
    Pass,
    /// It is of a layer that is not the source.
    Drop,
    /// It is of the layer that should become the source: a keyframe of it is wanted.
    WantKeyframe,
}

impl Layers {
    /// Takes note of a unit and says what to do with it. `pixels` is the size of the picture where a keyframe told.
    pub(crate) fn unit(
        &mut self,
        now: Instant,
        ssrc: u32,
        keyframe: bool,
        pixels: Option<u64>,
    ) -> Verdict {
        let layer = match self.layers.iter_mut().find(|layer| layer.ssrc == ssrc) {
            Some(layer) => layer,
            None => {
                self.layers.push(Layer {
                    ssrc,
                    pixels: 0,
                    last_unit: None,
                });
                let Some(layer) = self.layers.last_mut() else {
                    return Verdict::Drop;
                };
                layer
            }
        };
        layer.last_unit = Some(now);
        if let Some(pixels) = pixels {
            layer.pixels = pixels;
        }
        let best = self.best(now);
        if best == Some(ssrc) && keyframe {
            self.current = best;
        }
        if self.current == Some(ssrc) {
            Verdict::Pass
        } else if best == Some(ssrc) {
            Verdict::WantKeyframe
        } else {
            Verdict::Drop
        }
    }

    /// The layer that is the source.
    pub(crate) fn current(&self) -> Option<u32> {
        self.current
    }

    /// The layer that is the source, or should become it.
    pub(crate) fn best(&self, now: Instant) -> Option<u32> {
        self.layers
            .iter()
            .filter(|layer| {
                layer
                    .last_unit
                    .is_some_and(|last| now.saturating_duration_since(last) < SILENT)
            })
            // Of equals the one that is the source already stays it.
            .max_by_key(|layer| (layer.pixels, self.current == Some(layer.ssrc)))
            .map(|layer| layer.ssrc)
    }
}

/// A layer that sends nothing for this long was switched off by its sender: it saves bandwidth from the top.
pub(super) const SILENT: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_arriving_layer_is_the_source() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut layers = Layers::default();
        assert_eq!(layers.unit(at(0), 1, true, Some(100)), Verdict::Pass);
        assert_eq!(layers.unit(at(10), 2, true, Some(400)), Verdict::Pass);
        assert_eq!(layers.unit(at(20), 1, false, None), Verdict::Drop);
        assert_eq!(layers.current(), Some(2));
        // The large one falls silent: the small one takes over at a keyframe, and gives way again.
        assert_eq!(layers.unit(at(1600), 1, false, None), Verdict::WantKeyframe);
        assert_eq!(layers.unit(at(1700), 1, true, None), Verdict::Pass);
        assert_eq!(layers.unit(at(1800), 2, false, None), Verdict::WantKeyframe);
        assert_eq!(layers.unit(at(1810), 1, false, None), Verdict::Pass);
        assert_eq!(layers.unit(at(1900), 2, true, None), Verdict::Pass);
        assert_eq!(layers.unit(at(1910), 1, true, None), Verdict::Drop);
    }
}
