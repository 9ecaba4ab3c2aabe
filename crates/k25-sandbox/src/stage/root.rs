//! A file system of its own: the system's programs to read, a folder to write, nothing else.

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive,
    mount_change, mount_remount, unmount,
};

use super::namespaces::forbidden;
use super::{FOLDER, SCRATCH, Step, fault};
use crate::protocol::Plan;
use crate::spec::Program;

/// What programs of the machine need to run.
pub(super) const SYSTEM: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"];
/// Files and folders of /etc that programs need, and that say nothing about anybody.
pub(super) const SETTINGS: [&str; 3] = ["/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime"];
/// Devices that hold nothing.
pub(super) const DEVICES: [&str; 5] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];
/// Folders of the host that may be covered while the new root is built.
const COVERS: [&str; 5] = ["/mnt", "/media", "/srv", "/opt", "/tmp"];
/// Files and folders in the private file system.
const MAX_INODES: u64 = 8_192;
/// Bytes of the private file system beyond the files that are kept: scratch.
const SCRATCH_BYTES: u64 = 16 << 20;

/// Folders of the host that the program may read.
pub(super) fn readable(program: &Program) -> Vec<PathBuf> {
    let (Program::Script { readable, .. } | Program::Command { readable, .. }) = program else {
        return Vec::new();
    };
    let system = SYSTEM.iter().chain(&SETTINGS).map(PathBuf::from);
    system.chain(readable.iter().cloned()).collect()
}

/// Builds the new root and moves there, with every process of this mount namespace. To be called by
/// the first process of the new process namespace.
pub(super) fn build(plan: &Plan) -> Step<()> {
    let propagation = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", propagation).map_err(|error| forbidden("mount namespaces", error))?;
    let sources = readable(&plan.program);
    let base = cover(&sources)?;
    mount_tmpfs(&base, "mode=755,size=1m,nr_inodes=512")
        .map_err(|error| forbidden("mounts in a user namespace", error))?;
    for source in &sources {
        attach(&base, source).map_err(|error| fault(source.display().to_string(), error))?;
    }
    for device in DEVICES {
        attach(&base, Path::new(device)).map_err(|error| fault(device, error))?;
    }
    for (link, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        std::os::unix::fs::symlink(target, base.join("dev").join(link))
            .map_err(|error| fault(link, error))?;
    }
    let private = || private_folders(&base, plan.limits.files_bytes);
    private().map_err(|error| fault("the private folder", error))?;
    mount_proc(&base.join("proc"))?;
    enter(&base).map_err(|error| fault("the new root", error))
}

/// A folder that no source lies in.
fn cover(sources: &[PathBuf]) -> Step<PathBuf> {
    let is_free = |cover: &str| {
        Path::new(cover).is_dir() && !sources.iter().any(|source| source.starts_with(cover))
    };
    COVERS
        .iter()
        .find(|cover| is_free(cover))
        .map(PathBuf::from)
        .ok_or_else(|| {
            fault(
                "the new root",
                "none of /mnt, /media, /srv, /opt, /tmp is free",
            )
        })
}

fn mount_tmpfs(at: &Path, options: &str) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let options = CString::new(options)?;
    Ok(mount("tmpfs", at, "tmpfs", flags, options.as_c_str())?)
}

/// Shows a file, a folder or a link of the host, to be read only.
fn attach(base: &Path, source: &Path) -> io::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(source) else {
        return Ok(()); // Not every system has each of them.
    };
    let below = source.strip_prefix("/").map_err(io::Error::other)?;
    let target = base.join(below);
    if fs::symlink_metadata(&target).is_ok() {
        return Ok(()); // It lies in what is there already.
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    if metadata.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(source)?, &target);
    }
    if metadata.is_dir() {
        fs::create_dir(&target)?;
        mount_bind_recursive(source, &target)?;
    } else {
        fs::write(&target, "")?;
        mount_bind(source, &target)?;
    }
    read_only(&target, !source.starts_with("/dev"))
}

/// Makes a mount read-only. What the host's mount forbids stays forbidden: the kernel insists.
fn read_only(target: &Path, no_devices: bool) -> io::Result<()> {
    let host = rustix::fs::statvfs(target)?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID;
    if no_devices {
        flags |= MountFlags::NODEV;
    }
    for (has, flag) in [
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ] {
        if host.contains(has) {
            flags |= flag;
        }
    }
    Ok(mount_remount(target, flags, "")?)
}

/// The one place to write, in a file system that cannot grow beyond its limit.
fn private_folders(base: &Path, files_bytes: u64) -> io::Result<()> {
    let (mnt, scratch) = (base.join("mnt"), base.join(SCRATCH.trim_start_matches('/')));
    let data = base.join(FOLDER.trim_start_matches('/'));
    for folder in [&mnt, &scratch, &base.join("proc")] {
        fs::create_dir_all(folder)?;
    }
    let bytes = files_bytes + SCRATCH_BYTES;
    mount_tmpfs(
        &mnt,
        &format!("mode=700,size={bytes},nr_inodes={MAX_INODES}"),
    )?;
    fs::create_dir(&data)?;
    fs::create_dir(mnt.join("scratch"))?;
    mount_bind(mnt.join("scratch"), &scratch)?;
    Ok(())
}

/// Moves into the new root and lets go of the old one.
fn enter(base: &Path) -> io::Result<()> {
    std::env::set_current_dir(base)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    Ok(mount_remount("/", flags, "")?)
}

/// What the processes inside see of each other. The kernel allows it only while another one is to be
/// seen, so this comes before the old root goes.
fn mount_proc(at: &Path) -> Step<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", at, "proc", flags, c"subset=pid")
        .map_err(|error| forbidden("/proc for a process namespace", error))
}
