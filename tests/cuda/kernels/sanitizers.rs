//! The tests once more in a child process, in which sanitizers watch the kernels: addresses and undefined behaviour, or races.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::emulation::SANITIZED;
use crate::emulation::build::{self, Instrumentation};

/// How a child ended.
#[derive(Debug)]
pub struct Outcome {
    pub passed: bool,
    pub output: String,
}

/// The shared library of the compiler's run-time named `name`.
fn runtime(name: &str) -> PathBuf {
    let mut ask = build::compiler();
    ask.arg(format!("-print-file-name={name}"));
    let output = ask
        .output()
        .unwrap_or_else(|e| panic!("cannot run {ask:?} ({e})"));
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    assert!(
        path.is_absolute(),
        "{ask:?} finds no {name}, the sanitizers' run-time: install it (Debian: libgcc-12-dev or the like, which comes with g++; Fedora: libasan, libubsan and libtsan), or name a g++ that has it in CXX",
    );
    library(&path)
}

/// `path`, or the library that it names where it is a linker script: `INPUT ( /usr/lib64/libasan.so.8 )`.
fn library(path: &Path) -> PathBuf {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    if bytes.starts_with(b"\x7fELF") {
        return path.to_path_buf();
    }
    let text = String::from_utf8_lossy(&bytes);
    let named = text.split_whitespace().find(|word| word.starts_with('/'));
    PathBuf::from(named.unwrap_or_else(|| panic!("{} names no library", path.display())))
}

/// Run the test called `test` of this program alone, in a process of its own with `environment`.
pub fn child(test: &str, environment: &[(&str, &str)]) -> Outcome {
    run(
        &mut Command::new(std::env::current_exe().unwrap()),
        test,
        environment,
    )
}

fn run(program: &mut Command, test: &str, environment: &[(&str, &str)]) -> Outcome {
    let output = program
        .args([test, "--exact", "--include-ignored", "--nocapture"])
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let bytes = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Outcome {
        // A name that no test has would pass as well.
        passed: output.status.success() && text.contains("1 passed"),
        output: text,
    }
}

/// The same with the kernels of `folders` under sanitizers.
pub fn watched(test: &str, folders: &[&str], environment: &[(&str, &str)]) -> Outcome {
    runtime("libubsan.so");
    // Here and not in the child, where the compiler would be watched too.
    build::library(folders, Instrumentation::Sanitizers);
    let first = runtime("libasan.so");
    let mut all = vec![
        ("LD_PRELOAD", first.to_str().unwrap()),
        (SANITIZED, Instrumentation::Sanitizers.word()),
        // Leaks are not looked for: the test program itself ends with its threads' caches in place.
        ("ASAN_OPTIONS", "detect_leaks=0"),
        ("UBSAN_OPTIONS", "print_stacktrace=1"),
    ];
    all.extend(environment);
    child(test, &all)
}

/// The same where races are looked for. A report ends the child with an error, after all of its work.
pub fn raced(test: &str, folders: &[&str], environment: &[(&str, &str)]) -> Outcome {
    build::library(folders, Instrumentation::Races);
    let first = runtime("libtsan.so");
    let mut all = vec![
        ("LD_PRELOAD", first.to_str().unwrap()),
        (SANITIZED, Instrumentation::Races.word()),
        // What this program copies into memory, and the emulation by itself, is none of the kernels' doing.
        (
            "TSAN_OPTIONS",
            "ignore_interceptors_accesses=1 report_thread_leaks=0 exitcode=66",
        ),
    ];
    all.extend(environment);
    let mut program = Command::new(std::env::current_exe().unwrap());
    // SAFETY: one call of the system, between fork and exec.
    unsafe {
        program.pre_exec(|| {
            // libtsan of gcc 12 knows no other places for a program than the usual ones, which random layouts leave. Where this is not
            // allowed it may still work.
            let before = libc::personality(0xffff_ffff);
            libc::personality(before as libc::c_ulong | libc::ADDR_NO_RANDOMIZE as libc::c_ulong);
            Ok(())
        });
    }
    run(&mut program, test, &all)
}
