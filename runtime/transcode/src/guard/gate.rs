//! The parent's side of a worker's connections: each stops in the kernel until its address was looked at here.
//!
//! The address is copied out of the worker once, and the connection is made here with that copy, on the worker's own
//! socket (`pidfd_getfd`): a worker that changes its memory meanwhile changes nothing. Where the system does not let us
//! have the socket, as Docker's default profile does not, the worker goes on by itself after the look; then only one
//! that runs foreign code, and wins a race, could get further. That holds for single datagrams everywhere.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{fs::FileExt as _, net::UnixStream},
    },
    sync::{Arc, Mutex, PoisonError},
};

use libseccomp::{ScmpNotifReq, ScmpNotifResp, ScmpNotifRespFlags, notify_id_valid};
use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketType, recvmsg, sockopt},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};

use super::reach::Reach;

/// What a worker was refused last, in words for the operator.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refusals(Arc<Mutex<Option<String>>>);

impl Refusals {
    /// The last refusal, if there was any.
    pub(crate) fn last(&self) -> Option<String> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }

    fn note(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }
}

/// Watches a worker's connections until it ends. A thread of its own: it waits in the kernel, and looks names up.
pub(crate) fn watch(
    from_worker: UnixStream,
    worker: u32,
    reach: Reach,
    refusals: Refusals,
) -> io::Result<()> {
    std::thread::Builder::new()
        .name("gate".to_owned())
        .spawn(move || {
            let Ok(Some(listener)) = take_over(&from_worker) else {
                return;
            };
            let mut gate = Gate {
                process: Process::of(worker),
                listener,
                reach,
                refusals,
                nameservers: nameservers(),
            };
            while gate.serve_one() {}
        })
        .map(drop)
}

struct Gate {
    process: Process,
    listener: OwnedFd,
    reach: Reach,
    refusals: Refusals,
    nameservers: Vec<IpAddr>,
}

/// The worker, as far as the system lets us have it.
struct Process {
    pid_fd: Option<OwnedFd>,
}

/// What becomes of a call.
enum Fate {
    /// It goes on as the worker made it.
    GoOn,
    /// It was done here, with this result.
    Done(Result<(), i32>),
    Refused(SocketAddr),
}

impl Process {
    fn of(pid: u32) -> Self {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        Self {
            pid_fd: pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()),
        }
    }

    fn socket(&self, number: u64) -> Option<OwnedFd> {
        let number = i32::try_from(number).ok()?;
        let flags = PidfdGetfdFlags::empty();
        pidfd_getfd(self.pid_fd.as_ref()?, number, flags).ok()
    }
}

impl Gate {
    /// Answers one call; false once the worker has ended.
    fn serve_one(&mut self) -> bool {
        let mut wait = [PollFd::new(&self.listener, PollFlags::IN)];
        match poll(&mut wait, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return true,
            Err(_) => return false,
        }
        let events = wait.first().map_or(PollFlags::HUP, PollFd::revents);
        if !events.contains(PollFlags::IN) {
            return !events.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
        }
        let listener = self.listener.as_raw_fd();
        let Ok(call) = ScmpNotifReq::receive(listener) else {
            // The thread that made it was ended meanwhile.
            return true;
        };
        let none = ScmpNotifRespFlags::empty();
        let answer = match self.judge(&call, listener) {
            Fate::GoOn => ScmpNotifResp::new_continue(call.id, none),
            Fate::Done(Ok(())) => ScmpNotifResp::new_val(call.id, 0, none),
            Fate::Done(Err(code)) => ScmpNotifResp::new_error(call.id, -code.abs().max(1), none),
            Fate::Refused(to) => {
                let text = format!(
                    "refused to connect to {to}: it is neither the source's own host nor among ingest.hosts"
                );
                tracing::warn!("{text}");
                self.refusals.note(text);
                ScmpNotifResp::new_error(call.id, -EACCES, none)
            }
        };
        // It fails only where the thread was ended meanwhile.
        answer.respond(listener).ok();
        true
    }

    fn judge(&self, call: &ScmpNotifReq, listener: i32) -> Fate {
        let args = call.data.args;
        let name = call.data.syscall.get_name().unwrap_or_default();
        let Ok(memory) = File::open(format!("/proc/{}/mem", call.pid)) else {
            return Fate::Done(Err(EACCES));
        };
        // The process id may be another's by now.
        if notify_id_valid(listener, call.id).is_err() {
            return Fate::Done(Err(EACCES));
        }
        let is_connect = name == "connect";
        let found = match name.as_str() {
            "connect" => address(&memory, args[1], args[2]),
            "sendto" => address(&memory, args[4], args[5]),
            "sendmsg" => named(&memory, args[1]),
            "sendmmsg" => {
                let count = args[2].min(MESSAGES_MAX);
                (0..count)
                    .map(|at| named(&memory, args[1] + at * MMSGHDR_LEN))
                    .find(|found| !matches!(found, Ok(None)))
                    .unwrap_or(Ok(None))
            }
            _ => return Fate::Done(Err(EACCES)),
        };
        let to = match found {
            Ok(Some(Found::Internet(to))) => to,
            // A datagram to where its socket is connected, or a question to the kernel.
            Ok(None | Some(Found::Kernel)) => return Fate::GoOn,
            Ok(Some(Found::Other)) | Err(_) => return Fate::Done(Err(EACCES)),
        };
        let socket = self.process.socket(args[0]);
        let is_stream = match &socket {
            Some(socket) => {
                sockopt::socket_type(socket).is_ok_and(|kind| kind == SocketType::STREAM)
            }
            None => is_connect,
        };
        let asks_names = to.port() == 53
            && self.nameservers.contains(&to.ip())
            && (!is_stream || socket.is_none());
        if !asks_names && !self.reach.allows(to, is_stream) {
            return Fate::Refused(to);
        }
        match socket {
            Some(socket) if is_connect => {
                Fate::Done(rustix::net::connect(socket, &to).map_err(|error| error.raw_os_error()))
            }
            _ => Fate::GoOn,
        }
    }
}

enum Found {
    Internet(SocketAddr),
    /// Netlink, or the end of an association.
    Kernel,
    Other,
}

/// The address in a message header (`msg_name` and `msg_namelen`), if it has one.
fn named(memory: &File, at: u64) -> io::Result<Option<Found>> {
    let mut head = [0; 12];
    memory.read_exact_at(&mut head, at)?;
    let [a, b, c, d, e, f, g, h, i, j, k, l] = head;
    let name = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
    let len = u32::from_ne_bytes([i, j, k, l]);
    address(memory, name, u64::from(len))
}

/// A socket address of the worker, copied once.
fn address(memory: &File, at: u64, len: u64) -> io::Result<Option<Found>> {
    if at == 0 || len == 0 {
        return Ok(None);
    }
    let mut bytes = [0u8; 28];
    let len = usize::try_from(len).unwrap_or(0).min(bytes.len());
    let part = bytes.get_mut(..len).unwrap_or_default();
    memory.read_exact_at(part, at)?;
    let family = u16::from_ne_bytes([bytes[0], bytes[1]]);
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    Ok(Some(match family {
        AF_INET if len >= 16 => {
            let ip = Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
            Found::Internet(SocketAddr::from((ip, port)))
        }
        AF_INET6 if len >= 24 => {
            let mut ip = [0; 16];
            ip.copy_from_slice(&bytes[8..24]);
            Found::Internet(SocketAddr::from((Ipv6Addr::from(ip), port)))
        }
        AF_UNSPEC | AF_NETLINK => Found::Kernel,
        _ => Found::Other,
    }))
}

/// Waits for the descriptor that the worker hands over; `None` if it ends, or needs no gate.
fn take_over(from_worker: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    recvmsg(
        from_worker,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        flags,
    )?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
            return Ok(descriptors.next());
        }
    }
    Ok(None)
}

/// Where names are looked up, mostly at a private address.
fn nameservers() -> Vec<IpAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let mut found: Vec<IpAddr> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().split('%').next()?.parse().ok())
        .collect();
    if found.is_empty() {
        found.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    found
}

const AF_UNSPEC: u16 = 0;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_NETLINK: u16 = 16;
const EACCES: i32 = 13;
/// Most messages of one `sendmmsg` that are looked at; a resolver sends two.
const MESSAGES_MAX: u64 = 16;
const MMSGHDR_LEN: u64 = 64;
