//! What the tests of data files share: toy images and h5py.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use sarm::data::{ImageWriter, Layout, SparseImages, WriteOptions};

/// A Python that has h5py.
pub fn python() -> PathBuf {
    let local = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/venv/bin/python");
    let candidates = std::env::var_os("SARM_PYTHON").map(PathBuf::from);
    for python in candidates.into_iter().chain([local]) {
        let works = Command::new(&python)
            .args(["-c", "import h5py, numpy"])
            .output()
            .is_ok_and(|o| o.status.success());
        if works {
            return python;
        }
    }
    panic!("no Python with h5py: `make test` installs one, or name one in SARM_PYTHON");
}

/// Run a script with h5py and numpy imported and `path` set; its standard output.
pub fn h5py(path: &Path, script: &str) -> String {
    let head = "import sys, h5py, numpy as np\npath = sys.argv[1]\n";
    let output = Command::new(python())
        .arg("-c")
        .arg(format!("{head}{script}"))
        .arg(path)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Pixel `p` of toy image `i`, GeV; about one in five is nonzero and image 3 is empty.
pub fn pixel(i: usize, p: usize) -> f32 {
    let hash = (i * 7919 + p * 104_729 + i * p) % 1000;
    match i != 3 && hash.is_multiple_of(5) {
        true => hash as f32 / 8.0 + 0.125,
        false => 0.0,
    }
}

/// The same in Python: `pixels(n, h, w)`.
pub const PIXELS: &str = "
def pixels(n, h, w):
    i = np.arange(n)[:, None]; p = np.arange(h * w)[None, :]
    s = (i * 7919 + p * 104729 + i * p) % 1000
    v = np.where((i != 3) & (s % 5 == 0), s / 8 + 0.125, 0)
    return v.reshape(n, h, w)
";

/// Toy images.
pub fn toy(count: usize, height: usize, width: usize) -> SparseImages {
    let mut images = SparseImages::new(height, width).unwrap();
    for i in 0..count {
        let all: Vec<f32> = (0..height * width).map(|p| pixel(i, p)).collect();
        images.push_dense(&all);
    }
    images
}

/// Quantities of toy images.
pub fn toy_columns(count: usize) -> BTreeMap<String, Vec<f32>> {
    let numbers = |f: fn(usize) -> f32| (0..count).map(f).collect::<Vec<f32>>();
    BTreeMap::from([
        ("signal".to_string(), numbers(|i| (i % 2) as f32)),
        ("jet_pt".to_string(), numbers(|i| 250.0 + i as f32 / 10.0)),
    ])
}

/// Write toy images.
pub fn write_toy(path: &Path, layout: Layout, count: usize, height: usize, width: usize) {
    let options = WriteOptions {
        layout,
        height,
        width,
        ..Default::default()
    };
    let mut writer = ImageWriter::create(path, &options).unwrap();
    writer
        .append(&toy(count, height, width), &toy_columns(count))
        .unwrap();
    writer.finish().unwrap();
}
