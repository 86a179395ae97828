//! Stream ids: `publish:NAME?token=TOKEN`, `publish:NAME:USER:PASSWORD` as MediaMTX has it, and the standard
//! `#!::r=NAME,m=publish,u=…,token=…` (libsrt's access control guidelines).

use lockgate_ports::ingest::Credentials;

/// What a stream id asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) name: String,
    pub(crate) credentials: Credentials,
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
        match (rest.find('?'), rest.split_once(':')) {
            (query, Some((name, login))) if query.is_none_or(|at| at > name.len()) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                Self::new(name, signed_in(user, password))
            }
            _ => {
                let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
                Self::new(name, Credentials::of_query(query))
            }
        }
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
        // A token has no key of its own there; who has no other place puts it into the session, where others have the
        // password of a user.
        let credentials = match (value("token"), value("u"), value("s")) {
            (None, Some(user), Some(password)) if !is_token(password) => signed_in(user, password),
            (token, _, session) => Credentials {
                token: token
                    .or(session)
                    .filter(|token| !token.is_empty())
                    .map(str::to_owned),
                login: None,
            },
        };
        Self::new(value("r").unwrap_or_default(), credentials)
    }

    fn new(name: &str, credentials: Credentials) -> Result<Self, Unclear> {
        let name = name.trim_matches('/');
        if name.is_empty() {
            return Err(Unclear::Nothing);
        }
        Ok(Self {
            name: name.to_owned(),
            credentials,
        })
    }
}

fn signed_in(user: &str, password: &str) -> Credentials {
    let login = (user.to_owned(), password.to_owned());
    Credentials {
        token: None,
        login: Some(login).filter(|(user, _)| !user.is_empty()),
    }
}

/// Whether a text looks like a JSON Web Token: three parts, of which the first is an object in base64url.
fn is_token(text: &str) -> bool {
    text.starts_with("eyJ") && text.split('.').count() == 3
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
            ("#!::r=cam,s=t,m=publish", "cam", Some("t")),
            (
                "#!::u=me,r=cam,s=eyJh.b.c,m=publish",
                "cam",
                Some("eyJh.b.c"),
            ),
            ("#!::u=me,r=cam,s=x,token=t,m=publish", "cam", Some("t")),
            ("publish:cam?token=a:b", "cam", Some("a:b")),
        ] {
            let wish = Wish::parse(text).unwrap();
            assert_eq!(
                (wish.name.as_str(), wish.credentials.token.as_deref()),
                (name, token),
                "{text}"
            );
        }
        for text in [
            "publish:cam:ann:no:rth?",
            "publish:cam?user=ann&pass=no:rth%3f",
            "#!::m=publish,r=cam,u=ann,s=no:rth?",
        ] {
            let wish = Wish::parse(text).unwrap();
            let login = ("ann".to_owned(), "no:rth?".to_owned());
            assert_eq!(wish.name, "cam", "{text}");
            assert_eq!(wish.credentials.login, Some(login), "{text}");
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
