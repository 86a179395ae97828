//! The listener's side of the handshake (§3.2.1, §4.3.1).

use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};

/// A handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handshake<'a> {
    pub(crate) version: u32,
    pub(crate) extension: u16,
    /// The sequence number of the first data packet.
    pub(crate) sequence: u32,
    pub(crate) mtu: u32,
    pub(crate) kind: u32,
    /// The sender's socket.
    pub(crate) socket: u32,
    pub(crate) cookie: u32,
    /// The extensions.
    pub(crate) rest: &'a [u8],
}

/// What a caller's extensions say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Extensions<'a> {
    /// The latency that the caller wants of us as its receiver, in ms.
    pub(crate) latency_ms: Option<u16>,
    pub(crate) stream_id: Option<String>,
    /// Key material.
    pub(crate) keys: Option<&'a [u8]>,
}

impl<'a> Handshake<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Option<Self> {
        let (head, rest) = body.split_first_chunk::<LEN>()?;
        let word = |at: usize| {
            let bytes = head
                .get(at * 4..at * 4 + 4)
                .and_then(|bytes| bytes.first_chunk::<4>());
            bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
        };
        Some(Self {
            version: word(0),
            extension: u16::try_from(word(1) & 0xffff).unwrap_or(0),
            sequence: word(2),
            mtu: word(3),
            kind: word(5),
            socket: word(6),
            cookie: word(7),
            rest,
        })
    }
}

impl<'a> Extensions<'a> {
    pub(crate) fn parse(mut rest: &'a [u8]) -> Self {
        let mut extensions = Self::default();
        while let Some((head, tail)) = rest.split_first_chunk::<4>() {
            let kind = u16::from_be_bytes([head[0], head[1]]);
            let len = usize::from(u16::from_be_bytes([head[2], head[3]])) * 4;
            let Some((content, tail)) = tail.split_at_checked(len) else {
                break;
            };
            rest = tail;
            match kind {
                // Version, flags, then the delays of a receiver and of a sender: the second is ours to keep.
                EXT_HSREQ => {
                    extensions.latency_ms = content
                        .get(10..12)
                        .and_then(|bytes| bytes.first_chunk::<2>())
                        .map(|bytes| u16::from_be_bytes(*bytes));
                }
                EXT_KMREQ => extensions.keys = Some(content),
                EXT_STREAM_ID => extensions.stream_id = Some(stream_id(content)),
                _ => {}
            }
        }
        extensions
    }
}

/// A stream id: each word has its bytes the other way round.
fn stream_id(content: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(content.len());
    for word in content.chunks(4) {
        bytes.extend(word.iter().rev());
    }
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Our answer to the first handshake: version 5 with its mark, and a cookie.
pub(crate) fn induced(theirs: &Handshake<'_>, cookie: u32, peer: IpAddr) -> Bytes {
    head(&Head {
        version: 5,
        extension: MAGIC,
        kind: INDUCTION,
        socket: theirs.socket,
        cookie,
        peer,
        theirs,
    })
    .freeze()
}

/// Our answer to the second one: taken in on this socket.
pub(crate) fn concluded(
    theirs: &Handshake<'_>,
    socket: u32,
    peer: IpAddr,
    latency_ms: u16,
    keys: Option<&[u8]>,
) -> Bytes {
    let mut out = head(&Head {
        version: 5,
        extension: FLAG_HSREQ | keys.map_or(0, |_| FLAG_KMREQ),
        kind: CONCLUSION,
        socket,
        cookie: theirs.cookie,
        peer,
        theirs,
    });
    out.put_u16(EXT_HSRSP);
    out.put_u16(3);
    out.put_u32(VERSION);
    out.put_u32(FLAGS);
    out.put_u16(latency_ms);
    out.put_u16(latency_ms);
    if let Some(keys) = keys {
        out.put_u16(EXT_KMRSP);
        out.put_u16(u16::try_from(keys.len() / 4).unwrap_or(0));
        out.put_slice(keys);
    }
    out.freeze()
}

/// Our answer to the second one: refused, with an HTTP status where there is one for it (the access control
/// guidelines of libsrt).
pub(crate) fn refused(theirs: &Handshake<'_>, reason: u32, peer: IpAddr) -> Bytes {
    head(&Head {
        version: 5,
        extension: 0,
        kind: FAILURE + reason,
        socket: 0,
        cookie: theirs.cookie,
        peer,
        theirs,
    })
    .freeze()
}

/// The same refusal for another reason.
pub(crate) fn with_reason(refusal: &[u8], reason: u32) -> Bytes {
    let mut out = BytesMut::from(refusal);
    if let Some(kind) = out.get_mut(20..24) {
        kind.copy_from_slice(&(FAILURE + reason).to_be_bytes());
    }
    out.freeze()
}

struct Head<'a> {
    version: u32,
    extension: u16,
    kind: u32,
    socket: u32,
    cookie: u32,
    peer: IpAddr,
    theirs: &'a Handshake<'a>,
}

fn head(head: &Head<'_>) -> BytesMut {
    let mut out = BytesMut::with_capacity(128);
    out.put_u32(head.version);
    out.put_u16(0);
    out.put_u16(head.extension);
    out.put_u32(head.theirs.sequence);
    out.put_u32(head.theirs.mtu.clamp(MTU_MIN, MTU_MAX));
    out.put_u32(FLOW_WINDOW);
    out.put_u32(head.kind);
    out.put_u32(head.socket);
    out.put_u32(head.cookie);
    match head.peer {
        IpAddr::V4(ip) => {
            let mut octets = ip.octets();
            octets.reverse();
            out.put_slice(&octets);
            out.put_slice(&[0; 12]);
        }
        IpAddr::V6(ip) => out.put_slice(&ip.octets()),
    }
    out
}

/// Kinds of handshakes.
pub(crate) const INDUCTION: u32 = 1;
pub(crate) const CONCLUSION: u32 = 0xffff_ffff;
const FAILURE: u32 = 1000;
/// Reasons to refuse: the version, the passphrase, and an HTTP status on top of the last.
pub(crate) const REASON_VERSION: u32 = 8;
pub(crate) const REASON_SECRET: u32 = 10;
pub(crate) const REASON_UNSECURE: u32 = 11;
pub(crate) const REASON_HTTP: u32 = 1000;
pub(crate) const EXT_KMREQ: u16 = 3;
const EXT_HSREQ: u16 = 1;
const EXT_HSRSP: u16 = 2;
pub(crate) const EXT_KMRSP: u16 = 4;
const EXT_STREAM_ID: u16 = 5;
const FLAG_HSREQ: u16 = 1;
const FLAG_KMREQ: u16 = 2;
/// The mark of version 5 in the answer to the first handshake.
const MAGIC: u16 = 0x4a17;
/// We speak as libsrt 1.5 does.
const VERSION: u32 = 0x0001_0500;
/// Delivery by time from both sides, encryption, dropping what is too late, requests repeated, the bit of packets sent
/// again, and no buffer mode.
const FLAGS: u32 = 0x3f;
const LEN: usize = 48;
const MTU_MIN: u32 = 76;
const MTU_MAX: u32 = 1500;
/// Packets that may be under way: as many as we hold.
pub(crate) const FLOW_WINDOW: u32 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_read_and_broken_ones_end_the_list() {
        let mut rest = vec![0, 1, 0, 3, 0, 1, 5, 0, 0, 0, 0, 0x3f, 0, 0, 0, 120];
        rest.extend([0, 5, 0, 2]);
        rest.extend(*b"mac:s=r,");
        rest.extend([0, 3, 0, 9, 1]);
        let read = Extensions::parse(&rest);
        assert_eq!(read.latency_ms, Some(120));
        assert_eq!(read.stream_id.as_deref(), Some(":cam,r=s"));
        assert_eq!(read.keys, None);
    }
}
