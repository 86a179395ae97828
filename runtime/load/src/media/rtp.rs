//! RTP headers (RFC 3550 §5.1), read in place: SRTP leaves them in clear.

/// What matters of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) payload_type: u8,
    pub(crate) marker: bool,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    pub(crate) has_padding: bool,
    /// Where the payload begins.
    pub(crate) len: usize,
    /// The transport-wide number, where that extension is in it.
    pub(crate) transport: Option<u16>,
}

impl Header {
    /// Reads a packet; `transport` is the number of the extension for transport-wide numbers, where negotiated.
    pub(crate) fn read(packet: &[u8], transport: Option<u8>) -> Option<Self> {
        let fixed = packet.first_chunk::<12>()?;
        if fixed[0] >> 6 != 2 {
            return None;
        }
        let mut len = 12 + 4 * usize::from(fixed[0] & 0x0f);
        let mut number = None;
        if fixed[0] & 0x10 != 0 {
            let head = packet.get(len..)?.first_chunk::<4>()?;
            let words = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let extensions = packet.get(len + 4..len + 4 + 4 * words)?;
            if let Some(wanted) = transport {
                number = find(extensions, u16::from_be_bytes([head[0], head[1]]), wanted);
            }
            len += 4 + 4 * words;
        }
        (len <= packet.len()).then_some(Self {
            payload_type: fixed[1] & 0x7f,
            marker: fixed[1] & 0x80 != 0,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            has_padding: fixed[0] & 0x20 != 0,
            len,
            transport: number,
        })
    }

    /// The payload of a decrypted packet, without padding.
    pub(crate) fn payload<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        let payload = packet.get(self.len..).unwrap_or_default();
        let padding = match payload.last() {
            Some(last) if self.has_padding => usize::from(*last),
            _ => 0,
        };
        let end = payload.len().saturating_sub(padding);
        payload.get(..end).unwrap_or_default()
    }
}

/// An extension of two bytes (RFC 8285 §4.2 and §4.3).
fn find(mut extensions: &[u8], profile: u16, wanted: u8) -> Option<u16> {
    while let [head, rest @ ..] = extensions {
        let (id, len, body) = match profile {
            _ if *head == 0 => {
                extensions = rest; // padding
                continue;
            }
            0xbede => (head >> 4, usize::from(head & 0x0f) + 1, rest),
            _ => (*head, usize::from(*rest.first()?), rest.get(1..)?),
        };
        if id == wanted {
            let value = body.get(..len)?.first_chunk::<2>()?;
            return Some(u16::from_be_bytes(*value));
        }
        extensions = body.get(len..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_with_extensions_is_read_in_place() {
        let mut packet = vec![0x90, 0xe6, 1, 2, 0, 0, 0, 9, 0, 0, 0, 7];
        packet.extend([
            0xbe, 0xde, 0, 2, 0x40, b'1', 0x31, 0x12, 0x34, 0, 0, 0, 0xaa,
        ]);
        let header = Header::read(&packet, Some(3)).unwrap();
        assert_eq!((header.payload_type, header.marker), (102, true));
        assert_eq!((header.sequence, header.timestamp), (0x0102, 9));
        assert_eq!((header.ssrc, header.transport), (7, Some(0x1234)));
        assert_eq!(header.payload(&packet), [0xaa]);
        assert_eq!(Header::read(&packet, Some(5)).unwrap().transport, None);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(mut packet in proptest::collection::vec(any::<u8>(), 0..64), id: u8) {
            if let Some(first) = packet.first_mut() {
                *first = (*first & 0x3f) | 0x80;
            }
            if let Some(header) = Header::read(&packet, Some(id)) {
                prop_assert!(header.len <= packet.len());
                header.payload(&packet);
            }
        }
    }
}
