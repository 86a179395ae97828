//! What turned out about a live source only as it went on. The next worker, which looks only for a moment, is told.

use lockgate_ports::transcoder::SourceInfo;

/// See the [module](self).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Flaws {
    /// It has B-frames at times.
    b_frames: bool,
    /// Its longest distance between keyframes so far, in s.
    gop_max_s: f64,
}

impl Flaws {
    /// Adds what a worker saw to what is known, and what is known to what the worker saw.
    pub(crate) fn learn(&mut self, source: &mut SourceInfo) {
        let Some(video) = &mut source.video else {
            return;
        };
        self.b_frames |= video.b_frames;
        video.b_frames = self.b_frames;
        self.gop_max_s = self.gop_max_s.max(video.gop_max_s.unwrap_or(0.0));
        // A peer's keyframes come when asked for: what is known of them is that they did not.
        let is_peer = source.container.is_empty() && self.gop_max_s > 0.0;
        video.gop_max_s = (video.gop_max_s.is_some() || is_peer).then_some(self.gop_max_s);
    }
}

#[cfg(test)]
mod tests {
    use lockgate_ports::transcoder::VideoSource;

    use super::*;

    fn source(b_frames: bool, gop_max_s: Option<f64>) -> SourceInfo {
        SourceInfo {
            video: Some(VideoSource {
                codec: "h264".to_owned(),
                width: 640,
                height: 360,
                frame_rate: None,
                bitrate_bps: None,
                b_frames,
                gop_max_s,
            }),
            container: "flv".to_owned(),
            ..SourceInfo::default()
        }
    }

    #[test]
    fn of_a_peer_it_is_known_that_no_keyframes_came() {
        let mut flaws = Flaws::default();
        let peer = |gop_max_s| SourceInfo {
            container: String::new(),
            ..source(false, gop_max_s)
        };
        for (seen, known) in [(None, None), (Some(4.4), Some(4.4)), (None, Some(4.4))] {
            let mut told = peer(seen);
            flaws.learn(&mut told);
            assert_eq!(told, peer(known));
        }
    }

    #[test]
    fn what_was_seen_once_holds() {
        let mut flaws = Flaws::default();
        for (seen, known) in [
            (source(false, Some(1.0)), source(false, Some(1.0))),
            (source(true, Some(5.0)), source(true, Some(5.0))),
            (source(false, Some(0.5)), source(true, Some(5.0))),
            (source(false, None), source(true, None)),
        ] {
            let mut told = seen;
            flaws.learn(&mut told);
            assert_eq!(told, known);
        }
    }
}
