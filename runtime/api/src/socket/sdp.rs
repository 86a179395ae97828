//! As much of an offer as it takes to see which way its media goes (RFC 8866, RFC 8829 §5.10).

/// Which way the media of an offer goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Directions {
    /// Some section of audio or video sends.
    pub(crate) sends: bool,
    /// Some section of audio or video receives.
    pub(crate) receives: bool,
    /// There is a section for data channels.
    pub(crate) has_channel: bool,
}

impl Directions {
    /// Reads an offer. What is no SDP has no directions.
    pub(crate) fn of(offer: &str) -> Self {
        let mut all = Self::default();
        let mut session = Way::default();
        let mut section: Option<(Kind, Way)> = None;
        for line in offer.lines().map(str::trim) {
            if let Some(media) = line.strip_prefix("m=") {
                all.add(section.take());
                section = Some((Kind::of(media), session));
            } else if let Some(way) = line.strip_prefix("a=").and_then(Way::named) {
                match &mut section {
                    Some((_, of_section)) => *of_section = way,
                    None => session = way,
                }
            }
        }
        all.add(section);
        all
    }

    fn add(&mut self, section: Option<(Kind, Way)>) {
        match section {
            Some((Kind::Media, way)) => {
                self.sends |= way.sends;
                self.receives |= way.receives;
            }
            Some((Kind::Channel, _)) => self.has_channel = true,
            Some((Kind::Rejected, _)) | None => {}
        }
    }
}

/// What a section is for.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Media,
    Channel,
    /// Its port is 0, and it is not bundled: nothing flows there.
    Rejected,
}

impl Kind {
    fn of(media: &str) -> Self {
        let mut words = media.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some("application"), Some(port)) if port != "0" => Self::Channel,
            (Some("audio" | "video"), Some(port)) if port != "0" => Self::Media,
            _ => Self::Rejected,
        }
    }
}

/// Which way a section goes.
#[derive(Debug, Clone, Copy)]
struct Way {
    sends: bool,
    receives: bool,
}

impl Default for Way {
    fn default() -> Self {
        Self {
            sends: true,
            receives: true,
        }
    }
}

impl Way {
    fn named(name: &str) -> Option<Self> {
        let (sends, receives) = match name {
            "sendrecv" => (true, true),
            "sendonly" => (true, false),
            "recvonly" => (false, true),
            "inactive" => (false, false),
            _ => return None,
        };
        Some(Self { sends, receives })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_goes_the_way_its_sections_go() {
        let of = |text: &str| {
            let all = Directions::of(text);
            (all.sends, all.receives, all.has_channel)
        };
        assert_eq!(of(""), (false, false, false));
        assert_eq!(of("v=0\r\nm=audio 9 X 111\r\n"), (true, true, false));
        assert_eq!(
            of("m=audio 9 X 1\na=recvonly\nm=video 9 X 2\na=recvonly\n"),
            (false, true, false)
        );
        assert_eq!(
            of("a=recvonly\nm=audio 9 X 1\nm=video 9 X 2\na=sendonly\n"),
            (true, true, false)
        );
        assert_eq!(
            of("m=video 0 X 2\na=sendonly\nm=application 9 D\n"),
            (false, false, true)
        );
        assert_eq!(of("m=video 9 X 2\na=inactive\n"), (false, false, false));
    }
}
