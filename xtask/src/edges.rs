//! What must be absent: forbidden import edges, proved from `cargo tree`, and `unsafe` outside of
//! its places.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use crate::files::files_below;
use crate::process::{cargo, output};
use crate::rooms::{ROOMS, Room, UNSAFE_PLACES};

/// Checks every crate of the workspace against the table in [`crate::rooms`].
pub fn run() -> Result<()> {
    let members = names(&tree(&["--workspace", "--depth", "0"])?);
    let mut faults = Vec::new();
    for member in &members {
        match ROOMS.iter().find(|room| room.name == member) {
            Some(room) => faults.extend(faults_of(room)?),
            None => faults.push(format!("{member} is not in the table xtask/src/rooms.rs\n    hint: add it with what it may use")),
        }
    }
    faults.extend(unsafe_faults()?);
    if faults.is_empty() {
        println!(
            "{} crates import only what they may; unsafe is where it may be",
            members.len()
        );
        return Ok(());
    }
    bail!("what must be absent is there:\n  {}", faults.join("\n  "));
}

/// Sources that lift the ban on `unsafe` without being among its places, and crates without the ban.
fn unsafe_faults() -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for path in files_below(&["crates", "xtask"])? {
        let name = path.to_string_lossy().replace('\\', "/");
        // This file speaks of what it looks for.
        let allowed = UNSAFE_PLACES.iter().any(|place| name.starts_with(place))
            || name == "xtask/src/edges.rs";
        let holds = |text: &str| anyhow::Ok(std::fs::read_to_string(&path)?.contains(text));
        if name.ends_with(".rs") && !allowed && holds("(unsafe_code")? {
            faults.push(format!(
                "{name} allows unsafe code\n    hint: move it to one of {}",
                UNSAFE_PLACES.join(", ")
            ));
        }
        if name.ends_with("/Cargo.toml") && !allowed && !holds("[lints]\nworkspace = true")? {
            faults.push(format!("{name} does not take the workspace's lints\n    hint: add `[lints]` with `workspace = true`"));
        }
    }
    Ok(faults)
}

fn faults_of(room: &Room) -> Result<Vec<String>> {
    let everything = names(&tree(&["--package", room.name])?);
    let direct = names(&tree(&["--package", room.name, "--depth", "1"])?);
    Ok(violations(room, &everything, &direct))
}

/// Normal dependencies on every platform, one per line.
fn tree(arguments: &[&str]) -> Result<String> {
    let fixed = [
        "tree", "--locked", "--edges", "normal", "--target", "all", "--prefix", "none",
    ];
    output(cargo(&fixed).args(arguments))
}

/// The package names in the printed tree: the first word of each line.
fn names(tree: &str) -> BTreeSet<String> {
    tree.lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// What `room` holds or names against the table.
fn violations(
    room: &Room,
    everything: &BTreeSet<String>,
    direct: &BTreeSet<String>,
) -> Vec<String> {
    let is_own = |name: &str| ROOMS.iter().any(|own| own.name == name);
    let why = |name: &str| {
        format!(
            "\n    hint: `cargo tree -e normal -p {} -i {name}` shows the way",
            room.name
        )
    };
    let own = everything
        .iter()
        .filter(|name| is_own(name) && *name != room.name && !room.may_use.contains(&name.as_str()))
        .map(|name| format!("{} must not use {name}{}", room.name, why(name)));
    let held = everything
        .iter()
        .filter(|name| room.must_not_hold.concat().contains(&name.as_str()))
        .map(|name| format!("{} must not hold {name}{}", room.name, why(name)));
    let named = direct
        .iter()
        .filter(|name| room.must_not_name.concat().contains(&name.as_str()))
        .map(|name| format!("{} must not name {name}{}", room.name, why(name)));
    own.chain(held).chain(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn room(name: &str) -> &'static Room {
        ROOMS.iter().find(|room| room.name == name).unwrap()
    }

    #[test]
    fn a_clean_engine_passes() {
        let everything = set(&[
            "k25-engine",
            "k25-model",
            "k25-config",
            "k25-kernels",
            "serde_json",
            "thiserror",
        ]);
        assert!(
            violations(
                room("k25-engine"),
                &everything,
                &set(&["k25-engine", "k25-model"])
            )
            .is_empty()
        );
    }

    #[test]
    fn each_kind_of_edge_is_refused() {
        let engine = room("k25-engine");
        for (everything, direct, expected) in [
            (vec!["k25-chat"], vec![], "must not use k25-chat"),
            (vec!["k25-testkit"], vec![], "must not use k25-testkit"),
            (vec!["tokio"], vec![], "must not hold tokio"),
            (
                vec!["serde_json"],
                vec!["serde_json"],
                "must not name serde_json",
            ),
        ] {
            let found = violations(engine, &set(&everything), &set(&direct));
            assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
        }
    }

    #[test]
    fn the_table_points_down() {
        for room in ROOMS {
            for used in room.may_use {
                let below = ROOMS
                    .iter()
                    .find(|other| other.name == *used)
                    .unwrap_or_else(|| panic!("{used} has no row"));
                assert!(
                    !below.may_use.contains(&room.name),
                    "{} and {used} may use each other",
                    room.name
                );
                for deeper in below.may_use {
                    assert!(
                        room.may_use.contains(deeper),
                        "{} may use {used} and so must be let use {deeper}",
                        room.name
                    );
                }
            }
        }
    }

    #[test]
    fn printed_trees_are_read() {
        let printed = "k25-model v0.1.0 (/somewhere)\nserde v1.0.0 (proc-macro) (*)\n\n";
        assert_eq!(names(printed), set(&["k25-model", "serde"]));
    }
}
