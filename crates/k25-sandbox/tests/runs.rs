//! Programs that mean no harm: what they print, which files come back, and where limits end them.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod common;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{WALLS, command, file, javascript, limits, python, run, run_with, sandbox, wait};
use k25_sandbox::{Ended, File, Isolation, KilledBy, Limits, Output, SandboxError, Spec, Walls};

fn names(files: &[File]) -> Vec<&str> {
    files.iter().map(|file| file.name.as_str()).collect()
}

fn succeeds(output: &Output) -> String {
    assert!(output.is_success(), "{output:?}\n{}", output.stderr.text());
    output.stdout.text()
}

#[test]
fn files_go_in_and_changed_ones_come_out() {
    let files = || {
        vec![
            file("same.txt", "same"),
            file("changed.csv", "a,b\n1,2\n"),
            file("removed.txt", "x"),
            file("deep/er/one.bin", vec![0, 255, 10]),
        ]
    };
    let in_python = "import os\n\
        rows = open('changed.csv').read()\n\
        open('changed.csv', 'a').write('3,4\\n')\n\
        os.remove('removed.txt')\n\
        os.makedirs('new/folder')\n\
        open('new/folder/file', 'wb').write(open('deep/er/one.bin', 'rb').read() * 2)\n\
        rows";
    let in_javascript = "const rows = readFile('changed.csv');\n\
        writeFile('changed.csv', rows + '3,4\\n');\n\
        removeFile('removed.txt');\n\
        const bytes = readBytes('deep/er/one.bin');\n\
        writeFile('new/folder/file', new Uint8Array([...bytes, ...bytes]));\n\
        rows";
    for walls in WALLS {
        for program in [python(in_python), javascript(in_javascript)] {
            let output = run_with(walls, program, files(), Limits::default());
            assert_eq!(succeeds(&output).trim_end(), "a,b\n1,2");
            assert_eq!(names(&output.files), ["changed.csv", "new/folder/file"]);
            assert_eq!(output.files[0].bytes, b"a,b\n1,2\n3,4\n");
            assert_eq!(output.files[1].bytes, [0, 255, 10, 0, 255, 10]);
            let kept: Vec<&str> = output.kept.iter().map(|name| name.as_str()).collect();
            assert_eq!(kept, ["deep/er/one.bin", "same.txt"]);
            assert_eq!(output.left_out, []);
        }
    }
    // The SHA-256 of "abc", from FIPS 180-2.
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(file("x", "abc").sha256(), hash);
}

#[test]
fn javascript_shows_values_and_says_where_it_failed() {
    let output = run(
        Walls::Best,
        javascript(
            "print('text', 1, -0, null, undefined, 10n, [1, 'a', [2]], { a: { b: 1 }, 'c d': [] });\n\
             console.error('warned');\n\
             console.log(new Map([['k', 1]]), new Set([1]), new Date(0), /x/g, new Uint8Array(2));\n\
             const wait = async () => 40 + 2;\n\
             await wait()",
        ),
    );
    assert_eq!(
        succeeds(&output),
        "text 1 -0 null undefined 10n [1, \"a\", [2]] { a: { b: 1 }, \"c d\": [] }\n\
         Map(1) { \"k\" => 1 } Set(1) { 1 } 1970-01-01T00:00:00.000Z /x/g Uint8Array(2) [0, 0]\n\
         42\n"
    );
    assert_eq!(output.stderr.text(), "warned\n");
    let fails = |code: &str| {
        let output = run(Walls::Best, javascript(code));
        assert_eq!(output.ended, Ended::Exited(1), "{output:?}");
        output.stderr.text()
    };
    let text = fails("let a = 1;\nnothing.here");
    assert!(
        text.starts_with("ReferenceError: nothing is not defined"),
        "{text}"
    );
    assert!(text.contains("script.js:2"), "{text}");
    assert!(fails("let let").starts_with("SyntaxError"));
    assert!(fails("throw 'bare'").contains("thrown: bare"));
    assert!(fails("function f() { f() } f()").contains("stack"));
    assert!(fails("readFile('../etc/passwd')").contains("plain names"));
    assert!(fails("readFile('none.txt')").contains("none.txt: No such file"));
    let globals = succeeds(&run(
        Walls::Best,
        javascript(
            "[typeof require, typeof process, typeof fetch, typeof WebAssembly, typeof setTimeout].join()",
        ),
    ));
    assert_eq!(
        globals,
        "undefined,undefined,undefined,undefined,undefined\n"
    );
}

#[test]
fn a_memory_bomb_in_javascript_is_an_error_of_its_own() {
    let limits = Limits {
        memory_bytes: 64 << 20,
        ..limits(20_000)
    };
    let bomb = "const all = []; for (;;) all.push(new Uint8Array(1 << 20).fill(1))";
    for walls in WALLS {
        let output = run_with(walls, javascript(bomb), vec![], limits);
        let is_refused =
            output.ended == Ended::Exited(1) && output.stderr.text().contains("memory");
        assert!(
            is_refused || output.killed_by == Some(KilledBy::Memory),
            "{output:?}"
        );
    }
}

#[test]
fn python_runs_like_a_notebook_cell() {
    for walls in WALLS {
        let output = run(walls, python("x = {'a': 1}\nx"));
        assert_eq!(succeeds(&output), "{'a': 1}\n");
        let output = run(
            walls,
            python("print('before')\n\ndef f():\n    return 1 / 0\n\nf()"),
        );
        assert_eq!(
            (output.ended, output.stdout.text().as_str()),
            (Ended::Exited(1), "before\n")
        );
        let text = output.stderr.text();
        assert!(
            text.contains("File \"main.py\", line 4, in f\n    return 1 / 0"),
            "{text}"
        );
        assert!(!text.contains("driver.py"), "{text}");
        assert!(
            run(walls, python("a b"))
                .stderr
                .text()
                .contains("SyntaxError")
        );
        assert_eq!(
            run(walls, python("import sys; sys.exit(7)")).ended,
            Ended::Exited(7)
        );
        let files = vec![file("own.py", "VALUE = 'imported'")];
        let output = run_with(
            walls,
            python("import own; own.VALUE"),
            files,
            Limits::default(),
        );
        assert_eq!(succeeds(&output), "imported\n");
        let threads = "from concurrent.futures import ThreadPoolExecutor\n\
                       with ThreadPoolExecutor(4) as pool: print(sum(pool.map(int, '1234')))";
        assert_eq!(succeeds(&run(walls, python(threads))), "10\n");
        let asyncs = "import asyncio\nasync def f():\n    await asyncio.sleep(0.01)\n    return 5\nasyncio.run(f())";
        assert_eq!(succeeds(&run(walls, python(asyncs))), "5\n");
    }
    // With namespaces a program may start others.
    let output = run(
        Walls::Namespaces,
        python("import subprocess\nsubprocess.check_output(['sort'], input=b'b\\na\\n')"),
    );
    assert_eq!(succeeds(&output), "b'a\\nb\\n'\n");
}

#[test]
fn the_environment_and_the_streams_are_its_own() {
    for walls in WALLS {
        let text = succeeds(&run(
            walls,
            python("import os, sys\nprint(sorted(os.environ), repr(sys.stdin.read()))"),
        ));
        for name in ["CARGO", "USER", "SSH", "TOKEN"] {
            assert!(!text.contains(name), "{text}");
        }
        assert!(text.ends_with("''\n"), "{text}");
    }
}

#[test]
fn every_limit_ends_a_run_and_is_named() {
    for walls in WALLS {
        let small = Limits {
            memory_bytes: 128 << 20,
            output_bytes: 2_000,
            cpu_seconds: 1,
            // On a busy machine a second of work takes many.
            ..limits(60_000)
        };
        let began = Instant::now();
        let output = run_with(walls, javascript("for (;;);"), vec![], limits(300));
        assert_eq!(output.killed_by, Some(KilledBy::Time), "{output:?}");
        // Far from 0.3 s, for machines that do much else; without the limit it would never end.
        assert!(began.elapsed() < Duration::from_secs(30));
        let output = run_with(walls, python("while True: pass"), vec![], small);
        assert_eq!(output.killed_by, Some(KilledBy::Cpu), "{output:?}");
        let output = run_with(
            walls,
            python("while True: print('x' * 1000)"),
            vec![],
            small,
        );
        assert_eq!(output.killed_by, Some(KilledBy::Output), "{output:?}");
        assert_eq!(output.stdout.head.len() + output.stdout.tail.len(), 2_000);
        assert!(output.stdout.missing_bytes > 100_000);
        let output = run_with(walls, python("bytearray(1 << 30)"), vec![], small);
        assert!(output.stderr.text().contains("MemoryError"), "{output:?}");
    }
}

#[test]
fn memory_of_all_processes_counts_together() {
    // 12 processes of 40 MiB each stay below the limit of one, and above that of all.
    let code = "import os, time\n\
        for _ in range(12):\n\
        \x20   if os.fork() == 0:\n\
        \x20       block = bytearray(os.urandom(40 << 20))\n\
        \x20       time.sleep(20)\n\
        \x20       os._exit(0)\n\
        time.sleep(20)";
    let limits = Limits {
        memory_bytes: 200 << 20,
        ..limits(15_000)
    };
    let output = run_with(Walls::Namespaces, python(code), vec![], limits);
    assert_eq!(output.killed_by, Some(KilledBy::Memory), "{output:?}");
    assert!(output.usage.peak_memory_bytes > 200 << 20);
    // One second of filling by two processors is far more than what passes between two looks.
    assert!(output.usage.peak_memory_bytes < 500 << 20, "{output:?}");
}

#[test]
fn what_does_not_fit_is_refused_before_it_runs() {
    let refused = |spec: Spec| match wait(sandbox(Walls::Best).run(spec)) {
        Err(error @ SandboxError::Spec { .. }) => format!("{error}; {}", error.hint().unwrap()),
        other => panic!("{other:?}"),
    };
    let limits = Limits {
        files_bytes: 10,
        files: 2,
        ..Limits::default()
    };
    let spec = |code: String, files| Spec {
        program: javascript(&code),
        files,
        limits,
    };
    assert!(refused(spec(String::new(), vec![file("a", "12345678901")])).contains("do not fit"));
    let three = ["a", "b", "c"].map(|name| file(name, "")).to_vec();
    assert!(refused(spec(String::new(), three)).contains("3 files"));
    assert!(refused(spec(" ".repeat(2 << 20), vec![])).contains("1 MiB"));
}

fn is_running(argument: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let has = |path: std::path::PathBuf| {
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0)
            .any(|part| part == argument.as_bytes())
    };
    processes.map(|entry| entry.path()).any(has)
}

fn comes_true(what: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) {
        if what() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

#[test]
fn dropping_the_future_kills_what_runs() {
    for (walls, seconds) in [(Walls::Namespaces, "3591.1"), (Walls::Confined, "3591.2")] {
        let spec = Spec {
            program: command(&["/bin/sleep", seconds]),
            files: vec![],
            limits: limits(60_000),
        };
        let running = sandbox(walls).run(spec);
        assert!(comes_true(|| is_running(seconds)), "{walls:?}");
        drop(running);
        assert!(comes_true(|| !is_running(seconds)), "{walls:?}");
    }
}

#[test]
fn a_parent_that_is_killed_takes_everything_with_it() {
    for (walls, seconds) in [("namespaces", "3592.1"), ("confined", "3592.2")] {
        let mut parent = Command::new(common::LAUNCHER)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let request = serde_json::json!({
            "language": "command", "code": "", "argv": ["/bin/sleep", seconds], "walls": walls,
        });
        serde_json::to_writer(parent.stdin.take().unwrap(), &request).unwrap();
        assert!(comes_true(|| is_running(seconds)), "{walls:?}");
        parent.kill().unwrap(); // SIGKILL: it cannot clean up.
        parent.wait().unwrap();
        assert!(comes_true(|| !is_running(seconds)), "{walls:?}");
    }
}

/// Runs a request where the kernel lacks these system calls.
fn without(missing: &str, walls: &str) -> (Option<i32>, String, String) {
    let mut parent = Command::new(common::LAUNCHER)
        .args(["--without", missing, common::LAUNCHER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let request = serde_json::json!({"language": "javascript", "code": "1 + 1", "walls": walls});
    serde_json::to_writer(parent.stdin.take().unwrap(), &request).unwrap();
    let output = parent.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// The exit code of the stand-in when a feature is missing.
const MISSING: Option<i32> = Some(3);

#[test]
fn where_the_kernel_lacks_a_feature_nothing_runs() {
    for walls in ["best", "namespaces", "confined"] {
        let (code, stdout, stderr) = without("landlock_create_ruleset", walls);
        assert_eq!((code, stdout.as_str()), (MISSING, ""), "{stderr}");
        assert!(stderr.contains("no Landlock"), "{stderr}");
        assert!(stderr.contains("hint: use Linux"), "{stderr}");
        let (code, stdout, stderr) = without("seccomp", walls);
        assert_eq!((code, stdout.as_str()), (MISSING, ""), "{stderr}");
        assert!(stderr.contains("seccomp"), "{stderr}");
        let (code, stdout, stderr) = without("pidfd_open", walls);
        assert_ne!(code, Some(0), "{stderr}");
        assert_eq!(stdout, "");
    }
    for feature in ["unshare", "mount"] {
        let (code, stdout, stderr) = without(feature, "namespaces");
        assert_eq!((code, stdout.as_str()), (MISSING, ""), "{stderr}");
        assert!(stderr.contains("user.max_user_namespaces"), "{stderr}");
        let (code, stdout, stderr) = without(feature, "best");
        assert_eq!(code, Some(0), "{stderr}");
        assert!(
            stdout.contains("\"2\\n\"") && stdout.contains("Confined"),
            "{stdout}"
        );
    }
    let (code, _, stderr) = without("unshare,landlock_create_ruleset", "best");
    assert_eq!(code, MISSING);
    assert!(
        stderr.contains("namespaces") && stderr.contains("Landlock"),
        "{stderr}"
    );
    // Alone, Landlock must know how to forbid cutting files short.
    for (version, is_enough) in [(2, false), (3, true), (6, true)] {
        let sandbox = sandbox(Walls::Confined).with_landlock_at_most(version);
        assert_eq!(
            wait(sandbox.check()).is_ok(),
            is_enough,
            "Landlock {version}"
        );
    }
    let old = sandbox(Walls::Namespaces).with_landlock_at_most(1);
    assert_eq!(wait(old.check()).unwrap(), Isolation::Namespaces);
}

#[test]
fn a_program_that_is_not_there_is_named() {
    for walls in WALLS {
        let spec = Spec {
            program: command(&["/usr/bin/no-such-program"]),
            files: vec![],
            limits: Limits::default(),
        };
        let error = wait(sandbox(walls).run(spec)).unwrap_err();
        assert!(
            error.to_string().contains("/usr/bin/no-such-program"),
            "{error}"
        );
    }
    let error = k25_sandbox::Python::at("/bin/true".as_ref()).unwrap_err();
    assert!(error.to_string().contains("no Python 3"), "{error}");
    let sandbox = k25_sandbox::Sandbox::with_launcher("/no/such/launcher");
    let error = wait(sandbox.check()).unwrap_err();
    assert!(matches!(error, SandboxError::Launcher { .. }), "{error}");
}

#[test]
fn many_run_side_by_side() {
    let runs: Vec<_> = (0..40)
        .map(|n| {
            let spec = Spec {
                program: javascript(&format!("writeFile('n.txt', '{n}'); {n} * 2")),
                files: vec![],
                limits: Limits::default(),
            };
            sandbox(Walls::Best).run(spec)
        })
        .collect();
    for (n, running) in runs.into_iter().enumerate() {
        let output = wait(running).unwrap();
        assert_eq!(output.stdout.text(), format!("{}\n", n * 2));
        assert_eq!(output.files[0].bytes, n.to_string().into_bytes());
    }
}
