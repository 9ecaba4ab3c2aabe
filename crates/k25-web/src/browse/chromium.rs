//! The browser's process: started when it is first needed, watched, ended with all its children.

use std::fs;
use std::io;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::cdp::Connection;
use crate::WebError;

/// Programs that are looked for.
const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
/// Memory of all its processes together; what they share is counted once for each.
const MAX_MEMORY_BYTES: u64 = 3 << 30;
/// How often that is looked at.
const GLANCE: Duration = Duration::from_millis(250);
/// Whom the browser runs as where we are root: its own sandbox refuses root, and so do we.
const NOBODY: u32 = 65_534;
/// Everything that a page does not need to be read.
const FLAGS: [&str; 22] = [
    "--headless",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-pings",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
    "--disable-extensions",
    "--disable-component-update",
    "--disable-background-networking",
    "--disable-domain-reliability",
    "--disable-client-side-phishing-detection",
    "--disable-breakpad",
    "--disable-notifications",
    "--disable-features=MediaRouter,OptimizationHints,Translate,WebRtcHideLocalIpsWithMdns,DnsOverHttps",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    // Each page gets a proxy of its own; whatever is no page's gets nowhere.
    "--proxy-server=http://127.0.0.1:9",
    "--proxy-bypass-list=<-loopback>",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
];

/// A running browser. Dropping it ends it.
pub(super) struct Chromium {
    pub connection: Connection,
    group: Option<Pid>,
    watch: JoinHandle<()>,
    _child: Child,
    _profile: tempfile::TempDir,
}

impl Chromium {
    /// Starts a browser; once more where it ends at once, as one now and then does while others start beside it.
    pub(super) async fn start(program: &Path) -> Result<Self, WebError> {
        match Self::start_once(program).await {
            Err(_) => Self::start_once(program).await,
            started => started,
        }
    }

    async fn start_once(program: &Path) -> Result<Self, WebError> {
        let failed = |error: io::Error| {
            WebError::Browser(format!("{} does not start: {error}", program.display()))
        };
        let profile = tempfile::Builder::new()
            .prefix("k25-browser-")
            .tempdir()
            .map_err(failed)?;
        let mut child = command(program, profile.path())
            .map_err(failed)?
            .spawn()
            .map_err(failed)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(WebError::Browser("the browser has no pipes".to_owned()));
        };
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let browser = Chromium {
            connection: Connection::new(input, output),
            watch: tokio::spawn(watch(group)),
            group,
            _child: child,
            _profile: profile,
        };
        let answered = browser
            .connection
            .command(None, "Browser.getVersion", json!({}));
        answered.await.map_err(|error| {
            WebError::Browser(format!(
                "{} ends at once ({error}); hint: its sandbox needs user namespaces, which this kernel may forbid",
                program.display()
            ))
        })?;
        Ok(browser)
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.connection.is_closed()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        self.watch.abort();
        end(self.group);
    }
}

fn end(group: Option<Pid>) {
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// The browser, as a group of processes of its own, with its pipe where it looks for it.
fn command(program: &Path, profile: &Path) -> io::Result<Command> {
    let mut command = Command::new("/bin/sh");
    command
        // Chromium reads commands from 3 and writes answers to 4.
        .args(["-c", "exec \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null", "sh"])
        .arg(program)
        .args(FLAGS)
        .arg(format!("--user-data-dir={}", profile.display()))
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .envs([("HOME", profile), ("TMPDIR", profile)])
        .env("LANG", "C.UTF-8")
        .current_dir(profile)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    if rustix::process::geteuid().is_root() {
        chown(profile, Some(NOBODY), Some(NOBODY))?;
        command.uid(NOBODY).gid(NOBODY);
    }
    Ok(command)
}

/// Ends a group of processes that holds too much memory.
async fn watch(group: Option<Pid>) {
    let Some(group) = group else {
        return;
    };
    loop {
        tokio::time::sleep(GLANCE).await;
        if memory_of(group) > MAX_MEMORY_BYTES {
            end(Some(group));
            return;
        }
    }
}

/// Resident memory of a group of processes.
fn memory_of(group: Pid) -> u64 {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let page = rustix::param::page_size() as u64;
    let of = |path: PathBuf| {
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        // The name, in brackets, may hold anything; after it come fields parted by blanks.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let (its_group, pages): (i32, u64) =
            (fields[2].parse().ok()?, fields.get(21)?.parse().ok()?);
        (its_group == group.as_raw_nonzero().get()).then_some(pages * page)
    };
    entries.filter_map(|entry| of(entry.path())).sum()
}

/// The browser that is named, or the first that is installed.
///
/// # Errors
/// If there is none.
pub fn find_browser(named: Option<PathBuf>) -> Result<PathBuf, WebError> {
    if let Some(path) = named {
        return match path.is_file() {
            true => Ok(path),
            false => Err(WebError::Browser(format!(
                "{} is no program",
                path.display()
            ))),
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let candidates = PROGRAMS
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        WebError::Browser(
            "no Chromium is installed; hint: sudo apt-get install --yes chromium, or set K25_CHROMIUM"
                .to_owned(),
        )
    })
}
