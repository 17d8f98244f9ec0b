//! Disks that are full: one clear error, nothing under the final name, and a way on once there is space.
//!
//! A limit on the size of files stands in for the disk; the program ignores the signal that it sends.

use std::fs;
use std::process::{Command, Output};

use crate::support::program::{DC, Lab, SARM, assert_same, one_error};

/// The program where no file may grow beyond `kib` KiB: what a full disk does to it, but for the words.
fn cramped(lab: &Lab, kib: u32, line: &str) -> Output {
    Command::new("bash")
        .args(["-c", &format!("ulimit -f {kib}; exec \"$0\" {line}"), SARM])
        .current_dir(lab.path("."))
        .output()
        .unwrap()
}

#[test]
fn full_disks() {
    let lab = Lab::trained(DC);
    let too_large = |kib, line: &str| {
        let error = one_error(line, &cramped(&lab, kib, line));
        assert!(error.contains("File too large"), "{line}: {error}");
        error
    };
    let before = lab.names(".");
    let score = "score --quiet --model run/model.safetensors --data data.h5 --out s.h5";
    for kib in [0, 1, 2] {
        assert!(too_large(kib, score).contains("s.h5"));
        assert_eq!(lab.names("."), before);
    }
    let evaluate =
        "evaluate --quiet --truth data.h5 --generated data.h5 --bootstrap 5 --out report";
    for kib in [0, 4, 40] {
        too_large(kib, evaluate);
        assert_eq!(lab.names("."), before);
    }
    // Training: neither a model nor a state, and the next run needs no --force.
    let train = "train --quiet --data data.h5 --config config.toml --out new";
    for kib in [0, 1, 8] {
        let error = too_large(kib, train);
        assert!(error.contains("new/"), "{error}");
        let left = lab.names("new");
        assert!(left.iter().all(|n| n == "config.toml"), "{left:?}");
    }
    lab.ok(train);
    assert!(
        fs::read(lab.path("new/model.safetensors")).unwrap()
            == fs::read(lab.path("run/model.safetensors")).unwrap()
    );
    // A run that overwrites one loses it, but leaves nothing that looks like a run.
    too_large(1, &format!("{train} --force"));
    lab.ok(train);
}

#[test]
fn a_full_disk_while_generating() {
    let lab = Lab::trained(DC);
    let generate = "generate --quiet --observables --model run/model.safetensors --seed 3 --count 20000 --threads 1";
    lab.ok(&format!("{generate} --out whole.h5"));
    let whole = lab.read("whole.h5");
    for layout in ["dense", "sparse"] {
        let line = format!("{generate} --layout {layout} --out g.h5");
        for kib in [0, 1, 300, 700] {
            let error = one_error(&line, &cramped(&lab, kib, &line));
            assert!(error.contains("File too large"), "{error}");
            assert!(!lab.path("g.h5").exists());
            let left: Vec<_> = (lab.names(".").into_iter())
                .filter(|n| n.contains("g.h5"))
                .collect();
            let expected: &[&str] = if kib > 1 { &["g.h5.partial"] } else { &[] };
            assert_eq!(left, expected, "{layout} {kib}");
            if kib > 1 {
                lab.refuses(&line, &["g.h5.partial", "--resume", "--force"]);
            }
            let went_on = lab.json(&format!("{line} --resume --json"));
            let taken_over = went_on["images_taken_over"].as_u64().unwrap();
            assert_eq!(taken_over > 0, kib > 1, "{layout} {kib}: {taken_over}");
            assert_same(&lab.read("g.h5"), &whole, layout);
            assert!(!lab.path("g.h5.partial").exists());
            fs::remove_file(lab.path("g.h5")).unwrap();
        }
    }
}
