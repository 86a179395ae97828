//! The machine: encoders, ports, addresses, limits, disk, clock.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lockgate_store::Store;
use lockgate_transcode::inspect::{ENCODERS, ffmpeg_version, has_encoder, try_encoder};

use super::{Finding, Level};
use crate::{Config, server::transport_config};

pub(super) fn look(config: &Config, findings: &mut Vec<Finding>) {
    encoders(config, findings);
    ports(config, findings);
    candidates(config, findings);
    buffers(findings);
    descriptors(config, findings);
    walls(findings);
    disk(&config.store.path, findings);
    store(&config.store.path, findings);
    clock(findings);
}

fn encoders(config: &Config, findings: &mut Vec<Finding>) {
    findings.push(Finding::fine("FFmpeg", ffmpeg_version()));
    let wanted = config.ladder.encoder.as_str();
    let mut names: Vec<&str> = vec![wanted];
    names.extend(ENCODERS.iter().filter(|name| **name != wanted));
    for name in names {
        let is_wanted = name == wanted;
        if !has_encoder(name) {
            if is_wanted {
                findings.push(Finding::trouble(
                    "encoder",
                    format!("this FFmpeg has no {name}, which ladder.encoder names"),
                    "install an FFmpeg with it, or set ladder.encoder to one that is ok below",
                ));
            }
            continue;
        }
        // Only the configured preset is known to fit the configured encoder.
        let preset = if is_wanted {
            config.ladder.preset.as_str()
        } else {
            ""
        };
        match try_encoder(name, preset) {
            Ok(()) if is_wanted => findings.push(Finding::fine(
                "encoder",
                format!("{name} with preset {preset} encodes"),
            )),
            Ok(()) => findings.push(Finding::fine("encoder", format!("{name} encodes, too"))),
            Err(why) if is_wanted => findings.push(Finding::trouble(
                "encoder",
                format!("{name}, which ladder.encoder names, does not work: {why}"),
                "set ladder.encoder and ladder.preset to what works, such as libx264 and superfast",
            )),
            // A machine without that hardware is no worse for it.
            Err(_) => findings.push(Finding::fine(
                "encoder",
                format!("{name} is built in, but there is no hardware that it can use"),
            )),
        }
    }
    for (name, what) in [("aac", "sound in HLS"), ("libopus", "sound over WebRTC")] {
        if !has_encoder(name) {
            findings.push(Finding::trouble(
                "encoder",
                format!("this FFmpeg has no {name}: no {what}"),
                "install an FFmpeg with it",
            ));
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    findings.push(Finding::fine(
        "processors",
        format!(
            "{cores}; encoding one broadcast may take {:.1} of them (ladder.cpu_budget)",
            config.ladder.cpu_budget * cores as f64
        ),
    ));
}

fn ports(config: &Config, findings: &mut Vec<Finding>) {
    let http = TcpListener::bind(config.http.listen).map(drop);
    findings.push(port("http.listen", "TCP", config.http.listen, http));
    let listen = &config.webrtc.udp_listen;
    for at in listen.addresses() {
        let udp = UdpSocket::bind(at).map(drop);
        findings.push(port("webrtc.udp_listen", "UDP", *at, udp));
    }
    for at in config
        .webrtc
        .tcp_listen
        .as_ref()
        .unwrap_or(listen)
        .addresses()
    {
        let tcp = TcpListener::bind(at).map(drop);
        findings.push(port("webrtc.tcp_listen", "TCP", *at, tcp));
    }
    let ingest = &config.ingest;
    if let Some(at) = ingest.rtmp.listen {
        let tcp = TcpListener::bind(at).map(drop);
        findings.push(port("ingest.rtmp.listen", "TCP", at, tcp));
    }
    if let Some(at) = ingest.srt.listen {
        let udp = UdpSocket::bind(at).map(drop);
        findings.push(port("ingest.srt.listen", "UDP", at, udp));
    }
}

fn port(key: &str, kind: &str, at: SocketAddr, bound: io::Result<()>) -> Finding {
    match bound {
        Ok(()) => Finding::fine("port", format!("{kind} {at} is free ({key})")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Finding::trouble(
            "port",
            format!("{kind} {at} is in use"),
            format!(
                "end the program that has it (`ss -lnptu`), or change {key}; a running Lockgate has it, too"
            ),
        ),
        Err(error) => Finding::trouble(
            "port",
            format!("{kind} {at} cannot be used: {error}"),
            format!("change {key}"),
        ),
    }
}

fn candidates(config: &Config, findings: &mut Vec<Finding>) {
    let told = lockgate_transport::advertised(&transport_config(config, false));
    let list: Vec<String> = told.iter().map(IpAddr::to_string).collect();
    let list = list.join(", ");
    let relayed = config
        .webrtc
        .ice_servers
        .iter()
        .any(|server| server.url.starts_with("turn"));
    if told
        .iter()
        .any(|address| lockgate_transcode::is_public(*address))
    {
        let port = config.webrtc.udp_listen.addresses().first();
        let port = port.map_or(0, SocketAddr::port);
        findings.push(Finding::fine(
            "candidates",
            format!("peers are told {list}; UDP {port} has to be open to the outside"),
        ));
    } else if told.iter().all(IpAddr::is_loopback) {
        findings.push(Finding::warning(
            "candidates",
            format!("peers are told {list}: only this machine gets pictures over WebRTC"),
            "set webrtc.udp_listen to all interfaces, or webrtc.public_addresses to where peers reach this machine",
        ));
    } else if config.webrtc.stun_server.is_some() {
        findings.push(Finding::fine(
            "candidates",
            format!("peers are told {list}, and what webrtc.stun_server says"),
        ));
    } else if relayed {
        findings.push(Finding::fine(
            "candidates",
            format!("peers are told {list}, and come from outside through the TURN server"),
        ));
    } else {
        findings.push(Finding::warning(
            "candidates",
            format!("peers are told {list}: nobody outside of this network gets pictures over WebRTC"),
            "behind NAT, forward the UDP port and set webrtc.public_addresses or webrtc.stun_server",
        ));
    }
}

fn buffers(findings: &mut Vec<Finding>) {
    for (direction, name) in [("receive", "rmem_max"), ("send", "wmem_max")] {
        let path = Path::new("/proc/sys/net/core").join(name);
        let Some(bytes) = number_in(&path) else {
            continue;
        };
        let text = format!("UDP may {direction} into {} KiB", bytes / 1024);
        findings.push(if bytes >= UDP_BUFFER_MIN {
            Finding::fine("UDP buffers", text)
        } else {
            Finding::warning(
                "UDP buffers",
                format!("{text}: bursts of many peers may be lost"),
                format!("sysctl -w net.core.{name}={UDP_BUFFER_MIN}"),
            )
        });
    }
}

fn descriptors(config: &Config, findings: &mut Vec<Finding>) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let needed = config.http.connections_max as u64 + DESCRIPTORS_OWN;
    match limit.current {
        Some(limit) if limit < needed => findings.push(Finding::warning(
            "descriptors",
            format!("{limit} files and connections may be open; http.connections_max alone asks for {needed}"),
            format!("`ulimit -n {needed}`, or LimitNOFILE={needed} in the service's unit"),
        )),
        limit => findings.push(Finding::fine(
            "descriptors",
            match limit {
                Some(limit) => format!("{limit} files and connections may be open"),
                None => "any number of files and connections may be open".to_owned(),
            },
        )),
    }
}

fn walls(findings: &mut Vec<Finding>) {
    let missing = lockgate_transcode::kernel();
    if missing.is_empty() {
        findings.push(Finding::fine(
            "sandbox",
            "FFmpeg runs behind Landlock and seccomp, and its connections are looked at",
        ));
    }
    for what in missing {
        findings.push(Finding::warning(
            "sandbox",
            format!("this kernel has no {what}"),
            "take a newer kernel, or let the container have it",
        ));
    }
}

fn disk(folder: &Path, findings: &mut Vec<Finding>) {
    // The folder may not be there yet; what it will be on is.
    let mut at = folder;
    while !at.exists() {
        at = match at.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
    }
    let shown = folder.display();
    match rustix::fs::statvfs(at) {
        Ok(about) => {
            let free = about.f_bavail.saturating_mul(about.f_frsize);
            let text = format!("{:.1} GB are free for {shown}", free as f64 / 1e9);
            findings.push(match free {
                0..DISK_LOW => {
                    Finding::trouble("disk", text, "free some, or set store.path elsewhere")
                }
                DISK_LOW..DISK_SCARCE => {
                    Finding::warning("disk", text, "recordings and logs will fill it soon")
                }
                _ => Finding::fine("disk", text),
            });
        }
        Err(error) => findings.push(Finding::trouble(
            "disk",
            format!("{shown} cannot be looked at: {error}"),
            "set store.path to a folder that can be written",
        )),
    }
}

fn store(folder: &Path, findings: &mut Vec<Finding>) {
    if !folder.join("lock").exists() {
        findings.push(Finding::fine(
            "store",
            format!("{} is made at the first start", folder.display()),
        ));
        return;
    }
    findings.push(match Store::open(folder) {
        Ok(_) => Finding::fine("store", format!("{} opens and is whole", folder.display())),
        Err(error @ lockgate_store::OpenError::InUse(_)) => Finding {
            level: Level::Fine,
            ..Finding::fine("store", format!("a server is at work: {error}"))
        },
        Err(error) => Finding::trouble(
            "store",
            error.to_string(),
            "`ls -l` it, and free or mend the disk",
        ),
    });
}

fn clock(findings: &mut Vec<Finding>) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    // A clock before the program was made is wrong: tokens would be expired or not yet good.
    let made = std::env::current_exe()
        .and_then(fs::metadata)
        .and_then(|about| about.modified())
        .ok()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
        .unwrap_or(Duration::ZERO);
    let synchronised = Path::new("/run/systemd/timesync/synchronized").exists();
    findings.push(if now + Duration::from_secs(60) < made {
        Finding::trouble(
            "clock",
            "it stands before this program was made: tokens will be refused",
            "set it, and keep it set: `timedatectl set-ntp true`",
        )
    } else if synchronised {
        Finding::fine("clock", "it is kept by systemd-timesyncd")
    } else {
        Finding::fine(
            "clock",
            "it is plausible; whether anything keeps it is not known",
        )
    });
}

fn number_in(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// What the media socket asks for.
const UDP_BUFFER_MIN: u64 = 4 << 20;
/// Files, workers, policies, sockets.
const DESCRIPTORS_OWN: u64 = 500;
const DISK_LOW: u64 = 100 << 20;
const DISK_SCARCE: u64 = 2 << 30;
