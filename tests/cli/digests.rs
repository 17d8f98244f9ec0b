//! The program writes what commit 4e76801 wrote: images, trainings, scores, evaluations and packed models, digest by digest, on every
//! instruction set of this processor; and it goes on with that program's files (`tests/digests/old/`).
//!
//! `tests/digests/digests.py` says what is digested. `SARM_DIGESTS=write cargo test --test cli digests::` accepts what the program writes now,
//! into the file that is compared with: a commit that does so says why results changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::h5;
use crate::support::program::{SARM, one_error};
use sarm::numeric::Isa;

type Digests = BTreeMap<String, String>;

/// What is looked at on every instruction set: drawing, training, scoring, judging, and a training of old.
const EVERYWHERE: [&str; 7] = [
    "generate/jets-w",
    "generate/odd",
    "train/total",
    "train/dd",
    "score/odd",
    "evaluate/jets-w",
    "old/run",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/digests")
}

fn parse(text: &str) -> Digests {
    serde_json::from_str(text).unwrap()
}

/// Digests of this program, those of `groups` or all, as the script writes them.
fn digests(groups: &[&str], isa: Option<Isa>) -> String {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("digests.json");
    let mut command = Command::new(h5::python());
    command.arg(folder().join("digests.py")).arg(SARM).arg(&out);
    command.args(groups);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    if let Some(isa) = isa {
        command.env("SARM_ISA", isa.name());
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    std::fs::read_to_string(out).unwrap()
}

/// Whether a digest follows from the program alone, not from the last bits of the system's logarithms and powers: agreements, and the
/// pixels of D+C images.
fn of_the_program_alone(name: &str, value: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or_default();
    let pixels = ["image", "index", "indptr", "value"].contains(&last);
    value == "same" || pixels && name.starts_with("generate/") && !name.contains("dd")
}

/// Every difference, by name.
fn differences(found: &Digests, wanted: &Digests) -> Vec<String> {
    let names = found
        .keys()
        .chain(wanted.keys().filter(|n| !found.contains_key(*n)));
    names
        .filter(|name| !name.starts_with("platform/"))
        .filter_map(|name| match (found.get(name), wanted.get(name)) {
            (Some(is), Some(was)) if is == was => None,
            (Some(is), Some(was)) => Some(format!("{name}: {is}, was {was}")),
            (Some(is), None) => Some(format!("{name}: {is}, is new")),
            (None, was) => Some(format!("{name}: is gone, was {}", was?)),
        })
        .collect()
}

/// Fails where `found` is not `wanted`.
fn assert_same(found: &Digests, wanted: &Digests, same_library: bool, what: &str) {
    let (mut found, mut wanted) = (found.clone(), wanted.clone());
    let different = differences(&found, &wanted);
    if !same_library && !different.is_empty() {
        // Not our doing, and not to be told from it: what does not depend on it is held all the same.
        eprintln!(
            "{what}: {} digests differ on this machine, whose mathematical library is not the one of the digests' machine",
            different.len()
        );
        let alone: Vec<String> = (wanted.iter())
            .filter(|(name, value)| of_the_program_alone(name, value))
            .map(|(name, _)| name.clone())
            .collect();
        found.retain(|name, _| alone.contains(name));
        wanted.retain(|name, _| alone.contains(name));
    }
    let different = differences(&found, &wanted);
    assert!(
        different.is_empty(),
        "{what}: {} of {} digests differ; {} says how to accept them\n{}",
        different.len(),
        wanted.len(),
        file!(),
        different.join("\n")
    );
}

#[test]
fn results_are_those_of_the_old_program() {
    let file = folder().join("4e76801.json");
    let found = digests(&[], None);
    if std::env::var("SARM_DIGESTS").as_deref() == Ok("write") {
        std::fs::write(&file, &found).unwrap();
    }
    let wanted = parse(
        &std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display())),
    );
    let found = parse(&found);
    let platform = |all: &Digests| -> Digests {
        let of = all.iter().filter(|(name, _)| name.starts_with("platform/"));
        of.map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    let same_library = platform(&found) == platform(&wanted);
    assert_same(&found, &wanted, same_library, "the fastest instruction set");
    // On this machine all sets agree, whoever wrote the file.
    let whose = |name: &str| {
        EVERYWHERE
            .iter()
            .any(|group| name.starts_with(&format!("{group}/")))
    };
    let mut wanted = found;
    wanted.retain(|name, _| whose(name));
    for isa in Isa::available() {
        let found = parse(&digests(&EVERYWHERE, Some(isa)));
        assert_same(&found, &wanted, true, isa.name());
    }
}

#[test]
fn the_instruction_set_is_the_one_asked_for() {
    let with = |name: &str| {
        let mut command = Command::new(SARM);
        command.args(["info", "--devices"]).env("SARM_ISA", name);
        command.output().unwrap()
    };
    for isa in Isa::available() {
        let output = with(isa.name());
        let said = String::from_utf8(output.stdout).unwrap();
        let line = said.lines().next().unwrap_or_default();
        assert!(
            output.status.success() && line.ends_with(isa.name()),
            "{said}"
        );
    }
    for name in ["", "sse", "AVX2"] {
        let error = one_error(name, &with(name));
        assert!(
            error.contains(&format!("SARM_ISA={name} (this processor has portable")),
            "{error}"
        );
    }
}

#[test]
fn differences_are_told_by_name() {
    let table = |pairs: &[(&str, &str)]| -> Digests {
        pairs
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect()
    };
    let was = table(&[("a", "1"), ("b", "2"), ("c", "3"), ("platform/exp", "1")]);
    let is = table(&[("a", "1"), ("b", "4"), ("d", "5"), ("platform/exp", "2")]);
    let mut told = differences(&is, &was);
    told.sort();
    assert_eq!(told, ["b: 4, was 2", "c: is gone, was 3", "d: 5, is new"]);
}
