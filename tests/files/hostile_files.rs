//! Truncated and bit-flipped HDF5 files: an answer or an error, never a panic, a crash, a hang or a
//! heap beyond the file's size class.
//!
//! The C library reads the damaged bytes, and nothing in this process could survive its crash: a
//! child process reads the corpus, under a limit on its memory, and says which file it is at.

use crate::support::h5;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use sarm::data::{Layout, ReadOptions, describe, read};

use crate::support::dice::Dice;

const CORPUS: &str = "SARM_TEST_CORPUS";
/// Address space of the child, KiB: the program and its threads take most of it.
const MEMORY: u64 = 1 << 20;

/// One damaged copy: cut, flipped bits, overwritten numbers, or a run of equal bytes.
fn damage(whole: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    // Most structure of a small file is near its start and around each data set's header.
    let place = |dice: &mut Dice| match dice.roll(2) {
        0 => dice.roll(whole.len().min(4096)),
        _ => dice.roll(whole.len()),
    };
    match dice.roll(6) {
        0 => bytes.truncate(dice.roll(whole.len())),
        1 => {
            for _ in 0..=dice.roll(8) {
                bytes[place(dice)] ^= 1 << dice.roll(8);
            }
        }
        2 => {
            let at = place(dice);
            let value = [0, 1, 0x7f, 0x80, 0xff][dice.roll(5)];
            let end = (at + [1, 2, 4, 8, 64][dice.roll(5)]).min(bytes.len());
            bytes[at..end].fill(value);
        }
        3 => {
            // A plausible but wrong number, aligned as HDF5's are.
            let at = place(dice) & !7;
            let value = (1u64 << dice.roll(63)).to_le_bytes();
            let end = (at + 8).min(bytes.len());
            bytes[at..end].copy_from_slice(&value[..end - at]);
        }
        4 => {
            // A piece of the file in another place.
            let (from, to) = (place(dice), place(dice));
            let n = (1 + dice.roll(64)).min(bytes.len() - from.max(to));
            bytes.copy_within(from..from + n, to);
        }
        _ => bytes[place(dice)] = dice.roll(256) as u8,
    }
    bytes
}

fn seeds(dir: &Path) -> Vec<Vec<u8>> {
    let (dense, sparse, foreign) = (dir.join("d.h5"), dir.join("s.h5"), dir.join("f.h5"));
    h5::write_toy(&dense, Layout::Dense, 60, 5, 5);
    h5::write_toy(&sparse, Layout::Sparse, 60, 5, 5);
    let script = format!(
        "{}
with h5py.File(path, 'w', libver='latest') as f:
    f.create_dataset('image', data=pixels(60, 5, 5), chunks=(7, 5, 5), compression='gzip', fletcher32=True)
    f['signal'] = np.arange(60) % 2 == 0
    f['jet_pt'] = np.arange(60.0)
    f.attrs['note'] = 'text'; f.attrs['fixed'] = np.bytes_('fixed length text')",
        h5::PIXELS
    );
    h5::h5py(&foreign, &script);
    let older = dir.join("o.h5");
    h5::h5py(
        &older,
        &script.replace("libver='latest'", "libver='earliest'"),
    );
    let packed = dir.join("p.h5");
    h5::h5py(
        &packed,
        &script.replace(
            "compression='gzip', fletcher32=True",
            "compression='lzf', shuffle=True",
        ),
    );
    let (linked, mapped) = (dir.join("l.h5"), dir.join("v.h5"));
    let columns = "f['signal'] = np.arange(60) % 2 == 0; f['jet_pt'] = np.arange(60.0)";
    let head = h5::PIXELS;
    h5::h5py(
        &linked,
        &format!(
            "{head}
with h5py.File(path, 'w') as f:
    f.create_dataset('g/image', data=pixels(60, 5, 5), chunks=(60, 2, 2), compression='lzf')
    f['image'] = h5py.SoftLink('/g/image'); {columns}; f['x'] = h5py.ExternalLink('l.h5', '/g')"
        ),
    );
    h5::h5py(
        &mapped,
        &format!("{head}
with h5py.File(path, 'w', libver='latest') as f:
    f['a'] = pixels(60, 5, 5)[:40]; f['b'] = pixels(60, 5, 5)[40:]; {columns}
    l = h5py.VirtualLayout((60, 5, 5), 'f8')
    l[:40] = h5py.VirtualSource('.', 'a', (40, 5, 5)); l[40:] = h5py.VirtualSource('.', 'b', (20, 5, 5))
    f.create_virtual_dataset('image', l)"),
    );
    [dense, sparse, foreign, older, packed, linked, mapped]
        .iter()
        .map(|p| fs::read(p).unwrap())
        .collect()
}

#[test]
fn damaged_files_are_survived() {
    let dir = tempfile::tempdir().unwrap();
    let seeds = seeds(dir.path());
    let corpus = dir.path().join("corpus");
    fs::create_dir(&corpus).unwrap();
    let count: usize = std::env::var("SARM_TEST_MUTATIONS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(600);
    let mut dice = Dice(0x5eed_da7a);
    for i in 0..count {
        let bytes = damage(&seeds[i % seeds.len()], &mut dice);
        fs::write(corpus.join(format!("{i:06}.h5")), bytes).unwrap();
    }
    let mut child = Command::new("sh")
        .args(["-c", &format!("ulimit -v {MEMORY}; exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "hostile_files::child",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CORPUS, &corpus)
        .stdout(fs::File::create(dir.path().join("out")).unwrap())
        .stderr(fs::File::create(dir.path().join("err")).unwrap())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60 + count as u64 / 100);
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let output = fs::read_to_string(dir.path().join("out")).unwrap();
    let at = output
        .lines()
        .rev()
        .find(|l| l.ends_with(".h5"))
        .unwrap_or("none");
    let errors = fs::read_to_string(dir.path().join("err")).unwrap();
    if status.is_none_or(|s| !s.success()) {
        // Kept for the one who looks into it.
        let keep = std::env::temp_dir().join("sarm-hostile.h5");
        fs::copy(corpus.join(at), &keep).ok();
        panic!("{status:?} at {at}, kept as {}\n{errors}", keep.display());
    }
    assert!(
        !errors.contains("HDF5-DIAG"),
        "HDF5 talks to the user: {errors}"
    );
    let read: usize = output
        .lines()
        .filter_map(|l| l.strip_prefix("read ")?.parse::<usize>().ok())
        .sum();
    assert!(read > 0 && read < count, "{read} of {count} still readable");
}

/// Reads the corpus; run by the test above, in a process of its own.
#[test]
#[ignore = "a part of damaged_files_are_survived"]
fn child() {
    let Some(corpus) = std::env::var_os(CORPUS) else {
        return;
    };
    let mut files: Vec<_> = fs::read_dir(corpus)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    let mut readable = 0;
    for path in files {
        println!("\n{}", path.file_name().unwrap().to_str().unwrap());
        std::io::stdout().flush().unwrap();
        let started = Instant::now();
        let options = ReadOptions {
            selections: vec!["jet_pt=0..1e9".parse().unwrap()],
            ..Default::default()
        };
        readable += usize::from(read(&path, &options).is_ok());
        describe(&path).ok();
        let time = started.elapsed();
        assert!(time < Duration::from_secs(10), "took {time:?}");
    }
    println!("\nread {readable}");
}

/// A file size limit stands in for a full disk: HDF5 and the journal meet a refused write.
#[test]
fn a_full_disk_is_one_clear_error() {
    for layout in [Layout::Dense, Layout::Sparse] {
        let dir = tempfile::tempdir().unwrap();
        // Ignored, the signal of the limit becomes an error of the write.
        let shell = "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"";
        let output = Command::new("sh")
            .args(["-c", shell])
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "hostile_files::writer",
                "--ignored",
                "--nocapture",
            ])
            .env(CORPUS, dir.path().join(format!("{layout}.h5")))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{:?}\n{text}", output.status);
        assert!(
            text.contains("cannot write") && text.contains("File too large"),
            "{text}"
        );
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            0,
            "nothing is left"
        );
        assert!(!String::from_utf8_lossy(&output.stderr).contains("HDF5-DIAG"));
    }
}

/// Writes until it fails; run by the test above.
#[test]
#[ignore = "a part of a_full_disk_is_one_clear_error"]
fn writer() {
    let Some(path) = std::env::var_os(CORPUS) else {
        return;
    };
    let path = Path::new(&path);
    let options = sarm::data::WriteOptions {
        layout: match path.ends_with("dense.h5") {
            true => Layout::Dense,
            false => Layout::Sparse,
        },
        height: 20,
        width: 20,
        ..Default::default()
    };
    let result = sarm::data::write(
        path,
        &h5::toy(3000, 20, 20),
        &h5::toy_columns(3000),
        &options,
    );
    println!("{}", result.unwrap_err());
}
