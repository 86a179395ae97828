//! `application/trickle-ice-sdpfrag` (RFC 8840 §9).

use std::net::IpAddr;

use lockgate_ports::SignalError;

/// A trickled fragment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// The ICE generation it is for.
    pub(crate) ufrag: Option<String>,
    /// The usable candidates (`candidate:…`), each with the `mid` of its section.
    pub(crate) candidates: Vec<(Option<String>, String)>,
}

impl Fragment {
    /// Reads a fragment. Candidates that cannot be used (mDNS names, TCP, unknown kinds) are passed over.
    pub(crate) fn parse(text: &str) -> Result<Self, SignalError> {
        let mut fragment = Self::default();
        let mut mid = None;
        let mut lines = 0;
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
                ("m", _) => mid = None,
                ("a", Some(("mid", value))) => mid = Some(value.to_owned()),
                ("a", Some(("ice-ufrag", value))) => fragment.of_generation(value)?,
                ("a", Some(("candidate", value))) => fragment.add(mid.as_deref(), value),
                _ => {}
            }
        }
        if lines == 0 {
            return Err(SignalError::Malformed("the fragment is empty".to_owned()));
        }
        Ok(fragment)
    }

    /// RFC 8840 §9: all sections of a fragment are of one generation.
    fn of_generation(&mut self, ufrag: &str) -> Result<(), SignalError> {
        let before = self.ufrag.replace(ufrag.to_owned());
        if before.is_some_and(|before| before != ufrag) {
            return Err(SignalError::Malformed(
                "the fragment has two ICE user fragments".to_owned(),
            ));
        }
        Ok(())
    }

    fn add(&mut self, mid: Option<&str>, candidate: &str) {
        if is_usable(candidate) && self.candidates.len() < CANDIDATES_MAX {
            let line = format!("candidate:{candidate}");
            self.candidates.push((mid.map(str::to_owned), line));
        }
    }
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

/// One session's worth; the session counts over all its fragments.
pub(super) const CANDIDATES_MAX: usize = 32;
