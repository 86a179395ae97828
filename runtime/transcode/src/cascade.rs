//! Scaling: each rung from the next larger picture at hand, not from the source.

use ffmpeg_next::{
    Error, color,
    format::Pixel,
    frame::Video,
    software::scaling::{Context, Flags},
};

use crate::buffers::{Pool, share};

/// Makes one picture of one size.
pub(crate) struct Scaler {
    pool: Pool,
    pixels: Pixel,
    context: Option<Context>,
}

impl Scaler {
    pub(crate) fn new(pixels: Pixel, width: u32, height: u32) -> Self {
        Self {
            pool: Pool::new(pixels, width, height),
            pixels,
            context: None,
        }
    }

    /// Width and height in pixels.
    pub(crate) fn size(&self) -> (u32, u32) {
        self.pool.size()
    }

    /// The picture in this size: the same pixels if it has it already. `None` if memory is short.
    pub(crate) fn scale(&mut self, from: &Video) -> Result<Option<Video>, Error> {
        let (width, height) = self.pool.size();
        if from.format() == self.pixels && (from.width(), from.height()) == (width, height) {
            return Ok(share(from));
        }
        let fits = self.context.as_ref().is_some_and(|context| {
            let input = context.input();
            (input.format, input.width, input.height)
                == (from.format(), from.width(), from.height())
        });
        if !fits {
            self.context = None;
        }
        let context = match &mut self.context {
            Some(context) => context,
            empty => empty.insert(Context::get(
                from.format(),
                from.width(),
                from.height(),
                self.pixels,
                width,
                height,
                Flags::BILINEAR,
            )?),
        };
        self.pool.fill(|to| context.run(from, to))
    }
}

/// A handle to a decoded frame whose format says its range, so that full-range pictures are scaled to the range the
/// rungs are marked with.
pub(crate) fn normalised(frame: &Video) -> Option<Video> {
    let mut frame = share(frame)?;
    if frame.color_range() == color::Range::JPEG {
        let full = match frame.format() {
            Pixel::YUV420P => Pixel::YUVJ420P,
            Pixel::YUV422P => Pixel::YUVJ422P,
            Pixel::YUV444P => Pixel::YUVJ444P,
            other => other,
        };
        frame.set_format(full);
    }
    Some(frame)
}

/// The size at which a frame's pixels are square: the height stays, the width follows the sample aspect ratio.
pub(crate) fn square_size(width: u32, height: u32, aspect: (i32, i32)) -> (u32, u32) {
    let (Ok(num), Ok(den)) = (u64::try_from(aspect.0), u64::try_from(aspect.1)) else {
        return (width, height);
    };
    if num == 0 || den == 0 || num == den {
        return (width, height);
    }
    let square = (u64::from(width) * num / den).clamp(2, u64::from(width) * 4);
    (u32::try_from(square & !1).unwrap_or(width), height)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_square_by_width() {
        for ((width, height, aspect), square) in [
            ((1280, 720, (1, 1)), (1280, 720)),
            ((1440, 1080, (4, 3)), (1920, 1080)),
            ((720, 576, (16, 15)), (768, 576)),
            ((720, 480, (8, 9)), (640, 480)),
            ((1280, 720, (0, 1)), (1280, 720)),
            ((1280, 720, (-1, 0)), (1280, 720)),
        ] {
            assert_eq!(square_size(width, height, aspect), square);
        }
    }

    #[test]
    fn a_picture_of_the_right_size_is_shared_and_another_is_scaled() {
        let mut from = Video::new(Pixel::YUV420P, 64, 32);
        for plane in 0..3 {
            from.data_mut(plane).fill(90);
        }
        let same = Scaler::new(Pixel::YUV420P, 64, 32)
            .scale(&from)
            .unwrap()
            .unwrap();
        assert_eq!(same.data(0).as_ptr(), from.data(0).as_ptr());
        let mut half = Scaler::new(Pixel::YUV420P, 32, 16);
        let first = half.scale(&from).unwrap().unwrap();
        let second = half.scale(&from).unwrap().unwrap();
        assert_eq!(
            (first.width(), first.height(), first.data(0)[5]),
            (32, 16, 90)
        );
        let held = first.data(0).as_ptr();
        assert_ne!(held, second.data(0).as_ptr(), "a held frame was written");
        drop(first);
        let third = half.scale(&from).unwrap().unwrap();
        assert_eq!(
            held,
            third.data(0).as_ptr(),
            "a free frame was not used again"
        );
    }
}
