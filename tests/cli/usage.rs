//! The command line through its binary: help, exit codes, streams, `--json`.

use crate::support::program;
use std::collections::BTreeSet;

use crate::support::program::{DC, Lab, SARM, column};
use predicates::prelude::*;

/// Options that every verb has.
const GLOBAL: &str = "--device --threads --quiet --verbose --help";

/// What a file does not say of itself.
const FILE: &str = "--images --shape --scale --threshold --class --weights --binning --particle";

const VERBS: [(&str, &str); 13] = [
    (
        "train",
        "--data --select --images --shape --scale --threshold --class --weights --allow-duplicates --config --set --out --epochs --seed --limit --resume --force --checkpoint-every --json",
    ),
    (
        "refine",
        "--model --data --select --images --shape --scale --threshold --class --binning --particle --allow-duplicates --out --rounds --learning-rate --batch --validation --group --range --seed --limit --resume --force --json",
    ),
    (
        "generate",
        "--model --count --seed --first --out --layout --given --given-from --select --latent --sweep --codes --line --observables --range --max-memory --max-disk --resume --force --json",
    ),
    (
        "evaluate",
        "--truth --images --shape --scale --scale-generated --threshold --class --weights --allow-duplicates --condition --skip-boosting --classifiers --classifier-images --classifier-network --select --generated --select-generated --training --select-training --out --model --range --bootstrap --seed --force --json",
    ),
    (
        "score",
        "--model --data --select --images --shape --scale --threshold --class --binning --particle --given --out --limit --samples --force --json",
    ),
    (
        "encode",
        "--model --data --select --images --shape --scale --threshold --class --binning --particle --given --out --limit --force",
    ),
    ("pack", "--model --out --force"),
    ("unpack", "--model --out --force"),
    ("plot", "--select --out --count --seed --given --force"),
    ("compare", "--out --force --json"),
    ("info", "--devices --set --json"),
    (
        "bench",
        "--config --seconds --skip-naive --dir --tiny --json",
    ),
    ("completions", ""),
];

#[test]
fn help_mentions_every_option() {
    let lab = Lab::empty();
    let top = lab.ok("--help");
    let top = String::from_utf8(top.stdout).unwrap();
    for (verb, options) in VERBS {
        let output = lab.ok(&format!("{verb} --help"));
        assert!(output.stderr.is_empty());
        let text = String::from_utf8(output.stdout).unwrap();
        // What the verb says of itself stands beside it in the list of verbs.
        let about = text.lines().next().unwrap();
        let in_list = top.lines().any(|line| {
            let words = line.trim().split_once("  ");
            words.is_some_and(|(name, said)| name == verb && said.trim() == about)
        });
        assert!(in_list && about.contains(' '), "{verb}, {about}: {top}");
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
            let known = format!("{options} {GLOBAL} {FILE} --version");
            assert!(
                known.split(' ').any(|k| k == option),
                "{verb}: {option} is new; add it here"
            );
        }
        for (option, said) in described(&text) {
            let words = said.split_whitespace().count();
            assert!(words >= 2, "{verb}: nothing is said of {option}: {text}");
        }
    }
}

/// What a help text says of each option: on its line behind the name, and below it.
fn described(help: &str) -> Vec<(&str, String)> {
    let (_, options) = help.split_once("\nOptions:\n").unwrap();
    let mut found: Vec<(&str, String)> = Vec::new();
    for line in options.lines().map(str::trim) {
        if line.starts_with('-') {
            let (name, said) = line.split_once("  ").unwrap_or((line, ""));
            found.push((name, said.into()));
        // The parser's own words are there without ours.
        } else if !line.starts_with('[') {
            let (_, said) = found.last_mut().expect("an option above");
            said.push(' ');
            said.push_str(line);
        }
    }
    found
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
        "generate --model m --out o.h5 --given-from data.h5 --weights w",
        "score --model m --data data.h5 --weights w",
        "plot data.h5 --weights w",
        "generate --model m --out o.h5 --count 1 --given a=1 --select signal=1",
        "generate --model m --out o.h5 --count 0",
        "generate --model m --out o.h5 --count 1 --max-memory 0",
        "generate --model m --out o.h5 --count 1 --max-memory -1",
        "generate --model m --out o.h5 --count 1 --max-memory 4GB",
        "generate --model m --out o.h5 --count 1 --max-memory much",
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
    let generate =
        "generate --json --device cpu --model run/model.safetensors --count 50 --out g.h5";
    let g = lab.json(&format!("{generate} --quiet"));
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
    let again = &format!("{generate} --resume");
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

/// Nobody reads ten thousand numbers on a terminal.
#[test]
fn scores_are_summed_up_on_a_terminal() {
    let lab = Lab::trained(DC);
    let line = "score --model run/model.safetensors --data data.h5";
    let numbers = String::from_utf8(lab.ok(line).stdout).unwrap();
    assert!(numbers.lines().count() > 100 && numbers.lines().all(|l| l.parse::<f64>().is_ok()));
    let script =
        "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let output = std::process::Command::new(crate::support::h5::python())
        .args(["-c", script, SARM])
        .args(line.split(' '))
        .current_dir(lab.path("."))
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{shown}");
    let mut sorted: Vec<f64> = numbers.lines().map(|l| l.parse().unwrap()).collect();
    sorted.sort_by(f64::total_cmp);
    for (name, value) in [
        ("smallest", sorted[0]),
        ("largest", sorted[sorted.len() - 1]),
    ] {
        let wanted = format!("{name} {value:>12.4}");
        assert!(shown.contains(&wanted), "{wanted}: {shown}");
    }
    assert!(shown.contains("median") && shown.contains("--out FILE"));
    assert!(shown.lines().count() < 20, "{shown}");
}
