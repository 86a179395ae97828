//! `application/trickle-ice-sdpfrag` (RFC 8840 §9).

use std::net::IpAddr;

use lockgate_ports::SignalError;

use super::offer::CANDIDATES_MAX;
use crate::net::Credentials;

/// A fragment of a peer: candidates, and with new credentials the wish for an ICE restart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// The peer's ICE username fragment, if it is named.
    pub(crate) ufrag: Option<String>,
    /// The peer's ICE password, if it is named.
    pub(crate) password: Option<String>,
    /// How many of the candidates could be used. A lite agent answers checks from anywhere and sends none, so that it
    /// needs none of them.
    pub(crate) candidates: usize,
}

impl Fragment {
    /// Reads a fragment. Candidates that cannot be used (mDNS names, TCP, unknown kinds) are passed over.
    pub(crate) fn parse(text: &str) -> Result<Self, SignalError> {
        let mut fragment = Self::default();
        let (mut lines, mut candidates) = (0, 0);
        for line in text.lines().map(str::trim_end) {
            if line.is_empty() {
                continue;
            }
            let Some((kind, value)) = line.split_once('=') else {
                return Err(malformed(line));
            };
            if kind.len() != 1 {
                return Err(malformed(line));
            }
            lines += 1;
            match (kind, value.split_once(':')) {
                ("a", Some(("ice-ufrag", value))) => one_of(&mut fragment.ufrag, value)?,
                ("a", Some(("ice-pwd", value))) => one_of(&mut fragment.password, value)?,
                ("a", Some(("candidate", value))) => {
                    candidates += 1;
                    fragment.candidates += usize::from(is_usable(value));
                }
                _ => {}
            }
        }
        if lines == 0 {
            return Err(SignalError::Malformed("the fragment is empty".to_owned()));
        }
        if candidates > CANDIDATES_MAX {
            return Err(SignalError::Malformed(format!(
                "the fragment has {candidates} candidates; at most {CANDIDATES_MAX} are read"
            )));
        }
        Ok(fragment)
    }

    /// The credentials of a restart: `None` where the fragment is about the session whose credentials these are. A
    /// difference in either of the two is a restart, never merged in silence (RFC 8839 §4.4.1.1.1).
    pub(crate) fn restart(
        &self,
        current: &Credentials,
    ) -> Result<Option<Credentials>, SignalError> {
        let same = |named: &Option<String>, known: &str| {
            named.as_ref().is_none_or(|named| named.as_str() == known)
        };
        if same(&self.ufrag, &current.ufrag) && same(&self.password, &current.password) {
            return Ok(None);
        }
        let wanted = "an ICE restart needs a new a=ice-ufrag and a new a=ice-pwd (RFC 8839 §5.4)";
        match (&self.ufrag, &self.password) {
            (Some(ufrag), Some(password))
                if *ufrag != current.ufrag
                    && *password != current.password
                    && are_credentials(ufrag, password) =>
            {
                Ok(Some(Credentials {
                    ufrag: ufrag.clone(),
                    password: password.clone(),
                }))
            }
            _ => Err(SignalError::Malformed(wanted.to_owned())),
        }
    }
}

/// RFC 8840 §9: all sections of a fragment are of one ICE session.
fn one_of(place: &mut Option<String>, value: &str) -> Result<(), SignalError> {
    let before = place.replace(value.to_owned());
    if before.is_some_and(|before| before != value) {
        return Err(SignalError::Malformed(
            "the fragment has the credentials of two ICE sessions".to_owned(),
        ));
    }
    Ok(())
}

/// RFC 8839 §5.4: 4 and 22 characters at least, 256 at most. Which characters is not looked at closely: a ufrag must
/// only be safe in a STUN username.
pub(super) fn are_credentials(ufrag: &str, password: &str) -> bool {
    let graphic = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    (4..=256).contains(&ufrag.len())
        && (22..=256).contains(&password.len())
        && graphic(ufrag)
        && graphic(password)
        && !ufrag.contains(':')
}

fn malformed(line: &str) -> SignalError {
    let shown: String = line.chars().take(40).collect();
    SignalError::Malformed(format!("the fragment has a line that is no SDP: {shown:?}"))
}

/// RFC 8839 §5.1: foundation, component, transport, priority, address, port, `typ`, kind.
fn is_usable(value: &str) -> bool {
    let fields: Vec<&str> = value.split_whitespace().take(8).collect();
    let [_, component, transport, priority, address, port, typ, kind] = fields[..] else {
        return false;
    };
    component == "1"
        && transport.eq_ignore_ascii_case("udp")
        && priority.parse::<u32>().is_ok()
        && address.parse::<IpAddr>().is_ok()
        && port.parse::<u16>().is_ok_and(|port| port > 0)
        && typ == "typ"
        && matches!(kind, "host" | "srflx" | "relay")
}
