//! `scripts/study latents`: the page holds what images drawn by the program's own options show, and nothing is drawn twice.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::h5;
use crate::support::program::{DC, Lab, SARM, column, write_images};

const VAE: &str = "
[model]
family = 'vae'
[network]
latents = 2
filters = [3, 4, 5]
[perceptual]
filters = [3, 4, 2]
units = [5, 4]
epochs = 1
[condition]
names = ['signal']
[train]
epochs = 1
batch = 32
learning_rate = 1e-3
validation = 0.1
";
const LINE: &str = "--configs vae.toml --truth-train train.h5 --truth-test test.h5 --count 40 --out study --page docs/codes.md";
const MODEL: &str = "study/vae/all/run/model.safetensors";

fn study(lab: &Lab, line: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/study");
    Command::new(h5::python())
        .arg(script)
        .arg("latents")
        .args(line.split_whitespace())
        .args([
            "--sarm",
            SARM,
            "--quiet",
            "--threads",
            "1",
            "--device",
            "cpu",
        ])
        .current_dir(lab.path("."))
        .output()
        .unwrap()
}

/// What a study that must succeed said.
fn ok(lab: &Lab, line: &str) -> String {
    let output = study(lab, line);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{line}: {told}");
    told
}

/// Masses of images of a class that are drawn here.
fn masses(lab: &Lab, class: usize, codes: &str) -> Vec<f64> {
    lab.ok(&format!(
        "generate --model {MODEL} --count 40 --seed 7 --given signal={class} {codes} --out own.h5 --force --device cpu"
    ));
    column(&lab.path("own.h5"), "jet_mass")
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

/// The first cells of a row.
fn row<'a>(page: &'a str, start: &str) -> Vec<&'a str> {
    let line = page.lines().find(|line| line.starts_with(start));
    line.unwrap_or_else(|| panic!("no '{start}' in {page}"))
        .split(" | ")
        .collect()
}

#[test]
fn the_page_holds_what_the_intervals_show() {
    let lab = Lab::empty();
    write_images(&lab.path("train.h5"), 200, 9, 1, &[]);
    write_images(&lab.path("test.h5"), 100, 9, 2, &[]);
    lab.file("vae.toml", VAE);
    lab.file("small.toml", DC);
    ok(&lab, LINE);
    let page = fs::read_to_string(lab.path("docs/codes.md")).unwrap();

    let [background, signal] = [0, 1].map(|class| masses(&lab, class, ""));
    let (_, of_classes) = page.split_once("#### signal").unwrap();
    let (of_signal, of_background) = of_classes.split_once("#### background").unwrap();
    for (part, drawn) in [(of_signal, &signal), (of_background, &background)] {
        let wanted = format!("{:.2} ± ", mean(drawn));
        assert!(
            row(part, "| none |")[2].starts_with(&wanted),
            "{wanted}: {part}"
        );
    }

    // All numbers within the last interval.
    let last = "--latent 0=0.75..1,1=0.75..1";
    let [background, signal] = [0, 1].map(|class| masses(&lab, class, last));
    let wanted = format!("{:.2} ± ", mean(&signal));
    let found = row(of_signal, "| all | 0.75 to 1.00 |");
    assert!(found[2].starts_with(&wanted), "{wanted}: {found:?}");
    let larger =
        |(s, b): (&f64, &f64)| f64::from(u8::from(s > b)) + f64::from(u8::from(s == b)) / 2.0;
    let pairs = signal
        .iter()
        .flat_map(|s| background.iter().map(move |b| (s, b)));
    let area = pairs.map(larger).sum::<f64>() / (signal.len() * background.len()) as f64;
    let (_, cuts) = page.split_once("A cut on mass").unwrap();
    let found = row(cuts, "| all |");
    assert!(
        found[8].starts_with(&format!("{area:.4} ± ")),
        "{area}: {found:?}"
    );

    // The classifier's answers, of the program's own encoding of the images drawn last.
    let answers = |data: &str, more: &str| {
        lab.ok(&format!(
            "encode --model {MODEL} --data {data} {more} --limit 40 --out answers.h5 --force"
        ));
        mean(&column(&lab.path("answers.h5"), "classifier"))
    };
    let (_, of_classifier) = page.split_once("### A classifier's answers").unwrap();
    let of_truth = answers("test.h5", "--select signal=1");
    masses(&lab, 1, last);
    for (start, cell, wanted) in [
        ("| truth |", 2, of_truth),
        ("| all | 0.75 to 1.00 |", 2, answers("own.h5", "")),
    ] {
        let found = row(of_classifier, start);
        let wanted = format!("{wanted:.4} ± ");
        assert!(found[cell].starts_with(&wanted), "{wanted}: {found:?}");
    }
    assert!(
        of_classifier.contains("| none | ") && page.contains("of the classifier that `vae` learnt")
    );

    // The difference of the outer intervals of one number, the others the same.
    let [low, high] = ["-1..-0.75", "0.75..1"]
        .map(|interval| mean(&masses(&lab, 1, &format!("--latent 1={interval}"))));
    let wanted = format!("{:.2} ± ", high - low).replace('-', "\u{2212}");
    let found = row(&page, "| 1 |");
    assert!(found[3].starts_with(&wanted), "{wanted}: {found:?}");

    // One number moves, the other is 0.
    lab.ok(&format!("generate --model {MODEL} --sweep 0=-3..3 --count 7 --given signal=1 --out own.h5 --force --device cpu"));
    let sweep = column(&lab.path("own.h5"), "jet_mass");
    if let Some(line) = page.lines().find(|line| line.starts_with("| 0 | −3 |")) {
        assert_eq!(line.split(" | ").nth(2), Some(&*format!("{:.2}", sweep[0])));
    }
    for figure in ["sweep", "intervals"] {
        let name = format!("figures/codes/vae-{figure}.png");
        assert!(page.contains(&format!("]({name})")), "{page}");
        let bytes = fs::read(lab.path("docs").join(name)).unwrap();
        assert!(bytes.starts_with(b"\x89PNG"));
    }
    let place = lab.path(".").canonicalize().unwrap();
    assert!(!page.contains(place.to_str().unwrap()) && !page.to_lowercase().contains("nan"));

    let told = ok(&lab, LINE);
    assert!(
        told.contains("done already") && !told.contains(" .."),
        "{told}"
    );
    assert_eq!(fs::read_to_string(lab.path("docs/codes.md")).unwrap(), page);

    for (from, to, words) in [
        ("vae.toml", "small.toml", "none of small is a VAE"),
        (
            "--count",
            "--classes signal=1 --count",
            "not signal and background",
        ),
    ] {
        let output = study(&lab, &LINE.replace(from, to));
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(
            told.starts_with("study: error: ") && told.contains(words),
            "{told}"
        );
    }
    // What is no VAE is left out.
    ok(&lab, &LINE.replace("vae.toml", "vae.toml,small.toml"));
    let page = fs::read_to_string(lab.path("docs/codes.md")).unwrap();
    assert!(
        page.contains("Left out, because they are no VAEs: small."),
        "{page}"
    );
}
