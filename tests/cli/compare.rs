//! `sarm compare`: runs and reports side by side.

use crate::support::program::{DC, Lab};

#[test]
fn runs_and_reports_stand_side_by_side() {
    let lab = Lab::trained(DC);
    lab.file("other.toml", DC.replace("1e-3", "2e-3"));
    lab.ok("train --quiet --data data.h5 --config other.toml --epochs 3 --out other");
    lab.ok("generate --quiet --model run/model.safetensors --count 200 --out g.h5");
    lab.ok("evaluate --quiet --truth data.h5 --generated g.h5 --bootstrap 5 --out run/report");
    let text = String::from_utf8(lab.ok("compare run other --out losses.svg").stdout).unwrap();
    let row = |name: &str| -> Vec<String> {
        let line = text.lines().find(|l| l.trim_start().starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no '{name}' in\n{text}"));
        line.trim_start()[name.len()..]
            .split_whitespace()
            .map(String::from)
            .collect()
    };
    assert_eq!(row("train.learning_rate"), ["0.001", "0.002"]);
    assert_eq!(row("train.epochs"), ["2", "3"]);
    assert!(!text.contains("train.batch"), "{text}");
    assert_eq!(row("images"), ["270", "270"]);
    // Only one of them has a report.
    assert_eq!(row("jet_pt")[1], "-");
    assert!(row("jet_pt")[0].parse::<f64>().unwrap() > 0.0);
    assert!(text.contains("average image"), "{text}");
    assert!(text.contains("two-sample AUC, boosted trees"), "{text}");
    let svg = std::fs::read_to_string(lab.path("losses.svg")).unwrap();
    assert!(svg.contains(">other<"), "the legend names the runs");

    let told = lab.json("compare run,run/report other --json");
    let metrics = lab.json("info --json run/model.safetensors");
    assert_eq!(
        told[0]["validation_nll"],
        metrics["record"]["validation_nll"]
    );
    assert_eq!(told[1]["losses"].as_array().unwrap().len(), 3);
    assert!(told[0]["floors"]["all"]["jet_pt"].is_f64());
    assert!(told[0]["boosting"]["all"][0].is_f64());
}

#[test]
fn what_is_no_run_is_named() {
    let lab = Lab::trained(DC);
    std::fs::create_dir(lab.path("empty")).unwrap();
    lab.refuses("compare run empty", &["'empty'", "metrics.json"]);
    lab.refuses("compare run missing", &["'missing'"]);
    lab.refuses("compare run data.h5", &["'data.h5'", "directory"]);
    lab.file("empty/metrics.json", "{}");
    lab.refuses("compare run empty", &["empty/metrics.json"]);
}
