//! Captions that come in the pictures (CEA-608 and 708, carried as ATSC A/53 part 4 says): a smaller picture has those of the
//! one it was made of, and a rung that leaves pictures out has those of all of them.

use ffmpeg_next::frame::{Video, side_data::Type};

use crate::buffers;

/// What one rung has not passed on yet.
#[derive(Debug, Default)]
pub(crate) struct Captions {
    waiting: Vec<u8>,
}

impl Captions {
    /// A picture is left out: the next one has to say what it said.
    pub(crate) fn keep(&mut self, left_out: &Video) {
        if let Some(said) = left_out.side_data(Type::A53CC) {
            self.waiting.extend_from_slice(said.data());
            // The oldest are of the least use.
            let excess = self.waiting.len().saturating_sub(LEN_MAX);
            self.waiting.drain(..excess);
        }
    }

    /// Nobody reads: what waits is forgotten.
    pub(crate) fn forget(&mut self) {
        self.waiting.clear();
    }

    /// Says in a picture what the one it was made of says, after all that waits.
    pub(crate) fn put(&mut self, source: &Video, made: &mut Video) {
        // One that shares its pixels with the source says it already.
        if self.waiting.is_empty() && made.side_data(Type::A53CC).is_some() {
            return;
        }
        self.keep(source);
        if !self.waiting.is_empty() {
            buffers::caption(made, &self.waiting);
            self.forget();
        }
    }
}

/// Bytes of one picture's captions: 31 triples, as many as can be counted.
const LEN_MAX: usize = 31 * 3;

#[cfg(test)]
mod tests {
    use ffmpeg_next::format::Pixel;

    use super::*;
    use crate::cascade::Scaler;

    fn picture(captions: &[u8]) -> Video {
        let mut frame = Video::new(Pixel::YUV420P, 64, 32);
        if !captions.is_empty() {
            buffers::caption(&mut frame, captions);
        }
        frame
    }

    fn said(frame: &Video) -> Vec<u8> {
        let captions = frame.side_data(Type::A53CC);
        captions.map_or_else(Vec::new, |captions| captions.data().to_vec())
    }

    #[test]
    fn a_smaller_picture_says_what_the_one_it_was_made_of_says_and_those_that_were_left_out() {
        let (one, two) = ([0xfc, 0x94, 0x25], [0xfc, 0x94, 0xad]);
        let mut captions = Captions::default();
        for (width, height) in [(64, 32), (32, 16)] {
            let mut scaler = Scaler::new(Pixel::YUV420P, width, height);
            let mut make = |source: &Video, captions: &mut Captions| {
                let mut made = scaler.scale(source).unwrap().unwrap();
                captions.put(source, &mut made);
                said(&made)
            };
            assert_eq!(make(&picture(&one), &mut captions), one);
            assert!(make(&picture(&[]), &mut captions).is_empty());
            captions.keep(&picture(&one));
            assert_eq!(make(&picture(&two), &mut captions), [one, two].concat());
            captions.keep(&picture(&one));
            assert_eq!(make(&picture(&[]), &mut captions), one);
            captions.keep(&picture(&one));
            captions.forget();
            assert_eq!(make(&picture(&two), &mut captions), two);
            for _ in 0..100 {
                captions.keep(&picture(&one));
            }
            let most = make(&picture(&two), &mut captions);
            assert_eq!((most.len(), most.ends_with(&two)), (LEN_MAX, true));
        }
    }
}
