//! The program through its binary, and a small place to work in.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use assert_cmd::Command;
use sarm::data::{Dataset, Layout, ReadOptions, SparseImages, WriteOptions, read, write};
use sarm::synthetic;

/// The program's file.
pub const SARM: &str = env!("CARGO_BIN_EXE_sarm");

/// A small D+C model.
pub const DC: &str = "
stage = [{square = 3, units_per_pixel = 2, layers = 1}, {layers = 1}]
[likelihood]
kind = 'dc'
components = 2
[train]
epochs = 2
batch = 32
learning_rate = 1e-3
validation = 0.1
";

/// The same with D+D.
pub const DD: &str = "
[[stage]]
layers = 1
[likelihood]
kind = 'dd'
latents = 4
levels = 20
[train]
epochs = 1
batch = 32
validation = 0.1
";

/// Text of `DC` with two conditions.
pub fn conditioned() -> String {
    format!("{DC}[condition]\nnames = ['signal', 'jet_pt']\n")
}

/// A directory that goes away with this value.
pub struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    /// An empty one.
    pub fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    /// One with `data.h5`: 300 images of 7 x 7 with `signal` and `jet_pt`.
    pub fn new() -> Self {
        let lab = Self::empty();
        write_images(&lab.path("data.h5"), 300, 7, 1, &[]);
        lab
    }

    /// One with data, and a model of configuration `toml` in `run/`.
    pub fn trained(toml: &str) -> Self {
        let lab = Self::new();
        lab.file("config.toml", toml);
        lab.ok("train --quiet --data data.h5 --config config.toml --out run");
        lab
    }

    /// Where `name` lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Write a file.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// The program, started in this directory with the words of `line`.
    pub fn sarm(&self, line: &str) -> Command {
        let mut command = Command::new(SARM);
        command
            .args(line.split_whitespace())
            .current_dir(self.dir.path())
            .timeout(Duration::from_secs(120));
        command
    }

    /// Run a line that must succeed.
    pub fn ok(&self, line: &str) -> Output {
        self.sarm(line).assert().success().get_output().clone()
    }

    /// Standard output of a line that must succeed, as JSON.
    pub fn json(&self, line: &str) -> serde_json::Value {
        let output = self.ok(line);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{line}: {e}"))
    }

    /// The error of a line that must fail with one line on stderr, nothing on stdout and exit code 1.
    pub fn fails(&self, line: &str) -> String {
        one_error(line, &self.sarm(line).output().unwrap())
    }

    /// [`fails`](Self::fails), the error holding all `words`, and nothing new or changed in the directory.
    pub fn refuses(&self, line: &str, words: &[&str]) {
        let before = self.snapshot();
        let error = self.fails(line);
        for word in words {
            assert!(error.contains(word), "{line}: no '{word}' in: {error}");
        }
        assert_eq!(self.snapshot(), before, "{line}: {error}");
    }

    /// Every file below the directory, with its content.
    fn snapshot(&self) -> BTreeMap<PathBuf, Option<u32>> {
        let mut found = BTreeMap::new();
        let mut open = vec![self.dir.path().to_path_buf()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let content = fs::read(&path).ok().map(|b| crc32fast::hash(&b));
                if path.is_dir() {
                    open.push(path.clone());
                }
                found.insert(path, content);
            }
        }
        found
    }

    /// Names in a directory below, sorted.
    pub fn names(&self, directory: &str) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path(directory))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Images and all columns of a data file.
    pub fn read(&self, name: &str) -> Dataset {
        content(&self.path(name))
    }
}

/// The single line of an error.
pub fn one_error(line: &str, output: &Output) -> String {
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{line}: {error}");
    assert_eq!(error.lines().count(), 1, "{line}: {error}");
    assert!(error.starts_with("sarm: "), "{line}: {error}");
    assert!(error.ends_with('\n'), "{line}: {error}");
    assert!(output.stdout.is_empty(), "{line}: data beside an error");
    error
}

/// Images and all columns of a data file.
pub fn content(path: &Path) -> Dataset {
    let about = sarm::data::describe(path).unwrap();
    let pixels = ["image", "indptr", "index", "value"];
    let columns = about
        .datasets
        .iter()
        .map(|d| d.name.clone())
        .filter(|n| !pixels.contains(&n.as_str()))
        .collect();
    let options = ReadOptions {
        columns,
        ..Default::default()
    };
    read(path, &options).unwrap()
}

/// A per-row data set of a file without images.
pub fn column(path: &Path, name: &str) -> Vec<f64> {
    let file = hdf5::File::open(path).unwrap();
    file.dataset(name).unwrap().read_raw().unwrap()
}

/// Whether two files hold the same images and columns.
pub fn assert_same(found: &Dataset, wanted: &Dataset, what: &str) {
    assert!(found.images == wanted.images, "{what}: images differ");
    assert!(found.columns == wanted.columns, "{what}: columns differ");
}

/// Random images with `signal` and `jet_pt`; `pixels` are put in: (image, row-major place, GeV).
pub fn write_images(
    path: &Path,
    count: usize,
    side: usize,
    seed: u64,
    pixels: &[(usize, usize, f32)],
) {
    let random = synthetic::images(side, side, count, seed, 0.2).unwrap();
    let mut images = SparseImages::new(side, side).unwrap();
    let mut dense = vec![0.0; side * side];
    for i in 0..count {
        random.dense_into(i, &mut dense);
        for (_, place, value) in pixels.iter().filter(|p| p.0 == i) {
            dense[*place] = *value;
        }
        images.push_dense(&dense);
    }
    let numbers = |f: fn(usize) -> f32| (0..count).map(f).collect::<Vec<f32>>();
    let columns = BTreeMap::from([
        ("signal".to_string(), numbers(|i| (i % 2) as f32)),
        ("jet_pt".to_string(), numbers(|i| 250.0 + (i % 50) as f32)),
    ]);
    let options = WriteOptions {
        layout: Layout::Dense,
        height: side,
        width: side,
        ..Default::default()
    };
    // Children that other tests start meanwhile inherit HDF5's file, and its lock with it: a copy has none.
    let locked = path.with_extension("locked");
    write(&locked, &images, &columns, &options).unwrap();
    fs::copy(&locked, path).unwrap();
    fs::remove_file(&locked).unwrap();
}
