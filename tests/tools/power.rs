//! `scripts/study power`: truth that is smeared more is found more, and the page holds the reports' numbers.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::h5;
use crate::support::program::{Lab, SARM, write_images};
use serde_json::Value;

const LINE: &str = "--truth data.h5 --sizes 120,150 --smear 0,0.5 --evaluate=--bootstrap --evaluate=2 \
    --out study --page docs/power.md";

fn power(lab: &Lab, line: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/study");
    Command::new(h5::python())
        .arg(script)
        .arg("power")
        .args(line.split_whitespace())
        .args(["--sarm", SARM, "--quiet"])
        .current_dir(lab.path("."))
        .output()
        .unwrap()
}

#[test]
fn the_page_holds_what_the_reports_found() {
    let lab = Lab::empty();
    // Sums that are nearly the same, so that few images show their smearing.
    let hot: Vec<(usize, usize, f32)> = (0..320).map(|i| (i, 24, 500.0)).collect();
    write_images(&lab.path("data.h5"), 320, 7, 1, &hot);
    let output = power(&lab, LINE);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    let page = fs::read_to_string(lab.path("docs/power.md")).unwrap();
    let mut areas = Vec::new();
    for (place, row) in [
        ("120-0", "| 120 | 0 % |"),
        ("120-0.5", "| 120 | 50 % |"),
        ("150-0", "| 150 | 0 % |"),
        ("150-0.5", "| 150 | 50 % |"),
    ] {
        let report = lab.path(&format!("study/{place}/report/metrics.json"));
        let metrics: Value = serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap();
        let test = &metrics["boosting"]["all"];
        let [auc, error] = ["auc", "auc_error"].map(|key| test[key].as_f64().unwrap());
        let line = page.lines().find(|line| line.starts_with(row));
        let line = line.unwrap_or_else(|| panic!("no '{row}' in {page}"));
        assert!(
            line.contains(&format!("| {auc:.4} ± {error:.4} |")),
            "{line}"
        );
        areas.push((auc, error));
    }
    // Equal samples are guessed.
    for pair in areas.chunks_exact(2) {
        assert!((pair[0].0 - 0.5).abs() < 4.0 * pair[0].1, "{areas:?}");
        assert!(pair[1].0 > pair[0].0 + 2.0 * pair[1].1, "{areas:?}");
    }
    // Nothing is done twice.
    let again = power(&lab, LINE);
    let told = String::from_utf8(again.stderr).unwrap();
    assert!(
        again.status.success() && !told.contains("smeared by"),
        "{told}"
    );

    for (change, words) in [
        (("data.h5", "none.h5"), "cannot read images from 'none.h5'"),
        (
            ("120,150", "120,200"),
            "320 images of this selection (400 are wanted",
        ),
        (
            ("120,150", "120,many"),
            "'120,many' is not a list of numbers",
        ),
        (("120,150", "50"), "'50' has a number below 100"),
        (
            ("--smear", "--select charm=1 --smear"),
            "'charm=1' selects nothing",
        ),
    ] {
        let output = power(&lab, &LINE.replace(change.0, change.1));
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(
            told.starts_with("study: error: ") && told.contains(words),
            "{told}"
        );
    }
}
