//! What the verbs do through the program's binary: the main path from images to report, and what it promises.

mod program;

use std::collections::BTreeMap;
use std::fs;

use program::{DC, DD, Lab, assert_same, column, conditioned};
use sarm::data::{WriteOptions, write};

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
    assert!(page.contains("<svg") || page.contains("data:image"));
    assert!(!page.contains("src=\"http"), "self-contained");
    assert!(!lab.names("report/figures").is_empty());
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
fn conditions_by_value_and_from_rows() {
    let lab = Lab::trained(&conditioned());
    let generate = "generate --quiet --model run/model.safetensors";
    lab.ok(&format!(
        "{generate} --count 60 --given signal=1,jet_pt=270 --out given.h5"
    ));
    let given = lab.read("given.h5");
    assert_eq!(given.columns["signal"], vec![1.0; 60]);
    assert_eq!(given.columns["given_jet_pt"], vec![270.0; 60]);
    assert!(given.columns["jet_pt"] != given.columns["given_jet_pt"]);
    lab.ok(&format!(
        "{generate} --given-from data.h5 --select signal=0 --out rows.h5"
    ));
    let rows = lab.read("rows.h5");
    assert_eq!(rows.images.len(), 150);
    assert_eq!(rows.columns["signal"], vec![0.0; 150]);
    let wanted: Vec<f32> = (0..150).map(|i| 250.0 + (2 * i % 50) as f32).collect();
    assert_eq!(rows.columns["given_jet_pt"], wanted);
    // A shard takes the rows of its own numbers, round and round.
    lab.ok(&format!(
        "{generate} --given-from data.h5 --select signal=0 --first 140 --count 20 --out shard.h5"
    ));
    let shard = lab.read("shard.h5");
    assert_eq!(shard.images.gather(0..10), rows.images.gather(140..150));
    assert_eq!(shard.columns["given_jet_pt"][10..], wanted[..10]);
    // Read again as conditions, the values given count and not those that came out.
    let scores = |file: &str| {
        lab.ok(&format!(
            "score --quiet --model run/model.safetensors --data {file}"
        ))
        .stdout
    };
    write(
        &lab.path("renamed.h5"),
        &given.images,
        &BTreeMap::from([
            ("signal".to_string(), vec![1.0; 60]),
            ("jet_pt".to_string(), vec![270.0; 60]),
        ]),
        &WriteOptions {
            height: 7,
            width: 7,
            ..WriteOptions::default()
        },
    )
    .unwrap();
    assert_eq!(scores("given.h5"), scores("renamed.h5"));
    lab.ok(&format!(
        "{generate} --given-from given.h5 --observables no --out again.h5"
    ));
    assert_eq!(
        lab.read("again.h5").columns["given_jet_pt"],
        vec![270.0; 60]
    );
    assert_eq!(lab.read("again.h5").images, given.images);
    lab.refuses(
        &format!("{generate} --count 5 --given signal=1,signal=0,jet_pt=270 --out no.h5"),
        &["--given names 'signal' twice"],
    );
    lab.refuses(
        &format!("{generate} --count 5 --out no.h5"),
        &["signal, jet_pt", "--given"],
    );
    lab.refuses(
        &format!("{generate} --count 5 --given signal=1 --out no.h5"),
        &["--given jet_pt=VALUE"],
    );
    lab.refuses(
        &format!("{generate} --count 5 --given colour=1 --out no.h5"),
        &["no condition 'colour'", "signal, jet_pt"],
    );
    lab.refuses(
        &format!("{generate} --given signal=1,jet_pt=2 --out no.h5"),
        &["--count"],
    );
    lab.ok(
        "score --quiet --model run/model.safetensors --data data.h5 --select signal=1 --out s.h5",
    );
    let scored = column(&lab.path("s.h5"), "row");
    assert_eq!(scored[..3], [1.0, 3.0, 5.0]);
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
