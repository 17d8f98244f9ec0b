//! `--device`: what is asked for, what there is, and what is said where it is not there.

use crate::support::program::{DC, Lab};

/// A program without the feature, or a machine without a card: the error of `--device cuda`.
fn without_a_card(lab: &Lab) -> Option<String> {
    let devices = lab.json("info --devices --json");
    devices["without_cuda"].as_str().map(String::from)
}

#[test]
fn words_that_are_no_device_are_wrong_usage() {
    let lab = Lab::empty();
    for word in [
        "gpu",
        "cuda:",
        "cuda:x",
        "cuda:-1",
        "cuda0",
        "cpu:0",
        "CUDA",
        "cuda:0,",
        "cuda:0,all",
    ] {
        for line in [
            "train --data d --out r",
            "score --model m --data d",
            "bench",
            "info x",
        ] {
            let assert = lab.sarm(&format!("{line} --device {word}")).assert();
            let output = assert.code(2).get_output().clone();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("cuda:N"), "{line} {word}: {said}");
        }
    }
}

#[test]
fn the_cpu_is_named_or_found() {
    let lab = Lab::new();
    lab.file("config.toml", DC);
    let train = "train --quiet --data data.h5 --config config.toml";
    lab.ok(&format!("{train} --device cpu --out named"));
    let scores = |model: &str| {
        lab.ok(&format!(
            "--device cpu score --model {model}/model.safetensors --data data.h5"
        ))
        .stdout
    };
    // Where there is a card, `auto` takes it, and the bits are its own.
    if without_a_card(&lab).is_some() {
        lab.ok(&format!("{train} --out found"));
        lab.ok(&format!("{train} --device auto --out asked"));
        assert_eq!(scores("named"), scores("found"));
        assert_eq!(scores("named"), scores("asked"));
    }
}

#[test]
fn a_card_that_is_not_there_is_one_error() {
    let lab = Lab::new();
    lab.file("config.toml", DC);
    let Some(why) = without_a_card(&lab) else {
        eprintln!("skipped: this machine has a card");
        return;
    };
    lab.ok("train --quiet --data data.h5 --config config.toml --out run");
    for device in ["cuda", "cuda:0", "cuda:7"] {
        for line in [
            "train --data data.h5 --config config.toml --out other",
            "train --data data.h5 --config config.toml --out run --resume",
            "score --model run/model.safetensors --data data.h5 --out scores.h5",
            "bench --seconds 0.1",
        ] {
            lab.refuses(&format!("{line} --device {device}"), &[&why]);
        }
    }
}

#[test]
fn verbs_that_run_no_engine_take_any_device() {
    let lab = Lab::trained(DC);
    lab.ok("info --device cuda:5 data.h5");
    lab.ok("--device cuda evaluate --quiet --truth data.h5 --generated data.h5 --out report");
}

#[test]
fn drawing_is_done_on_the_cpu_where_there_is_no_card() {
    let lab = Lab::trained(DC);
    let Some(why) = without_a_card(&lab) else {
        eprintln!("skipped: this machine has a card");
        return;
    };
    let line = "generate --quiet --model run/model.safetensors --count 3 --out";
    for device in ["cuda", "cuda:0,1", "cuda:all"] {
        lab.refuses(&format!("{line} a.h5 --device {device}"), &[&why]);
    }
    lab.ok(&format!("{line} b.h5 --device auto"));
    lab.ok(&format!("{line} c.h5 --device cpu"));
    let report = lab.json(&format!("{line} d.h5 --json"));
    assert!(report["events_per_core_hour"].as_f64().unwrap() > 0.0);
    assert!(report["events_per_gpu_hour"].is_null());
    let about = lab.json("info --json d.h5");
    assert_eq!(about["attributes"]["arithmetic"], "float32");
}

/// A limit that would be ignored is refused.
#[test]
fn the_cpu_has_no_device_memory_to_limit() {
    let lab = Lab::trained(DC);
    let line = "generate --quiet --model run/model.safetensors --count 3 --out a.h5 --device cpu";
    lab.refuses(
        &format!("{line} --max-memory 4GiB"),
        &["--max-memory 4294967296", "leave it out", "--device cuda"],
    );
}

#[test]
fn several_cards_are_for_drawing_alone() {
    let lab = Lab::new();
    lab.file("config.toml", DC);
    lab.ok("train --quiet --data data.h5 --config config.toml --out run --device cpu");
    for line in [
        "train --data data.h5 --config config.toml --out other",
        "score --model run/model.safetensors --data data.h5 --out scores.h5",
        "bench --seconds 0.1",
    ] {
        lab.refuses(
            &format!("{line} --device cuda:1,0"),
            &["one card", "cuda:1,0 names 2", "--device cuda:1"],
        );
    }
}
