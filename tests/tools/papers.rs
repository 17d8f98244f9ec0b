//! `scripts/study papers`: ours beside the papers' numbers, from models, other programs' images, earlier reports and files of speeds.

use std::fs;

use serde_json::Value;

use crate::study::{fails, json, lab, ok, rows};

const OPTIONS: &str =
    "--truth-train train.h5 --truth-test test.h5 --count 300 --evaluate=--bootstrap --evaluate=5";
const MODELS: &str = "jets-dc/signal=first/small/signal/run/model.safetensors,jets-dc/background=first/small/background/run/model.safetensors";

/// A cell of a distance.
fn w1(metrics: &Value, observable: &str) -> String {
    let [value, error] =
        ["w1", "w1_error"].map(|k| metrics["all"][observable][k].as_f64().unwrap());
    format!("{value:.3} ± {error:.3}")
}

#[test]
fn both_papers_stand_beside_what_was_measured() {
    let lab = lab();
    // Another study has trained; muons are here images of the same size under another name.
    ok(
        &lab,
        &format!(
            "fidelity {OPTIONS} --configs small.toml --epochs 1 --figures none --out first --page first.md"
        ),
    );
    lab.file(
        "bench.json",
        r#"{
  "machine": {"processor": "a processor", "threads": 1}, "version": "1.2", "card": null,
  "sampling": [
    {"config": "jets-dc", "sampler": "naive", "images_per_cpu_second": 3.0},
    {"config": "jets-dc", "sampler": "incremental", "images_per_cpu_second": 10000.0},
    {"config": "muons-dc", "sampler": "incremental"}
  ]
}"#,
    );
    lab.file(
        "lagan.jsonl",
        "{\"torch\": \"2\", \"device\": \"cpu\", \"parameters\": 3586932}\n\
         {\"what\": \"drawing\", \"batch\": 64, \"images_per_second\": 500.0}\n\
         {\"what\": \"drawing\", \"batch\": 1000, \"images_per_second\": 300.0}\n\
         {\"what\": \"training\", \"batch\": 100, \"images_per_second\": 900.0}\n",
    );
    lab.file(
        "pythia.jsonl",
        "{\"what\": \"simulation\", \"program\": \"tools/simulate\", \"class\": \"signal\", \"images\": 300, \"seconds\": 10, \"processes\": 1}\n\
         {\"what\": \"simulation\", \"program\": \"tools/simulate\", \"class\": \"background\", \"images\": 300, \"seconds\": 30, \"processes\": 1}\n",
    );
    lab.file(
        "train.jsonl",
        "{\"epoch\": 1, \"images\": 1234, \"seconds\": 5}\n{\"epoch\": 2, \"images\": 1234, \"seconds\": 10}\n",
    );
    let line = format!(
        "papers {OPTIONS} --models {MODELS} --images lagan=train.h5 --speeds bench.json,lagan.jsonl,pythia.jsonl \
         --trainings lagan=train.jsonl --reports first --out study --page docs/papers.md"
    );
    let told = ok(&lab, &line);
    assert!(told.contains("first/small: taken as it is"), "{told}");
    let page = fs::read_to_string(lab.path("docs/papers.md")).unwrap();

    // Both classes of one file are told apart by its data set.
    let report = |job: &str, class: &str| json(&lab, &format!("{job}/{class}/report/metrics.json"));
    for (label, job) in [
        ("SARM-2, D+C, `jets-dc`", "study/jets/jets-dc"),
        ("LAGAN, `lagan`", "study/jets/lagan"),
        ("`small`", "first/small"),
    ] {
        let row = &rows(&page, &[label, "here"])[0];
        let [signal, background] = ["signal", "background"].map(|class| report(job, class));
        for (i, observable) in ["jet_pt", "jet_mass"].iter().enumerate() {
            assert_eq!(row[2 + 2 * i], w1(&signal, observable), "{label}");
            assert_eq!(row[3 + 2 * i], w1(&background, observable), "{label}");
        }
        let images = &signal["meta"]["images"];
        assert_eq!(images["truth"], 150, "{label}");
        assert_eq!(
            images["generated"],
            if label.contains("lagan") { 150 } else { 300 }
        );
    }
    // The papers' own rows stand before ours.
    let lines: Vec<_> = page.lines().collect();
    let at = |start: &str| lines.iter().position(|l| l.starts_with(start)).unwrap();
    assert_eq!(
        at("| LAGAN | arXiv 2009.14017 | 3.17 | 3.13 | 1.43 | 1.39 |") + 1,
        at("| LAGAN, `lagan` | here |")
    );
    assert_eq!(
        rows(&page, &["SARM-2, D+D, `jets-dd`", "here"])[0][2],
        "not available (1)"
    );
    assert!(page.contains("(1) no trained model of it was given, nor a report"));
    assert!(page.contains("| VAE | arXiv 2009.04842 | 17.27 (of both) |  | 0.94 (of both) |"));

    // Speeds: of the fastest way to draw, of all images in all seconds.
    let start = page.find("## Speed of jets").unwrap();
    let speeds = &page[start..page.find("## Muons").unwrap()];
    for (label, rate, hour, time) in [
        ("SARM-2, D+C, `jets-dc`", "10 000", "36 000 000", "30 s"),
        ("LAGAN, `lagan`", "500", "1 800 000", "600 s"),
        ("Pythia", "15.0", "54 000", "20 000 s"),
    ] {
        let row = &rows(speeds, &[label, "here"])[0];
        assert_eq!([&row[3], &row[5], &row[6]], [rate, hour, time], "{row:?}");
    }
    let small = &rows(speeds, &["`small`", "here"])[0];
    let [drawn, seconds] = ["signal", "background"]
        .map(|class| json(&lab, &format!("first/small/{class}/generate.json")))
        .iter()
        .fold([0.0, 0.0], |[n, s], record| {
            [
                n + record["printed"]["images_drawn"].as_f64().unwrap(),
                s + record["cpu_seconds"].as_f64().unwrap(),
            ]
        });
    let to_a_file: f64 = small[4].replace(' ', "").parse().unwrap();
    assert!(
        (to_a_file / (drawn / seconds) - 1.0).abs() < 0.01,
        "{small:?}"
    );
    assert_eq!(small[3], "not available (2)");

    // What was cut short, from the trainings' own records.
    let trained = &page[page.find("## What the models were trained on").unwrap()..];
    let row = &rows(trained, &["jets", "`lagan`"])[0];
    assert_eq!(row[3..], ["1 234", "2", "", "2", "10 s", ""]);
    let row = &rows(trained, &["jets", "`jets-dc`"])[0];
    assert_eq!(row[3..7], ["135 / 135", "1", "100", "1"], "{row:?}");
    let parameters = &rows(&page, &["jets", "LAGAN, `lagan`"])[0];
    assert_eq!(parameters[3], "3 586 932");
    assert!(!page.to_lowercase().contains("nan"));
    let place = lab.path(".").canonicalize().unwrap();
    assert!(
        !page.contains(place.to_str().unwrap()),
        "says where the files lie"
    );

    let told = ok(&lab, &line);
    assert!(!told.contains(" .."), "{told}");
    assert_eq!(
        fs::read_to_string(lab.path("docs/papers.md")).unwrap(),
        page
    );

    // Muons by their name; a report of other true images is none of this page's.
    let muons = line
        .replace("jets-dc/", "muons-dc/")
        .replace(
            "lagan=train.h5",
            "muons-lagan/signal=test.h5,muons-lagan/background=test.h5",
        )
        .replace(
            "--reports first",
            "--muons-test train.h5 --reports first --select-test row=0..199",
        )
        .replace("page docs/papers", "page docs/muons");
    ok(&lab, &muons);
    let page = fs::read_to_string(lab.path("docs/muons.md")).unwrap();
    let signal = report("study/muons/muons-dc", "signal");
    let row = &rows(&page, &["SARM-2, D+C, `muons-dc`", "here"])[0];
    assert_eq!(row[2], w1(&signal, "jet_pt"));
    assert!(rows(&page, &["`small`", "here"]).is_empty(), "{page}");

    for (from, to, words) in [
        (
            "--reports first",
            "--reports nowhere",
            ["'nowhere'", "--reports"],
        ),
        ("bench.json", "small.toml", ["'small.toml'", "not JSON"]),
        (
            "bench.json",
            "train.jsonl",
            ["'train.jsonl'", "holds no speeds"],
        ),
        (
            "lagan=train.jsonl",
            "lagan=pythia.jsonl",
            ["'pythia.jsonl'", "tells of no epoch"],
        ),
        (
            "lagan=train.h5",
            "lagan/signal=train.h5",
            ["'lagan'", "class background"],
        ),
        (
            "lagan=train.h5",
            "jets-dc=train.h5",
            ["'jets-dc'", "rename"],
        ),
        (
            "lagan=train.h5",
            "muons-lagan=train.h5",
            ["'muons-lagan'", "--muons-test"],
        ),
        (
            "--reports first",
            "--transfer small",
            ["small", "--transfer"],
        ),
    ] {
        fails(&lab, &line.replace(from, to), &words);
    }
}
