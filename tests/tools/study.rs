//! `scripts/study`: its pages hold the numbers that the program wrote, and what is finished is not done again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::program::{DC, Lab, SARM, write_images};
use serde_json::Value;

/// The tables' observables and the decimals of their distances.
const OBSERVABLES: [(&str, usize); 4] = [
    ("jet_pt", 3),
    ("jet_mass", 3),
    ("multiplicity", 3),
    ("tau_21", 5),
];
const CLASSES: [&str; 2] = ["signal", "background"];
const FIDELITY: &str = "fidelity --truth-train train.h5 --truth-test test.h5 --configs small.toml --count 300 \
    --figures jet_pt,training --evaluate=--bootstrap --evaluate=10 --out study --page docs/page.md";

/// A place with data to train on, data to judge by, a small configuration.
pub fn lab() -> Lab {
    let lab = Lab::empty();
    write_images(&lab.path("train.h5"), 300, 7, 1, &[]);
    write_images(&lab.path("test.h5"), 300, 7, 2, &[]);
    lab.file("small.toml", DC);
    lab
}

fn study(lab: &Lab, line: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/study");
    Command::new("python3")
        .arg(script)
        .args(line.split_whitespace())
        .args(["--sarm", SARM, "--quiet", "--device", "cpu"])
        .current_dir(lab.path("."))
        .output()
        .unwrap()
}

/// What a study that must succeed said.
pub fn ok(lab: &Lab, line: &str) -> String {
    let output = study(lab, line);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{line}: {told}");
    told
}

/// The error of a study that must fail.
pub fn fails(lab: &Lab, line: &str, words: &[&str]) {
    let output = study(lab, line);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{line}: {told}");
    let error = told.lines().last().unwrap();
    assert!(error.starts_with("study: error: "), "{line}: {told}");
    for word in words {
        assert!(error.contains(word), "{line}: no '{word}' in: {error}");
    }
}

pub fn json(lab: &Lab, name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(lab.path(name)).unwrap()).unwrap()
}

/// Cells of every row of every table whose first cells are `words`.
pub fn rows(page: &str, words: &[&str]) -> Vec<Vec<String>> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| line.split(" | ").map(str::to_string).collect::<Vec<_>>())
        .filter(|cells| cells.starts_with(&words.iter().map(|w| w.to_string()).collect::<Vec<_>>()))
        .collect()
}

/// A distance with its error, as tables have it.
fn cell(metrics: &Value, observable: &str, keys: [&str; 2], decimals: usize) -> String {
    let [value, error] = keys.map(|k| metrics["all"][observable][k].as_f64().unwrap());
    format!("{value:.decimals$} ± {error:.decimals$}")
}

#[test]
fn fidelity_tells_what_the_program_wrote_and_trains_once() {
    let lab = lab();
    ok(&lab, FIDELITY);
    let page = fs::read_to_string(lab.path("docs/page.md")).unwrap();
    let metrics: BTreeMap<_, _> = CLASSES
        .map(|c| {
            (
                c,
                json(&lab, &format!("study/small/{c}/report/metrics.json")),
            )
        })
        .into();
    let each = || OBSERVABLES.iter().flat_map(|o| CLASSES.map(|c| (o, c)));
    for (label, keys) in [
        ("small", ["w1", "w1_error"]),
        ("truth against truth", ["w1_floor", "w1_floor_std"]),
    ] {
        let wanted: Vec<_> = each()
            .map(|(&(observable, decimals), class)| {
                cell(&metrics[class], observable, keys, decimals)
            })
            .collect();
        // Floors differ by the class alone here.
        assert_eq!(rows(&page, &[label])[0][1..], wanted, "{label}\n{page}");
    }
    for class in CLASSES {
        let found = rows(&page, &[class, "small"]);
        assert_eq!(
            found.len(),
            8,
            "means, images, soft pixels, separation, features, trees, speed"
        );
        let m = &metrics[class];
        let mass = &m["all"]["jet_mass"];
        let mean = ["generated_mean", "generated_mean_error"].map(|k| mass[k].as_f64().unwrap());
        assert_eq!(found[0][2], format!("{:.2} ± {:.2}", mean[0], mean[1]));
        let ssim = m["images"]["all"]["mean_image_ssim"].as_f64().unwrap();
        assert_eq!(found[1][2], format!("{ssim:.5}").replace('-', "\u{2212}"));
        let ln = cell(m, "ln_pixel_intensity", ["w1", "w1_error"], 5);
        assert_eq!(found[2][2], ln);
        assert!(page.contains("| ln intensity | counts below "), "{page}");
        let near = &m["features"]["all"]["neighbours"];
        assert_eq!(near["count"], 150);
        for (i, key) in ["precision", "recall", "density", "coverage"]
            .iter()
            .enumerate()
        {
            assert_eq!(
                found[5][4 + i],
                format!("{:.4}", near[key].as_f64().unwrap())
            );
        }
        // 150 true images are too few for it: the page says why.
        assert_eq!(found[5][2], "not available (1)");
        let reason = m["features"]["all"]["reasons"]["fpd"].as_str().unwrap();
        assert!(page.contains(&format!("(1) {reason}")), "{reason}");
        // Alone in its report, a class is found under its own name or that of all.
        let trees = &m["boosting"];
        let trees = (trees.get(class)).unwrap_or(&trees["all"]);
        let auc = ["auc", "auc_error"].map(|k| trees[k].as_f64().unwrap());
        assert_eq!(found[6][2], format!("{:.4} ± {:.4}", auc[0], auc[1]));
        assert_eq!(found[6][3], "150");
        assert_eq!(
            found[7][5],
            format!("{:.3}", m["nll"]["validation"].as_f64().unwrap())
        );
        let score = json(&lab, &format!("study/small/{class}/score.json"));
        let nll = -score["printed"]["mean_log_likelihood"].as_f64().unwrap();
        assert!(
            found[7][6].starts_with(&format!("{nll:.3} ± ")),
            "{}",
            found[7][6]
        );
        for figure in ["jet_pt", "training"] {
            let name = format!("figures/page/small-{class}-{figure}.svg");
            assert!(page.contains(&format!("]({name})")));
            assert!(lab.path("docs").join(name).exists());
        }
    }
    assert!(!page.to_lowercase().contains("nan"));
    let place = lab.path(".").canonicalize().unwrap();
    assert!(
        !page.contains(place.to_str().unwrap()),
        "says where the files lie"
    );

    let kept = |class| {
        fs::metadata(lab.path(&format!("study/small/{class}/run/model.safetensors")))
            .and_then(|m| m.modified())
            .unwrap()
    };
    let before = CLASSES.map(kept);
    let told = ok(&lab, FIDELITY);
    assert_eq!(told.matches("done already").count(), 8, "{told}");
    assert!(!told.contains(" .."), "{told}");
    assert_eq!(fs::read_to_string(lab.path("docs/page.md")).unwrap(), page);

    fails(
        &lab,
        &format!("{FIDELITY} --epochs 1"),
        &["another training (epochs differs)", "--again train"],
    );
    assert_eq!(CLASSES.map(kept), before);

    // A training that was cut off before its record was written goes on; here it was at its end.
    fs::remove_file(lab.path("study/small/signal/train.json")).unwrap();
    ok(&lab, FIDELITY);
    let command = json(&lab, "study/small/signal/train.json")["command"].to_string();
    assert!(command.contains("--resume"), "{command}");

    // The same model, given instead of trained.
    let given = "--models other/signal=study/small/signal/run/model.safetensors --classes signal=1";
    let line = FIDELITY
        .replace("--configs small.toml", given)
        .replace("page.md", "given.md");
    ok(&lab, &line);
    let page = fs::read_to_string(lab.path("docs/given.md")).unwrap();
    let wanted = OBSERVABLES.map(|(o, n)| cell(&metrics["signal"], o, ["w1", "w1_error"], n));
    assert_eq!(rows(&page, &["other"])[0][1..], wanted);
    assert!(page.contains("given, not trained"));
    assert!(!page.contains("Conditioned on"));

    // The configuration with a change beside it: what else it is told, the page says.
    fs::write(
        lab.path("told.toml"),
        "[[variant]]\nname = 'told'\nset = { 'condition.names' = ['jet_pt'] }",
    )
    .unwrap();
    let line = FIDELITY.replace("page.md", "both.md") + " --variants told.toml --classes signal=1";
    ok(&lab, &line);
    let page = fs::read_to_string(lab.path("docs/both.md")).unwrap();
    assert!(page.contains("Conditioned on `jet_pt`: told."), "{page}");
    assert_eq!(rows(&page, &["small"])[0][1..], wanted);
    assert_eq!(rows(&page, &["told"]).len(), 2);
    let without = line.replace("--configs small.toml", "");
    fails(&lab, &without, &["--variants has nothing to change"]);
}

#[test]
fn classification_tells_what_the_classifiers_found() {
    let lab = lab();
    let line = FIDELITY
        .replace("fidelity", "classification")
        .replace("--figures jet_pt,training", "--epochs 1")
        + " --evaluate=--classifier-network --evaluate=dense --evaluate=--classifier-images --evaluate=100";
    ok(&lab, &line);
    let page = fs::read_to_string(lab.path("docs/page.md")).unwrap();
    let metrics = json(&lab, "study/small/classification/report/metrics.json");
    let numbers = |place: &Value, key: &str| {
        let [value, error] = [key.to_string(), format!("{key}_error")]
            .map(|k| format!("{:.4}", place[k].as_f64().unwrap()));
        format!("{value} ± {error}").replace('-', "\u{2212}")
    };
    for (model, words, side) in [
        ("small", "generated images", "generated"),
        ("truth", "truth", "truth"),
    ] {
        let found = &metrics["transfer"][side];
        let row = &rows(&page, &[model, words])[0];
        assert_eq!(row[2], numbers(found, "auc"), "{page}");
        assert_eq!(
            row[4],
            format!("{}, {}", found["epochs"], found["best_epoch"])
        );
    }
    for class in CLASSES {
        let found = &metrics["two_sample"][class];
        // 150 true images are too few for two halves of 100: the page says why.
        let wanted = [
            numbers(&found["generated"], "auc"),
            numbers(&found["generated"], "jsd"),
            "not available (1)".to_string(),
            "not available (1)".to_string(),
        ];
        assert_eq!(rows(&page, &[class, "small"])[0][2..], wanted, "{page}");
        let reason = found["truth_reason"].as_str().unwrap();
        assert!(page.contains(&format!("(1) {reason}")), "{reason}");
    }
    assert!(page.contains("](figures/page/small-roc.svg)"));
    assert!(lab.path("docs/figures/page/small-roc.svg").exists());
    assert!(page.contains("signal: 150, background: 150 true images"));

    let told = ok(&lab, &line);
    assert_eq!(told.matches("done already").count(), 5, "{told}");
    assert_eq!(fs::read_to_string(lab.path("docs/page.md")).unwrap(), page);

    fails(
        &lab,
        &format!("{line} --classes signal=1"),
        &["signal=1", "not signal and background"],
    );

    // Fewer than a classifier wants: no numbers, but a page that says so.
    let line = line.replace("--count 300", "--count 60");
    ok(&lab, &line);
    let page = fs::read_to_string(lab.path("docs/page.md")).unwrap();
    assert_eq!(
        rows(&page, &["small", "generated images"])[0][2],
        "not available (1)"
    );
    assert!(page.contains("at least 100"), "{page}");
}

/// What the shipped lists of variants make of the shipped configuration is a configuration still.
#[test]
fn shipped_variants_suit_the_shipped_configuration() {
    let lab = Lab::empty();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let code = "
import sys
sys.path.insert(0, 'scripts')
from studies.compare import variant_jobs
from studies.config import read_toml, write_toml
base = read_toml('configs/jets.toml')
for list in ('jets-unconditioned', 'jets-variants'):
    for job in variant_jobs(base, f'scripts/studies/{list}.toml'):
        path = f'{sys.argv[1]}/{job.name}.toml'
        open(path, 'w').write(write_toml(job.config))
        print(path)
";
    let output = Command::new("python3")
        .args(["-B", "-c", code])
        .arg(lab.path("."))
        .current_dir(root)
        .output()
        .unwrap();
    let paths = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && paths.lines().count() >= 8,
        "{paths}"
    );
    for path in paths.lines() {
        lab.json(&format!("info --json {path}"));
    }
}

/// Each row is a training on so many images.
#[test]
fn a_learning_curve_takes_more_and_more_images() {
    let lab = lab();
    let line = "curve --truth-train train.h5 --truth-test test.h5 --base small.toml --set train.epochs=1 \
        --classes signal=1 --count 200 --evaluate=--bootstrap --evaluate=5 --out study --page page.md --images 40,120";
    ok(&lab, line);
    let page = fs::read_to_string(lab.path("page.md")).unwrap();
    for (name, what, images) in [
        ("40-images", "40 images", "--limit 40"),
        ("120-images", "120 images", "--limit 120"),
    ] {
        assert_eq!(rows(&page, &[name, what]).len(), 1, "{page}");
        assert!(page.contains(images), "{page}");
    }
    assert!(page.contains("AUC, boosted trees"), "{page}");
    fails(
        &lab,
        &line.replace("40,120", "40,many"),
        &["'many'", "no number of images"],
    );
}

#[test]
fn variants_change_what_they_say() {
    let lab = lab();
    lab.file(
        "variants.toml",
        "
[[variant]]
name = 'shallow'
remove = ['train.learning_rate']
set = { 'stage.-1.units_per_pixel' = 2, 'input.also' = [{ transform = 'log1p', unit = 0.5 }] }
[[variant]]
name = 'cosine'
[variant.set.train]
schedule = 'cosine'
",
    );
    let line = "ablation --truth-train train.h5 --truth-test test.h5 --base small.toml --set train.epochs=1 \
        --classes signal=1 --count 200 --evaluate=--bootstrap --evaluate=5 --out study --page page.md \
        --variants variants.toml";
    ok(&lab, line);
    let page = fs::read_to_string(lab.path("page.md")).unwrap();
    for (name, what) in [
        ("base", "the configuration as it is"),
        (
            "shallow",
            "no `train.learning_rate`, `stage.-1.units_per_pixel = 2`",
        ),
        ("cosine", "`train.schedule = \"cosine\"`"),
    ] {
        let row = &rows(&page, &[name])[0];
        assert!(row[1].starts_with(what), "{row:?}");
        let metrics = json(&lab, &format!("study/{name}/signal/report/metrics.json"));
        for (i, (observable, decimals)) in OBSERVABLES.iter().enumerate() {
            let wanted = cell(&metrics, observable, ["w1", "w1_error"], *decimals);
            assert_eq!(row[6 + i], wanted, "{name} {observable}");
        }
    }
    let config = lab.json("info --json study/shallow/config.toml");
    assert_eq!(config["stage"][1]["units_per_pixel"], 2);
    assert_eq!(config["stage"][0]["square"], 3);
    assert_eq!(config["input"]["also"][0]["unit"], 0.5);
    assert_eq!(config["train"]["learning_rate"], 3e-4, "the default");
    assert_eq!(config["train"]["epochs"], 1);

    lab.file(
        "variants.toml",
        "[[variant]]\nname = 'a'\nremove = ['likelihood.upper']\n",
    );
    fails(&lab, line, &["'a'", "likelihood.upper", "does not have it"]);
    lab.file(
        "variants.toml",
        "[[variant]]\nname = 'a'\nset = {'train.batch' = 0}\n",
    );
    fails(&lab, line, &["configuration 'a'", "train.batch"]);
}

#[test]
fn mistakes_are_told() {
    let lab = lab();
    for (change, words) in [
        (("test.h5", "none.h5"), ["none.h5", "no such file"]),
        (("test.h5", "train.h5"), ["same events", "--select-test"]),
        (
            ("small.toml", "none.toml"),
            ["none.toml", "give an existing"],
        ),
        (
            ("--count", "--classes signal=2 --count"),
            ["signal=2", "150 with signal=1"],
        ),
        (
            ("--count", "--classes charm=1 --count"),
            ["'charm'", "--classes"],
        ),
        (
            ("--count", "--again everything --count"),
            ["everything", "evaluate"],
        ),
        (
            ("--configs small.toml", "--models a/charm=x"),
            ["a/charm=x", "signal"],
        ),
        (
            ("--configs small.toml", "--models a=none"),
            ["'none'", "no such file"],
        ),
        (("--configs small.toml", ""), ["--configs", "--models"]),
    ] {
        fails(&lab, &FIDELITY.replace(change.0, change.1), &words);
    }
    assert!(!lab.path("docs/page.md").exists());
}
