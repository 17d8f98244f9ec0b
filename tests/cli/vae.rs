//! The jet VAE through the program: what every verb does with it.

use std::fs;

use crate::support::program::{Lab, write_images};

const CONFIG: &str = "
[model]
family = 'vae'
[network]
latents = 3
filters = [3, 4, 5]
[perceptual]
filters = [3, 4, 2]
units = [5, 4]
epochs = 2
[condition]
names = ['signal']
[train]
epochs = 2
batch = 32
learning_rate = 1e-3
validation = 0.1
";

fn lab() -> Lab {
    let lab = Lab::empty();
    write_images(&lab.path("data.h5"), 200, 9, 1, &[]);
    lab.file("vae.toml", CONFIG);
    lab
}

#[test]
fn every_verb_knows_it() {
    let lab = lab();
    let output = lab.ok("train --data data.h5 --config vae.toml --out run");
    let said = String::from_utf8(output.stderr).unwrap();
    for words in [
        "classifier, epoch   2/2: cross entropy ",
        "epoch    2  loss ",
        "the best model is epoch ",
        " an image: run/model.safetensors",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("NLL"), "{said}");
    let info = lab.ok("info run/model.safetensors");
    let info = String::from_utf8(info.stdout).unwrap();
    for words in [
        "VAE with 3 latents for images of 9 x 9",
        "train loss ",
        "encoder.0.weight",
    ] {
        assert!(info.contains(words), "{words}: {info}");
    }
    assert_eq!(
        lab.json("info --json run/model.safetensors")["family"],
        "vae"
    );
    // Both classes are drawn where none is given.
    lab.ok("generate --model run/model.safetensors --count 300 --seed 5 --out both.h5");
    lab.ok("generate --model run/model.safetensors --count 300 --seed 5 --first 100 --given signal=1 --layout sparse --out one.h5");
    let signals = |name: &str| lab.read(name).columns["signal"].clone();
    let both = signals("both.h5");
    let ones = both.iter().filter(|v| **v == 1.0).count();
    assert!(both.len() == 300 && (90..210).contains(&ones), "{ones}");
    assert!(signals("one.h5").iter().all(|v| *v == 1.0));
    let end = "18446744073709551600";
    lab.ok(&format!("generate --model run/model.safetensors --count 15 --first {end} --given signal=1 --out end.h5"));
    assert_eq!(lab.read("end.h5").images.len(), 15);
    lab.ok(
        "evaluate --truth data.h5 --generated both.h5 --bootstrap 2 --skip-boosting --out report",
    );
    let report = fs::read_to_string(lab.path("report/index.html")).unwrap();
    assert!(report.contains("loss per image over the training"));
    for words in ["NLL", "nats", "ikelihood"] {
        assert!(!report.contains(words), "{words}");
    }
    let table = lab.ok("compare run run");
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.contains("train loss") && !table.contains("NLL"),
        "{table}"
    );
    // Rounded weights draw nearly the same.
    lab.ok("pack --model run/model.safetensors --out packed.safetensors");
    lab.ok("unpack --model packed.safetensors --out unpacked.safetensors");
    let size = |name: &str| fs::metadata(lab.path(name)).unwrap().len();
    assert!(size("packed.safetensors") < size("run/model.safetensors"));
    for model in ["packed", "unpacked"] {
        lab.ok(&format!(
            "generate --model {model}.safetensors --count 300 --seed 5 --out {model}.h5"
        ));
    }
    assert!(lab.read("packed.h5").images == lab.read("unpacked.h5").images);
    let sum = |name: &str| lab.read(name).images.totals().iter().sum::<f32>();
    let (whole, rounded) = (sum("both.h5"), sum("packed.h5"));
    assert!((whole / rounded - 1.0).abs() < 0.02, "{whole} {rounded}");
    let again = lab.ok("train --data data.h5 --config vae.toml --out run --resume");
    let again = String::from_utf8(again.stderr).unwrap();
    assert!(again.contains("is complete already"), "{again}");
}

#[test]
fn what_it_has_not_is_refused() {
    let lab = lab();
    lab.ok("train --quiet --data data.h5 --config vae.toml --out run");
    write_images(&lab.path("more.h5"), 1200, 9, 2, &[]);
    write_images(&lab.path("seven.h5"), 100, 7, 2, &[]);
    for (line, words) in [
        (
            "score --model run/model.safetensors --data data.h5",
            &[
                "VAE with 3 latents",
                "gives no probabilities",
                "[likelihood]",
            ][..],
        ),
        (
            "refine --model run/model.safetensors --data more.h5 --out refined.safetensors",
            &["'vae'", "no exact likelihood"],
        ),
        (
            "train --data seven.h5 --config vae.toml --out other",
            &["7 x 7", "one more than a multiple of 4"],
        ),
        (
            "train --data data.h5 --config vae.toml --set condition.names=[\"jet_pt\"] --out other",
            &["'perceptual.class' is 'signal'", "loss.perceptual"],
        ),
        (
            "train --data data.h5 --config vae.toml --set train.weight_decay=0.1 --out other",
            &["train.weight_decay", "sarm"],
        ),
        (
            "train --data data.h5 --config vae.toml --set loss.perceptual=0 --set loss.bernoulli=0 --out other",
            &["loss.bernoulli"],
        ),
        (
            "train --data data.h5 --config vae.toml --set network.filters=[4096,4096,4096] --set perceptual.filters=[1,1,1] --set image.height=253 --set image.width=253 --out other",
            &["network.filters", "fewer filters"],
        ),
        (
            "train --data data.h5 --config vae.toml --set network.latent=3 --out other",
            &["unknown field 'latent' ('latents' is near)"],
        ),
        (
            "train --data data.h5 --config vae.toml --set image.height=8 --set image.width=9 --out other",
            &["8 x 9"],
        ),
    ] {
        lab.refuses(line, words);
    }
    // A warning comes before this error.
    let line = "train --data data.h5 --select signal=1 --config vae.toml --out other";
    let output = lab.sarm(line).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("'signal' has not two values"), "{said}");
    assert!(!lab.path("other").exists());
    let line =
        "train --data data.h5 --config vae.toml --set perceptual.learning_rate=1e9 --out lost";
    let error = lab.fails(line);
    for words in ["classifier was lost in epoch", "perceptual.learning_rate"] {
        assert!(error.contains(words), "{error}");
    }
    assert!(!lab.path("lost/model.safetensors").exists());
}

#[test]
fn codes_are_found_and_given() {
    let lab = lab();
    lab.ok("train --quiet --data data.h5 --config vae.toml --out run");
    let model = "--model run/model.safetensors";
    let output = lab.ok(&format!(
        "encode {model} --data data.h5 --limit 50 --out codes.h5"
    ));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("codes of 50 images: codes.h5"), "{said}");
    let answers = sarm::data::read_columns(&lab.path("codes.h5"), &["classifier".into()]).unwrap();
    assert!(answers[0].len() == 50 && answers[0].iter().all(|x| (0.0..=1.0).contains(x)));
    let draw = |options: &str, out: &str| {
        lab.ok(&format!(
            "generate --quiet {model} --given signal=1 --layout sparse {options} --out {out}"
        ));
        lab.read(out).images
    };
    let codes = draw("--codes codes.h5 --count 60", "codes-60.h5");
    // After the last row they start again.
    assert!(codes.gather(0..10) == codes.gather(50..60));
    // The images that were encoded, made again: as many, with their own conditions.
    lab.ok(&format!(
        "generate --quiet {model} --codes codes.h5 --layout sparse --out again.h5"
    ));
    let (again, data) = (lab.read("again.h5"), lab.read("data.h5"));
    assert_eq!(again.images.len(), 50);
    assert_eq!(again.columns["signal"], data.columns["signal"][..50]);
    for (i, signal) in again.columns["signal"].iter().enumerate() {
        let same = again.images.gather(i..i + 1) == codes.gather(i..i + 1);
        assert!(same == (*signal == 1.0), "{i}");
    }
    // Of codes alone conditions are drawn as always.
    let names: Vec<String> = (0..3).map(|k| format!("mean_{k}")).collect();
    let read = sarm::data::read_columns(&lab.path("codes.h5"), &names).unwrap();
    let columns = names.into_iter().zip(read);
    let columns = columns.map(|(name, v)| (name, v.into_iter().map(f64::from).collect()));
    let provenance = sarm::data::Provenance::new();
    sarm::data::write_columns(
        &lab.path("alone.h5"),
        &columns.collect(),
        &provenance,
        false,
    )
    .unwrap();
    let output = lab.ok(&format!(
        "generate {model} --codes alone.h5 --layout sparse --out alone-50.h5"
    ));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("signal drawn from what the model learnt"),
        "{said}"
    );
    assert_eq!(lab.read("alone-50.h5").images.len(), 50);
    let line = draw("--codes codes.h5 --line 3..17 --count 5", "line.h5");
    assert!(line.gather(0..1) == codes.gather(3..4) && line.gather(4..5) == codes.gather(17..18));
    let sweep = draw("--sweep 2=-1..1 --count 3", "sweep.h5");
    // In its middle all is 0.
    let zero = draw("--latent 0=0,1=0,2=0 --count 1 --seed 9", "zero.h5");
    assert!(sweep.gather(1..2) == zero);
    assert!(draw("--latent 2=1..2 --count 20", "some.h5") != draw("--count 20", "all.h5"));
    // They are a part of what a run is.
    lab.ok(&format!("generate --quiet {model} --given signal=1 --latent 2=1..2 --layout sparse --count 20 --out some.h5 --resume"));
    let error = lab.fails(&format!("generate --quiet {model} --given signal=1 --latent 2=1..3 --layout sparse --count 20 --out some.h5 --resume"));
    assert!(
        error.contains("condition") && error.contains("--latent"),
        "{error}"
    );
    for (options, words) in [
        ("--latent 3=1", &["number '3=1'", "0 to 2"][..]),
        ("--latent x=1", &["'x=1'"]),
        ("--latent 1=9..", &["1=9..", "-8 to 8"]),
        ("--latent 1=1e300", &["1=1", "-1000 to 1000"]),
        ("--latent 1=1,1=2", &["number 1", "twice"]),
        ("--sweep 1=0..", &["two finite ends"]),
        ("--codes codes.h5 --line 3..50", &["no row 50", "50 rows"]),
        ("--codes data.h5", &["mean_0"]),
    ] {
        let line =
            format!("generate --quiet {model} --given signal=1 --count 9 {options} --out bad.h5");
        let error = lab.fails(&line);
        for word in words {
            assert!(error.contains(word), "{options}: {error}");
        }
    }
    for line in [
        "generate --model jets-w --count 9 --latent 0=1 --out bad.h5",
        "encode --model jets-w --data data.h5 --out bad.h5",
    ] {
        lab.refuses(line, &["'sarm' have no codes", "family vae"]);
    }
}

#[test]
fn sparse_decoders_are_scored() {
    let lab = lab();
    let config = CONFIG.replace(
        "[condition]",
        "[likelihood]\nkind = 'dc'\ncomponents = 2\n[loss]\nperceptual = 0\n[condition]",
    );
    lab.file("sparse.toml", &config);
    let output = lab.ok("train --data data.h5 --config sparse.toml --out run");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !said.contains("classifier") && said.contains("pixels"),
        "{said}"
    );
    let model = "--model run/model.safetensors";
    let summary = lab.json(&format!(
        "score --quiet --json {model} --data data.h5 --samples 5 --out scores.h5"
    ));
    let number = |name: &str| summary[name].as_f64().unwrap();
    assert_eq!(summary["samples"], 5);
    assert!(
        number("mean_log_likelihood_bound") > number("mean_evidence_bound"),
        "{summary}"
    );
    assert!(summary["mean_log_likelihood"].is_null(), "{summary}");
    lab.refuses(
        &format!("score {model} --data data.h5 --samples 99999999"),
        &["99999999 codes", "at most 65536"],
    );
    let names = [
        "log_likelihood_bound",
        "evidence_bound",
        "error_of_bound",
        "row",
    ];
    let names = names.map(String::from);
    let columns = sarm::data::read_columns(&lab.path("scores.h5"), &names).unwrap();
    assert!(columns.iter().all(|column| column.len() == 200));
    lab.ok(&format!(
        "generate --quiet {model} --count 100 --out drawn.h5"
    ));
    assert_eq!(lab.read("drawn.h5").images.len(), 100);
    lab.refuses(
        &format!("refine {model} --data data.h5 --out no.safetensors"),
        &["no exact likelihood"],
    );
    lab.refuses(
        "score --model jets-w --data data.h5 --samples 5",
        &["exact", "--samples"],
    );
    for (set, words) in [
        ("likelihood.kind=\"dd\"", "likelihood"),
        ("loss.perceptual=1", "loss.perceptual"),
        ("loss.bernoulli=2", "loss.bernoulli"),
    ] {
        let line = format!("train --data data.h5 --config sparse.toml --set {set} --out other");
        lab.refuses(&line, &[words]);
    }
}
