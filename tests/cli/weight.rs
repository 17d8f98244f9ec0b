//! What the program weighs once it is stripped, models included, and how soon it answers.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sarm");

/// Bytes. Measured: 24.8 million of the release profile, of which the models are 6.8; 59.1 million of the tests' profile, which
/// compiles most dependencies without optimising them.
const MOST: u64 = if cfg!(debug_assertions) {
    60_000_000
} else {
    25_000_000
};

/// What is asked of `--version`. The least of several runs is compared, since other tests run beside this one.
const SOON: Duration = Duration::from_millis(20);

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// As `make build` does it.
#[test]
fn stripped_it_is_small_and_its_debug_information_lies_beside() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("sarm");
    std::fs::copy(PROGRAM, &program).unwrap();
    let strip = || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/strip");
        assert!(
            Command::new(script)
                .arg(&program)
                .status()
                .unwrap()
                .success()
        );
    };
    strip();
    let debug = folder.path().join("sarm.debug");
    let (weight, beside) = (size(&program), size(&debug));
    // What is built with CUDA holds the kernels for three architectures besides.
    if cfg!(not(feature = "cuda")) {
        assert!(weight < MOST, "{weight} bytes, {MOST} are allowed");
    }
    assert_eq!(
        version(&program),
        format!("sarm {}\n", env!("CARGO_PKG_VERSION"))
    );
    let sections = Command::new("readelf")
        .arg("-SW")
        .arg(&debug)
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&sections.stdout).contains(".debug_line"));
    // A second time changes nothing: neither file is stripped again.
    strip();
    assert_eq!((size(&program), size(&debug)), (weight, beside));
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 2);
}

#[test]
fn it_says_its_version_at_once() {
    let least = (0..20).map(|_| {
        let start = Instant::now();
        version(Path::new(PROGRAM));
        start.elapsed()
    });
    let least = least.min().unwrap();
    assert!(least < SOON, "{least:?}");
}
