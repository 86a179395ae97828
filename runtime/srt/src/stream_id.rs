//! Stream ids: `publish:NAME?token=TOKEN`, and the standard `#!::r=NAME,m=publish,u=…,token=…` (libsrt's access control
//! guidelines).

/// What a stream id asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) name: String,
    pub(crate) token: Option<String>,
}

/// Why a stream id is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unclear {
    #[error(
        "the stream id names no broadcast: publish:NAME?token=TOKEN or #!::r=NAME,m=publish,token=TOKEN"
    )]
    Nothing,
    #[error("nothing is played over SRT here: use WHEP or HLS")]
    Play,
}

impl Wish {
    pub(crate) fn parse(text: &str) -> Result<Self, Unclear> {
        match text.strip_prefix("#!::") {
            Some(pairs) => Self::standard(pairs),
            None => Self::short(text),
        }
    }

    fn short(text: &str) -> Result<Self, Unclear> {
        let rest = match text.split_once(':') {
            Some(("publish", rest)) => rest,
            Some(("read" | "play" | "request", _)) => return Err(Unclear::Play),
            _ => return Err(Unclear::Nothing),
        };
        let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
        let token = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("token="));
        Self::new(name, token)
    }

    fn standard(pairs: &str) -> Result<Self, Unclear> {
        let value = |key: &str| {
            pairs
                .split(',')
                .filter_map(|pair| pair.split_once('='))
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value)
        };
        // Without a mode, a caller wants to be sent something.
        if value("m") != Some("publish") {
            return Err(Unclear::Play);
        }
        // A token has no key of its own there; who has no other place puts it into the session.
        let token = value("token").or_else(|| value("s"));
        Self::new(value("r").unwrap_or_default(), token)
    }

    fn new(name: &str, token: Option<&str>) -> Result<Self, Unclear> {
        let name = name.trim_matches('/');
        if name.is_empty() {
            return Err(Unclear::Nothing);
        }
        Ok(Self {
            name: name.to_owned(),
            token: token.filter(|token| !token.is_empty()).map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        for (text, name, token) in [
            ("publish:cam", "cam", None),
            ("publish:cam?token=a.b.c", "cam", Some("a.b.c")),
            ("#!::r=cam,m=publish,u=me", "cam", None),
            ("#!::m=publish,r=/cam,token=t", "cam", Some("t")),
            ("#!::u=me,r=cam,s=t,m=publish", "cam", Some("t")),
        ] {
            let wish = Wish::parse(text).unwrap();
            assert_eq!(
                (wish.name.as_str(), wish.token.as_deref()),
                (name, token),
                "{text}"
            );
        }
        for (text, why) in [
            ("", Unclear::Nothing),
            ("cam", Unclear::Nothing),
            ("publish:", Unclear::Nothing),
            ("read:cam", Unclear::Play),
            ("#!::r=cam", Unclear::Play),
            ("#!::m=publish", Unclear::Nothing),
        ] {
            assert_eq!(Wish::parse(text), Err(why), "{text}");
        }
    }
}
