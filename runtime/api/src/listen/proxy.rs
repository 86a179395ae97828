//! The PROXY protocol, versions 1 and 2, read from proxies that are trusted.

use std::{io, net::SocketAddr};

use ppp::{HeaderResult, PartialResult as _, v1, v2};
use tokio::{io::AsyncReadExt as _, net::TcpStream};

/// Reads the header that stands before everything else, and nothing beyond it. `None`: the proxy speaks for itself, as in
/// its health checks.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut head = [0; HEAD_LEN_MAX];
    let mut len = 0;
    loop {
        // What belongs to the request must stay in the socket, so that it is looked at first and taken then.
        let seen = stream.peek(&mut head).await?;
        let bytes = head.get(..seen).unwrap_or_default();
        let parsed = HeaderResult::parse(bytes);
        let whole = match &parsed {
            HeaderResult::V1(Ok(header)) => Some((header.header.len(), source_v1(header))),
            HeaderResult::V2(Ok(header)) => Some((header.len(), source_v2(header))),
            _ => None,
        };
        if let Some((header_len, source)) = whole {
            let taken = head
                .get_mut(..header_len)
                .ok_or_else(|| wrong("the PROXY header is longer than it says"))?;
            stream.read_exact(taken).await?;
            return Ok(source);
        }
        if seen == 0 || seen == HEAD_LEN_MAX || !parsed.is_incomplete() {
            return Err(wrong("there is no PROXY header"));
        }
        if seen == len {
            // Nothing came since: a peek returns at once as long as anything is there.
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        len = seen;
    }
}

fn source_v1(header: &v1::Header<'_>) -> Option<SocketAddr> {
    match header.addresses {
        v1::Addresses::Tcp4(ip) => Some((ip.source_address, ip.source_port).into()),
        v1::Addresses::Tcp6(ip) => Some((ip.source_address, ip.source_port).into()),
        v1::Addresses::Unknown => None,
    }
}

fn source_v2(header: &v2::Header<'_>) -> Option<SocketAddr> {
    if header.command == v2::Command::Local {
        return None;
    }
    match header.addresses {
        v2::Addresses::IPv4(ip) => Some((ip.source_address, ip.source_port).into()),
        v2::Addresses::IPv6(ip) => Some((ip.source_address, ip.source_port).into()),
        v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
    }
}

/// Longest header that is read: version 1 has 107 bytes at most; version 2 has some more where proxies add values.
const HEAD_LEN_MAX: usize = 1024;
/// Between two looks at a header that comes in pieces.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(10);
