//! What the worker may open: nothing it does not need, and on the network only what the operator allows.
//!
//! [`reach`] says which addresses those are. [`walls`] is what the worker does to itself before it looks at a single
//! byte of media: Landlock for files, seccomp for system calls, limits, no capabilities. FFmpeg opens connections in
//! many places (redirects, playlists, RTSP, RTMP), so they are not watched in FFmpeg but where all of them pass: each
//! `connect` of a worker stops in the kernel until [`gate`], in the parent, has looked at the address itself. A name
//! that resolves to something else the second time gains nothing.

pub(crate) mod gate;
pub(crate) mod reach;
pub(crate) mod walls;

#[cfg(test)]
mod tests;
