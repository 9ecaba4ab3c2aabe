//! Leaving the host: its users, mounts, processes, network, message queues and names.

use std::path::Path;

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Gid, Uid};
use rustix::thread::UnshareFlags;

use super::{Step, fault, kernel, missing};

/// Who root becomes: the user that owns nothing.
const NOBODY: u32 = 65_534;
/// Who the program is, inside.
const INSIDE: u32 = 1_000;

/// Root has no business here: it becomes nobody, and from then on everything is as it is for an
/// ordinary user.
pub(super) fn become_nobody() -> Step<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    let changed = rustix::thread::set_thread_groups(&[])
        .and_then(|()| rustix::thread::set_thread_res_gid(gid, gid, gid))
        .and_then(|()| rustix::thread::set_thread_res_uid(uid, uid, uid));
    match changed {
        // The kernel gives /proc/self to root when the user changes; it is needed for the maps.
        Ok(()) => rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
            .map_err(|error| fault("prctl", error)),
        // Root of a user namespace that knows no other user is an ordinary user outside.
        Err(_) if is_root_of_namespace() => Ok(()),
        Err(error) => Err(fault("becoming an ordinary user", error)),
    }
}

fn is_root_of_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let is_host = map.split_whitespace().eq(["0", "0", "4294967295"]);
    !map.is_empty() && !is_host
}

/// Gives the parent's folder to whoever root becomes.
pub(super) fn give_to_nobody(folder: &Path) -> Step<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    match std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)) {
        Err(error) if !is_root_of_namespace() => Err(fault(folder.display().to_string(), error)),
        _ => Ok(()),
    }
}

/// Leaves the host's namespaces, and becomes a user of its own inside.
pub(super) fn enter() -> Step<()> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    kernel::unshare(UnshareFlags::NEWUSER).map_err(|error| forbidden("user namespaces", error))?;
    let map = |file: &str, text: String| {
        std::fs::write(format!("/proc/self/{file}"), text)
            .map_err(|error| forbidden("user namespaces", format!("{file}: {error}")))
    };
    map("setgroups", "deny".to_owned())?;
    map("uid_map", format!("{INSIDE} {} 1", uid.as_raw()))?;
    map("gid_map", format!("{INSIDE} {} 1", gid.as_raw()))?;
    let rest = UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWCGROUP;
    kernel::unshare(rest).map_err(|error| {
        let feature = if error == Errno::INVAL {
            "namespaces of every kind"
        } else {
            "namespaces of an ordinary user"
        };
        forbidden(feature, error)
    })?;
    Ok(())
}

pub(super) fn forbidden(feature: &str, error: impl std::fmt::Display) -> super::Fault {
    missing(
        feature,
        error,
        "allow them: sysctl user.max_user_namespaces=10000, and where they exist \
         kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0; \
         in a container: --security-opt seccomp=unconfined",
    )
}
