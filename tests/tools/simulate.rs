//! `tools/simulate` without Pythia: the mathematics of the images, and the driver with a fake event program.
//! What needs Pythia is checked by `make simulate-test`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::h5::{h5py, python};
use sarm::data::{ReadOptions, read};
use sarm::physics::Geometry;
use tempfile::TempDir;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The C++ test program, compiled with the system's compiler.
fn image_test(dir: &Path) -> PathBuf {
    let program = dir.join("image_test");
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let output = Command::new(compiler)
        .args(["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(here("tools/simulate"))
        .arg(here("tests/tools/simulate/image_test.cc"))
        .arg("-o")
        .arg(&program)
        .output()
        .expect("a C++ compiler: `make setup` brings one");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    program
}

#[test]
fn images_and_calorimeter_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(image_test(dir.path())).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    // Fewer would mean that cases have gone.
    let checks: usize = said.split(' ').next().unwrap().parse().unwrap();
    assert!(checks > 1000, "{said}");
}

#[test]
fn pixels_lie_where_physics_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let program = image_test(dir.path());
    for (size, range) in [(25, 1.25), (32, 0.4)] {
        let geometry = Geometry::new(size, size, range).unwrap();
        let mut child = Command::new(&program)
            .args(["pixel", &size.to_string(), &range.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        for phi in geometry.phi() {
            for eta in geometry.eta() {
                writeln!(input, "{eta} {phi}").unwrap();
            }
        }
        drop(input);
        let output = child.wait_with_output().unwrap();
        let pixels: Vec<usize> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| line.parse().unwrap())
            .collect();
        assert_eq!(pixels, (0..size * size).collect::<Vec<_>>());
    }
}

/// A set-up with a fake event program, and a folder to write to.
struct Fake {
    dir: TempDir,
}

impl Fake {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let build = dir.path().join("build");
        fs::create_dir(&build).unwrap();
        fs::write(build.join(".complete"), "a fake\n").unwrap();
        let script = fs::read_to_string(here("tests/tools/simulate/fake_events.py")).unwrap();
        let events = build.join("events");
        fs::write(&events, format!("#!{}\n{script}", python().display())).unwrap();
        fs::set_permissions(&events, fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `simulate` with `arguments` (words apart by spaces) and `--out NAME`.
    fn command(&self, arguments: &str, out: &str) -> Command {
        let mut command = Command::new(python());
        command
            .arg(here("tools/simulate/simulate"))
            .args(arguments.split_whitespace())
            .arg("--out")
            .arg(self.path(out))
            .env("SIMULATE_BUILD", self.path("build"))
            .env("FAKE_LOG", self.path("log"));
        command
    }

    fn run(&self, arguments: &str, out: &str) -> Output {
        self.command(arguments, out).output().unwrap()
    }

    fn good(&self, arguments: &str, out: &str) -> Vec<u8> {
        let output = self.run(arguments, out);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments}: {errors}");
        let parts = self.path(&format!("{out}.parts"));
        assert!(!parts.exists(), "the parts go when all is done");
        fs::read(self.path(out)).unwrap()
    }

    /// The message of a run that must fail with `code`.
    fn bad(&self, arguments: &str, out: &str, code: i32) -> String {
        let output = self.run(arguments, out);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments}: {errors}");
        assert!(!errors.contains("Traceback"), "{errors}");
        if code == 1 {
            assert!(errors.contains('(') && errors.contains(") "), "{errors}");
        }
        errors
    }

    /// Names of the blocks that the event program finished so far.
    fn finished(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        log.lines().map(String::from).collect()
    }
}

#[test]
fn the_number_of_processes_changes_nothing() {
    let fake = Fake::new();
    for study in ["jets --image rebinned", "muons --pool 12000"] {
        let one = fake.good(
            &format!("{study} --count 4500 --seed 3 --processes 1"),
            "one.h5",
        );
        let four = fake.good(
            &format!("{study} --count 4500 --seed 3 --processes 4"),
            "four.h5",
        );
        assert!(one == four, "{study}");
        let other = fake.good(
            &format!("{study} --count 4500 --seed 4 --processes 4"),
            "other.h5",
        );
        assert!(one != other, "{study}: another seed, other images");
        for name in ["one.h5", "four.h5", "other.h5"] {
            fs::remove_file(fake.path(name)).unwrap();
        }
    }
    // The pool is made once: 5000, 5000 and 2000 events.
    let pool = fake
        .finished()
        .iter()
        .filter(|b| b.contains("-0-0000"))
        .count();
    assert_eq!(pool, 3, "{:?}", fake.finished());
}

#[test]
fn a_killed_run_goes_on_to_the_same_file() {
    let fake = Fake::new();
    let arguments = "jets --count 8000 --seed 1 --processes 2";
    let whole = fake.good(arguments, "whole.h5");
    fs::remove_file(fake.path("log")).unwrap();

    let mut child = fake
        .command(arguments, "cut.h5")
        .env("FAKE_SECONDS", "0.5")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while fake.finished().len() < 2 {
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "nothing is finished"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!fake.path("cut.h5").exists());

    let message = fake.bad(arguments, "cut.h5", 1);
    assert!(message.contains("--resume"), "{message}");
    let message = fake.bad("jets --count 8000 --seed 2 --resume", "cut.h5", 1);
    assert!(message.contains("seed = 1, not 2"), "{message}");
    let message = fake.bad(
        "jets --count 8000 --seed 1 --resume --image interpolated",
        "cut.h5",
        1,
    );
    assert!(
        message.contains("image = rebinned, not interpolated"),
        "{message}"
    );

    // A part that was cut short is made again, and nothing else is.
    let parts = fake.path("cut.h5.parts");
    let part = fs::read_dir(&parts)
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "part"))
        .unwrap();
    let bytes = fs::read(&part).unwrap();
    fs::write(&part, &bytes[..bytes.len() - 100]).unwrap();
    let resumed = fake.good(&format!("{arguments} --resume"), "cut.h5");
    assert!(resumed == whole);
    let mut names = fake.finished();
    names.sort();
    let made = names.len();
    names.dedup();
    assert_eq!(names.len(), 8, "{names:?}");
    // Blocks that were in flight at the kill may have ended after it.
    assert!(made <= 8 + 1 + 2, "{made} blocks were made for 8");
}

#[test]
fn more_images_begin_with_the_fewer() {
    let fake = Fake::new();
    fake.good("muons --class signal --count 1300 --pool 500", "a.h5");
    fake.good(
        "muons --class signal --count 2600 --pool 500 --layout sparse",
        "b.h5",
    );
    let a = read(&fake.path("a.h5"), &ReadOptions::default()).unwrap();
    let b = read(&fake.path("b.h5"), &ReadOptions::default()).unwrap();
    assert_eq!((a.images.len(), b.images.len()), (1300, 2600));
    assert_eq!((a.images.height(), a.images.width()), (32, 32));
    for i in 0..1300 {
        assert!(a.images.image(i) == b.images.image(i), "image {i}");
    }
}

#[test]
fn both_layouts_hold_the_same_rows_and_say_where_they_come_from() {
    let fake = Fake::new();
    fake.good("jets --count 2501 --seed 7", "dense.h5");
    fake.good("jets --count 2501 --seed 7 --layout sparse", "sparse.h5");
    let dense = read(&fake.path("dense.h5"), &ReadOptions::default()).unwrap();
    let sparse = read(&fake.path("sparse.h5"), &ReadOptions::default()).unwrap();
    assert_eq!(dense.images.csr(), sparse.images.csr());
    for name in ["signal", "jet_pt", "tau_21"] {
        let script = format!(
            "a = h5py.File(path)['{name}'][:]\n\
             b = h5py.File(path.replace('dense', 'sparse'))['{name}'][:]\n\
             assert a.dtype == np.float32 and (a == b).all()\n"
        );
        h5py(&fake.path("dense.h5"), &script);
    }
    // What it cost is told where it was asked for.
    let arguments = "jets --count 2501 --seed 7 --json";
    let output = fake.run(arguments, "told.h5");
    let told: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let counts: Vec<_> = told.iter().map(|t| t["images"].as_u64().unwrap()).collect();
    assert_eq!(counts, [1251, 1250]);
    assert_eq!(told[0]["class"], "signal");
    assert_eq!(told[0]["seconds"], 0.0, "the fake needs none");
    // Half signal, mixed; each row's image is that of its block and place.
    let script = "
f = h5py.File(path)
s = f['signal'][:]
assert s.sum() == 1251 and 500 < s[:1250].sum() < 750, s.sum()
seeds = {1: 1 + 14 * 50000, 0: 1 + 15 * 50000}
wanted = set()
for kind, count in ((1, 1251), (0, 1250)):
    for i in range(count):
        seed, row = seeds[kind] + i // 1000, i % 1000
        column = np.arange(627)
        h = (seed * 7919 + row * 104729 + column * 1299709 + row * column) % 1000
        x = np.where((column < 2) | (h % 20 == 0), (h + 1) / 8, 0).astype(np.float32)
        wanted.add((kind, x.tobytes()))
image = f['image'][:].reshape(2501, 625)
pt, tau = f['jet_pt'][:], f['tau_21'][:]
found = {(int(s[i]), np.concatenate([[pt[i], tau[i]], image[i]]).astype(np.float32).tobytes()) for i in range(2501)}
assert found == wanted, len(found & wanted)
a = f.attrs
assert a['pythia_version'] == '8.fake' and a['fastjet_version'] == '3.fake' and a['seed'] == 7
assert a['signal_tried'] == 3 * 1251 and a['height'] == 25 and a['layout'] == 'dense' and a['format_version'] == 1
assert 'pTHat 200-400' in a['background_process'] and '250 < pT < 300' in a['cuts'] and '--seed 7' in a['command']
";
    h5py(&fake.path("dense.h5"), script);
}

#[test]
fn both_kinds_of_image_are_of_the_same_jets_and_their_events_are_numbered() {
    let fake = Fake::new();
    fake.good("jets --count 2500 --seed 7 --image both --repeat 4", "r.h5");
    let script = "
a, b = h5py.File(path), h5py.File(path.replace('.h5', '.interpolated.h5'))
assert a.attrs['image'] != b.attrs['image'] and 'interpolation' in b.attrs['image'] and '4 times' in a.attrs['repeat']
for name in ('signal', 'jet_pt', 'event'):
    assert (a[name][:] == b[name][:]).all(), name
assert a['event'].dtype == np.int64 and a['image'].shape == b['image'].shape == (2500, 25, 25)
x, y = a['image'][:].reshape(2500, 625), b['image'][:].reshape(2500, 625)
wanted = set()
for kind in (1, 0):
    for i in range(1250):
        seed, row = {1: 1 + 14 * 50000, 0: 1 + 15 * 50000}[kind] + i // 1000, i % 1000
        column = np.arange(3 + 2 * 625)
        h = (seed * 7919 + row * 104729 + column * 1299709 + row * column) % 1000
        pixels = np.where(h % 20 == 0, (h + 1) / 8, 0).astype(np.float32)[3:]
        wanted.add((kind, i // 1000 * 10_000_000 + 1 + row // 4, pixels.tobytes()))
found = {(int(s), int(e), np.concatenate(p).tobytes()) for s, e, *p in zip(a['signal'], a['event'], x, y)}
assert found == wanted, len(found & wanted)
";
    h5py(&fake.path("r.h5"), script);
    // Either file in the way is one too many.
    fs::remove_file(fake.path("r.h5")).unwrap();
    let message = fake.bad("jets --count 5 --image both", "r.h5", 1);
    assert!(message.contains("r.interpolated.h5"), "{message}");
    // Without repeats every image is an event of its own.
    fake.good("muons --count 20 --pool 500", "m.h5");
    h5py(&fake.path("m.h5"), "assert 'event' not in h5py.File(path)");
    let message = fake.bad("jets --count 2500 --seed 7 --repeat 0", "x.h5", 2);
    assert!(message.contains("from 1 to 100"), "{message}");
}

#[test]
fn wrong_usage_is_told() {
    let fake = Fake::new();
    for (arguments, wanted) in [
        ("", "jets|muons"),
        ("showers --count 5", "invalid choice"),
        ("jets --class quarks --count 5", "quarks"),
        ("jets --count 0", "from 1 to 10000000, not '0'"),
        ("jets --count -5", "not '-5'"),
        ("jets --count many", "not 'many'"),
        ("jets", "--count"),
        ("jets --count 5 --processes 0", "from 1 to 1024"),
        ("jets --count 5 --seed 9000", "from 0 to 8999"),
        ("jets --count 5 --pool 500", "--pool"),
        ("muons --count 5 --image rebinned", "--image"),
        ("muons --count 5 --pool 3", "from 500"),
        ("jets --count 5 --resume --force", "choose one"),
    ] {
        let message = fake.bad(arguments, "x.h5", 2);
        assert!(message.contains(wanted), "{arguments}: {message}");
    }
    assert!(fake.finished().is_empty());
}

#[test]
fn what_cannot_be_done_is_told() {
    let fake = Fake::new();
    fs::write(fake.path("there.h5"), "mine").unwrap();
    let message = fake.bad("jets --count 5", "there.h5", 1);
    assert!(message.contains("--force"), "{message}");
    assert_eq!(fs::read(fake.path("there.h5")).unwrap(), b"mine");
    fake.good("jets --count 5 --force", "there.h5");
    let message = fake.bad("jets --count 5", "no/such/folder.h5", 1);
    assert!(message.contains("there is no folder"), "{message}");

    let failing = |key: &str, value: &str| {
        let mut command = fake.command("jets --count 1500 --class background --force", "f.h5");
        let output = command.env(key, value).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(!fake.path("f.h5").exists() && !message.contains("Traceback"));
        message
    };
    let message = failing("FAKE_FAIL", "background-00001");
    assert!(
        message.contains("no such particle") && message.contains("--resume"),
        "{message}"
    );
    let message = failing("FAKE_SHORT", "background-00001");
    assert!(message.contains("background-00001-500.part"), "{message}");
    fake.good("jets --count 1500 --class background --resume", "f.h5");

    // An unfinished set-up is none.
    fs::remove_file(fake.path("build/.complete")).unwrap();
    let message = fake.bad("jets --count 5", "y.h5", 1);
    assert!(message.contains("make simulate-setup"), "{message}");
}

#[test]
fn two_runs_do_not_share_an_output() {
    let fake = Fake::new();
    let mut first = fake
        .command("jets --count 1000 --class signal", "z.h5")
        .env("FAKE_SECONDS", "20")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while !fake.path("z.h5.parts/plan.json").exists() {
        assert!(begin.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
    let message = fake.bad("jets --count 1000 --class signal --resume", "z.h5", 1);
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(message.contains("another run"), "{message}");
}
