//! The data channel of somebody who is in a room: texts in, texts out.

use std::sync::Arc;

use rtc::data_channel::RTCDataChannelMessage;
use tokio::sync::mpsc;
use webrtc::data_channel::{DataChannel, DataChannelEvent};

/// The channels of a peer as they open.
pub(crate) type Channels = mpsc::Receiver<Arc<dyn DataChannel>>;

/// What the talk works with.
pub(crate) struct Talk {
    heard: mpsc::Sender<String>,
    say: mpsc::Receiver<String>,
}

/// The channel that is talked over.
struct Line {
    channel: Arc<dyn DataChannel>,
    is_named: bool,
}

/// Both ends of a talk: what the core has, and what [`run`] takes.
pub(crate) fn ends() -> (mpsc::Receiver<String>, mpsc::Sender<String>, Talk) {
    let (heard, hearing) = mpsc::channel(TEXTS_MAX);
    let (saying, say) = mpsc::channel(TEXTS_MAX);
    (hearing, saying, Talk { heard, say })
}

/// Runs until dropped.
pub(crate) async fn run(mut channels: Channels, talk: Talk) {
    let Talk { heard, mut say } = talk;
    let mut line: Option<Line> = None;
    loop {
        let is_open = line.is_some();
        tokio::select! {
            Some(channel) = channels.recv() => line = chosen(line, channel).await,
            event = next(&line) => match event {
                Some(DataChannelEvent::OnMessage(message)) => take(&message, &heard),
                Some(DataChannelEvent::OnClose) | None => line = None,
                Some(_) => {}
            },
            // Until there is a channel, texts wait.
            Some(text) = say.recv(), if is_open => {
                if let Some(line) = &line
                    && let Err(error) = line.channel.try_send_text(&text).await
                {
                    tracing::debug!(%error, "a text to a peer is dropped: it does not take what it is sent");
                }
            }
        }
    }
}

/// The next of the channel; never where there is none.
async fn next(line: &Option<Line>) -> Option<DataChannelEvent> {
    match line {
        Some(line) => line.channel.poll().await,
        None => std::future::pending().await,
    }
}

/// Of several channels the one that is named, else the first. The others are closed.
async fn chosen(line: Option<Line>, channel: Arc<dyn DataChannel>) -> Option<Line> {
    let Ok(label) = channel.label().await else {
        return line; // it is closed already
    };
    let is_named = label == LABEL;
    let (kept, closed) = match line {
        Some(line) if line.is_named || !is_named => (line, Some(channel)),
        other => {
            let before = other.map(|line| line.channel);
            (Line { channel, is_named }, before)
        }
    };
    if let Some(closed) = closed
        && let Err(error) = closed.close().await
    {
        tracing::debug!(%error, "a data channel of a peer that nobody reads");
    }
    Some(kept)
}

fn take(message: &RTCDataChannelMessage, heard: &mpsc::Sender<String>) {
    let len = message.data.len();
    if !message.is_string || len > TEXT_MAX {
        tracing::debug!(
            len,
            text = message.is_string,
            "a message of a peer is dropped: only texts up to 16 KiB are read"
        );
        return;
    }
    match String::from_utf8(message.data.to_vec()) {
        Ok(text) => {
            if heard.try_send(text).is_err() {
                tracing::debug!("a text of a peer is dropped: nobody takes it");
            }
        }
        Err(error) => tracing::debug!(%error, "a text of a peer is dropped"),
    }
}

/// The label of the channel.
const LABEL: &str = "room";
/// Bytes of a text.
const TEXT_MAX: usize = 16 * 1024;
/// Texts that wait each way.
const TEXTS_MAX: usize = 64;
/// Bytes that wait for a peer to take them.
pub(crate) const UNTAKEN_MAX: usize = 256 * 1024;
