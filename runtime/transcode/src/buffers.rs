//! The only unsafe code of this crate: frames that share their pixels, a pool of them, their captions, a stream's extradata,
//! and a descriptor of a C library.
#![allow(
    unsafe_code,
    reason = "FFmpeg counts references to its buffers in C; ffmpeg-next offers copies only"
)]

use ffmpeg_next::{
    codec::Parameters,
    ffi,
    format::Pixel,
    frame::{Video, side_data::Type},
};

/// Another frame over the same pixels, with picture type, time and side data of its own. Costs no copy.
///
/// `None` if memory is short. The pixels of a shared frame must not be written through any of its handles; in this
/// crate only [`Pool::fill`] writes pixels, and only while nobody else holds them.
pub(crate) fn share(frame: &Video) -> Option<Video> {
    let mut other = Video::empty();
    // SAFETY: `frame` is a valid frame for as long as it is borrowed.
    let from = unsafe { frame.as_ptr() };
    // SAFETY: `other` is an empty frame that nobody else knows.
    let to = unsafe { other.as_mut_ptr() };
    if to.is_null() {
        return None;
    }
    // SAFETY: both pointers are valid frames and `to` holds nothing yet, as av_frame_ref demands.
    let result = unsafe { ffi::av_frame_ref(to, from) };
    (result >= 0).then_some(other)
}

/// Frames of one size whose memory is used again once nobody else holds it.
pub(crate) struct Pool {
    format: Pixel,
    width: u32,
    height: u32,
    frames: Vec<Video>,
}

impl Pool {
    pub(crate) fn new(format: Pixel, width: u32, height: u32) -> Self {
        Self {
            format,
            width,
            height,
            frames: Vec::new(),
        }
    }

    /// Width and height in pixels.
    pub(crate) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Lets `draw` write a free frame and returns a shared handle to it. `None` if memory is short, the pool is at
    /// its bound, or `draw` fails.
    pub(crate) fn fill<E>(
        &mut self,
        draw: impl FnOnce(&mut Video) -> Result<(), E>,
    ) -> Result<Option<Video>, E> {
        let free = self.frames.iter().position(is_unshared);
        let at = match free {
            Some(at) => at,
            None if self.frames.len() < POOL_MAX => {
                let frame = Video::new(self.format, self.width, self.height);
                if !is_unshared(&frame) {
                    return Ok(None);
                }
                self.frames.push(frame);
                self.frames.len() - 1
            }
            None => return Ok(None),
        };
        let Some(frame) = self.frames.get_mut(at) else {
            return Ok(None);
        };
        draw(frame)?;
        Ok(share(frame))
    }
}

/// Whether a frame has pixels and this handle is their only one.
fn is_unshared(frame: &Video) -> bool {
    // SAFETY: the frame is valid while borrowed. The call takes a mutable pointer but only reads reference counts.
    let pointer = unsafe { frame.as_ptr() }.cast_mut();
    // SAFETY: as above.
    let writable = unsafe { ffi::av_frame_is_writable(pointer) };
    writable > 0
}

/// What the container keeps for the decoder, such as an `avcC` record; empty if there is none.
pub(crate) fn extradata(parameters: &Parameters) -> Vec<u8> {
    // SAFETY: the pointer is only looked at while `parameters` is borrowed.
    let pointer = unsafe { parameters.as_ptr() };
    // SAFETY: it comes from a live `Parameters`, which keeps it valid or null.
    let Some(raw) = (unsafe { pointer.as_ref() }) else {
        return Vec::new();
    };
    let len = usize::try_from(raw.extradata_size).unwrap_or(0);
    if raw.extradata.is_null() || len == 0 {
        return Vec::new();
    }
    // SAFETY: FFmpeg allocates `extradata_size` bytes (and padding) at `extradata`, and nothing writes them while
    // `parameters` is borrowed.
    let bytes = unsafe { std::slice::from_raw_parts(raw.extradata, len) };
    bytes.to_vec()
}

/// Puts captions (ATSC A/53 part 4) into a picture, in place of those that it has; none if memory is short.
pub(crate) fn caption(frame: &mut Video, captions: &[u8]) {
    frame.remove_side_data(Type::A53CC);
    let Some(mut added) = frame.new_side_data(Type::A53CC, captions.len()) else {
        return;
    };
    // SAFETY: the pointer is used while `added` borrows the frame.
    let raw = unsafe { added.as_mut_ptr() };
    // SAFETY: FFmpeg has just made it, and it belongs to the frame.
    let to = unsafe { (*raw).data };
    // SAFETY: FFmpeg has just allocated as many bytes there as are written, for this frame alone.
    unsafe { std::ptr::copy_nonoverlapping(captions.as_ptr(), to, captions.len()) };
}

/// A descriptor that a C library keeps open for as long as this process lives.
pub(crate) fn borrow(descriptor: std::os::fd::RawFd) -> std::os::fd::BorrowedFd<'static> {
    // SAFETY: the one caller passes what libseccomp has just opened and never closes.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) }
}

/// More frames in flight than the queues before the encoders can hold mean that something leaks.
const POOL_MAX: usize = 64;
