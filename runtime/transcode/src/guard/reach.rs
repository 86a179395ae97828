//! Which addresses a worker may connect to.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    str::FromStr,
};

/// One thing that may be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// Every address of the public Internet.
    Public,
    /// Every other one: loopback, private networks, link-local, multicast.
    Private,
    /// A network, such as `10.0.0.0/8`, or one address.
    Network {
        /// Its first address.
        address: IpAddr,
        /// Bits that are the same in all of its addresses.
        prefix: u8,
    },
    /// A name, looked up when it matters.
    Name(String),
}

/// The text names no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no host; write \"public\", \"private\", a name, an address, or a network such as \"10.0.0.0/8\""
)]
pub struct NoHost(String);

impl FromStr for Host {
    type Err = NoHost;

    fn from_str(text: &str) -> Result<Self, NoHost> {
        let refused = || NoHost(text.to_owned());
        match text {
            "public" => return Ok(Self::Public),
            "private" => return Ok(Self::Private),
            _ => {}
        }
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        if let Ok(address) = address.parse::<IpAddr>() {
            let most = if address.is_ipv4() { 32 } else { 128 };
            let prefix = match prefix {
                Some(prefix) => prefix.parse::<u8>().map_err(|_| refused())?,
                None => most,
            };
            return (prefix <= most)
                .then_some(Self::Network { address, prefix })
                .ok_or_else(refused);
        }
        let is_name = !text.is_empty()
            && text.len() <= 253
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        is_name
            .then(|| Self::Name(text.to_ascii_lowercase()))
            .ok_or_else(refused)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => f.write_str("public"),
            Self::Private => f.write_str("private"),
            Self::Network { address, prefix } => write!(f, "{address}/{prefix}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// What one source may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Allowed to every source.
    hosts: Vec<Host>,
    /// The host and port in the source's own URL, which the operator wrote.
    own: Option<(String, Option<u16>)>,
}

impl Reach {
    /// `hosts` as configured; what is no host allows nothing.
    pub(crate) fn new(hosts: &[String], url: &str) -> Self {
        Self {
            hosts: hosts.iter().filter_map(|host| host.parse().ok()).collect(),
            own: authority(url),
        }
    }

    /// Whether there is nothing to be watched.
    pub(crate) fn is_everything(&self) -> bool {
        self.hosts.contains(&Host::Public) && self.hosts.contains(&Host::Private)
    }

    /// Whether an address may be connected to. `is_stream`: by TCP. Looks names up, so it may take a moment.
    pub(crate) fn allows(&self, to: SocketAddr, is_stream: bool) -> bool {
        let ip = plain(to.ip());
        let by_rule = self.hosts.iter().any(|host| match host {
            Host::Public => is_public(ip),
            Host::Private => !is_public(ip),
            Host::Network { address, prefix } => is_within(ip, plain(*address), *prefix),
            Host::Name(_) => false,
        });
        by_rule
            || self.own.as_ref().is_some_and(|(name, port)| {
                // RTP comes and goes at ports of its own.
                let at_port = !is_stream || port.is_none_or(|port| port == to.port());
                at_port && resolves_to(name, ip)
            })
            || self
                .hosts
                .iter()
                .any(|host| matches!(host, Host::Name(name) if resolves_to(name, ip)))
    }
}

/// The protocols that may be opened below a URL: from the network no file, from a file no network.
pub(crate) fn protocols_below(url: &str, allowed: &[String]) -> String {
    let local = ["file", "crypto", "data", "concat", "subfile", "pipe", "fd"];
    let is_local = is_local(url);
    let below: Vec<&str> = allowed
        .iter()
        .map(String::as_str)
        .filter(|protocol| {
            local.contains(protocol) == is_local || ["crypto", "data"].contains(protocol)
        })
        .collect();
    below.join(",")
}

/// Whether a URL names a file of this machine.
pub(crate) fn is_local(url: &str) -> bool {
    !url.contains("://") || url.starts_with("file:")
}

/// The host and port of a URL.
fn authority(url: &str) -> Option<(String, Option<u16>)> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = rest.get(..end)?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, it)| it);
    let (host, port) = if let Some(inner) = authority.strip_prefix('[') {
        let (host, rest) = inner.split_once(']')?;
        (host, rest.strip_prefix(':'))
    } else {
        match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let usual = match scheme {
        "http" => Some(80),
        "https" => Some(443),
        "rtmp" => Some(1935),
        "rtmps" => Some(443),
        "rtsp" => Some(554),
        "rtsps" => Some(322),
        _ => None,
    };
    let port = match port.filter(|port| !port.is_empty()) {
        Some(port) => Some(port.parse().ok()?),
        None => usual,
    };
    (!host.is_empty()).then(|| (host.to_ascii_lowercase(), port))
}

fn resolves_to(name: &str, ip: IpAddr) -> bool {
    if let Ok(address) = name.parse::<IpAddr>() {
        return plain(address) == ip;
    }
    (name, 0)
        .to_socket_addrs()
        .is_ok_and(|mut found| found.any(|found| plain(found.ip()) == ip))
}

/// An IPv4 address in IPv6 clothes is the IPv4 address: mapped (RFC 4291 §2.5.5.2), translated (RFC 6052) or 6to4
/// (RFC 3056).
fn plain(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| {
        let [one, two] = high.to_be_bytes();
        let [three, four] = low.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(one, two, three, four))
    };
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => v4(g, h),
        // Also the old "compatible" form, apart from :: and ::1.
        [0, 0, 0, 0, 0, 0] if (g, h) > (0, 1) => v4(g, h),
        [0x2002, high, low, ..] => v4(high, low),
        _ => ip,
    }
}

/// Whether an address is of the public Internet (the IANA special-purpose registries, RFC 6890).
pub fn is_public(ip: IpAddr) -> bool {
    let special = match ip {
        IpAddr::V4(_) => &SPECIAL_V4[..],
        IpAddr::V6(_) => &SPECIAL_V6[..],
    };
    !special
        .iter()
        .any(|(address, prefix)| is_within(ip, *address, *prefix))
}

fn is_within(ip: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, true),
        IpAddr::V6(v6) => (u128::from(v6), false),
    };
    let ((ip, is_v4), (network, of_v4)) = (bits(ip), bits(network));
    let shift = 128 - u32::from(prefix.min(128));
    is_v4 == of_v4 && (shift == 128 || ip >> shift == network >> shift)
}

const fn v4(a: u8, b: u8, c: u8, prefix: u8) -> (IpAddr, u8) {
    (IpAddr::V4(Ipv4Addr::new(a, b, c, 0)), prefix)
}

const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> (IpAddr, u8) {
    (IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)), prefix)
}

const SPECIAL_V4: [(IpAddr, u8); 16] = [
    v4(0, 0, 0, 8),        // this network
    v4(10, 0, 0, 8),       // private
    v4(100, 64, 0, 10),    // shared by carriers
    v4(127, 0, 0, 8),      // loopback
    v4(169, 254, 0, 16),   // link-local, and what clouds tell their machines
    v4(172, 16, 0, 12),    // private
    v4(192, 0, 0, 24),     // protocol assignments
    v4(192, 0, 2, 24),     // documentation
    v4(192, 88, 99, 24),   // 6to4 relays
    v4(192, 168, 0, 16),   // private
    v4(198, 18, 0, 15),    // measurements
    v4(198, 51, 100, 24),  // documentation
    v4(203, 0, 113, 24),   // documentation
    v4(224, 0, 0, 4),      // multicast
    v4(240, 0, 0, 4),      // reserved
    v4(255, 255, 255, 24), // broadcast
];

const SPECIAL_V6: [(IpAddr, u8); 11] = [
    v6(0, 0, 0, 96),          // unspecified, loopback
    v6(0x64, 0xff9b, 1, 48),  // local translation
    v6(0x100, 0, 0, 64),      // discard
    v6(0x2001, 0, 0, 23),     // protocol assignments, Teredo
    v6(0x2001, 0xdb8, 0, 32), // documentation
    v6(0x3fff, 0, 0, 20),     // documentation
    v6(0x5f00, 0, 0, 16),     // segment routing
    v6(0xfc00, 0, 0, 7),      // private
    v6(0xfe80, 0, 0, 10),     // link-local
    v6(0xfec0, 0, 0, 10),     // site-local
    v6(0xff00, 0, 0, 8),      // multicast
];

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(hosts: &[&str], url: &str, to: &str) -> bool {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        Reach::new(&hosts, url).allows(to.parse().unwrap(), true)
    }

    #[test]
    fn only_the_public_internet_is_public() {
        for public in [
            "8.8.8.8:80",
            "172.32.0.1:80",
            "100.128.0.1:80",
            "[2606:4700::1111]:443",
            "[::ffff:8.8.8.8]:80",
        ] {
            assert!(allows(&["public"], "", public), "{public}");
        }
        for private in [
            "127.0.0.1:80",
            "127.8.8.8:80",
            "0.0.0.0:80",
            "10.1.2.3:80",
            "172.31.255.255:80",
            "192.168.0.1:80",
            "169.254.169.254:80",
            "100.64.0.1:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "[::]:80",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
            "[::127.0.0.1]:80",
            "[64:ff9b::7f00:1]:80",
            "[2002:7f00:1::]:80",
            "[fd00::1]:80",
            "[fe80::1]:80",
            "[ff02::1]:80",
        ] {
            assert!(!allows(&["public"], "", private), "{private}");
            assert!(allows(&["private"], "", private), "{private}");
        }
    }

    #[test]
    fn the_host_in_the_url_is_allowed_at_its_port_and_no_other() {
        let url = "rtsp://me:it@192.168.7.9/live";
        assert!(allows(&[], url, "192.168.7.9:554"));
        assert!(!allows(&[], url, "192.168.7.9:80"));
        assert!(!allows(&[], url, "192.168.7.10:554"));
        let reach = Reach::new(&[], url);
        assert!(reach.allows("192.168.7.9:40000".parse().unwrap(), false));
        assert!(allows(&[], "http://[fd00::7]:8080/a@b", "[fd00::7]:8080"));
        assert!(allows(&[], "http://localhost:81/", "127.0.0.1:81"));
        assert!(!allows(&[], "http://localhost:81/", "127.0.0.1:82"));
    }

    #[test]
    fn networks_names_and_single_addresses_are_hosts() {
        assert!(allows(&["10.0.0.0/8"], "", "10.200.0.1:1"));
        assert!(!allows(&["10.0.0.0/8"], "", "11.0.0.1:1"));
        assert!(allows(&["192.168.1.5"], "", "192.168.1.5:1"));
        assert!(!allows(&["192.168.1.5"], "", "192.168.1.6:1"));
        assert!(allows(&["fd00::/8"], "", "[fd12::1]:1"));
        assert!(!allows(&["0.0.0.0/0"], "", "[fd12::1]:1"));
        assert!(allows(&["localhost"], "", "127.0.0.1:1"));
        for bad in ["", "10.0.0.0/33", "http://x", "a b", "10.0.0.0/x"] {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
        for good in ["public", "private", "10.0.0.0/8", "cam.lan"] {
            assert_eq!(good.parse::<Host>().unwrap().to_string(), good);
        }
    }

    #[test]
    fn a_file_leads_to_no_network_and_a_url_to_no_file() {
        let allowed = ["file", "http", "https", "tcp", "tls", "crypto"].map(str::to_owned);
        assert_eq!(protocols_below("/a/b.m3u8", &allowed), "file,crypto");
        assert_eq!(protocols_below("file:///a", &allowed), "file,crypto");
        assert_eq!(
            protocols_below("https://x/y", &allowed),
            "http,https,tcp,tls,crypto"
        );
    }
}
