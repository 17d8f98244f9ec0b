//! What the verbs do through the program's binary: the main path from images to report, and what it promises.

use crate::support::program;
use std::fs;

use crate::support::program::{DC, DD, Lab, assert_same, write_images};
use sarm::data::{Dataset, WriteOptions, write};
use sarm::evaluate::report::MetricsFile;

#[test]
fn the_main_path() {
    let lab = Lab::trained(DC);
    assert_eq!(
        lab.names("run"),
        [
            "config.toml",
            "metrics.csv",
            "model.safetensors",
            "state.safetensors"
        ]
    );
    let metrics = fs::read_to_string(lab.path("run/metrics.csv")).unwrap();
    assert_eq!(metrics.lines().count(), 3, "{metrics}");
    lab.ok("generate --quiet --model run/model.safetensors --count 400 --seed 7 --out g.h5");
    let generated = lab.read("g.h5");
    assert_eq!(generated.images.len(), 400);
    assert!(generated.images.nonzeros() > 400);
    for name in ["jet_pt", "jet_mass", "tau_1", "tau_21"] {
        assert_eq!(generated.columns[name].len(), 400, "{name}");
    }
    lab.ok("score --quiet --model run/model.safetensors --data g.h5 --out scores.h5");
    let evaluate =
        "evaluate --quiet --json --truth data.h5 --generated g.h5 --out report --bootstrap 10";
    let told = lab.json(evaluate);
    let text = fs::read_to_string(lab.path("report/metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told, metrics);
    for observable in ["jet_pt", "jet_mass", "tau_21", "multiplicity", "intensity"] {
        for key in ["w1", "w1_error", "w1_floor"] {
            let v = metrics["all"][observable][key].as_f64();
            assert!(
                v.is_some_and(|v| v.is_finite() && v >= 0.0),
                "{observable} {key}"
            );
        }
    }
    let record = &lab.json("info --json run/model.safetensors")["record"];
    for part in ["train", "validation"] {
        assert!(metrics["nll"][part].is_f64());
        assert_eq!(metrics["nll"][part], record[format!("{part}_nll")]);
    }
    let about = sarm::data::describe(&lab.path("g.h5")).unwrap();
    let unconditioned = about.attributes["condition_sha256"].to_string();
    assert_eq!(unconditioned, "0".repeat(64));
    assert_eq!(metrics["meta"]["images"]["generated"], 400);
    let page = fs::read_to_string(lab.path("report/index.html")).unwrap();
    assert!(!page.contains("src=\"http"), "self-contained");
    // Every figure is a file, stands on the page as it is in the file, and is linked to it.
    let figures = lab.names("report/figures");
    let drawings = figures.iter().filter(|name| name.ends_with(".svg"));
    for name in drawings.clone() {
        let drawing = fs::read_to_string(lab.path("report/figures").join(name)).unwrap();
        assert!(drawing.starts_with("<svg "), "{name}: {drawing}");
        assert!(page.contains(&drawing), "{name} is not on the page");
        assert!(page.contains(&format!("href=\"figures/{name}\"")));
    }
    let count = drawings.count();
    assert_eq!(page.matches("<figure").count(), count);
    // Generated without conditions, so of no known class: the figures of all images, what boosted trees use of them, and the
    // training curve.
    let used = metrics["boosting"]["all"]["features"].as_array().unwrap();
    assert!((1..=10).contains(&used.len()));
    assert_eq!(count, 18 + used.len() + 1, "{figures:?}");
    lab.ok("evaluate --quiet --force --truth data.h5 --generated g.h5 --out report --bootstrap 5");
    assert_eq!(
        lab.names("."),
        [
            "config.toml",
            "data.h5",
            "g.h5",
            "report",
            "run",
            "scores.h5"
        ]
    );
}

#[test]
fn images_depend_on_seed_and_number_alone() {
    for toml in [DC, DD] {
        let lab = Lab::trained(toml);
        let generate = |options: &str, out: &str| {
            lab.ok(&format!(
                "generate --quiet --model run/model.safetensors --seed 7 {options} --out {out}"
            ));
            lab.read(out)
        };
        let whole = generate("--count 3000 --threads 1", "whole.h5");
        assert_same(
            &generate("--count 3000 --threads 2", "two.h5"),
            &whole,
            "threads",
        );
        let sparse = generate("--count 3000 --layout sparse --observables", "sparse.h5");
        assert_same(&sparse, &whole, "layouts");
        let mut joined = generate("--count 1000 --first 0", "a.h5");
        for (first, count, out) in [(1000, 1, "b.h5"), (1001, 1999, "c.h5")] {
            let part = generate(&format!("--count {count} --first {first}"), out);
            joined.images.extend(&part.images);
            for (name, column) in &mut joined.columns {
                column.extend(&part.columns[name]);
            }
        }
        assert_same(&joined, &whole, "shards");
        lab.ok(
            "generate --quiet --model run/model.safetensors --seed 8 --count 3000 --out other.h5",
        );
        assert!(lab.read("other.h5").images != whole.images);
    }
}

#[test]
fn reports_name_the_model_that_drew_the_images() {
    let lab = Lab::trained(&DC.replace("validation = 0.1", "validation = 0"));
    lab.ok("generate --quiet --model run/model.safetensors --count 100 --out g.h5");
    let evaluate =
        "evaluate --json --truth data.h5 --generated g.h5 --bootstrap 2 --force --out report";
    let report = lab.json(&format!("{evaluate} --quiet"));
    assert!(report["nll"]["train"].is_f64(), "{}", report["nll"]);
    assert!(report["nll"]["validation"].is_null());
    // Another model under the same name is not the one; who names it means it.
    lab.ok("train --quiet --data data.h5 --config config.toml --seed 9 --force --out run");
    let output = lab.ok(evaluate);
    let warning = String::from_utf8_lossy(&output.stderr);
    assert!(warning.contains("no longer the model"), "{warning}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["nll"].is_null());
    let report = lab.json(&format!("{evaluate} --quiet --model run/model.safetensors"));
    assert!(report["nll"]["train"].is_f64());
    // One that is gone is left out, but not if it was asked for.
    fs::remove_dir_all(lab.path("run")).unwrap();
    assert!(lab.json(&format!("{evaluate} --quiet"))["nll"].is_null());
    lab.refuses(
        &format!("{evaluate} --model run/model.safetensors"),
        &["run/model.safetensors"],
    );
}

/// Write a file of 7 x 7 images.
fn put(lab: &Lab, name: &str, data: &Dataset) {
    let options = WriteOptions {
        height: 7,
        width: 7,
        ..WriteOptions::default()
    };
    write(&lab.path(name), &data.images, &data.columns, &options).unwrap();
}

#[test]
fn several_files_count_as_one() {
    let lab = Lab::new();
    write_images(&lab.path("a.h5"), 120, 7, 2, &[]);
    write_images(&lab.path("b.h5"), 90, 7, 3, &[]);
    let mut joint = lab.read("a.h5");
    assert!(joint.extend(lab.read("b.h5")).is_empty());
    put(&lab, "joint.h5", &joint);
    let evaluate = "evaluate --json --bootstrap 5 --force --out report";
    let without_meta = |line: &str| {
        let mut told = lab.json(&format!("{evaluate} --quiet {line}"));
        let meta = told.as_object_mut().unwrap().remove("meta").unwrap();
        (told, meta["files"].clone())
    };
    let (one, _) = without_meta("--truth data.h5 --generated joint.h5");
    let (two, files) = without_meta("--truth data.h5 --generated a.h5 --generated b.h5");
    assert!(one == two && one["signal"].is_object());
    assert_eq!(files["generated"], "a.h5, b.h5");
    let (one, _) = without_meta("--truth joint.h5 --generated data.h5");
    let (two, files) = without_meta("--truth a.h5 --truth b.h5 --generated data.h5");
    assert!(one == two);
    assert_eq!(files["truth"], "a.h5, b.h5");
    // Signal alone against both classes.
    let told = |line: &str| lab.ok(&format!("{evaluate} {line}")).stderr;
    let said = String::from_utf8(told(
        "--truth data.h5 --generated a.h5 --select-generated signal=1",
    ))
    .unwrap();
    assert!(
        said.contains("50.0 % of the true images are signal and 100.0 % of"),
        "{said}"
    );
    let apart =
        told("--truth data.h5 --select signal=0 --generated a.h5 --select-generated signal=1");
    assert!(
        String::from_utf8(apart)
            .unwrap()
            .contains("0.0 % of the true images are signal")
    );
    let said = String::from_utf8(told("--truth data.h5 --generated a.h5")).unwrap();
    assert!(!said.contains("are signal"), "{said}");
    // Labels of some images only tell no classes apart.
    let mut bare = lab.read("b.h5");
    bare.columns.clear();
    put(&lab, "bare.h5", &bare);
    for files in [["a.h5", "bare.h5"], ["bare.h5", "a.h5"]] {
        let [first, second] = files;
        let output = lab.ok(&format!(
            "{evaluate} --truth data.h5 --generated {first} --generated {second}"
        ));
        let warning = String::from_utf8_lossy(&output.stderr);
        assert!(warning.contains("'signal' is not used"), "{warning}");
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["all"]["jet_pt"]["generated_count"], 210);
        assert!(told["signal"].is_null());
    }
    write_images(&lab.path("other.h5"), 20, 6, 3, &[]);
    lab.refuses(
        "evaluate --truth data.h5 --generated a.h5 --generated other.h5 --out no",
        &["other.h5", "7 x 7"],
    );
}

#[test]
fn images_are_compared_given_what_they_were_given() {
    let lab = Lab::new();
    let mut data = lab.read("data.h5");
    // Conditions of generated images; the true jet_pt is only a column of the truth.
    let given = data.columns.remove("jet_pt").unwrap();
    data.columns.insert("given_jet_pt".into(), given);
    let options = WriteOptions {
        height: 7,
        width: 7,
        ..WriteOptions::default()
    };
    let written = lab.path("written.h5");
    write(&written, &data.images, &data.columns, &options).unwrap();
    fs::copy(&written, lab.path("g.h5")).unwrap();
    let evaluate =
        "evaluate --json --truth data.h5 --generated g.h5 --bootstrap 2 --force --out report";
    for asked in ["", " --condition jet_pt"] {
        let output = lab.ok(&format!("{evaluate}{asked}"));
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let response = &told["response"]["all"]["jet_pt"];
        assert_eq!(response["quantities"].as_array().unwrap().len(), 4);
        assert_eq!(response["quantities"][0]["w1"], 0.0);
        let lines = String::from_utf8_lossy(&output.stderr);
        let line = "intensity given jet_pt: at the floor, W1 in 2 bins 0.0000 GeV";
        assert!(lines.contains(line), "{lines}");
        for number in ["FPD by JetNet x 1000", "KPD unbiased x 1000"] {
            assert!(lines.contains(number), "{lines}");
        }
    }
    lab.refuses(&format!("{evaluate} --condition nope"), &["nope"]);
}

#[test]
fn classifiers_judge_where_asked_for() {
    let lab = Lab::new();
    write_images(&lab.path("g.h5"), 300, 7, 2, &[]);
    let evaluate =
        "evaluate --json --truth data.h5 --generated g.h5 --bootstrap 2 --force --out report";
    let told = lab.json(&format!("{evaluate} --quiet"));
    for key in ["two_sample", "transfer", "reasons"] {
        assert!(told.get(key).is_none(), "{key}");
    }
    // Boosted trees judge by default.
    for class in ["all", "signal", "background"] {
        let test = &told["boosting"][class];
        assert!(
            test["auc"].is_f64() && test["observable"]["auc"].is_f64(),
            "{test}"
        );
        assert!(told["headline"][class]["auc"].is_f64());
    }
    let told = lab.json(&format!("{evaluate} --quiet --skip-boosting"));
    assert!(told.get("boosting").is_none() && told.get("headline").is_none());
    let output = lab.ok(&format!(
        "{evaluate} --classifiers --classifier-network dense --classifier-images 100"
    ));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let lines = String::from_utf8_lossy(&output.stderr);
    assert!(
        lines.contains("truth against generated  epoch  1/20"),
        "{lines}"
    );
    assert!(lines.contains("two-sample       AUC"), "{lines}");
    assert!(lines.contains("boosted trees    AUC"), "{lines}");
    for class in ["all", "signal", "background"] {
        let test = &told["two_sample"][class];
        assert_eq!(test["options"]["network"], "dense");
        assert_eq!(test["generated"]["images"]["train"], 60, "{class}");
        assert!(test["generated"]["auc"].is_f64() && test["generated"]["jsd_error"].is_f64());
    }
    assert_eq!(told["two_sample"]["all"]["truth"]["images"]["test"], 20);
    let reason = &told["two_sample"]["signal"]["truth_reason"];
    assert!(
        reason.as_str().unwrap().contains("150 true images"),
        "{reason}"
    );
    for side in ["generated", "truth"] {
        assert!(told["transfer"][side]["auc"].is_f64());
        assert_eq!(told["transfer"][side]["roc"].as_array().unwrap().len(), 201);
    }
    let text = fs::read_to_string(lab.path("report/metrics.json")).unwrap();
    let again: MetricsFile = serde_json::from_str(&text).unwrap();
    assert_eq!(again.to_json(), text);
    let page = fs::read_to_string(lab.path("report/index.html")).unwrap();
    for part in [
        "id=\"classifiers\"",
        "id=\"boosting\"",
        "Trained on truth: AUC",
        "150 true images",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("NaN"));
    assert!(lab.path("report/figures/classifiers-transfer.svg").exists());
}

#[test]
fn classifiers_that_cannot_be_trained_say_why() {
    let lab = Lab::new();
    let evaluate = "evaluate --quiet --json --truth data.h5 --generated data.h5 --bootstrap 2 --classifiers --force --out report";
    let told = lab.json(&format!("{evaluate} --select row=0..49"));
    for class in ["all", "signal", "background"] {
        assert!(told["two_sample"][class].is_null());
        let reason = told["two_sample"]["reasons"][class].as_str().unwrap();
        assert!(reason.contains("too few"), "{reason}");
    }
    assert!(told["transfer"].is_null());
    assert!(
        told["reasons"]["transfer"]
            .as_str()
            .unwrap()
            .contains("true signal: 25")
    );
    // All images are signal: one class, once.
    let told = lab.json(&format!(
        "{evaluate} --select signal=1 --select-generated signal=1"
    ));
    let classes = told["two_sample"]["reasons"].as_object().unwrap();
    assert_eq!(classes.keys().collect::<Vec<_>>(), ["signal"]);
    assert!(classes["signal"].as_str().unwrap().contains("13 x 13"));
    assert!(
        told["reasons"]["transfer"]
            .as_str()
            .unwrap()
            .contains("both sides")
    );
    let page = fs::read_to_string(lab.path("report/index.html")).unwrap();
    assert!(page.contains("not available: images of 7 x 7 pixels"));
    for wrong in ["--classifier-images 99", "--classifier-network resnet"] {
        lab.sarm(&format!("{evaluate} {wrong}")).assert().code(2);
    }
}

#[test]
fn one_process_trains_in_a_directory() {
    let lab = Lab::trained(DC);
    let train = "train --quiet --data data.h5 --config config.toml --out run";
    // What a killed run leaves is no obstacle, and goes.
    lab.file("run/lock", "");
    lab.ok(&format!("{train} --epochs 3 --resume"));
    assert!(!lab.path("run/lock").exists());
    let held = fs::File::create(lab.path("run/lock")).unwrap();
    held.lock().unwrap();
    for how in ["--resume", "--force"] {
        lab.refuses(&format!("{train} {how}"), &["another process", "'run'"]);
    }
    drop(held);
    lab.ok(&format!("{train} --force"));
}

#[test]
fn diverged_validation_is_refused() {
    let lab = Lab::new();
    // One step an epoch: its own loss is that of the initial model.
    let toml = DC.replace("batch = 32", "batch = 300");
    lab.file("config.toml", toml.replace("1e-3", "1e30"));
    let error = lab.fails("train --quiet --data data.h5 --config config.toml --out run");
    assert!(error.contains("held-out"), "{error}");
    assert!(!lab.path("run/model.safetensors").exists());
}

#[test]
fn training_does_not_depend_on_threads() {
    let lab = Lab::new();
    lab.file("config.toml", DD);
    for threads in [1, 2, 3] {
        lab.ok(&format!(
            "train --quiet --threads {threads} --data data.h5 --config config.toml --out run{threads}"
        ));
    }
    let model = |n: usize| fs::read(lab.path(&format!("run{n}/model.safetensors"))).unwrap();
    assert!(model(1) == model(2) && model(1) == model(3));
}

#[cfg(unix)]
#[test]
fn odd_file_names() {
    use std::os::unix::ffi::OsStrExt;
    let lab = Lab::trained(DC);
    lab.ok("generate --quiet --model run/model.safetensors --count 5 --out café→.h5");
    assert_eq!(lab.read("café→.h5").images.len(), 5);
    let before = lab.names(".");
    // HDF5 names are text: another name is an error, not a crash.
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.h5");
    let refused = |line: &str| {
        let output = lab.sarm(line).arg(name).output().unwrap();
        let error = program::one_error(line, &output);
        assert!(error.contains("UTF-8"), "{error}");
    };
    refused("generate --quiet --model run/model.safetensors --count 5 --out");
    assert_eq!(lab.names("."), before);
    fs::copy(lab.path("data.h5"), lab.path(".").join(name)).unwrap();
    refused("score --quiet --model run/model.safetensors --data");
    refused("info");
}
