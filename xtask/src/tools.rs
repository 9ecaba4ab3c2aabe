//! Programs that the tests need beyond Rust.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::process;

/// A program, what it is for and the Debian package that has it.
struct Tool {
    program: &'static str,
    purpose: &'static str,
    package: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        program: "ffmpeg",
        purpose: "decodes video files; the video tests make and read some",
        package: "ffmpeg",
    },
    Tool {
        program: "ffprobe",
        purpose: "reads the properties of video files",
        package: "ffmpeg",
    },
    Tool {
        program: "c++",
        purpose: "compiles the fuzzing engine",
        package: "g++",
    },
    Tool {
        program: "valgrind",
        purpose: "watches the kernels' and the block pool's memory",
        package: "valgrind",
    },
    Tool {
        program: "python3",
        purpose: "runs the official Python SDKs against the server",
        package: "python3-venv",
    },
    Tool {
        program: "npm",
        purpose: "installs the official JavaScript SDK, which runs against the server",
        package: "npm",
    },
    Tool {
        program: "script",
        purpose: "gives the live view a terminal in its tests",
        package: "bsdutils",
    },
    Tool {
        program: "chromium",
        purpose: "shows the chat page to its tests",
        package: "chromium",
    },
];

/// Looks for each tool, and installs what is missing where that needs nobody's password.
pub fn run() -> Result<()> {
    let mut missing: Vec<&Tool> = TOOLS
        .iter()
        .filter(|tool| !is_there(tool.program))
        .collect();
    if missing.is_empty() {
        println!(
            "all found: {}",
            TOOLS
                .iter()
                .map(|tool| tool.program)
                .collect::<Vec<_>>()
                .join(", ")
        );
        return Ok(());
    }
    if is_there("apt-get") && is_root()? {
        install(&missing)?;
        missing.retain(|tool| !is_there(tool.program));
    }
    if missing.is_empty() {
        return Ok(());
    }
    let list: String = missing
        .iter()
        .map(|tool| format!("\n  {} ({})", tool.program, tool.purpose))
        .collect();
    bail!(
        "not found:{list}\n  hint: sudo apt-get install --yes {}",
        packages(&missing).join(" ")
    );
}

fn is_there(program: &str) -> bool {
    let version = if program.starts_with("ff") {
        "-version"
    } else {
        "--version"
    };
    let status = Command::new(program)
        .arg(version)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

fn is_root() -> Result<bool> {
    Ok(process::output(Command::new("id").arg("-u"))?.trim() == "0")
}

fn install(missing: &[&Tool]) -> Result<()> {
    let apt = |arguments: &[&str]| {
        process::run(
            Command::new("apt-get")
                .args(arguments)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    apt(&["update", "--quiet"])?;
    let mut arguments = vec!["install", "--quiet", "--yes", "--no-install-recommends"];
    arguments.extend(packages(missing));
    apt(&arguments)
}

fn packages(missing: &[&Tool]) -> Vec<&'static str> {
    let mut packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    packages.dedup();
    packages
}
