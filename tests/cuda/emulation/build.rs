//! Builds the kernels and their emulation with the host's C++ compiler, once for all test processes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

/// What is compiled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instrumentation {
    /// Optimised code.
    None,
    /// Address and undefined-behaviour sanitizers; the process must have been started with libasan loaded first.
    Sanitizers,
    /// ThreadSanitizer, which looks for races; likewise with libtsan.
    Races,
}

/// Options for every file. Kernels reinterpret vectors and pairs of bf16 as nvcc lets them.
const COMMON: &[&str] = &[
    "-std=c++17",
    "-fPIC",
    "-fno-strict-aliasing",
    "-ffp-contract=off",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
    "-Wno-unknown-pragmas",
];

/// The folders of `kernels/` that nvcc compiles too.
pub const PROJECT: [&str; 3] = ["common", "sarm", "vae"];

impl Instrumentation {
    /// What asks for it in the environment.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sanitizers => "addresses",
            Self::Races => "races",
        }
    }

    /// The one that has this word.
    pub fn of(word: &str) -> Self {
        let mut all = [Self::None, Self::Sanitizers, Self::Races].into_iter();
        all.find(|one| one.word() == word)
            .unwrap_or_else(|| panic!("no instrumentation is called {word}"))
    }

    /// Options for every file.
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::None => &["-O2", "-g1"],
            Self::Races => &["-O1", "-g1", "-DSARM_EMULATION_RACES=1"],
            Self::Sanitizers => &[
                "-O1",
                "-g1",
                "-fno-omit-frame-pointer",
                "-fsanitize=address,undefined",
                "-fno-sanitize-recover=all",
            ],
        }
    }

    /// More for kernels and the link: the emulation must order nothing (`kernels/emulation/races.h`).
    fn of_kernels(self) -> &'static [&'static str] {
        match self {
            Self::None | Self::Sanitizers => &[],
            Self::Races => &["-fsanitize=thread"],
        }
    }
}

/// The C++ compiler, with arguments if CXX has any.
pub fn compiler() -> Command {
    let words = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let mut words = words.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or("c++"));
    command.args(words);
    // The sanitizers' child asks for its version; a compiler under sanitizers itself would take long.
    command.env_remove("LD_PRELOAD");
    command
}

/// Files of `folder` that end in one of `extensions`, in the order of their names.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|e| panic!("cannot list {}: {e}", folder.display()));
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let extension = path.extension().and_then(|e| e.to_str());
            extension.is_some_and(|e| extensions.contains(&e))
        })
        .collect();
    found.sort();
    found
}

fn run(command: &mut Command) {
    let shown = format!("{command:?}");
    let output = command.output().unwrap_or_else(|e| {
        panic!("cannot run {shown} ({e}): the kernel tests need a C++17 compiler, Debian's package g++, or the path of one in CXX")
    });
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}\n{messages}");
    if !messages.is_empty() {
        eprintln!("{messages}");
    }
}

/// The shared library of the emulation and of every `.cu` in `kernels`, folders of `kernels/`.
pub fn library(kernels: &[&str], instrumentation: Instrumentation) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let extra = std::env::var("SARM_EMULATION_FLAGS").unwrap_or_default();
    let mut flags: Vec<&str> = COMMON.to_vec();
    flags.extend(instrumentation.flags());
    flags.extend(extra.split_whitespace());

    // An object's name is a digest of all that it is made of.
    let mut common = Sha256::new();
    common.update(format!(
        "{:?} {flags:?} {:?}",
        compiler(),
        instrumentation.of_kernels()
    ));
    let version = compiler().arg("--version").output();
    common.update(version.map(|output| output.stdout).unwrap_or_default());
    let with = |mut digest: Sha256, files: &[PathBuf]| {
        for file in files {
            digest.update(file.to_str().unwrap());
            digest.update(fs::read(file).unwrap());
        }
        digest
    };
    let emulation = root.join("emulation");
    for folder in PROJECT {
        common = with(common, &files(&root.join(folder), &["cuh"]));
    }
    common = with(common, &files(&emulation, &["h"]));

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulation");
    fs::create_dir_all(&folder).unwrap();
    // Test processes run side by side: one builds, the others wait and find it built.
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();

    let mut all = Sha256::new();
    let mut missing = Vec::new();
    let mut objects = Vec::new();
    let mut add = |source: PathBuf, digest: &Sha256| {
        let key = with(digest.clone(), std::slice::from_ref(&source)).finalize();
        all.update(key);
        let stem = source.file_stem().unwrap().to_str().unwrap();
        let object = folder.join(format!("{stem}-{}.o", &format!("{key:x}")[..16]));
        if !object.exists() {
            missing.push((source, object.clone()));
        }
        objects.push(object);
    };
    for source in files(&emulation, &["cpp"]) {
        add(source, &common);
    }
    for place in kernels {
        let place = root.join(place);
        let digest = with(common.clone(), &files(&place, &["h"]));
        for source in files(&place, &["cu"]) {
            add(source, &digest);
        }
    }
    let library = folder.join(format!(
        "kernels-{}.so",
        &format!("{:x}", all.finalize())[..16]
    ));
    if library.exists() {
        return library;
    }
    compile(&missing, (&flags, instrumentation), &root);
    let partial = library.with_extension("partial");
    let mut link = compiler();
    link.args(&flags).args(instrumentation.of_kernels());
    link.arg("-shared").args(&objects);
    run(link.arg("-o").arg(&partial));
    fs::rename(&partial, &library).unwrap();
    library
}

/// Compile each source to its object, as many at a time as there are processors.
fn compile(
    missing: &[(PathBuf, PathBuf)],
    (flags, instrumentation): (&[&str], Instrumentation),
    root: &Path,
) {
    use rayon::prelude::*;
    missing.par_iter().for_each(|(source, object)| {
        let partial = object.with_extension("partial");
        let mut compile = compiler();
        compile.args(flags).arg("-I").arg(root);
        if source.extension().is_some_and(|e| e == "cu") {
            compile.args(instrumentation.of_kernels());
        }
        compile.args(["-x", "c++", "-c"]).arg(source);
        run(compile.arg("-o").arg(&partial));
        fs::rename(&partial, object).unwrap();
    });
}
