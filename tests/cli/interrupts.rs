//! Ctrl-C and SIGTERM during `sarm generate`: nothing is lost, and what is said goes on to the same file.
#![cfg(unix)]

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::program::{DD, Lab, SARM, assert_same};

const GENERATE: &str = "generate --model run/model.safetensors --seed 5 --first 10 --count 100000 --device cpu --json --out";

/// The program at work on `out`, some images safe.
fn at_work(lab: &Lab, out: &str) -> Child {
    let child = Command::new(SARM)
        .args(GENERATE.split(' '))
        .arg(out)
        .current_dir(lab.path("."))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let journal = lab.path(&format!("{out}.partial"));
    let begun = Instant::now();
    while fs::metadata(&journal).map_or(0, |m| m.len()) < 1000 {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never starts");
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

fn send(child: &Child, signal: i32) {
    // SAFETY: the child was started by this process and has not been waited for: its number is no other's.
    unsafe { libc::kill(child.id() as i32, signal) };
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_stopped_run_says_how_to_go_on() {
    let lab = Lab::trained(DD);
    lab.ok(&format!("{GENERATE} whole.h5 --quiet"));
    let wanted = lab.read("whole.h5");
    assert_eq!(wanted.images.len(), 100_000);
    for (signal, name, code) in [
        (libc::SIGINT, "Ctrl-C", 130),
        (libc::SIGTERM, "SIGTERM", 143),
    ] {
        let out = format!("{name}, it's.h5");
        let child = at_work(&lab, &out);
        send(&child, signal);
        let output = child.wait_with_output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(!lab.path(&out).exists());
        assert!(!lab.path(&format!("{out}.partial.h5")).exists());
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["ending"], "interrupted");
        let drawn = report["images_drawn"].as_u64().unwrap();
        assert!(drawn > 0 && drawn < 100_000);
        // The very command, through a shell.
        let (_, line) = said.split_once("go on with: ").unwrap();
        let last = said.lines().last().unwrap();
        assert!(
            last.starts_with(&format!("sarm: stopped by {name} after ")),
            "{said}"
        );
        let shell = Command::new("sh")
            .args(["-c", line])
            .current_dir(lab.path("."))
            .output()
            .unwrap();
        assert!(
            shell.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&shell.stderr)
        );
        let report: serde_json::Value = serde_json::from_slice(&shell.stdout).unwrap();
        assert_eq!(
            report["images_taken_over"], drawn,
            "every image drawn was kept"
        );
        assert_same(&lab.read(&out), &wanted, name);
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let lab = Lab::trained(DD);
    // The first may have done its work before the second comes.
    let mut at_once = false;
    for round in 0..20 {
        let out = format!("{round}.h5");
        let mut child = at_work(&lab, &out);
        send(&child, libc::SIGINT);
        while child.try_wait().unwrap().is_none() {
            send(&child, libc::SIGTERM);
        }
        let output = child.wait_with_output().unwrap();
        let code = output.status.code();
        assert!(matches!(code, Some(130 | 143)), "{code:?}");
        assert!(
            fs::metadata(lab.path(&format!("{out}.partial")))
                .unwrap()
                .len()
                > 1000
        );
        at_once = !said(&output).contains("stopped by") && output.stdout.is_empty();
        if at_once {
            lab.ok(&format!("{GENERATE} {out} --resume"));
            assert_eq!(lab.read(&out).images.len(), 100_000);
            break;
        }
    }
    assert!(at_once, "the second signal never ended it");
}
