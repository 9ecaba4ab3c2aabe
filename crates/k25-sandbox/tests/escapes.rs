//! Ways out, tried for real: each probe first succeeds outside, and then fails inside, for root and
//! for an ordinary user, behind either kind of walls.
//!
//! Run as root, the tests cover both users; run as an ordinary user, that one alone.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

const PROBES: &str = include_str!("escapes/probes.py");
/// The user that owns nothing.
const NOBODY: u32 = 65_534;

/// Who can be shown to succeed with a probe outside, on any machine.
#[derive(Clone, Copy, PartialEq)]
enum Outside {
    /// Everybody.
    All,
    /// Root alone: others are stopped by the machine.
    Root,
    /// Not asked for: machines differ, even for root.
    Varies,
    /// Not tried: it would do harm.
    Nobody,
}
use Outside::{All, Nobody, Root, Varies};

/// Probes that one process can try one after the other.
const QUIET: &[(&str, Outside)] = &[
    ("read_secret", All),
    ("read_home", All),
    ("read_shadow", Root),
    ("read_disk", Varies),
    ("write_system", Root),
    ("write_outside", All),
    ("change_mode", All),
    ("change_times", All),
    ("cut_short", All),
    ("set_attribute", Varies),
    ("move_away", All),
    ("hard_link", All),
    ("follow_link", All),
    ("leave_root", Root),
    ("open_by_handle", Root),
    ("make_device", Root),
    ("make_pipe", All),
    ("tcp_to_host", All),
    ("udp_out", All),
    ("tcp_listen", All),
    ("abstract_socket", All),
    ("named_socket", All),
    ("pair_to_abstract", All),
    ("netlink", All),
    ("raw_packets", Root),
    ("kernel_crypto", Varies),
    ("signal_host", All),
    ("signal_by_owner", All),
    ("pidfd_of_host", All),
    ("see_host", All),
    ("trace", Root),
    ("read_memory_of_another", Root),
    ("write_memory_of_parent", Root),
    ("secret_of_parent", All),
    ("inherited", All),
    ("outlive_parent", All),
    ("host_name", Root),
    ("join_host", Root),
    ("gain_by_setuid", Root),
    ("new_privileges", All),
    ("capabilities", Root),
    ("capabilities_by_call", Root),
    ("raise_limit", All),
    ("real_time", Varies),
    ("keys", All),
    ("io_uring", All),
    ("bpf", Root),
    ("perf", Root),
    ("page_faults", Root),
    ("other_memory", All),
    ("shared_memory", All),
    ("kernel_log", Root),
    ("personality", All),
    ("type_into_terminal", Varies),
    ("become_another", All),
    // The last ones, for they change who the process is.
    ("nested_user_by_clone", All),
    ("nested_user_by_clone3", All),
    ("nested_user", All),
];

/// Probes that need a process of their own.
const LOUD: &[(&str, Outside)] = &[
    ("mount", All),
    ("other_numbers", Varies),
    ("much_memory", All),
    ("much_shared_memory", All),
    ("many_processes", All),
    ("many_threads", All),
    ("fill_disk", All),
    ("fill_disk_unseen", All),
    ("many_files", All),
    ("kill_parent", All),
    ("kill_everyone", Nobody),
];

/// What there is to get hold of.
struct World {
    folder: tempfile::TempDir,
    launcher: PathBuf,
    sleeper: Child,
    port: u16,
    // Answers as long as the test runs.
    _datagrams: UnixDatagram,
    users: Vec<Option<u32>>,
}

impl World {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let is_root = rustix::process::geteuid().is_root();
        let path = folder.path();
        let open = |path: &std::path::Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        open(path, 0o755);
        fs::write(path.join("secret"), "the secret").unwrap();
        open(&path.join("secret"), 0o644);
        for (dir, file) in [("home", "diary"), ("open", "x"), ("cwd", "")] {
            fs::create_dir(path.join(dir)).unwrap();
            open(&path.join(dir), 0o777);
            if !file.is_empty() {
                fs::write(path.join(dir).join(file), "x").unwrap();
            }
        }
        for victim in ["victim", "open/to_move"] {
            fs::write(path.join(victim), "long enough to be cut").unwrap();
            if is_root {
                chown(path.join(victim), Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        // Copies that other users reach: the folder of the build may be anywhere.
        let launcher = path.join("launcher");
        fs::copy(common::LAUNCHER, &launcher).unwrap();
        fs::copy("/usr/bin/id", path.join("setuid-id")).unwrap();
        if is_root {
            open(&path.join("setuid-id"), 0o4755);
        }
        let mut sleep = Command::new("sleep");
        sleep.arg("1000");
        if is_root {
            sleep.uid(NOBODY).gid(NOBODY);
        }
        let sleeper = sleep.spawn().unwrap();
        let port = greet_on_tcp();
        greet_on_unix(UnixListener::bind(path.join("socket")).unwrap());
        open(&path.join("socket"), 0o777);
        let address =
            |kind| SocketAddr::from_abstract_name(format!("{name}-{kind}-{port}")).unwrap();
        greet_on_unix(UnixListener::bind_addr(&address("stream")).unwrap());
        let datagrams = UnixDatagram::bind_addr(&address("datagram")).unwrap();
        let users = if is_root {
            vec![None, Some(NOBODY)]
        } else {
            vec![None]
        };
        if !is_root {
            eprintln!("not root: the probes run as this ordinary user alone");
        }
        World {
            folder,
            launcher,
            sleeper,
            port,
            _datagrams: datagrams,
            users,
        }
    }

    fn script(&self, name: &str, probes: &[&str], each_alone: bool) -> String {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let world = json!({
            "secret": path("secret"), "home": path("home"), "open_folder": path("open"),
            "victim": path("victim"), "victim_to_move": path("open/to_move"),
            "setuid": path("setuid-id"), "socket": path("socket"), "port": self.port,
            "pid": self.sleeper.id(),
            "abstract": format!("{name}-stream-{}", self.port),
            "abstract_datagram": format!("{name}-datagram-{}", self.port),
        });
        let world = world.to_string();
        let each_alone = if each_alone { "True" } else { "False" };
        format!(
            "import json\nWORLD = json.loads({world:?})\nNAMES = {probes:?}\n\
             EACH_ALONE = {each_alone}\n{PROBES}"
        )
    }

    /// A shell that becomes the program, holds a file open and has a secret in its environment. The
    /// program is the shell's child, so that it has a parent to attack.
    fn shell(&self, user: Option<u32>, program: &[&str]) -> Command {
        let secret = self.folder.path().join("secret");
        let mut shell = Command::new("/bin/sh");
        let script = format!("exec 7<{}; \"$@\"; exit $?", secret.display());
        shell.args(["-c", &script, "sh"]).args(program);
        shell
            .env("PROBE_TOKEN", "token")
            .current_dir(self.folder.path().join("cwd"));
        shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(user) = user {
            // Root's other groups go with it: the standard library sees to that.
            shell.uid(user).gid(user);
        }
        shell
    }

    fn outside(&self, user: Option<u32>, script: &str) -> String {
        let python = k25_sandbox::Python::find().unwrap().path;
        let python = python.to_str().unwrap();
        let (_, stdout, _) = talk(self.shell(user, &[python, "-"]), script);
        stdout
    }

    /// What the probes say inside; a run that a limit or a signal ended has said what it could.
    fn inside(&self, user: Option<u32>, walls: &str, script: &str) -> (String, bool) {
        let launcher = self.launcher.to_str().unwrap();
        let limits = k25_sandbox::Limits {
            files_bytes: 16 << 20,
            memory_bytes: 256 << 20,
            ..common::limits(10_000)
        };
        let request = json!({
            "language": "python", "code": script, "walls": walls, "limits": limits,
        });
        let (code, stdout, stderr) = talk(self.shell(user, &[launcher]), &request.to_string());
        assert_eq!(code, Some(0), "{walls}: {stderr}");
        let answer: Value = serde_json::from_str(&stdout).unwrap();
        let text = answer["stdout"].as_str().unwrap().to_owned();
        let was_stopped = !answer["killed_by"].is_null() || answer["ended"] != "Exited(0)";
        (text, was_stopped)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.sleeper.kill();
        let _ = self.sleeper.wait();
    }
}

fn greet_on_tcp() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"hello");
        }
    });
    port
}

fn greet_on_unix(listener: UnixListener) {
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"hello");
        }
    });
}

fn talk(mut command: Command, input: &str) -> (Option<i32>, String, String) {
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let mut stderr = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), text, errors.join().unwrap())
}

/// Lines of `name outcome …`.
fn outcomes(text: &str) -> HashMap<&str, (&str, &str)> {
    text.lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(' ')?;
            let (outcome, detail) = rest.split_once(' ').unwrap_or((rest, ""));
            Some((name, (outcome, detail)))
        })
        .collect()
}

fn is_shown(outside: Outside, user: Option<u32>) -> bool {
    let is_root = user.is_none() && rustix::process::geteuid().is_root();
    match outside {
        All => true,
        Root => is_root,
        Varies | Nobody => false,
    }
}

fn try_all(world: &World, name: &str, probes: &[(&str, Outside)], may_be_stopped: bool) {
    let names: Vec<&str> = probes.iter().map(|(probe, _)| *probe).collect();
    let script = world.script(name, &names, false);
    for &user in &world.users {
        let who = user.map_or("the user of the tests".to_owned(), |user| {
            format!("user {user}")
        });
        let shown: Vec<&str> = probes
            .iter()
            .filter(|(_, outside)| *outside != Nobody)
            .map(|(probe, _)| *probe)
            .collect();
        if !shown.is_empty() {
            let text = world.outside(user, &world.script(name, &shown, true));
            let outcomes = outcomes(&text);
            for (probe, outside) in probes {
                if is_shown(*outside, user) {
                    let outcome = outcomes.get(probe);
                    let is_out = outcome.is_some_and(|(outcome, _)| *outcome == "ESCAPED");
                    assert!(
                        is_out,
                        "{probe} as {who} fails outside: {outcome:?}\n{text}"
                    );
                }
            }
        }
        for walls in ["namespaces", "confined"] {
            let (text, was_stopped) = world.inside(user, walls, &script);
            let outcomes = outcomes(&text);
            for probe in &names {
                let outcome = outcomes.get(probe);
                let is_blocked = outcome.is_some_and(|(outcome, _)| *outcome == "blocked");
                let is_stopped = may_be_stopped && was_stopped && outcome.is_none();
                assert!(
                    is_blocked || is_stopped,
                    "{probe} as {who} behind {walls}: {outcome:?}\n{text}"
                );
            }
        }
    }
}

#[test]
fn quiet_ways_out_are_closed() {
    let world = World::new("quiet");
    try_all(&world, "quiet", QUIET, false);
    assert_eq!(
        fs::read_to_string(world.folder.path().join("secret")).unwrap(),
        "the secret"
    );
}

#[test]
fn loud_ways_out_are_closed() {
    let world = World::new("loud");
    for probe in LOUD {
        try_all(&world, "loud", std::slice::from_ref(probe), true);
    }
}
