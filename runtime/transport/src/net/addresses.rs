//! Which addresses peers are told: the candidates of an answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::{Config, Wire};

/// A place where peers may reach us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) address: SocketAddr,
    pub(crate) wire: Wire,
    /// Its place among all candidates of its kind, best first, counted from 0.
    pub(crate) rank: u16,
}

/// What is known of our addresses.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) udp: Vec<SocketAddr>,
    pub(super) tcp: Vec<SocketAddr>,
    /// Of the interfaces.
    pub(super) interfaces: Vec<IpAddr>,
    /// As a STUN server saw them.
    pub(super) mapped: Vec<SocketAddr>,
}

/// How far an address reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// From everywhere, or as the operator said.
    World,
    /// From the same network.
    Network,
    /// From this machine.
    Machine,
    /// From nowhere without saying through which interface.
    Nowhere,
}

/// The candidates, as they stand in an answer; empty only if there is no address at all. True if private addresses are
/// among them for want of public ones.
pub(super) fn choose(config: &Config, known: &Known) -> (Vec<Candidate>, bool) {
    let (addresses, wanting) = addresses(config, known);
    // Peers take both families in turn, IPv6 first (RFC 8421 §4). In the text IPv4 stands first: a publisher that reads
    // but one candidate, as FFmpeg does, reads that.
    let mut ranks: Vec<(Reach, usize, IpAddr)> = Vec::with_capacity(addresses.len());
    let (mut v4, mut v6) = (0, 0);
    for (address, reach) in &addresses {
        let at = match address {
            IpAddr::V6(_) => &mut v6,
            IpAddr::V4(_) => &mut v4,
        };
        ranks.push((*reach, 2 * *at + usize::from(address.is_ipv4()), *address));
        *at += 1;
    }
    ranks.sort();
    let rank = |address: IpAddr| {
        let at = ranks.iter().position(|(_, _, other)| *other == address);
        at.and_then(|at| u16::try_from(at).ok()).unwrap_or(u16::MAX)
    };
    let mut candidates: Vec<Candidate> = Vec::new();
    for (wire, listen) in [(Wire::Udp, &known.udp), (Wire::Tcp, &known.tcp)] {
        for (address, reach) in &addresses {
            let mut ports: Vec<u16> = listen
                .iter()
                .filter(|socket| serves(socket, *address, *reach))
                .map(SocketAddr::port)
                .collect();
            if wire == Wire::Udp {
                // A NAT may have given another port; one that takes packets from everybody takes a peer's there.
                let mapped = known.mapped.iter();
                ports.extend(
                    mapped
                        .filter(|to| to.ip() == *address)
                        .map(SocketAddr::port),
                );
            }
            for port in ports {
                let candidate = Candidate {
                    address: SocketAddr::new(*address, port),
                    wire,
                    rank: rank(*address),
                };
                if !candidates.contains(&candidate) {
                    candidates.push(candidate);
                }
            }
        }
    }
    (candidates, wanting)
}

/// Whether who goes to this address comes to this socket.
fn serves(socket: &SocketAddr, address: IpAddr, reach: Reach) -> bool {
    socket.is_ipv4() == address.is_ipv4()
        && (socket.ip().is_unspecified() || socket.ip() == address || reach == Reach::World)
}

fn addresses(config: &Config, known: &Known) -> (Vec<(IpAddr, Reach)>, bool) {
    let sockets = || known.udp.iter().chain(&known.tcp);
    let has_family = |address: &IpAddr| sockets().any(|of| of.is_ipv4() == address.is_ipv4());
    let mut world: Vec<IpAddr> = Vec::new();
    let configured = config.public_addresses.iter().copied();
    world.extend(configured.filter(has_family));
    let is_configured = !world.is_empty();
    // What the sockets are bound to; a wildcard stands for the interfaces.
    let mut own: Vec<IpAddr> = Vec::new();
    for socket in sockets() {
        if socket.ip().is_unspecified() {
            let same = |address: &&IpAddr| address.is_ipv4() == socket.is_ipv4();
            own.extend(known.interfaces.iter().filter(same));
        } else {
            own.push(socket.ip());
        }
    }
    if !is_configured {
        world.extend(known.mapped.iter().map(SocketAddr::ip));
        world.extend(
            own.iter()
                .filter(|address| reach(**address) == Reach::World),
        );
    }
    let has_public = |v4: bool| world.iter().any(|address| address.is_ipv4() == v4);
    // On a network at home, IPv6 may be public and IPv4 never is; who speaks IPv4 alone has nothing else then. What is
    // private of IPv6 is needed only where nothing is public.
    let wants_private = |address: &IpAddr| {
        let wanted = match address {
            IpAddr::V4(_) => !has_public(true),
            IpAddr::V6(_) => world.is_empty(),
        };
        config.private_addresses || (!is_configured && wanted)
    };
    let private = own.iter().copied().filter(|address| {
        reach(*address) == Reach::Network && wants_private(address) && !world.contains(address)
    });
    let mut chosen: Vec<(IpAddr, Reach)> = Vec::new();
    let tagged = |reach| move |address| (address, reach);
    let all = world.iter().copied().map(tagged(Reach::World));
    let all = all.chain(private.map(tagged(Reach::Network)));
    for entry in all {
        if !chosen.iter().any(|(address, _)| *address == entry.0) {
            chosen.push(entry);
        }
    }
    let wanting = !config.private_addresses && chosen.iter().any(|(_, to)| *to == Reach::Network);
    if config.advertise_loopback || chosen.is_empty() {
        let fallback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let mut loopback: Vec<IpAddr> = own
            .into_iter()
            .filter(|address| reach(*address) == Reach::Machine)
            .collect();
        if loopback.is_empty() && chosen.is_empty() {
            loopback.extend(fallback.into_iter().filter(has_family));
        }
        for address in loopback {
            if !chosen.iter().any(|(other, _)| *other == address) {
                chosen.push((address, Reach::Machine));
            }
        }
    }
    chosen.sort_by_key(|(address, reach)| (*reach, address.is_ipv6()));
    (chosen, wanting)
}

fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => match address.octets() {
            [127, ..] => Reach::Machine,
            // RFC 1918, and RFC 6598 of carriers.
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Reach::Network,
            // This network, RFC 3927, multicast and reserved.
            [0, ..] | [169, 254, ..] | [224..=255, ..] => Reach::Nowhere,
            _ => Reach::World,
        },
        IpAddr::V6(address) => match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Machine,
            // RFC 4193, and RFC 3879 of old.
            [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Reach::Network,
            // Unspecified and other forms of IPv4, RFC 4291 §2.5.6, multicast.
            [0, ..] | [0xfe80..=0xfebf, ..] | [0xff00..=0xffff, ..] => Reach::Nowhere,
            _ => Reach::World,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUSE: &[&str] = &[
        "127.0.0.1",
        "::1",
        "192.168.1.2",
        "fe80::1",
        "fd00::2",
        "192.168.1.2",
    ];

    fn known(listen: &[&str], interfaces: &[&str], mapped: &[&str]) -> Known {
        let sockets = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        Known {
            udp: sockets(listen),
            tcp: Vec::new(),
            interfaces: interfaces
                .iter()
                .map(|text| text.parse().unwrap())
                .collect(),
            mapped: sockets(mapped),
        }
    }

    fn check(config: &Config, known: &Known, expected: &[&str]) {
        let (chosen, _) = choose(config, known);
        let chosen: Vec<String> = chosen
            .iter()
            .map(|candidate| candidate.address.to_string())
            .collect();
        assert_eq!(chosen, expected, "{known:?}");
    }

    fn public(addresses: &[&str]) -> Config {
        Config {
            public_addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            ..Config::default()
        }
    }

    const BOTH: &[&str] = &["0.0.0.0:8", "[::]:8"];

    #[test]
    fn a_house_without_a_public_address_works_in_itself() {
        let plain = Config::default();
        let home = known(BOTH, HOUSE, &[]);
        check(&plain, &home, &["192.168.1.2:8", "[fd00::2]:8"]);
        assert!(choose(&plain, &home).1);
        let with_v6 = known(BOTH, &[HOUSE, &["2001:db8::2"]].concat(), &[]);
        // IPv4 has nothing else; IPv6 has.
        check(&plain, &with_v6, &["[2001:db8::2]:8", "192.168.1.2:8"]);
        let alone = known(BOTH, &["127.0.0.1", "::1", "fe80::1"], &[]);
        check(&plain, &alone, &["127.0.0.1:8", "[::1]:8"]);
        check(&plain, &known(BOTH, &[], &[]), &["127.0.0.1:8", "[::1]:8"]);
        assert!(!choose(&plain, &alone).1);
    }

    #[test]
    fn what_is_private_is_not_told_beside_what_is_public() {
        let plain = Config::default();
        let server = known(
            BOTH,
            &[HOUSE, &["203.0.113.7", "10.0.0.2", "100.64.0.9"]].concat(),
            &[],
        );
        check(&plain, &server, &["203.0.113.7:8"]);
        assert!(!choose(&plain, &server).1);
        let asked = known(BOTH, HOUSE, &["198.51.100.4:8"]);
        check(&plain, &asked, &["198.51.100.4:8"]);
        // Another port at the NAT: the one that may be forwarded, and the one that it has now.
        let moved = known(BOTH, HOUSE, &["198.51.100.4:4711"]);
        check(&plain, &moved, &["198.51.100.4:8", "198.51.100.4:4711"]);
        let configured = known(BOTH, &["203.0.113.7", "10.0.0.2"], &["198.51.100.4:8"]);
        check(&public(&["192.0.2.1"]), &configured, &["192.0.2.1:8"]);
        let all = public(&["192.0.2.1", "2001:db8::1"]);
        check(&all, &configured, &["192.0.2.1:8", "[2001:db8::1]:8"]);
        // Nothing listens there.
        check(&all, &known(&["0.0.0.0:8"], HOUSE, &[]), &["192.0.2.1:8"]);
        let open = Config {
            private_addresses: true,
            advertise_loopback: true,
            ..public(&["192.0.2.1"])
        };
        let expected = [
            "192.0.2.1:8",
            "192.168.1.2:8",
            "[fd00::2]:8",
            "127.0.0.1:8",
            "[::1]:8",
        ];
        check(&open, &known(BOTH, HOUSE, &[]), &expected);
    }

    #[test]
    fn what_is_listened_on_is_told_with_its_port_and_nothing_else_is() {
        let plain = Config::default();
        for (listen, expected) in [
            (&["127.0.0.1:8"][..], &["127.0.0.1:8"][..]),
            (&["10.0.0.2:8", "10.0.0.3:9"], &["10.0.0.2:8", "10.0.0.3:9"]),
            (&["0.0.0.0:8"], &["192.168.1.2:8"]),
            (&["[::]:8"], &["[fd00::2]:8"]),
        ] {
            check(&plain, &known(listen, HOUSE, &[]), expected);
        }
        // Behind NAT an explicit address is not what the world sees.
        let behind = known(&["10.0.0.2:8"], HOUSE, &[]);
        check(&public(&["192.0.2.1"]), &behind, &["192.0.2.1:8"]);
        let mut both = known(&["10.0.0.2:8"], HOUSE, &["192.0.2.1:8"]);
        both.tcp = vec!["10.0.0.2:443".parse().unwrap()];
        check(&plain, &both, &["192.0.2.1:8", "192.0.2.1:443"]);
    }

    #[test]
    fn ipv6_ranks_first_though_ipv4_is_written_first() {
        let all = public(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
        let (chosen, _) = choose(&all, &known(BOTH, HOUSE, &[]));
        let ranks: Vec<u16> = chosen.iter().map(|candidate| candidate.rank).collect();
        assert_eq!(ranks, [1, 2, 0]);
    }
}
