//! An imitation of NVIDIA's driver for child processes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder of the imitation's library, compiled once for this test: what `LD_LIBRARY_PATH` must name.
pub fn folder() -> PathBuf {
    static ONCE: OnceLock<PathBuf> = OnceLock::new();
    ONCE.get_or_init(|| compiled("imitation", &[])).clone()
}

/// The same of a driver of CUDA 12.4, which lacks what came later.
pub fn older_folder() -> PathBuf {
    static ONCE: OnceLock<PathBuf> = OnceLock::new();
    let make = || compiled("imitation-12.4", &["-DIMITATION_OF_12_4"]);
    ONCE.get_or_init(make).clone()
}

fn compiled(name: &str, flags: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(env!("CARGO_CRATE_NAME"))
        .join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda/driver/libcuda.cpp");
    let done = Command::new(compiler)
        .args(["-std=c++17", "-O1", "-shared", "-fPIC"])
        .args(flags)
        .arg("-o")
        .arg(folder.join("libcuda.so"))
        .arg(source)
        .arg("-ldl")
        .status();
    assert!(done.unwrap().success());
    folder
}

#[test]
#[ignore = "prints where the imitation and the emulated kernels lie, which scripts/gpu-rehearsal asks for"]
fn places_of_the_imitation() {
    use crate::emulation::build::{Instrumentation, PROJECT, library};
    println!("imitation {}", folder().display());
    println!(
        "kernels {}",
        library(&PROJECT, Instrumentation::None).display()
    );
}
