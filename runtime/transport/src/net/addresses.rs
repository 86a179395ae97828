//! Which addresses peers are told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rtc::shared::ifaces::ifaces;

use crate::config::Config;

/// The addresses for the candidates of an answer, best first, never empty.
pub fn advertised(config: &Config, local: SocketAddr) -> Vec<IpAddr> {
    let interfaces = match ifaces() {
        Ok(list) => list
            .into_iter()
            .filter_map(|interface| interface.addr.map(|address| address.ip()))
            .collect(),
        Err(error) => {
            tracing::warn!(%error, "the addresses of the interfaces are not known");
            Vec::new()
        }
    };
    choose(config, local.ip(), &interfaces)
}

fn choose(config: &Config, listen: IpAddr, interfaces: &[IpAddr]) -> Vec<IpAddr> {
    let mut chosen: Vec<IpAddr> = Vec::new();
    let mut add = |address: IpAddr| {
        if !chosen.contains(&address) {
            chosen.push(address);
        }
    };
    if !config.public_addresses.is_empty() {
        config.public_addresses.iter().copied().for_each(&mut add);
        return chosen;
    }
    if !listen.is_unspecified() {
        return vec![listen];
    }
    // A socket on the IPv6 wildcard serves IPv4 too (RFC 3493 §5.3); one on the IPv4 wildcard only IPv4.
    let usable = |address: &&IpAddr| {
        (listen.is_ipv6() || address.is_ipv4())
            && !address.is_unspecified()
            && !is_link_local(address)
    };
    let (loopback, real): (Vec<&IpAddr>, Vec<&IpAddr>) = interfaces
        .iter()
        .filter(usable)
        .partition(|address| address.is_loopback());
    let alone = real.is_empty();
    real.into_iter().copied().for_each(&mut add);
    if config.advertise_loopback || alone {
        loopback.into_iter().copied().for_each(&mut add);
    }
    if chosen.is_empty() {
        chosen.push(if listen.is_ipv6() {
            Ipv6Addr::LOCALHOST.into()
        } else {
            Ipv4Addr::LOCALHOST.into()
        });
    }
    chosen
}

/// RFC 3927 and RFC 4291 §2.5.6: means nothing without the interface it belongs to.
fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.segments()[0] & 0xffc0 == 0xfe80,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: &Config, listen: &str, interfaces: &[&str], expected: &[&str]) {
        let parse = |list: &[&str]| -> Vec<IpAddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        let chosen = choose(config, listen.parse().unwrap(), &parse(interfaces));
        assert_eq!(chosen, parse(expected));
    }

    #[test]
    fn what_is_configured_wins_and_loopback_comes_last() {
        let plain = Config::default();
        let loopback = Config {
            advertise_loopback: true,
            ..Config::default()
        };
        let public = Config {
            public_addresses: vec!["203.0.113.7".parse().unwrap()],
            ..Config::default()
        };
        let all = [
            "127.0.0.1",
            "10.0.0.2",
            "fe80::1",
            "2001:db8::2",
            "10.0.0.2",
        ];
        check(&public, "0.0.0.0", &all, &["203.0.113.7"]);
        check(&plain, "0.0.0.0", &all, &["10.0.0.2"]);
        check(&plain, "::", &all, &["10.0.0.2", "2001:db8::2"]);
        check(&loopback, "0.0.0.0", &all, &["10.0.0.2", "127.0.0.1"]);
        check(&plain, "0.0.0.0", &["127.0.0.1"], &["127.0.0.1"]);
        check(&plain, "127.0.0.1", &all, &["127.0.0.1"]);
        check(&plain, "0.0.0.0", &[], &["127.0.0.1"]);
    }
}
