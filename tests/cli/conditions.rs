//! Conditions of the images that are drawn: by value, from the rows of a file, from the model's distribution of them.

use std::collections::BTreeMap;

use crate::support::program::{DC, Lab, column, conditioned};
use sarm::data::{SparseImages, WriteOptions, read_attributes, write};
use sarm::prior::draw::log_density;
use sarm::random;
use sarm::random::Purpose;
use sarm::run::checkpoint::{Checkpoint, save};

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
    // A model that knows nothing of them.
    let known = Checkpoint::read(&lab.path("run/model.safetensors")).unwrap();
    save(&lab.path("bare"), known.model.as_ref(), None, &known.record).unwrap();
    for (given, missing) in [("", "signal"), ("--given signal=1", "jet_pt")] {
        lab.refuses(
            &format!("generate --model bare {given} --count 5 --out no.h5"),
            &[
                "signal, jet_pt",
                &format!("--given {missing}=VALUE"),
                "--given-from",
            ],
        );
    }
    lab.refuses(
        &format!("{generate} --count 5 --given colour=1 --out no.h5"),
        &["no condition 'colour'", "signal, jet_pt"],
    );
    // Options of rows without rows.
    lab.refuses(
        &format!("{generate} --count 5 --scale 1000 --out no.h5"),
        &["--scale", "--given-from"],
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

const COUNT: usize = 6000;

/// Images of 5 x 5 with a label, two quantities that hang together and on the label, a whole number and one that is
/// exactly its smallest value in a third of the images.
fn correlated(lab: &Lab) {
    let mut columns: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    let mut add = |name: &str, v: f64| columns.entry(name.into()).or_default().push(v as f32);
    let mut images = SparseImages::new(5, 5).unwrap();
    for i in 0..COUNT as u64 {
        let [a, b, c, d] =
            random::words(1, Purpose::Synthetic, i, 0).map(|w| f64::from(random::unit(w)));
        let signal = (i % 4 == 0) as u8 as f64;
        let pt = 250.0
            + 50.0
                * if signal > 0.0 {
                    a.sqrt()
                } else {
                    1.0 - a.sqrt()
                };
        add("signal", signal);
        add("pt", pt);
        add("mass", 0.25 * pt + 10.0 * b);
        add("vertices", (40.0 * c + 10.0 * (b - 0.5)).round());
        add("cone", (15.0 * d - 5.0).max(0.0));
        images.push([(12, 1.0 + a as f32)]);
    }
    let options = WriteOptions {
        height: 5,
        width: 5,
        ..WriteOptions::default()
    };
    write(&lab.path("correlated.h5"), &images, &columns, &options).unwrap();
}

struct Moments {
    means: Vec<f64>,
    spreads: Vec<f64>,
    /// Of every pair.
    correlations: Vec<f64>,
}

fn moments(columns: &[Vec<f32>]) -> Moments {
    let n = columns[0].len() as f64;
    let mean = |f: &dyn Fn(usize) -> f64| (0..columns[0].len()).map(f).sum::<f64>() / n;
    let at = |c: usize, i: usize| f64::from(columns[c][i]);
    let means: Vec<f64> = (0..columns.len()).map(|c| mean(&|i| at(c, i))).collect();
    let spreads: Vec<f64> = (0..columns.len())
        .map(|c| mean(&|i| (at(c, i) - means[c]).powi(2)).sqrt())
        .collect();
    let mut correlations = Vec::new();
    for a in 0..columns.len() {
        for b in 0..a {
            let product = mean(&|i| (at(a, i) - means[a]) * (at(b, i) - means[b]));
            correlations.push(product / (spreads[a] * spreads[b]));
        }
    }
    Moments {
        means,
        spreads,
        correlations,
    }
}

/// What is left out is drawn as the training images had it, given what is not.
#[test]
fn conditions_that_are_left_out_are_drawn_as_the_training_images_had_them() {
    let lab = Lab::empty();
    correlated(&lab);
    let names = ["signal", "pt", "mass", "vertices", "cone"];
    let config = DC.replace("epochs = 2", "epochs = 1");
    lab.file(
        "c.toml",
        format!("{config}[condition]\nnames = {names:?}\n"),
    );
    let said = lab.ok("train --data correlated.h5 --config c.toml --out run");
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let learnt = "learnt how the conditions are distributed (signal, pt, mass, vertices, cone)";
    assert!(said.contains(learnt), "{said}");
    let generate = "generate --model run/model.safetensors --observables no --force --out g.h5";
    let drawn = |options: &str| {
        let said = lab.ok(&format!("{generate} {options}"));
        let read = lab.read("g.h5");
        let columns: Vec<Vec<f32>> = names.iter().map(|n| read.columns[*n].clone()).collect();
        (
            columns,
            read.images,
            String::from_utf8_lossy(&said.stderr).into_owned(),
        )
    };
    let truth = lab.read("correlated.h5");
    let truth: Vec<Vec<f32>> = names.iter().map(|n| truth.columns[*n].clone()).collect();
    let (all, images, said) = drawn("--count 20000 --seed 3");
    let wanted = "conditions: signal, pt, mass, vertices, cone drawn from what the model learnt\n";
    assert!(said.contains(wanted), "{said}");
    let (is, was) = (moments(&all), moments(&truth));
    for (c, name) in names.iter().enumerate() {
        // Errors of a mean of 6000, and as much again for what a network gets wrong.
        let error = was.spreads[c] / (COUNT as f64).sqrt();
        assert!(
            (is.means[c] - was.means[c]).abs() < 6.0 * error,
            "{}: {:?} {:?}",
            name,
            is.means,
            was.means
        );
        assert!(
            (is.spreads[c] / was.spreads[c] - 1.0).abs() < 0.05,
            "{}: {:?} {:?}",
            name,
            is.spreads,
            was.spreads
        );
    }
    for (is, was) in is.correlations.iter().zip(&was.correlations) {
        assert!((is - was).abs() < 0.05, "{is} {was}");
    }
    assert!(
        all[3].iter().all(|v| v.fract() == 0.0),
        "vertices are whole"
    );
    let atoms =
        |cone: &[f32]| cone.iter().filter(|v| **v == 0.0).count() as f64 / cone.len() as f64;
    assert!(
        (atoms(&all[4]) - atoms(&truth[4])).abs() < 0.03,
        "{}",
        atoms(&all[4])
    );

    // An image's conditions are its own, whoever draws it and however many others.
    let rows = |columns: &[Vec<f32>], range: std::ops::Range<usize>| -> Vec<Vec<f32>> {
        columns.iter().map(|c| c[range.clone()].to_vec()).collect()
    };
    let (shard, shard_images, _) = drawn("--first 16300 --count 200 --seed 3 --threads 1");
    assert_eq!(shard, rows(&all, 16300..16500));
    assert_eq!(shard_images, images.gather(16300..16500));
    let (other, _, _) = drawn("--count 200 --seed 4");
    assert!(other != rows(&all, 0..200));

    // There are as many as images: none comes again, after 2^20 or at the end of all numbers.
    let (later, _, said) = drawn("--first 1048570 --count 400 --seed 3");
    assert!(said.contains(wanted), "{said}");
    for first in [1048576u64, 1 << 40, u64::MAX - 400] {
        let (other, other_images, _) = drawn(&format!("--first {first} --count 394 --seed 3"));
        assert!(
            first != 1048576 || other == rows(&later, 6..400),
            "across 2^20"
        );
        for c in [1, 2] {
            let same = other[c].iter().zip(&all[c]).filter(|(a, b)| a == b);
            // Of continuous values by chance at the most one or two, in single precision.
            assert!(same.count() < 4, "{} of {first}", names[c]);
        }
        assert!(other_images != images.gather(0..394));
        let (end, end_images, _) = drawn(&format!("--first {} --count 3 --seed 3", first + 300));
        assert_eq!(end, rows(&other, 300..303));
        assert_eq!(end_images, other_images.gather(300..303));
    }
    // No table of them: a run of any length starts at once, and is refused for the disk alone.
    let endless = "--quiet --count 1000000000000 --first 9000000000 --max-disk 1KiB";
    let error = lab.fails(&format!("{generate} {endless}"));
    assert!(
        error.contains("--max-disk allows 1.0 kB") && error.contains(" TB, "),
        "{error}"
    );
    // Runs that go beyond 2^20 are told from those of the program that drew the first ones again.
    let hash = |options: &str| {
        drawn(&format!("{options} --seed 3"));
        read_attributes(&lab.path("g.h5")).unwrap()["condition_sha256"].clone()
    };
    let below = hash("--count 3");
    assert_eq!(hash("--first 1048570 --count 6"), below);
    assert_ne!(hash("--first 1048570 --count 7"), below);
    // Their images below that are those of the shorter ones all the same, and files that both have them are refused.
    for (count, out) in [(6, "short.h5"), (20, "long.h5")] {
        let some = format!("--quiet --first 1048570 --count {count} --seed 3 --out {out}");
        lab.ok(&format!("generate --model run/model.safetensors {some}"));
    }
    let attributes = read_attributes(&lab.path("long.h5")).unwrap();
    assert_eq!(attributes["drawn_sha256"], below);
    let error = lab
        .fails("evaluate --truth correlated.h5 --generated short.h5 long.h5 --out report --force");
    assert!(
        error.contains("hold the same 6 images (numbers 1048570 to 1048575"),
        "{error}"
    );

    // Nor where they are chosen among candidates, which are more than numbers of 64 bits.
    let given = "--count 40 --seed 3 --given mass=70";
    let (chosen, ..) = drawn(given);
    let mut seen = vec![chosen[1].clone()];
    for first in [1048576u64, 1 << 59, 1 << 60, u64::MAX - 60] {
        let (other, ..) = drawn(&format!("--first {first} {given}"));
        for before in &seen {
            let same = before.iter().zip(&other[1]).filter(|(a, b)| a == b);
            assert!(same.count() < 4, "{first}");
        }
        seen.push(other[1].clone());
    }

    // Given what comes first, the rest goes with it.
    let (some, _, said) = drawn("--count 4000 --given signal=1,pt=280");
    assert!(
        said.contains("conditions: mass, vertices, cone drawn"),
        "{said}"
    );
    let is = moments(&some);
    assert_eq!((is.means[0], is.spreads[1]), (1.0, 0.0));
    assert!((is.means[2] - 75.0).abs() < 0.5, "{:?}", is.means);

    // Given what comes later, what comes before it goes with it: of mass 70, pt is below 280.
    let (some, _, _) = drawn("--count 2000 --given mass=70");
    let (is, truth_near) = (moments(&some), {
        let near: Vec<usize> = (0..COUNT)
            .filter(|i| (truth[2][*i] - 70.0).abs() < 0.5)
            .collect();
        let columns: Vec<Vec<f32>> = (truth.iter())
            .map(|c| near.iter().map(|i| c[*i]).collect())
            .collect();
        moments(&columns)
    });
    assert!(some[2].iter().all(|v| *v == 70.0));
    for c in [0, 1] {
        let apart = (is.means[c] - truth_near.means[c]).abs();
        assert!(
            apart < 0.2 * truth_near.spreads[c],
            "{}: {:?} {:?}",
            names[c],
            is.means,
            truth_near.means
        );
    }

    // The border between two rounds of candidates is none of a row's business.
    let (other, _, _) = drawn("--first 500 --count 20 --given mass=70");
    assert_eq!(other, rows(&some, 500..520));
    let rare = drawn("--count 20 --given signal=1,mass=63,vertices=44,cone=0").2;
    assert!(rare.contains("what is given is rare"), "{rare}");

    // What nobody has seen.
    let (_, _, said) = drawn("--count 5 --given signal=1,pt=1000");
    assert!(said.contains("pt = 1000 lies outside the 250"), "{said}");
    let (_, _, said) = drawn("--count 5 --given signal=0.5,pt=270,mass=70,vertices=3,cone=0");
    assert!(
        said.contains("had signal = 0.5: there were [0.0, 1.0]"),
        "{said}"
    );
    lab.refuses(
        &format!("{generate} --count 5 --given signal=0.5"),
        &[
            "cannot draw pt, mass, vertices, cone: no image that the model was trained on had signal = 0.5; signal was one of [0.0, 1.0]",
        ],
    );
    lab.refuses(
        &format!("{generate} --count 5 --given mass=200"),
        &[
            "no image that the model was trained on had mass = 200.0 (they had 62",
            "give a value in that range",
        ],
    );
    let about = lab.json("info --json run/model.safetensors");
    assert_eq!(
        about["prior"]["labels"]["images"].as_array().unwrap().len(),
        2
    );
    let text = String::from_utf8(lab.ok("info run/model.safetensors").stdout).unwrap();
    assert!(text.contains("conditions  signal: 0 ("), "{text}");
    assert!(
        text.contains("            vertices: -4 to 45, NLL 3."),
        "{text}"
    );
}

/// Entropies are known: those of the densities that were learnt are not far above.
#[test]
fn the_likelihood_of_conditions_is_that_of_their_distribution() {
    let lab = Lab::empty();
    correlated(&lab);
    lab.file(
        "c.toml",
        format!("{DC}[condition]\nnames = ['signal', 'pt', 'mass']\n"),
    );
    lab.ok("train --quiet --data correlated.h5 --config c.toml --out run");
    let about = lab.json("info --json run/model.safetensors");
    let nll = |i: usize| about["prior"]["densities"][i]["nll"].as_f64().unwrap();
    // pt: 2 x on a unit interval has the entropy 1/2 - ln 2; mass: even over 10 GeV.
    let entropies = [50f64.ln() + 0.5 - 2f64.ln(), 10f64.ln()];
    for (i, entropy) in entropies.into_iter().enumerate() {
        assert!(
            (-0.1..0.2).contains(&(nll(i) - entropy)),
            "{i}: {} {entropy}",
            nll(i)
        );
    }
}

/// What is drawn and what has a likelihood are one distribution: it adds up to 1.
#[test]
fn the_distribution_of_conditions_adds_up_to_one() {
    let lab = Lab::empty();
    correlated(&lab);
    lab.file(
        "c.toml",
        format!("{DC}[condition]\nnames = ['signal', 'cone', 'vertices']\n"),
    );
    lab.ok("train --quiet --epochs 1 --data correlated.h5 --config c.toml --out run");
    let checkpoint = Checkpoint::read(&lab.path("run/model.safetensors")).unwrap();
    let prior = checkpoint.prior.unwrap();
    let [cone, vertices] = [0, 1].map(|i| prior.densities[i].range.clone());
    assert!(vertices.whole && !cone.whole && cone.knots[0] == 0.0);
    let p = |cone: Vec<f32>, vertices: Vec<f32>| -> Vec<f64> {
        let columns = [
            ("signal", vec![1.0; cone.len()]),
            ("cone", cone),
            ("vertices", vertices),
        ];
        let columns = columns.map(|(name, values)| (name.to_string(), values));
        let log = log_density(&prior, &BTreeMap::from(columns)).unwrap();
        log.into_iter().map(f64::exp).collect()
    };
    // p(cone, vertices) over all whole numbers, at the smallest cone and in the middle of each piece.
    let [low, high] = vertices.ends();
    let whole: Vec<f32> = (low as i32..=high as i32).map(|v| v as f32).collect();
    let middles = cone
        .knots
        .windows(2)
        .map(|k| (0.5 * (k[0] + k[1]), f64::from(k[1] - k[0])));
    let mut sum = 0.0;
    for (value, length) in std::iter::once((0.0, 1.0)).chain(middles) {
        sum += length
            * p(vec![value; whole.len()], whole.clone())
                .iter()
                .sum::<f64>();
    }
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    assert_eq!(p(vec![1.0, 11.0, -1.0], vec![4.5, 4.0, 4.0]), [0.0; 3]);
}

/// Positive quantities that span orders of magnitude are shown as logarithms: in training, generation, scoring and in the
/// densities of what comes after them.
#[test]
fn conditions_on_a_logarithm() {
    let lab = Lab::empty();
    // Four decades of energy, the pixels in proportion; a second quantity that follows from it.
    let mut images = SparseImages::new(3, 3).unwrap();
    let (mut energy, mut depth) = (Vec::new(), Vec::new());
    for i in 0..400u32 {
        let e = 10f32.powf(4.0 * (i as f32 * 0.618_034).fract() - 1.0);
        images.push([(0, 0.5 * e), (4, 0.25 * e), (8, 0.01 * (1 + i % 7) as f32)]);
        energy.push(e);
        depth.push(e.ln() + 0.1 * (i % 5) as f32);
    }
    let options = WriteOptions {
        height: 3,
        width: 3,
        ..WriteOptions::default()
    };
    let columns = BTreeMap::from([("energy".to_string(), energy), ("depth".into(), depth)]);
    write(&lab.path("data.h5"), &images, &columns, &options).unwrap();
    let config = |log: &str| {
        format!(
            "[[stage]]\nlayers = 1\nunits_per_pixel = 2\n[likelihood]\nkind = 'dd'\nlevels = 40\npower = 4.0\n[train]\nepochs = 2\nbatch = 32\nvalidation = 0.1\nlearning_rate = 1e-3\n[condition]\nnames = ['energy', 'depth']\n{log}"
        )
    };
    lab.file("log.toml", config("log = ['energy']\n"));
    lab.ok("train --quiet --data data.h5 --config log.toml --out run");
    let info = lab.json("info --json run/model.safetensors");
    let condition = &info["config"]["condition"];
    assert_eq!(condition["log"], serde_json::json!(["energy"]));
    // ln of 0.1 .. 1000, evenly: in the middle is ln 10.
    let mean = condition["mean"][0].as_f64().unwrap();
    assert!((mean - 10f64.ln()).abs() < 0.1, "{mean}");
    // The density of `depth` is given the logarithm too.
    let checkpoint = Checkpoint::read(&lab.path("run/model.safetensors")).unwrap();
    let prior = checkpoint.prior.unwrap();
    let of_depth = prior.densities.iter().find(|d| d.range.name == "depth");
    let given = &of_depth.unwrap().model.config.condition;
    assert_eq!(
        (&given.names, &given.log),
        (&vec!["energy".into()], &vec!["energy".into()])
    );
    // Told as a value in GeV, written as one; scored from files as drawn.
    lab.ok("generate --quiet --model run/model.safetensors --count 40 --out drawn.h5");
    let drawn = lab.read("drawn.h5").columns["energy"].clone();
    assert!(
        drawn.iter().all(|e| (0.0999..=1001.0).contains(e)),
        "{drawn:?}"
    );
    lab.ok("generate --quiet --model run/model.safetensors --given energy=20,depth=3 --count 5 --out given.h5");
    assert_eq!(lab.read("given.h5").columns["energy"], vec![20.0; 5]);
    let score = lab.ok("score --quiet --model run/model.safetensors --data data.h5 --limit 60");
    // docs/loglikelihood.py says the same, by a logarithm of its own.
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = std::process::Command::new(crate::support::h5::python())
        .arg(root.join("docs/loglikelihood.py"))
        .args([lab.path("run/model.safetensors"), lab.path("data.h5")])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let numbers = |text: &[u8]| -> Vec<f64> {
        let text = String::from_utf8_lossy(text);
        text.lines().map(|l| l.parse().unwrap()).collect()
    };
    let (ours, python) = (numbers(&score.stdout), numbers(&output.stdout));
    assert_eq!((ours.len(), python.len()), (60, 400));
    for (a, b) in ours.iter().zip(&python) {
        assert!((a - b).abs() < 1e-4 * b.abs().max(1.0), "{a} {b}");
    }

    // Values without a logarithm: row and value.
    let mut columns = columns;
    columns.get_mut("energy").unwrap()[7] = 0.0;
    write(&lab.path("zero.h5"), &images, &columns, &options).unwrap();
    let row = ["'zero.h5'", "'energy', row 7 holds 0", "logarithm"];
    lab.refuses(
        "train --quiet --data zero.h5 --config log.toml --out no",
        &row,
    );
    lab.refuses(
        "score --quiet --model run/model.safetensors --data zero.h5",
        &row,
    );
    lab.refuses(
        "generate --quiet --model run/model.safetensors --given-from zero.h5 --out no.h5",
        &row,
    );
    // Without that row all is well.
    lab.ok("score --quiet --model run/model.safetensors --data zero.h5 --select row=8..");
    lab.refuses(
        "generate --quiet --model run/model.safetensors --given energy=-2 --count 3 --out no.h5",
        &["--given energy=-2", "give a positive value"],
    );
    for (log, why) in [
        (
            "log = ['mass']",
            "'condition.log' is mass (each of them must be one of condition.names)",
        ),
        ("log = ['energy', 'energy']", "it stands there twice"),
        ("total = 'energy'\nlog = ['energy']", "it is the total"),
    ] {
        lab.file("bad.toml", config(log));
        lab.refuses(
            "train --quiet --data data.h5 --config bad.toml --out no",
            &[why],
        );
    }
}
