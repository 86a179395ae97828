//! What the worker gives up before it looks at media, and how it hands its connections to the gate.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{fd::BorrowedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    sync::mpsc::sync_channel,
};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, path_beneath_rules,
};
use libseccomp::{
    ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall, error::SeccompError,
};
use lockgate_ports::transcoder::{Input, Settings};
use rustix::{
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
    process::{Resource, Rlimit, setrlimit},
    thread::{CapabilitySet, capabilities, set_capabilities},
};

use super::reach::{Reach, is_local};
use crate::buffers;

/// Puts the walls up around this process: its main thread, and all threads it starts later. What the kernel cannot do
/// is told to `degraded`.
///
/// An error means that the source must not be opened: it would reach what it may not.
pub(crate) fn put_up(
    input: &Input,
    settings: &Settings,
    gate: BorrowedFd<'_>,
    degraded: &mut dyn FnMut(String),
) -> Result<(), String> {
    limits(&settings.encoder).unwrap_or_else(|error| degraded(format!("no limits: {error}")));
    confine(input, settings, gate, degraded)
}

/// The walls that stand around a thread and those that it starts, not around the whole process.
pub(super) fn confine(
    input: &Input,
    settings: &Settings,
    gate: BorrowedFd<'_>,
    degraded: &mut dyn FnMut(String),
) -> Result<(), String> {
    let remote = match input {
        Input::Url { url, .. } if !is_local(url) => Some(Reach::new(&settings.hosts, url)),
        _ => None,
    };
    drop_capabilities().unwrap_or_else(|error| degraded(format!("capabilities stay: {error}")));
    match files(input, &settings.encoder) {
        Ok(RulesetStatus::NotEnforced) => degraded(
            "this kernel has no Landlock: the worker may read what the server may".to_owned(),
        ),
        Ok(_) => {}
        Err(error) => degraded(format!("files stay open to the worker: {error}")),
    }
    let is_watched = remote.as_ref().is_some_and(|reach| !reach.is_everything());
    let (to_sender, listeners) = sync_channel(1);
    let gate = gate
        .try_clone_to_owned()
        .map_err(|error| error.to_string())?;
    // A thread that is older than the filter: handing the listener over is a call that would wait for the gate itself.
    let sender = std::thread::spawn(move || match listeners.recv() {
        Ok(listener) => hand_over(&UnixStream::from(gate), buffers::borrow(listener)),
        Err(_) => Ok(()),
    });
    let filtered = calls(remote.is_some(), is_watched);
    if let Ok(Some(listener)) = &filtered {
        to_sender.send(*listener).ok();
    }
    drop(to_sender);
    let sent = sender.join().unwrap_or(Err(io::ErrorKind::Other.into()));
    match filtered {
        Ok(Some(_)) => {
            sent.map_err(|error| format!("the gate of the network cannot be handed over: {error}"))
        }
        Ok(None) => Ok(()),
        Err(error) if is_watched => Err(format!(
            "this kernel cannot stop a worker from connecting where it may not ({error}); \
             set ingest.hosts = [\"public\", \"private\"] to let sources connect anywhere"
        )),
        Err(error) => {
            degraded(format!("system calls stay open to the worker: {error}"));
            Ok(())
        }
    }
}

/// What this kernel has of the walls, in words for an operator: what is missing.
pub fn kernel() -> Vec<&'static str> {
    let mut missing = Vec::new();
    let landlock = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(|rules| rules.create());
    if landlock.is_err() {
        missing.push("Landlock (Linux 5.13): a worker may read what the server may");
    }
    if libseccomp::get_api() < 6 {
        missing.push(
            "seccomp notifications (Linux 5.5): sources on the network need ingest.hosts = [\"public\", \"private\"]",
        );
    }
    missing
}

/// No file is written, no core is dumped, and memory has an end where drivers do not map the moon.
fn limits(encoder: &str) -> io::Result<()> {
    let set = |resource, most| {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit)
    };
    set(Resource::Core, 0)?;
    set(Resource::Fsize, 0)?;
    set(Resource::Nofile, FILES_MAX)?;
    if is_software(encoder) {
        set(Resource::As, MEMORY_MAX)?;
    }
    Ok(())
}

fn is_software(encoder: &str) -> bool {
    encoder.starts_with("lib")
}

/// Started by root it may read what root may, within the walls, and nothing else.
fn drop_capabilities() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    sets.permitted &= CapabilitySet::DAC_READ_SEARCH;
    sets.effective &= CapabilitySet::DAC_READ_SEARCH;
    sets.inheritable = CapabilitySet::empty();
    Ok(set_capabilities(None, sets)?)
}

/// The folder of the input may be read, and what libraries need while they run.
fn files(input: &Input, encoder: &str) -> Result<RulesetStatus, landlock::RulesetError> {
    let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    let all = AccessFs::from_all(ABI::V5);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .create()?
        .add_rules(path_beneath_rules(LIBRARIES, read))?
        .add_rules(path_beneath_rules(folders(input), read))?
        .add_rules(path_beneath_rules(DEVICES, read | AccessFs::WriteFile))?;
    if let Input::Url { url, .. } = input
        && !is_local(url)
    {
        rules = rules.add_rules(path_beneath_rules(NAMES, read))?;
    }
    if !is_software(encoder) {
        let drive = read | AccessFs::WriteFile | AccessFs::IoctlDev;
        rules = rules
            .add_rules(path_beneath_rules(["/dev"], drive))?
            .add_rules(path_beneath_rules(["/sys", "/proc"], read))?;
    }
    Ok(rules.restrict_self()?.ruleset)
}

/// The folders that a local input lies in: that of its name, and that of what the name leads to.
fn folders(input: &Input) -> Vec<PathBuf> {
    let Input::Url { url, .. } = input else {
        return Vec::new();
    };
    if !is_local(url) {
        return Vec::new();
    }
    let path = Path::new(url.strip_prefix("file:").unwrap_or(url));
    let folder = |path: &Path| match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
        // Not the whole machine for a file in its root.
        Some(folder) if folder.parent().is_some() => folder.to_path_buf(),
        _ => path.to_path_buf(),
    };
    let real = std::fs::canonicalize(path).ok();
    real.iter()
        .map(|real| folder(real))
        .chain([folder(path)])
        .collect()
}

/// The filter of system calls; with the descriptor at which connections are asked for, if they are watched.
fn calls(has_network: bool, is_watched: bool) -> Result<Option<i32>, SeccompError> {
    let mut filter = ScmpFilterContext::new(ScmpAction::Allow)?;
    let refuse = ScmpAction::Errno(EPERM);
    for name in REFUSED {
        // One that this architecture does not have needs no refusal.
        if let Ok(call) = ScmpSyscall::from_name(name) {
            filter.add_rule(refuse, call)?;
        }
    }
    // Without it the C library makes its threads by `clone`, whose flags can be looked at.
    filter.add_rule(ScmpAction::Errno(ENOSYS), ScmpSyscall::from_name("clone3")?)?;
    let no_thread = ScmpArgCompare::new(0, ScmpCompareOp::MaskedEqual(CLONE_THREAD), 0);
    filter.add_rule_conditional(refuse, ScmpSyscall::from_name("clone")?, &[no_thread])?;
    let socket = ScmpSyscall::from_name("socket")?;
    if has_network {
        let families = [AF_INET, AF_NETLINK, AF_INET6];
        for (after, before) in [
            (0, AF_INET),
            (AF_INET + 1, AF_INET6),
            (AF_INET6 + 1, AF_NETLINK),
        ] {
            for family in after..before {
                debug_assert!(!families.contains(&family));
                let is = ScmpArgCompare::new(0, ScmpCompareOp::Equal, family);
                filter.add_rule_conditional(refuse, socket, &[is])?;
            }
        }
        let beyond = ScmpArgCompare::new(0, ScmpCompareOp::Greater, AF_NETLINK);
        filter.add_rule_conditional(refuse, socket, &[beyond])?;
    } else {
        filter.add_rule(refuse, socket)?;
    }
    if is_watched {
        for name in ["connect", "sendmsg", "sendmmsg"] {
            filter.add_rule(ScmpAction::Notify, ScmpSyscall::from_name(name)?)?;
        }
        let has_address = ScmpArgCompare::new(4, ScmpCompareOp::NotEqual, 0);
        let sendto = ScmpSyscall::from_name("sendto")?;
        filter.add_rule_conditional(ScmpAction::Notify, sendto, &[has_address])?;
    }
    filter.load()?;
    if !is_watched {
        return Ok(None);
    }
    let listener = filter.get_notify_fd()?;
    // Forgetting the filter would close its descriptor before it was handed over.
    std::mem::forget(filter);
    Ok(Some(listener))
}

/// Gives the parent the descriptor at which connections are asked for.
fn hand_over(gate: &UnixStream, listener: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [listener];
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    sendmsg(
        gate,
        &[IoSlice::new(b"g")],
        &mut control,
        SendFlags::empty(),
    )?;
    Ok(())
}

/// Refused outright: other programs, other processes, the machine, and ways around the filter itself.
const REFUSED: [&str; 52] = [
    "execve",
    "execveat",
    "fork",
    "vfork",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "kcmp",
    "pidfd_getfd",
    "mount",
    "umount2",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "pivot_root",
    "chroot",
    "unshare",
    "setns",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "keyctl",
    "add_key",
    "request_key",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "swapon",
    "swapoff",
    "open_by_handle_at",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "listen",
    "accept",
    "accept4",
    "settimeofday",
    "clock_settime",
    "adjtimex",
    "sethostname",
    "iopl",
    "ioperm",
    "acct",
    "quotactl",
];
/// What libraries open while they run.
const LIBRARIES: [&str; 8] = [
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/sys/devices/system/cpu",
    "/proc/self",
    "/proc/cpuinfo",
];
/// What looking up names and certificates needs.
const NAMES: [&str; 11] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/gnutls",
    "/run/systemd/resolve",
];
const DEVICES: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"];
const FILES_MAX: u64 = 512;
/// 4K in five rungs takes below 2 GiB; threads map more than they use.
const MEMORY_MAX: u64 = 16 << 30;
const EPERM: i32 = 1;
const ENOSYS: i32 = 38;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const AF_NETLINK: u64 = 16;
const CLONE_THREAD: u64 = 0x1_0000;
