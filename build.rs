//! Packs the models that come with the program, and compiles `kernels/{common,sarm,vae}/*.cu` for the feature `cuda`.
//!
//! A model, `models/*.safetensors`, becomes `OUT_DIR/*.deflated` for `src/run/pretrained.rs`: all bytes of even places, then all of odd
//! places, deflated. Signs and exponents of its weights lie together then, and take a third less room.
//!
//! Each kernel file becomes one fat binary (machine code for sm_80 and sm_90a, PTX for newer cards), which
//! `src/device/cuda/driver/images.rs` embeds by way of the table written here. A file is compiled again
//! when it, a header that it includes, nvcc or a flag has changed. What ptxas says of registers, spills
//! and shared memory goes into `resources.csv` beside the binaries, for `tests/cuda/budget.rs`.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs};

use flate2::Compression;
use flate2::write::DeflateEncoder;

/// Oldest nvcc that is used. Also the first whose driver tells the size of a kernel's parameter.
const OLDEST: (u32, u32) = (12, 4);

/// Folders of kernel files: what any family may use, and each family's own.
const FOLDERS: [&str; 3] = ["common", "sarm", "vae"];

/// The kernel files, `kernels/<name>.cu`. A list, and not what the folders hold: cargo runs this again for what it
/// watches, which is files, and a folder's new file is none yet. `tests/cuda/budget.rs` fails on a file that is not listed.
const SOURCES: [&str; 24] = [
    "common/compact",
    "common/constants",
    "common/contract",
    "common/convolution",
    "common/convolution_update",
    "common/convolution_weights",
    "common/rates",
    "common/step",
    "sarm/constants",
    "sarm/gather",
    "sarm/left",
    "sarm/levels",
    "sarm/masked_linear_forward",
    "sarm/masked_linear_input",
    "sarm/masked_linear_weights",
    "sarm/mixture",
    "sarm/sample",
    "vae/classifier",
    "vae/codes",
    "vae/features",
    "vae/gather",
    "vae/latent",
    "vae/loss",
    "vae/pixels",
];

/// Machine code for A100 and H100 (`a`: all of Hopper's instructions), PTX for what comes later.
const FLAGS: [&str; 10] = [
    "--fatbin",
    // Of one folder in another: "common/device.cuh".
    "-Ikernels",
    "-O3",
    "-std=c++17",
    "-lineinfo",
    "-Xptxas=-v,-warn-spills",
    "-MD",
    "-gencode=arch=compute_80,code=sm_80",
    "-gencode=arch=compute_90a,code=sm_90a",
    "-gencode=arch=compute_90,code=compute_90",
];

/// The models that come with the program, `models/<name>.safetensors`.
const MODELS: [&str; 2] = ["jets", "muons"];

fn pack_models() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for name in MODELS {
        let path = format!("models/{name}.safetensors");
        println!("cargo::rerun-if-changed={path}");
        let bytes = fs::read(&path).unwrap_or_else(|e| panic!("cannot read {path} ({e})"));
        let file = fs::File::create(out.join(format!("{name}.deflated")));
        let mut deflated = DeflateEncoder::new(
            file.unwrap_or_else(|e| panic!("cannot write to OUT_DIR ({e})")),
            Compression::best(),
        );
        for start in 0..2 {
            let plane: Vec<u8> = bytes.iter().skip(start).step_by(2).copied().collect();
            deflated
                .write_all(&plane)
                .unwrap_or_else(|e| panic!("cannot write to OUT_DIR ({e})"));
        }
        deflated
            .finish()
            .unwrap_or_else(|e| panic!("cannot write to OUT_DIR ({e})"));
    }
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    pack_models();
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    for variable in ["NVCC", "CUDA_HOME", "CUDA_PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    if let Err(problem) = build() {
        // A line at a time: cargo ends a message at the end of its line.
        for line in problem.lines() {
            println!("cargo::error={line}");
        }
    }
}

fn build() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let nvcc = find_nvcc()?;
    // A path that is no file would have cargo run this every time.
    if nvcc.path.is_file() {
        println!("cargo::rerun-if-changed={}", nvcc.path.display());
    }
    let sources = SOURCES.map(|name| Path::new("kernels").join(format!("{name}.cu")));
    watch(&sources)?;

    let jobs: usize = env::var("NUM_JOBS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    let next = AtomicUsize::new(0);
    let problems = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, sources.len().max(1)) {
            scope.spawn(|| {
                while let Some(source) = sources.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(problem) = compile(&nvcc, source, &out)
                        && let Ok(mut problems) = problems.lock()
                    {
                        problems.push(problem);
                    }
                }
            });
        }
    });
    let problems = problems.into_inner().unwrap_or_default();
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    tables(&nvcc, &sources, &out)
}

/// Have cargo run this again when a kernel file or a header beside it changes. A header that is new comes with an
/// edit of a file that includes it.
fn watch(sources: &[PathBuf]) -> Result<(), String> {
    let of_cuda = |path: &PathBuf| path.extension().is_some_and(|x| x == "cu" || x == "cuh");
    let mut files = BTreeSet::new();
    for folder in FOLDERS.map(|name| Path::new("kernels").join(name)) {
        let here =
            fs::read_dir(&folder).map_err(|e| format!("cannot read {} ({e})", folder.display()))?;
        files.extend(here.flatten().map(|e| e.path()).filter(of_cuda));
    }
    for path in sources.iter().chain(&files) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    let listed =
        |path: &&PathBuf| sources.contains(path) || path.extension().is_some_and(|x| x == "cuh");
    match files.iter().find(|path| !listed(path)) {
        Some(path) => Err(format!(
            "{} is not in SOURCES of build.rs: add it",
            path.display()
        )),
        None => Ok(()),
    }
}

struct Nvcc {
    path: PathBuf,
    version: (u32, u32),
    /// `V13.0.88`
    release: String,
}

/// The compiler: the one that NVCC names, or the first on the usual ways that is new enough.
fn find_nvcc() -> Result<Nvcc, String> {
    const REMEDY: &str = "run `make cuda`, which brings one, or set NVCC or CUDA_HOME, or build without --features cuda";
    if let Some(path) = env::var_os("NVCC").filter(|p| !p.is_empty()) {
        const NAMED: &str = "unset NVCC or name another";
        let nvcc = version_of(Path::new(&path)).map_err(|e| format!("NVCC: {e}; {NAMED}"))?;
        return match nvcc.version < OLDEST {
            true => Err(format!("NVCC: {}; {NAMED}", too_old(&nvcc))),
            false => Ok(nvcc),
        };
    }
    let homes = ["CUDA_HOME", "CUDA_PATH"]
        .iter()
        .filter_map(env::var_os)
        .map(|home| PathBuf::from(home).join("bin/nvcc"));
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = env::split_paths(&path).map(|d| d.join("nvcc")).collect();
    let usual = ["/usr/local/cuda/bin/nvcc", ".cuda/toolkit/bin/nvcc"].map(PathBuf::from);
    let mut seen = Vec::new();
    for candidate in homes.chain(on_path).chain(usual).filter(|p| p.is_file()) {
        match version_of(&candidate) {
            Ok(nvcc) if nvcc.version >= OLDEST => return Ok(nvcc),
            Ok(nvcc) => seen.push(too_old(&nvcc)),
            Err(problem) => seen.push(problem),
        }
    }
    match seen.first() {
        None => Err(format!("the CUDA compiler nvcc was not found; {REMEDY}")),
        Some(problem) => Err(format!("{problem}; {REMEDY}")),
    }
}

fn too_old(nvcc: &Nvcc) -> String {
    let ((major, minor), (a, b)) = (nvcc.version, OLDEST);
    let path = nvcc.path.display();
    format!("{path} is CUDA {major}.{minor} (needed is {a}.{b} or newer)")
}

fn version_of(path: &Path) -> Result<Nvcc, String> {
    let output = Command::new(path)
        .arg("--version")
        .output()
        .map_err(|e| format!("cannot run {} ({e})", path.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    // .. release 13.0, V13.0.88
    let release = text
        .split_whitespace()
        .find(|w| w.starts_with('V') && w[1..].starts_with(|c: char| c.is_ascii_digit()));
    let numbers: Option<Vec<u32>> =
        release.and_then(|r| r[1..].split('.').map(|n| n.parse().ok()).collect());
    match (release, numbers.as_deref()) {
        (Some(release), Some([major, minor, ..])) => Ok(Nvcc {
            path: path.to_path_buf(),
            version: (*major, *minor),
            release: release.into(),
        }),
        _ => Err(format!(
            "{} does not say its version (is it nvcc?)",
            path.display()
        )),
    }
}

/// Compile one file unless what was compiled before is still true.
fn compile(nvcc: &Nvcc, source: &Path, out: &Path) -> Result<(), String> {
    let stem = stem(source);
    let file = |extension: &str| out.join(format!("{stem}.{extension}"));
    let compiler = format!("{} {} {FLAGS:?}", nvcc.path.display(), nvcc.release);
    let before = fs::read_to_string(file("stamp")).unwrap_or_default();
    if file("fatbin").is_file() && !before.is_empty() {
        let known = before.lines().filter_map(|line| line.split_once('\t'));
        let files: Vec<PathBuf> = known.map(|(_, path)| path.into()).collect();
        if stamp(&compiler, &files) == before {
            return Ok(());
        }
    }
    // Absent while it is being made: an interrupted build starts over.
    let _ = fs::remove_file(file("stamp"));
    let output = Command::new(&nvcc.path)
        .args(FLAGS)
        .arg("-MF")
        .arg(file("d"))
        .arg("-o")
        .arg(file("fatbin"))
        .arg(source)
        .output()
        .map_err(|e| format!("cannot run {} ({e})", nvcc.path.display()))?;
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("nvcc failed on {}:\n{said}", source.display()));
    }
    for line in said.lines().filter(|line| line.contains("warning")) {
        println!("cargo::warning={line}");
    }
    let write = |extension: &str, text: &str| {
        fs::write(file(extension), text).map_err(|e| format!("cannot write to OUT_DIR ({e})"))
    };
    write("ptxas.txt", &said)?;
    let rule = fs::read_to_string(file("d")).unwrap_or_default();
    write("stamp", &stamp(&compiler, &dependencies(&rule, source)))
}

/// What a kernel file is called: `sarm/mixture`.
fn name(source: &Path) -> String {
    let inside = source.strip_prefix("kernels").unwrap_or(source);
    inside.with_extension("").to_string_lossy().into()
}

/// What files made of it are called: `sarm-mixture`.
fn stem(source: &Path) -> String {
    name(source).replace('/', "-")
}

/// The files of this project that a make rule names as prerequisites, and `source` itself.
fn dependencies(rule: &str, source: &Path) -> Vec<PathBuf> {
    let here = env::current_dir().unwrap_or_default();
    let prerequisites = rule.split_once(" :").or(rule.split_once(':'));
    let mut files: Vec<PathBuf> = prerequisites
        .map_or("", |(_, files)| files)
        .split_whitespace()
        .filter(|word| *word != "\\")
        .map(PathBuf::from)
        // The toolkit's own headers change with nvcc's release.
        .filter(|path| path.starts_with("kernels") || path.starts_with(here.join("kernels")))
        .chain([source.to_path_buf()])
        .collect();
    files.sort();
    files.dedup();
    files
}

/// The compiler and the contents of `files`, one line each.
fn stamp(compiler: &str, files: &[PathBuf]) -> String {
    let mut text = format!("{compiler}\n");
    for path in files {
        let mut hash = DefaultHasher::new();
        fs::read(path).unwrap_or_default().hash(&mut hash);
        let _ = writeln!(text, "{:016x}\t{}", hash.finish(), path.display());
    }
    text
}

/// What ptxas reports of one kernel on one architecture.
#[derive(Default)]
struct Resources {
    kernel: String,
    architecture: String,
    registers: u32,
    stack: u32,
    spill_stores: u32,
    spill_loads: u32,
    shared: u32,
}

/// The report of `ptxas -v`, kernel by kernel.
fn resources(report: &str) -> Vec<Resources> {
    let mut found: Vec<Resources> = Vec::new();
    let before = |line: &str, what: &str| -> u32 {
        let number = line.split(what).next().unwrap_or("").split_whitespace();
        number.last().and_then(|n| n.parse().ok()).unwrap_or(0)
    };
    for line in report.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let mut words = rest.split('\'');
            let kernel = words.next().unwrap_or("").into();
            let architecture = words.nth(1).unwrap_or("").into();
            found.push(Resources {
                kernel,
                architecture,
                ..Resources::default()
            });
        } else if let Some(last) = found.last_mut() {
            if line.contains("bytes stack frame") {
                last.stack = before(line, " bytes stack frame");
                last.spill_stores = before(line, " bytes spill stores");
                last.spill_loads = before(line, " bytes spill loads");
            } else if line.contains(" registers") {
                last.registers = before(line, " registers");
                if line.contains(" bytes smem") {
                    last.shared = before(line, " bytes smem");
                }
            }
        }
    }
    found
}

/// Write `kernels.rs`, the table of images that the driver loads, and `resources.csv`.
fn tables(nvcc: &Nvcc, sources: &[PathBuf], out: &Path) -> Result<(), String> {
    let (major, minor) = nvcc.version;
    let mut table = format!(
        "/// Release of CUDA that compiled the kernels.\npub const TOOLKIT: (u32, u32) = ({major}, {minor});\n\
         /// Kernel files: name, fat binary, kernels in it.\npub static IMAGES: &[Image] = &[\n"
    );
    let mut csv = format!(
        "# nvcc {}\nkernel,architecture,registers,spill_stores,spill_loads,stack,shared\n",
        nvcc.release
    );
    let (mut rows, mut all) = (Vec::new(), HashSet::new());
    for source in sources {
        let (name, stem) = (name(source), stem(source));
        let report = fs::read_to_string(out.join(format!("{stem}.ptxas.txt"))).unwrap_or_default();
        let found = resources(&report);
        let mut kernels: Vec<String> = found.iter().map(|r| r.kernel.clone()).collect();
        kernels.sort_unstable();
        kernels.dedup();
        // The engine finds a kernel by its name alone.
        if let Some(twice) = kernels.iter().find(|k| all.contains(*k)) {
            return Err(format!(
                "kernel {twice} of {} is also in another file",
                source.display()
            ));
        }
        all.extend(kernels.iter().cloned());
        if kernels.is_empty() {
            return Err(format!("{} holds no kernel", source.display()));
        }
        let _ = writeln!(
            table,
            "    Image {{ name: {name:?}, kernels: &{kernels:?}, bytes: &Aligned(*include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{stem}.fatbin\"))).0 }},"
        );
        rows.extend(found.iter().map(|r| {
            format!(
                "{},{},{},{},{},{},{}\n",
                r.kernel,
                r.architecture,
                r.registers,
                r.spill_stores,
                r.spill_loads,
                r.stack,
                r.shared
            )
        }));
    }
    table += "];\n";
    rows.sort();
    csv += &rows.concat();
    for (name, text) in [("kernels.rs", table), ("resources.csv", csv)] {
        fs::write(out.join(name), text).map_err(|e| format!("cannot write {name} ({e})"))?;
    }
    Ok(())
}
