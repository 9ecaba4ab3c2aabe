//! Landlock: which files the code may touch, whatever else stands open.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};

use super::{Places, Step, fault, kernel, missing, root};
use crate::protocol::Plan;
use crate::spec::Isolation;

/// The newest version that is made use of.
const NEWEST: i32 = 7;
/// The oldest that is enough beside namespaces: it governs files.
const OLDEST: i32 = 1;
/// The oldest that is enough alone: it governs cutting files short, too.
const OLDEST_ALONE: i32 = 3;

/// Restricts this process and its children, for good.
pub(super) fn restrict(plan: &Plan, places: &Places) -> Step<()> {
    let abi = version(plan)?;
    let ruleset = rules(plan, places, ABI::from(abi)).map_err(|error| fault("Landlock", error))?;
    let status = ruleset
        .restrict_self()
        .map_err(|error| missing("Landlock", error, HINT))?;
    if status.ruleset == landlock::RulesetStatus::FullyEnforced {
        Ok(())
    } else {
        Err(missing("Landlock", "it is not enforced in full", HINT))
    }
}

const HINT: &str = "use Linux 5.13 or later (alone: 6.2) with CONFIG_SECURITY_LANDLOCK, and \
                    \"landlock\" among the modules of the lsm= boot parameter";

fn version(plan: &Plan) -> Step<i32> {
    let at_most = plan.landlock_at_most.unwrap_or(NEWEST).min(NEWEST);
    let version = kernel::landlock_version().unwrap_or(0).min(at_most);
    let (feature, oldest) = match plan.isolation {
        Isolation::Namespaces => ("Landlock", OLDEST),
        Isolation::Confined => ("Landlock 3 or later", OLDEST_ALONE),
    };
    if version >= oldest {
        Ok(version)
    } else {
        let what = match version {
            0 => "the kernel has none".to_owned(),
            version => format!("the kernel speaks version {version}"),
        };
        Err(missing(feature, what, HINT))
    }
}

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn rules(plan: &Plan, places: &Places, abi: ABI) -> Fallible<RulesetCreated> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))?;
    if abi >= ABI::V4 {
        ruleset = ruleset.handle_access(AccessNet::from_all(abi))?;
    }
    if abi >= ABI::V6 {
        ruleset = ruleset.scope(Scope::from_all(abi))?;
    }
    let mut ruleset = ruleset.create()?;
    let read = AccessFs::from_read(abi);
    for path in root::readable(&plan.program) {
        ruleset = allow(ruleset, &path, read, abi)?;
    }
    if plan.isolation == Isolation::Namespaces {
        let look = AccessFs::ReadFile | AccessFs::ReadDir;
        ruleset = allow(ruleset, Path::new("/proc"), look, abi)?;
    }
    for device in root::DEVICES.map(PathBuf::from) {
        let use_it = AccessFs::ReadFile | AccessFs::WriteFile;
        ruleset = allow(ruleset, &device, use_it, abi)?;
    }
    let special = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeSock;
    let own = AccessFs::from_all(abi) & !special & !BitFlags::from(AccessFs::MakeFifo);
    for folder in [&places.folder, &places.scratch] {
        ruleset = allow(ruleset, folder, own, abi)?;
    }
    Ok(ruleset)
}

/// Allows what can be allowed on a file or a folder; what is not there needs no rule.
fn allow(
    ruleset: RulesetCreated,
    path: &Path,
    access: impl Into<BitFlags<AccessFs>>,
    abi: ABI,
) -> Fallible<RulesetCreated> {
    let Ok(metadata) = std::fs::metadata(path) else {
        return Ok(ruleset);
    };
    let mut access = access.into();
    if !metadata.is_dir() {
        access &= AccessFs::from_file(abi);
    }
    Ok(ruleset.add_rule(PathBeneath::new(PathFd::new(path)?, access))?)
}
