//! docs/anomaly.py: the README's cut, on the shipped jets.

use std::path::Path;
use std::process::Command;

use crate::support::h5;
use crate::support::program::Lab;

#[test]
fn a_ratio_of_models_separates_what_one_model_does_not() {
    let lab = Lab::empty();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let data = root.join("data/jets-sample.h5");
    for (model, class, out) in [("jets-qcd", 0, "qcd.h5"), ("jets-w", 1, "w.h5")] {
        lab.sarm(&format!(
            "score --quiet --model {model} --given signal={class} --select row=5000..5999 --out {out} --data"
        ))
        .arg(&data)
        .assert()
        .success();
    }
    let output = Command::new(h5::python())
        .arg(root.join("docs/anomaly.py"))
        .args([data, lab.path("qcd.h5"), lab.path("w.h5")])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let auc: Vec<f64> = text
        .lines()
        .map(|l| l.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    // 0.206, 0.880 and 0.918 on all 10 000 jets; an AUC of 500 against 500 is uncertain by less than 0.02.
    for (auc, whole) in auc.iter().zip([0.206, 0.880, 0.918]) {
        assert!((auc - whole).abs() < 0.05, "{text}");
    }
    assert_eq!(auc.len(), 3);
}
