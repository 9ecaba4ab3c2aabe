//! What works on this machine, what that gives, and how to get what is missing.

use std::path::PathBuf;

use k25_kernels::Isa;
use k25_sandbox::{Isolation, Python, Sandbox};
use k25_web::{Provider, find_browser};
use serde::Serialize;

use crate::commands::registry_crates;
use crate::machine;
use crate::model_name::{self, ModelName, nano_title};
use crate::output::{Screen, bytes};

/// Memory without which not even nano should be tried, and disk for a few runs.
const LEAST_MEMORY: u64 = 500_000_000;
const LEAST_DISK: u64 = 100_000_000;
/// With less than this free, nano and a browser are all that fits.
const LITTLE_MEMORY: u64 = 2_000_000_000;

/// Whether something works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It works.
    Ok,
    /// It works in part, or slowly.
    Limited,
    /// It is not there.
    Missing,
}

/// One thing that a machine may have.
#[derive(Debug, Clone, Serialize)]
pub struct Capability {
    /// What it is.
    pub name: &'static str,
    /// Whether nothing works without it.
    pub core: bool,
    /// Whether it works.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What it is good for.
    pub gives: &'static str,
    /// How to get it, where there is something to get.
    pub get: Option<String>,
}

impl Capability {
    fn new(name: &'static str, gives: &'static str, found: Found) -> Self {
        Capability {
            name,
            core: false,
            state: found.state,
            found: found.what,
            gives,
            get: found.get,
        }
    }

    fn core(self) -> Self {
        Capability { core: true, ..self }
    }
}

/// What a look at the machine came to.
struct Found {
    state: State,
    what: String,
    get: Option<String>,
}

impl Found {
    fn ok(what: impl Into<String>) -> Self {
        Found {
            state: State::Ok,
            what: what.into(),
            get: None,
        }
    }

    fn limited(what: impl Into<String>, get: impl Into<String>) -> Self {
        Found {
            state: State::Limited,
            what: what.into(),
            get: Some(get.into()),
        }
    }

    fn missing(what: impl Into<String>, get: impl Into<String>) -> Self {
        Found {
            state: State::Missing,
            what: what.into(),
            get: Some(get.into()),
        }
    }

    /// An error of a room, whose hint says how to get it.
    fn fault(error: impl std::fmt::Display) -> Self {
        let text = error.to_string().replace("\n  hint: ", "; hint: ");
        let (what, hint) = text.split_once("; hint: ").unwrap_or((&text, ""));
        Found {
            state: State::Missing,
            what: what.to_owned(),
            get: (!hint.is_empty()).then(|| hint.to_owned()),
        }
    }
}

/// Looks at everything. Takes as long as it takes to start Python and the sandbox once.
pub fn all() -> Vec<Capability> {
    vec![
        Capability::new(
            "processor",
            "the speed of every model that computes here",
            processor(),
        )
        .core(),
        Capability::new(
            "memory",
            "weights; what does not fit is read from the disk",
            memory(),
        )
        .core(),
        Capability::new("disk", "runs, in this folder", disk()).core(),
        Capability::new(
            "nano",
            "chat, agent, swarm and serve without any other model",
            nano(),
        )
        .core(),
        Capability::new("gpu", "nothing yet: k25 computes on the processor", gpu()),
        Capability::new(
            "model",
            "another model than nano where no flag names one",
            model(),
        ),
        Capability::new(
            "keys",
            "hosted models and web search (docs/models.md, docs/tools.md)",
            keys(),
        ),
        Capability::new("crates", "k25 swarm --example crates", crates()),
        Capability::new(
            "sandbox",
            "--tools javascript,python: code that a model writes",
            sandbox(),
        ),
        Capability::new("python", "--tools python", python()),
        Capability::new(
            "chromium",
            "--tools browse: pages as a browser shows them",
            chromium(),
        ),
        Capability::new(
            "ffmpeg",
            "--video: films as input of a model that sees",
            ffmpeg(),
        ),
        Capability::new(
            "pdf",
            "PDF files among the documents",
            Found::ok("built in"),
        ),
        Capability::new("terminal", "the live view of a run", terminal()),
    ]
}

fn processor() -> Found {
    let cores = machine::cores();
    match Isa::from_environment() {
        Err(error) => Found::fault(error),
        Ok(Isa::Scalar) => Found::limited(
            format!("{cores} cores without AVX2: slow"),
            "a processor with AVX2 (Intel since 2013, AMD since 2015); other models answer over --model URL",
        ),
        Ok(isa) => Found::ok(format!("{cores} cores, {}", isa.name())),
    }
}

fn memory() -> Found {
    let (Some(all), Some(free)) = (machine::memory_bytes(), machine::free_memory_bytes()) else {
        return Found::ok("not known on this system");
    };
    let what = format!("{}, {} free", bytes(all), bytes(free));
    match free {
        0..LEAST_MEMORY => Found::missing(what, "end other programs"),
        LEAST_MEMORY..LITTLE_MEMORY => {
            Found::limited(what, "end other programs before you open larger models")
        }
        _ => Found::ok(what),
    }
}

fn disk() -> Found {
    match fs4::available_space(".") {
        Ok(free) if free >= LEAST_DISK => Found::ok(format!("{} free here", bytes(free))),
        Ok(free) => Found::missing(
            format!("{} free here", bytes(free)),
            "make room, or keep runs elsewhere with --runs DIR",
        ),
        Err(error) => Found::missing(error.to_string(), "go to a folder that can be read"),
    }
}

fn nano() -> Found {
    let folder = match k25_nano::unpack() {
        Ok(folder) => folder,
        Err(error) => return Found::fault(error),
    };
    match nano_title(folder.path()) {
        Ok(title) => Found::ok(format!("{title} in {}", folder.path().display())),
        Err(error) => Found::fault(error),
    }
}

fn gpu() -> Found {
    Found::ok(machine::gpu().unwrap_or("none, and none is needed"))
}

fn model() -> Found {
    let Some(name) = ModelName::of_environment() else {
        return Found::ok(format!("{} is not set: nano", model_name::VARIABLE));
    };
    match &name {
        ModelName::Nano => Found::ok("nano"),
        ModelName::Endpoint(url) => Found::ok(without_secrets(url)),
        ModelName::Folder(path) if path.join("config.json").is_file() => {
            Found::ok(path.display().to_string())
        }
        ModelName::Folder(path) => Found::missing(
            format!("{} is no folder of a checkpoint", path.display()),
            "export K25_MODEL=DIR with a config.json in it, or K25_MODEL=https://…; unset it for nano",
        ),
    }
}

/// An address as it may be shown: without a name, a password and what follows a question mark.
fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}/{path}")
}

/// Names of variables alone: what is in them is nobody's business.
fn keys() -> Found {
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let names = [
        "MOONSHOT_API_KEY",
        "K25_FALLBACK_KEY",
        "SEARXNG_URL",
        "BRAVE_API_KEY",
        "TAVILY_API_KEY",
    ];
    let found: Vec<&str> = names.into_iter().filter(|name| is_set(name)).collect();
    let get = "export MOONSHOT_API_KEY=… for api.moonshot.ai (another variable: --key-from); for the web SEARXNG_URL, \
               BRAVE_API_KEY or TAVILY_API_KEY";
    if found.is_empty() {
        return Found::missing("none", get);
    }
    let has_search = Provider::first(&|name| std::env::var(name).ok()).is_ok();
    let searches = if has_search {
        "; the web can be searched"
    } else {
        ""
    };
    Found::ok(format!("{}{searches}", found.join(", ")))
}

fn crates() -> Found {
    match registry_crates() {
        Ok((folder, count)) => Found::ok(format!("{count} in {}", folder.display())),
        Err(error) => Found::fault(error),
    }
}

fn sandbox() -> Found {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Found::fault(error),
    };
    match runtime.block_on(Sandbox::new().check()) {
        Ok(Isolation::Namespaces) => Found::ok("namespaces, Landlock, seccomp"),
        Ok(Isolation::Confined) => Found::limited(
            "Landlock and seccomp alone; code gets no process of its own",
            "let users make namespaces: sysctl kernel.unprivileged_userns_clone=1, and on Ubuntu \
             kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        Err(error) => Found {
            state: State::Missing,
            what: error.to_string(),
            get: error.hint().map(str::to_owned),
        },
    }
}

fn python() -> Found {
    match Python::find() {
        Ok(python) => Found::ok(format!("{} {}", python.path.display(), python.version)),
        Err(error) => Found {
            state: State::Missing,
            what: error.to_string(),
            get: Some(error.hint().to_owned()),
        },
    }
}

fn chromium() -> Found {
    match find_browser(std::env::var_os("K25_CHROMIUM").map(PathBuf::from)) {
        Ok(path) => Found::ok(path.display().to_string()),
        Err(error) => Found::fault(error),
    }
}

fn ffmpeg() -> Found {
    match (machine::on_path("ffmpeg"), machine::on_path("ffprobe")) {
        (Some(path), Some(_)) => Found::ok(path.display().to_string()),
        _ => Found::missing(
            "not on the path",
            "sudo apt-get install --yes ffmpeg; animated GIFs work without",
        ),
    }
}

fn terminal() -> Found {
    let screen = Screen::stderr();
    match screen.size() {
        None => Found::limited(
            "standard error is no terminal: a line per event instead",
            "run it in a terminal",
        ),
        Some((width, height)) if width < 60 || height < 12 => Found::limited(
            format!("{width} × {height}: small"),
            "make the window larger",
        ),
        Some((width, height)) => Found::ok(format!("{width} × {height}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_secrets() {
        let shown = without_secrets("https://me:secret@host:8000/v1?key=secret#secret");
        assert_eq!(shown, "https://host:8000/v1");
        assert_eq!(without_secrets("http://host"), "http://host/");
        assert_eq!(without_secrets("https://a@b@host/v1"), "https://host/v1");
    }

    #[test]
    fn the_hint_of_an_error_is_how_to_get_it() {
        let found = Found::fault("no Chromium is installed; hint: install it");
        assert_eq!(found.what, "no Chromium is installed");
        assert_eq!(found.get.as_deref(), Some("install it"));
        assert_eq!(Found::fault("broken").get, None);
    }
}
