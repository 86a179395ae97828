//! Playlists, read by a parser that is not ours.

use std::time::Duration;

use m3u8_rs::{MasterPlaylist, MediaPlaylist, VariantStream};

use super::{Server, until};

/// A media playlist with where it came from.
pub(crate) struct Playlist {
    pub(crate) text: String,
    pub(crate) parsed: MediaPlaylist,
}

/// The variants of a broadcast, once `count` are listed.
pub(crate) async fn variants(server: &Server, name: &str, count: usize) -> Vec<VariantStream> {
    until(
        "the multivariant playlist",
        Duration::from_secs(30),
        || async {
            let answer = server.get(&format!("/hls/{name}/playlist.m3u8")).await;
            if !answer.status.is_success() {
                return None;
            }
            let (_, playlist): (_, MasterPlaylist) = m3u8_rs::parse_master_playlist(&answer.body)
                .unwrap_or_else(|_| panic!("no playlist: {}", answer.text()));
            (playlist.variants.len() >= count).then_some(playlist.variants)
        },
    )
    .await
}

impl Playlist {
    /// Fetches the playlist of a rendition.
    pub(crate) async fn fetch(server: &Server, name: &str, rung: &str) -> Self {
        let answer = server
            .get(&format!("/hls/{name}/{rung}/playlist.m3u8"))
            .await;
        assert!(answer.status.is_success(), "{rung}: {}", answer.text());
        let text = answer.text();
        let Ok((_, parsed)) = m3u8_rs::parse_media_playlist(&answer.body) else {
            panic!("no playlist: {text}");
        };
        Self { text, parsed }
    }

    /// Fetches it until it lists at least `count` segments.
    pub(crate) async fn with_segments(
        server: &Server,
        name: &str,
        rung: &str,
        count: usize,
    ) -> Self {
        until("segments", Duration::from_secs(40), || async {
            let playlist = Self::fetch(server, name, rung).await;
            (playlist.parsed.segments.len() >= count).then_some(playlist)
        })
        .await
    }

    /// Media sequence number, duration in s and start time of each segment.
    pub(crate) fn segments(&self) -> Vec<(u64, f32, String)> {
        let first = self.parsed.media_sequence;
        let segments = self.parsed.segments.iter().zip(first..);
        segments
            .map(|(segment, number)| {
                let at = segment
                    .program_date_time
                    .map(|at| at.to_rfc3339())
                    .unwrap_or_default();
                (number, segment.duration, at)
            })
            .collect()
    }
}
