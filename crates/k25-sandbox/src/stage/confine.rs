//! What the child gives up before it becomes the code: resources, capabilities, files, system calls.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{Places, Step, fault, landlock, seccomp};
use crate::protocol::Plan;
use crate::spec::{Isolation, Limits};

/// Open files of a process. Each can hold memory of the kernel's, so there are few.
const MAX_OPEN_FILES: u64 = 100;
/// Stack of the first thread, in bytes.
const STACK_BYTES: u64 = 8 << 20;
/// Address space beyond the memory limit, for what is reserved and never used.
const RESERVED_BYTES: u64 = 4 << 30;

/// Gives it all up. What is opened afterwards is opened behind the walls.
pub(super) fn apply(plan: &Plan, places: &Places) -> Step<()> {
    std::env::set_current_dir(&places.folder).map_err(|error| fault("the folder", error))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    limit_resources(&plan.limits, plan.isolation)?;
    drop_capabilities()?;
    rustix::thread::set_no_new_privs(true).map_err(|error| fault("no_new_privs", error))?;
    landlock::restrict(plan, places)?;
    seccomp::restrict(plan)
}

fn limit_resources(limits: &Limits, isolation: Isolation) -> Step<()> {
    let memory = limits.memory_bytes;
    let all = [
        (Resource::Core, 0),
        (Resource::Cpu, limits.cpu_seconds),
        (Resource::Fsize, limits.files_bytes),
        (Resource::Data, memory),
        (
            Resource::As,
            memory.saturating_mul(4).saturating_add(RESERVED_BYTES),
        ),
        (Resource::Stack, STACK_BYTES),
        (Resource::Nofile, MAX_OPEN_FILES),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
        (Resource::Sigpending, 64),
        (Resource::Rtprio, 0),
        (Resource::Nice, 0),
    ];
    for (resource, most) in all {
        limit(resource, most)?;
    }
    // The kernel counts processes by user. Inside, the user is the run's own; without namespaces it
    // has other processes too, no process can be started, and the guard counts threads.
    match isolation {
        Isolation::Namespaces => limit(Resource::Nproc, limits.processes),
        Isolation::Confined => Ok(()),
    }
}

fn limit(resource: Resource, most: u64) -> Step<()> {
    // A lower limit of the host stays.
    let host = getrlimit(resource).maximum;
    let most = host.map_or(most, |host| host.min(most));
    // At the first of two seconds a signal ends the process that says why.
    let beyond = if resource == Resource::Cpu { 1 } else { 0 };
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(host.map_or(most + beyond, |host| host.min(most + beyond))),
    };
    setrlimit(resource, limit).map_err(|error| fault(format!("the limit {resource:?}"), error))
}

/// Highest capability that there may be; higher ones than the kernel knows are refused.
const MAX_CAPABILITY: u32 = 63;

fn drop_capabilities() -> Step<()> {
    let what = |error| fault("giving up capabilities", error);
    for capability in 0..=MAX_CAPABILITY {
        let capability = CapabilitySet::from_bits_retain(1 << capability);
        if rustix::thread::capability_is_in_bounding_set(capability) == Ok(true) {
            // Without namespaces an ordinary user may not, and has none to gain: no_new_privs.
            let _ = rustix::thread::remove_capability_from_bounding_set(capability);
        }
    }
    let _ = rustix::thread::clear_ambient_capability_set();
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).map_err(what)?;
    let left = rustix::thread::capabilities(None).map_err(what)?;
    if left == none {
        Ok(())
    } else {
        Err(fault("giving up capabilities", "some are left"))
    }
}
