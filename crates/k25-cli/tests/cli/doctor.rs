//! `k25` alone and `k25 doctor`: what works on this machine.

use serde_json::Value;

use crate::command::{Folder, Run, fixture, k25, program};

/// The program in this folder, with these settings of the environment.
fn at(folder: &Folder, arguments: &[&str], environment: &[(&str, &str)]) -> Run {
    let mut command = program();
    command
        .args(arguments)
        .current_dir(folder.path(""))
        .env("XDG_CACHE_HOME", folder.path("cache"))
        .envs(environment.iter().copied());
    Run::of(command.output().expect("the program starts"))
}

fn capability<'a>(report: &'a Value, name: &str) -> &'a Value {
    let all = report["capabilities"].as_array().expect("a list");
    let found = all.iter().find(|capability| capability["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {report}"))
}

#[test]
fn without_a_command_it_says_what_can_run_and_what_to_type() {
    let folder = Folder::empty();
    let registry = "home/registry/src/index";
    for crate_ in ["a-1.0.0", "b-2.0.0"] {
        let dir = folder.path(registry).join(crate_);
        std::fs::create_dir_all(&dir).expect("a folder");
        std::fs::write(dir.join("Cargo.toml"), "[package]").expect("a file");
    }
    std::fs::create_dir(folder.path("model")).expect("a folder");
    let copy = |name: &str| {
        let to = folder.path("model").join(name);
        std::fs::copy(fixture(&format!("t1/{name}")), to).expect("a copy");
    };
    copy("config.json");
    std::fs::write(folder.path("model/x.safetensors"), "").expect("a file");
    let home = folder.arg("home");
    let environment = [
        ("CARGO_HOME", home.as_str()),
        ("K25_MODEL", "https://user:secret@example.org/v1"),
    ];
    let text = at(&folder, &[], &environment).success();
    for part in [
        "cores",
        "nano (",
        "./model (a checkpoint here)",
        "K25_MODEL",
        "k25 swarm --example crates",
        "k25 inspect ./model",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert!(!text.contains("secret"), "{text}");
    let next = text.lines().skip_while(|line| *line != "next").skip(1);
    assert_eq!(
        next.take_while(|line| line.starts_with("  k25 ")).count(),
        3
    );

    let empty = folder.arg("nowhere");
    let text = at(&folder, &[], &[("CARGO_HOME", &empty)]).success();
    assert!(
        text.contains("k25 chat") && !text.contains("--example"),
        "{text}"
    );
}

#[test]
fn the_doctor_names_what_is_there_and_how_to_get_the_rest() {
    let folder = Folder::empty();
    let bin = folder.arg("bin");
    let environment = [
        ("PATH", bin.as_str()),
        ("CARGO_HOME", bin.as_str()),
        ("MOONSHOT_API_KEY", "sk-secret"),
        ("K25_MODEL", "https://user:secret@example.org/v1?key=secret"),
    ];
    std::fs::create_dir(&bin).expect("a folder");
    let text = at(&folder, &["doctor", "--json"], &environment).success();
    assert!(!text.contains("secret"), "keys are never shown: {text}");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["works"], true);
    for (name, state) in [
        ("processor", "ok"),
        ("nano", "ok"),
        ("pdf", "ok"),
        ("keys", "ok"),
        ("crates", "missing"),
        ("chromium", "missing"),
        ("ffmpeg", "missing"),
        ("terminal", "limited"),
    ] {
        assert_eq!(capability(&report, name)["state"], state, "{report}");
    }
    for capability in report["capabilities"].as_array().expect("a list") {
        let is_fine = capability["state"] == "ok";
        assert!(is_fine || capability["get"].is_string(), "{capability}");
    }
    let found = capability(&report, "model")["found"].as_str();
    assert_eq!(found, Some("https://example.org/v1"));

    let text = k25(["doctor"]);
    assert_eq!(text.code, Some(0));
    assert!(text.stdout.contains("sandbox"), "{}", text.stdout);
}

#[test]
fn without_what_the_core_needs_the_doctor_says_no() {
    let folder = Folder::empty();
    folder.with("cache", "a file where the cache should be");
    let nowhere = folder.arg("nowhere");
    let run = at(&folder, &["doctor", "--json"], &[("TMPDIR", &nowhere)]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(report["works"], false);
    let nano = capability(&report, "nano");
    assert_eq!(nano["state"], "missing");
    let get = nano["get"].as_str().expect("what to do");
    assert!(get.contains("XDG_CACHE_HOME"), "{get}");
}

#[test]
fn completions_are_scripts_that_their_shells_read() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = k25(["completions", shell]).success();
        for word in ["swarm", "sample-seed", "doctor"] {
            assert!(script.contains(word), "no {word} for {shell}");
        }
    }
    let folder = Folder::empty();
    let script = folder.with("k25.bash", k25(["completions", "bash"]).success());
    // What the script offers behind `k25 do`, as bash itself would ask it.
    let ask = "source \"$0\" && COMP_WORDS=(k25 do) COMP_CWORD=1 && _k25 k25 do k25 && echo \"${COMPREPLY[*]}\"";
    let asked = std::process::Command::new("bash")
        .args(["-c", ask, &script])
        .output()
        .expect("bash starts");
    let (reply, errors) = (
        String::from_utf8_lossy(&asked.stdout),
        String::from_utf8_lossy(&asked.stderr),
    );
    assert_eq!(reply.trim(), "doctor", "{errors}");
    k25(["completions", "cobol"]).refuses_flags(&["bash", "zsh"]);
}

#[test]
fn every_command_has_a_manual_page() {
    let page = k25(["man"]).success();
    assert!(page.contains(".TH k25 1"), "{page}");
    let folder = Folder::empty();
    let said = k25(["man", &folder.arg("man1")]).success();
    assert!(said.contains("pages in"), "{said}");
    for name in [
        "k25",
        "k25-swarm",
        "k25-swarm-edit",
        "k25-serve",
        "k25-doctor",
    ] {
        let page = std::fs::read_to_string(folder.path(format!("man1/{name}.1")));
        let page = page.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            page.contains(".SH SYNOPSIS") && page.contains("Examples"),
            "{name}"
        );
    }
}
