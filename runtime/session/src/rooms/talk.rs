//! What participants say to one another: chat, reactions, and what they negotiate peer to peer.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    events::{Line, Reaction, Relay, RoomEvent},
    room::{Inside, Room},
};
use crate::{Error, SessionId, history::now_ms};

/// How often somebody may do something: so often at once, and as often again each second.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    left: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn new(per_second: f64) -> Self {
        Self {
            per_second,
            left: per_second,
            at: Instant::now(),
        }
    }

    /// Whether it may be done once more now.
    pub(crate) fn take(&mut self) -> bool {
        let now = Instant::now();
        let since: Duration = now.saturating_duration_since(self.at);
        self.at = now;
        self.left = (self.left + since.as_secs_f64() * self.per_second).min(self.per_second);
        let may = self.left >= 1.0;
        if may {
            self.left -= 1.0;
        }
        may
    }
}

/// What comes over a data channel.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Said {
    Chat {
        text: String,
        #[serde(default)]
        to: Option<SessionId>,
    },
    Reaction {
        emoji: String,
    },
}

impl Room {
    /// Takes what came over a participant's data channel. What is wrong with it is said there.
    pub(crate) fn hear(&self, from: SessionId, text: &str) {
        let done = match serde_json::from_str(text) {
            Ok(Said::Chat { text, to }) => self.lock().chat(from, text, to),
            Ok(Said::Reaction { emoji }) => self.lock().react(from, emoji),
            Err(error) => Err(Error::Unusable(format!(
                "send {{\"type\":\"chat\",\"text\":\"…\"}} or {{\"type\":\"reaction\",\"emoji\":\"…\"}}: {error}"
            ))),
        };
        if let Err(error) = done {
            let text = json!({ "type": "error", "detail": error.to_string() }).to_string();
            if let Some(participant) = self.lock().participant_mut(from) {
                let mut channels = participant.uplinks.values().filter_map(|one| one.channel());
                // Who floods has a full channel, and need not be told.
                channels.any(|say| say.try_send(text.clone()).is_ok());
            }
        }
    }
}

impl Inside {
    /// Says something to all, or to one alone. Who said it is told too, so that all see the same.
    pub(crate) fn chat(
        &mut self,
        from: SessionId,
        text: String,
        to: Option<SessionId>,
    ) -> Result<(), Error> {
        let count = text.chars().count();
        if text.trim().is_empty() || count > TEXT_LEN_MAX {
            return Err(Error::Unusable(format!(
                "text has {count} characters; it has 1 to {TEXT_LEN_MAX}"
            )));
        }
        if let Some(to) = to {
            self.participant(to)?;
        }
        let name = self.speak_up(from)?;
        let event = Arc::new(RoomEvent::Chat(Line {
            from,
            name,
            text,
            at_ms: now_ms(),
            to,
        }));
        for participant in &mut self.participants {
            if to.is_none_or(|to| participant.id == to || participant.id == from) {
                participant.tell(&event);
            }
        }
        Ok(())
    }

    /// Shows something to all.
    pub(crate) fn react(&mut self, from: SessionId, emoji: String) -> Result<(), Error> {
        if emoji.trim().is_empty() || emoji.len() > EMOJI_LEN_MAX {
            return Err(Error::Unusable(format!(
                "emoji has {} bytes; it has 1 to {EMOJI_LEN_MAX}",
                emoji.len()
            )));
        }
        let name = self.speak_up(from)?;
        let event = Arc::new(RoomEvent::Reaction(Reaction {
            from,
            name,
            emoji,
            at_ms: now_ms(),
        }));
        for participant in &mut self.participants {
            participant.tell(&event);
        }
        Ok(())
    }

    fn speak_up(&mut self, from: SessionId) -> Result<String, Error> {
        let room = self.name.clone();
        let participant = self.participant_mut(from).ok_or(Error::NoParticipant {
            room,
            participant: from,
        })?;
        if !participant.chatter.take() {
            return Err(Error::TooOften("chat and reactions".to_owned()));
        }
        Ok(participant.name.clone())
    }

    /// Hands on what one participant sends another, with `from` in it.
    pub(crate) fn relay(
        &mut self,
        from: SessionId,
        to: SessionId,
        kind: Relay,
        mut payload: Value,
    ) -> Result<(), Error> {
        if let Some(participant) = self.participant_mut(from)
            && !participant.relays.take()
        {
            return Err(Error::TooOften(format!("{} for others", kind.name())));
        }
        let room = self.name.clone();
        let receiver = self.participant_mut(to).filter(|one| one.mailbox.is_some());
        let receiver = receiver.ok_or(Error::NoParticipant {
            room,
            participant: to,
        })?;
        if let Some(members) = payload.as_object_mut() {
            members.insert("from".to_owned(), json!(from));
            members.remove("to");
        }
        receiver.tell_by_signalling(&Arc::new(RoomEvent::Relayed { kind, payload }));
        Ok(())
    }
}

/// Characters of a text.
const TEXT_LEN_MAX: usize = 4000;
/// Bytes of a reaction: an emoji of several people has some thirty.
const EMOJI_LEN_MAX: usize = 64;
/// Texts and reactions of a participant each second.
pub(crate) const CHATS_PER_S: f64 = 10.0;
/// Offers, answers and candidates for others each second: a call begins with some dozens at once.
pub(crate) const RELAYS_PER_S: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_gives_so_many_at_once_and_so_many_a_second() {
        let mut bucket = Bucket::new(10.0);
        let mut taken = || (0..100).filter(|_| bucket.take()).count();
        assert_eq!(taken(), 10);
        assert_eq!(taken(), 0);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(taken(), 5);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(taken(), 10);
    }
}
