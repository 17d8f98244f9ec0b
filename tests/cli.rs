//! The command line through its binary: help, exit codes, streams, `--json`, and the main path.

mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use predicates::prelude::*;
use program::{DC, DD, Lab, SARM, assert_same, column, conditioned};
use sarm::data::{WriteOptions, write};

/// Options that every verb has.
const GLOBAL: &str = "--device --threads --quiet --verbose --help";

const VERBS: [(&str, &str); 7] = [
    (
        "train",
        "--data --select --config --out --epochs --seed --limit --resume --force --checkpoint-every --json",
    ),
    (
        "generate",
        "--model --count --seed --first --out --layout --given --given-from --select --observables --range --resume --force --json",
    ),
    (
        "evaluate",
        "--truth --select --generated --select-generated --out --model --range --bootstrap --seed --force --json",
    ),
    (
        "score",
        "--model --data --select --out --limit --force --json",
    ),
    ("info", "--devices --json"),
    ("bench", "--config --seconds --skip-naive --json"),
    ("completions", ""),
];

#[test]
fn help_mentions_every_option() {
    let lab = Lab::empty();
    let top = lab.ok("--help");
    let top = String::from_utf8(top.stdout).unwrap();
    for (verb, options) in VERBS {
        assert!(top.contains(verb), "{verb}: {top}");
        let output = lab.ok(&format!("{verb} --help"));
        assert!(output.stderr.is_empty());
        let text = String::from_utf8(output.stdout).unwrap();
        // Whole words: `--select` is also the start of `--select-generated`.
        let words: BTreeSet<&str> = text
            .split(|c: char| !(c.is_alphanumeric() || c == '-'))
            .collect();
        for option in options.split_whitespace().chain(GLOBAL.split_whitespace()) {
            assert!(words.contains(option), "{verb} {option}: {text}");
        }
        let listed = |l: &&str| l.trim_start().starts_with('-');
        for line in text.lines().filter(listed) {
            let option = line.split_whitespace().find(|w| w.starts_with("--"));
            let option = option.unwrap_or("").trim_end_matches("...");
            let known = format!("{options} {GLOBAL} --version");
            assert!(
                known.split(' ').any(|k| k == option),
                "{verb}: {option} is new; add it here"
            );
        }
        assert!(words.len() > 40, "{verb}: help worth reading: {text}");
    }
}

#[test]
fn version_and_completions() {
    let lab = Lab::empty();
    let version = format!("sarm {}\n", env!("CARGO_PKG_VERSION"));
    lab.sarm("--version").assert().success().stdout(version);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        lab.sarm(&format!("completions {shell}"))
            .assert()
            .success()
            .stderr("")
            .stdout(predicate::str::contains("checkpoint-every"))
            .stdout(predicate::str::contains("given-from"));
    }
    assert!(lab.names(".").is_empty());
}

#[test]
fn wrong_usage_is_code_2() {
    let lab = Lab::new();
    for line in [
        "",
        "dream",
        "train",
        "train --data data.h5",
        "train --data data.h5 --out run --colour red",
        "train --data data.h5 --out run --epochs many",
        "train --data data.h5 --out run --epochs -1",
        "train --data data.h5 --out run --resume --force",
        "train --data data.h5 --out run --select signal",
        "train --data data.h5 --out run --select signal=2..1",
        "generate --model m --out o.h5 --count 1 --layout round",
        "generate --model m --out o.h5 --count 1 --given signal=nan",
        "generate --model m --out o.h5 --count 1 --given signal",
        "generate --model m --out o.h5 --given a=1 --given-from data.h5",
        "generate --model m --out o.h5 --count 1 --select signal=1",
        "generate --model m --out o.h5 --count 1 --given a=1 --select signal=1",
        "generate --model m --out o.h5 --count 0",
        "generate --model m --out o.h5 --count 1 --observables perhaps",
        "score --model m",
        "info",
        "info data.h5 --quiet --verbose",
        "info data.h5 --threads 0",
        "completions csh",
    ] {
        let output = lab.sarm(line).assert().code(2).get_output().clone();
        assert!(output.stdout.is_empty(), "{line}");
        assert!(!output.stderr.is_empty(), "{line}");
    }
    // A number that cannot be negative says so, and is not taken for an option.
    for line in [
        "generate --model m --out o.h5 --count -5",
        "generate --model m --out o.h5 --count 5 --seed -5",
        "score --model m --data data.h5 --limit -5",
        "train --data data.h5 --out run --epochs -5",
        "info data.h5 --threads -5",
    ] {
        let range = predicate::str::is_match("must be a whole number|-5 is not in 1..").unwrap();
        lab.sarm(line).assert().code(2).stderr(range);
    }
    assert_eq!(lab.names("."), ["data.h5"]);
}

#[test]
fn people_read_stderr_and_scripts_stdout() {
    let lab = Lab::new();
    lab.file("config.toml", DC);
    let train = "train --data data.h5 --config config.toml --epochs 1 --out";
    let loud = lab.ok(&format!("{train} loud"));
    assert!(loud.stdout.is_empty());
    let said = String::from_utf8(loud.stderr).unwrap();
    for word in ["270 images, 30 held out", "epoch ", "NLL", "loud/model"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(
        !said.contains('\x1b'),
        "no colours or bars into a pipe: {said}"
    );
    let more = lab.ok(&format!("-v {train} more"));
    assert!(String::from_utf8(more.stderr).unwrap().contains("cpu, "));
    for line in [
        &format!("{train} quiet"),
        "generate --model quiet/model.safetensors --count 300 --out g.h5",
        "score --model quiet/model.safetensors --data data.h5 --out s.h5",
        "evaluate --truth data.h5 --generated g.h5 --out report --bootstrap 5",
    ] {
        let output = lab.ok(&format!("{line} --quiet"));
        assert!(
            output.stdout.is_empty() && output.stderr.is_empty(),
            "{line}"
        );
    }
    // An error is told all the same.
    lab.refuses(&format!("{train} quiet --quiet"), &["already holds a run"]);
    let scores = lab.ok("score --quiet --model quiet/model.safetensors --data data.h5 --limit 7");
    let lines = String::from_utf8(scores.stdout).unwrap();
    let told: Vec<f64> = lines.lines().map(|l| l.parse().unwrap()).collect();
    let stored = column(&lab.path("s.h5"), "log_likelihood");
    assert_eq!(told.len(), 7);
    for (a, b) in told.iter().zip(&stored) {
        assert_eq!(a, b);
    }
}

#[test]
fn nobody_listening_is_no_crash() {
    if !std::path::Path::new("/dev/full").exists() {
        return;
    }
    let lab = Lab::trained(DC);
    let run = |shell: &str| {
        std::process::Command::new("bash")
            .args(["-c", shell, SARM])
            .current_dir(lab.path("."))
            .output()
            .unwrap()
    };
    // Where stderr cannot be written to, the work is done all the same.
    let done =
        run("\"$0\" generate --model run/model.safetensors --count 5 --out a.h5 2>/dev/full");
    assert!(done.status.success());
    assert_eq!(lab.read("a.h5").images.len(), 5);
    let failed = run("\"$0\" info nowhere 2>/dev/full");
    assert_eq!(failed.status.code(), Some(1));
    // Where stdout cannot, the data are lost: a failure.
    for verb in ["info data.h5", "info --json data.h5", "completions bash"] {
        let lost = run(&format!("\"$0\" {verb} >/dev/full"));
        let error = program::one_error(verb, &lost);
        assert!(error.contains("cannot write to stdout"), "{error}");
    }
    let reader_gone = run("set -o pipefail; \"$0\" info run/model.safetensors | head -c 5");
    assert_eq!(reader_gone.status.code(), Some(0));
    assert!(reader_gone.stderr.is_empty());
}

#[test]
fn json_of_train_score_generate_and_info() {
    let lab = Lab::new();
    lab.file("config.toml", DC);
    let train = "train --quiet --json --data data.h5 --config config.toml --out run";
    let history = lab.json(train);
    assert_eq!(history.as_array().unwrap().len(), 2);
    for (i, epoch) in history.as_array().unwrap().iter().enumerate() {
        assert_eq!(epoch["epoch"], i + 1);
        for key in [
            "learning_rate",
            "train_nll",
            "validation_nll",
            "seconds",
            "images_per_second",
        ] {
            assert!(epoch[key].as_f64().unwrap() > 0.0, "{key}: {epoch}");
        }
        assert!(epoch["best"].is_boolean());
    }
    let g = lab.json("generate --quiet --json --model run/model.safetensors --count 50 --out g.h5");
    assert_eq!(
        (&g["ending"], &g["out"]),
        (&"complete".into(), &"g.h5".into())
    );
    assert_eq!(
        (&g["images_drawn"], &g["images_taken_over"]),
        (&50.into(), &0.into())
    );
    assert!(g["events_per_core_hour"].as_f64().unwrap() > g["images_per_second"].as_f64().unwrap());
    assert!(g["device"].as_str().unwrap().starts_with("cpu, "));
    let again = "generate --json --resume --model run/model.safetensors --count 50 --out g.h5";
    assert_eq!(lab.json(again)["ending"], "already complete");

    let s =
        lab.json("score --quiet --json --model run/model.safetensors --data data.h5 --out s.h5");
    let stored = column(&lab.path("s.h5"), "log_likelihood");
    let mean = stored.iter().sum::<f64>() / stored.len() as f64;
    assert_eq!((s["images"].as_u64(), stored.len()), (Some(300), 300));
    assert!((s["mean_log_likelihood"].as_f64().unwrap() - mean).abs() < 1e-9);
    assert!(s["error_of_mean"].as_f64().unwrap() > 0.0);

    let data = lab.json("info --json data.h5");
    assert_eq!((&data["images"], &data["height"]), (&300.into(), &7.into()));
    assert_eq!(data["layout"], "dense");
    let model = lab.json("info --json run/model.safetensors");
    assert_eq!(
        (&model["kind"], &model["config"]["image"]["width"]),
        (&"checkpoint".into(), &7.into())
    );
    assert_eq!(model["sha256"].as_str().unwrap().len(), 64);
    assert!(model["unmasked_parameters"].as_u64() < model["parameters"].as_u64());
    assert_eq!(model["record"]["images"], serde_json::json!([270, 30]));
    let config = lab.json("info --json config.toml");
    assert_eq!(config["train"]["batch"], 32);
    assert_eq!(config["likelihood"]["kind"], "dc");
    // What `info` prints of a configuration is a configuration.
    let text = lab.ok("info config.toml").stdout;
    lab.file("copy.toml", text);
    assert_eq!(lab.json("info --json copy.toml"), config);
}

#[test]
fn json_of_bench() {
    let lab = Lab::empty();
    let report = lab.json("bench --quiet --json --config jets-dc --seconds 0.1 --skip-naive");
    let machine = &report["machine"];
    assert!(machine["threads"].as_u64().unwrap() >= 1);
    assert!(!machine["processor"].as_str().unwrap().is_empty());
    assert!(report["gemm_gflops"].as_f64().unwrap() > 0.0);
    let sampling = report["sampling"].as_array().unwrap();
    assert_eq!(sampling.len(), 1);
    assert_eq!(sampling[0]["config"], "jets-dc");
    assert_eq!(sampling[0]["sampler"], "incremental");
    assert_eq!(sampling[0]["paper_images_per_second"], 2480.0);
    let training = report["training"].as_array().unwrap();
    // The paper gives none: there, and null.
    let training_of_paper = training[0].get("paper_images_per_second");
    assert_eq!(training_of_paper, Some(&serde_json::Value::Null));
    assert_eq!(
        (training.len(), &training[0]["config"]),
        (1, &"jets-dc".into())
    );
    for figure in sampling.iter().chain(training) {
        assert!(figure["device"].as_str().unwrap().starts_with("cpu"));
        for key in ["batch", "images_per_second", "bound_images_per_second"] {
            assert!(figure[key].as_f64().unwrap() > 0.0, "{key}: {figure}");
        }
    }
    lab.refuses("bench --config jets-xx", &["jets-xx", "muons-dd"]);
    lab.refuses("bench --seconds 0", &["--seconds is 0"]);
}

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
