//! Wrong numbers are said before work starts: units, thresholds, classes, weights, empty rows, the same images twice.

use crate::support::h5::h5py;
use crate::support::program::{DC, Lab};

/// `name`: 200 images of 7 x 7 whose pixels are a few GeV, times `factor`, and what `more` adds; `x` holds the pixels.
fn images(lab: &Lab, name: &str, factor: &str, more: &str) {
    h5py(
        &lab.path(name),
        &format!(
            "rng = np.random.default_rng(4)
x = rng.exponential(2.0, (200, 7, 7)) * (rng.random((200, 7, 7)) < 0.2) + 0.0
x[:, 3, 3] += 1.0
k = np.arange(200)
with h5py.File(path, 'w') as f:
    f['image'] = (x * {factor}).astype('f4')
    {}",
            more.trim().replace('\n', "\n    ")
        ),
    );
}

/// Standard error of a line that must succeed.
fn said(lab: &Lab, line: &str) -> String {
    String::from_utf8(lab.ok(line).stderr).unwrap()
}

fn warned(lab: &Lab, line: &str, words: &[&str]) {
    let said = said(lab, line);
    let warnings: Vec<&str> = said.lines().filter(|l| l.contains("WARN")).collect();
    for word in words {
        let found = warnings.iter().any(|l| l.contains(word));
        assert!(found, "{line}: no '{word}' in: {said}");
    }
    if words.is_empty() {
        assert!(warnings.is_empty(), "{line}: {warnings:?}");
    }
}

const TRAIN: &str = "train --config config.toml --epochs 1 --force --out new --data";
const EVALUATE: &str = "evaluate --bootstrap 5 --force --out report";

#[test]
fn files_that_hold_the_same_images_are_refused() {
    let lab = Lab::trained(DC);
    let generate = "generate --quiet --model run/model.safetensors";
    lab.ok(&format!("{generate} --count 40 --out a.h5"));
    lab.ok(&format!("{generate} --count 40 --out again.h5"));
    lab.ok(&format!(
        "{generate} --count 40 --first 30 --layout sparse --out late.h5"
    ));
    lab.ok(&format!("{generate} --count 40 --first 40 --out next.h5"));
    lab.ok(&format!("{generate} --count 40 --seed 9 --out seed.h5"));
    images(&lab, "truth.h5", "1", "");
    let evaluate = format!("{EVALUATE} --truth truth.h5 --generated");
    let numbers = |n| format!("hold the same {n} images (numbers ");
    for (files, words) in [
        (
            "a.h5 again.h5",
            [numbers(40).as_str(), "0 to 39 of model", "seed 0"],
        ),
        (
            "next.h5 a.h5 late.h5",
            [numbers(10).as_str(), "30 to 39", "'a.h5' and 'late.h5'"],
        ),
        (
            "a.h5 ./a.h5",
            [
                "'a.h5' is named twice",
                "--allow-duplicates",
                "name each file once",
            ],
        ),
    ] {
        // Neither leaves anything behind.
        lab.refuses(
            &format!("evaluate --truth data.h5 --out none --generated {files}"),
            &words,
        );
        lab.refuses(
            &format!("train --config config.toml --out none --data {files}"),
            &words,
        );
        for verb in [format!("{evaluate} {files}"), format!("{TRAIN} {files}")] {
            let verb = format!("{verb} --allow-duplicates");
            warned(&lab, &verb, &words[..1]);
            // Once for each pair, and without whole hashes.
            let said = said(&lab, &verb);
            assert_eq!(
                said.contains("another pair"),
                files.starts_with("next.h5"),
                "{said}"
            );
            assert!(said.split([' ', ',']).all(|w| w.len() < 60), "{said}");
        }
    }
    let itself = said(&lab, &format!("{EVALUATE} --truth a.h5 --generated ./a.h5"));
    assert!(
        itself.contains("'./a.h5' is named on both sides: its images are compared with themselves"),
        "{itself}"
    );
    // Neighbours, other seeds, and rows of an overlapping file that do not overlap.
    warned(&lab, &format!("{evaluate} a.h5 next.h5 seed.h5"), &[]);
    warned(
        &lab,
        &format!("{TRAIN} a.h5 late.h5 --select row=0..29"),
        &[],
    );
    // Files that say nothing: by their images. The copies are rows 100 to 199 of one and 0 to 99 of the other.
    let cut = |name: &str, rows: &str| {
        images(
            &lab,
            name,
            "1",
            &format!("x = x[{rows}]; del f['image']; f['image'] = x"),
        )
    };
    cut("first.h5", "0:150");
    cut("second.h5", "100:200");
    cut("third.h5", "145:200");
    lab.refuses(
        "train --config config.toml --out none --data first.h5 second.h5",
        &["50 images of 'second.h5' are equal to images of 'first.h5' (row 0 to row 100 for one)"],
    );
    // A few are counted.
    warned(
        &lab,
        &format!("{TRAIN} first.h5 third.h5"),
        &["5 of 205 images are equal to one before them (rows of 'third.h5': 0 to 4)"],
    );
}

#[test]
fn rows_that_were_never_written_are_counted() {
    let lab = Lab::trained(DC);
    let half = "del f['image']; d = f.create_dataset('image', (400, 7, 7), 'f4', chunks=(50, 7, 7), compression='gzip'); d[:200] = x";
    images(&lab, "killed.h5", "1", half);
    let empty = "200 of 400 images are empty (rows 200 to 399): these rows were never written; leave them out with --select row=0..199";
    let info = String::from_utf8(lab.ok("info killed.h5").stdout).unwrap();
    assert!(info.contains(empty), "{info}");
    warned(&lab, &format!("{TRAIN} killed.h5"), &[empty]);
    let evaluate = format!("{EVALUATE} --truth killed.h5 --generated data.h5");
    warned(&lab, &evaluate, &[empty]);
    warned(
        &lab,
        &format!("{EVALUATE} --truth data.h5 --generated killed.h5"),
        &[empty],
    );
    // The remedy.
    warned(&lab, &format!("{TRAIN} killed.h5 --select row=0..199"), &[]);
    let late = format!("{TRAIN} late.h5");
    images(&lab, "late.h5", "1", &half.replace("[:200]", "[200:]"));
    let remedy =
        "(rows 0 to 199): these rows were never written; leave them out with --select row=200..399";
    warned(&lab, &late, &[remedy]);
    warned(&lab, &format!("{late} --select row=200..399"), &[]);
    let inspection = &lab.json("info --json killed.h5")["inspection"];
    assert_eq!(inspection["empty"]["count"], 200);
    assert_eq!(inspection["unwritten"], 200);
    assert_eq!(inspection["full"]["count"], 0);
    images(
        &lab,
        "full.h5",
        "1",
        "f['image'][7:9] = 1.5; f['image'][20] = f['image'][3]",
    );
    warned(
        &lab,
        &format!("{TRAIN} full.h5"),
        &[
            "2 of 200 images are without a zero, and the model is made for images that are mostly zeros (rows 7 to 8)",
            "2 of 200 images are equal to one before them (rows 8, 20)",
        ],
    );
}

#[test]
fn units_are_read_and_carried() {
    let lab = Lab::trained(DC);
    let of = |name: &str, factor: &str, unit: &str| {
        images(&lab, name, factor, &format!("f.attrs['units'] = '{unit}'"));
    };
    of("gev.h5", "1", "GeV");
    of("mev.h5", "1000", "MeV");
    of("adc.h5", "1", "ADC");
    images(&lab, "bare.h5", "1000", "");
    let generate =
        "generate --quiet --force --model new/model.safetensors --count 200 --out new.h5";
    for (file, unit) in [("gev.h5", "GeV"), ("mev.h5", "GeV"), ("adc.h5", "ADC")] {
        let train = said(&lab, &format!("{TRAIN} {file}"));
        assert!(!train.contains("WARN"), "{train}");
        let said_so = train.contains("are in MeV: they are multiplied by 0.001 to be GeV");
        assert_eq!(said_so, file == "mev.h5", "{train}");
        let info = String::from_utf8(lab.ok("info new/model.safetensors").stdout).unwrap();
        assert!(info.contains(&format!("pixels in   {unit}\n")), "{info}");
        lab.ok(generate);
        let wanted = format!("True {unit}\n");
        let script = "f = h5py.File(path); print(1 < f['image'][:].sum((1, 2)).mean() < 200, f.attrs['units'])";
        assert_eq!(h5py(&lab.path("new.h5"), script), wanted);
        warned(
            &lab,
            &format!("{EVALUATE} --truth {file} --generated new.h5"),
            &[],
        );
        let page = std::fs::read_to_string(lab.path("report/index.html")).unwrap();
        assert_eq!(page.contains("[ADC]"), unit == "ADC");
        assert_eq!(page.contains("GeV]"), unit == "GeV");
        warned(
            &lab,
            &format!("score --model new/model.safetensors --data {file}"),
            &[],
        );
    }
    warned(
        &lab,
        "score --model new/model.safetensors --data gev.h5",
        &["pixels are in GeV and the model was trained in ADC"],
    );
    warned(
        &lab,
        &format!("{EVALUATE} --truth gev.h5 --generated new.h5"),
        &["the true images are in GeV and the generated ones in ADC"],
    );
    // A file that says nothing of its unit: both remedies are run.
    let line = format!("{TRAIN} bare.h5");
    let train = said(&lab, &line);
    let remedy = "give --scale if the file is not in GeV, or set 'input.unit' to ";
    assert!(
        train.contains(
            "far from the units of the model ('input.unit' is 1 and 'likelihood.unit' is 1)"
        ) && train.contains(remedy),
        "{train}"
    );
    warned(&lab, &format!("{line} --scale 1e-3"), &[]);
    let info = lab.json("info --json new/model.safetensors");
    assert_eq!(info["record"]["scale"], 1e-3);
    let number = |after: &str| {
        let rest = train.split(after).nth(1).unwrap();
        rest.split([' ', '\n']).next().unwrap().to_string()
    };
    let (input, likelihood) = (number(remedy), number("'likelihood.unit' to "));
    let units = DC.replace(
        "components = 2",
        &format!("components = 2\nunit = {likelihood}"),
    );
    lab.file("units.toml", format!("{units}[input]\nunit = {input}\n"));
    warned(&lab, &line.replace("config.toml", "units.toml"), &[]);
    // Sides a power of ten apart, and the remedy.
    let apart = format!("{EVALUATE} --truth bare.h5 --generated gev.h5");
    warned(&lab, &apart, &["10^3 apart"]);
    warned(&lab, &format!("{apart} --scale 1e-3"), &[]);
    let other = format!("{EVALUATE} --truth gev.h5 --generated bare.h5");
    warned(&lab, &other, &["10^-3 apart"]);
    warned(&lab, &format!("{other} --scale-generated 1e-3"), &[]);
}

#[test]
fn residue_of_a_rotation_is_said_and_can_be_cut() {
    let lab = Lab::trained(DC);
    let residue = "f['image'][:50, 0, 0] = np.logspace(-20, -6, 50)";
    images(&lab, "rotated.h5", "1", residue);
    let words = "nonzero pixels lie five orders of magnitude and more below the median of 1.";
    let remedy = "pass --threshold 1e-2 to set them to zero";
    warned(&lab, &format!("{TRAIN} rotated.h5"), &[words, remedy]);
    warned(
        &lab,
        &format!("{EVALUATE} --truth rotated.h5 --generated data.h5"),
        &[words],
    );
    let info = String::from_utf8(lab.ok("info rotated.h5").stdout).unwrap();
    assert!(
        info.contains(words) && info.contains("smallest 1.0000e-20, median 1."),
        "{info}"
    );
    // What is cut is zero in all that is said.
    let zeros = |line: &str| lab.json(line)["zero_fraction"].as_f64().unwrap();
    let (all, rest) = (
        zeros("info --json rotated.h5"),
        zeros("info --json rotated.h5 --threshold 1e-2"),
    );
    assert!(rest > all, "{all}, {rest}");
    let cut = said(&lab, &format!("{TRAIN} rotated.h5 --threshold 1e-2"));
    assert!(
        !cut.contains("WARN") && cut.contains("lie below 0.01 GeV and are set to zero"),
        "{cut}"
    );
    let record = &lab.json("info --json new/model.safetensors")["record"];
    assert!((record["threshold"].as_f64().unwrap() - 1e-2).abs() < 1e-9);
    let score = "score --model new/model.safetensors --data rotated.h5";
    warned(&lab, score, &["give --threshold 0.01"]);
    warned(&lab, &format!("{score} --threshold 0.01"), &[]);
    // What no threshold is.
    for bad in ["0", "-1", "nan", "x"] {
        let line = format!("{TRAIN} rotated.h5 --threshold={bad}");
        lab.sarm(&line).assert().code(2);
    }
}

#[test]
fn classes_have_names_that_a_model_remembers() {
    let lab = Lab::empty();
    let named = |name: &str, names: &str| {
        images(
            &lab,
            name,
            "1",
            &format!("f['signal'] = np.array({names}, 'S5')[k % 2]"),
        );
    };
    named("both.h5", "['QCD', 'W']");
    named("one.h5", "['W', 'W']");
    named("other.h5", "['W', 'Z']");
    lab.file(
        "config.toml",
        format!("{DC}[condition]\nnames = ['signal']\n"),
    );
    let train = said(&lab, &format!("{TRAIN} both.h5"));
    assert!(train.contains("'QCD' is read as 0, 'W' as 1"), "{train}");
    let info = String::from_utf8(lab.ok("info new/model.safetensors").stdout).unwrap();
    assert!(info.contains("signal      0 is QCD, 1 is W"), "{info}");
    // A file of one class alone would be class 0.
    let scores = |line: &str| String::from_utf8(lab.ok(line).stdout).unwrap();
    let score = "score --quiet --model new/model.safetensors";
    let alone = scores(&format!("{score} --data one.h5"));
    assert_eq!(
        alone,
        scores(&format!("{score} --data one.h5 --given signal=1"))
    );
    assert_ne!(
        alone,
        scores(&format!("{score} --data one.h5 --given signal=0"))
    );
    let error = lab.fails(&format!("{score} --data other.h5"));
    assert!(
        error.contains("'Z' is no name of 'signal' here (known are QCD, W)"),
        "{error}"
    );
    lab.ok(&format!("{score} --data other.h5 --select signal=W"));
    // Generated files hold the numbers, and which names they stand for.
    let generate = "generate --quiet --model new/model.safetensors --force --out new.h5";
    lab.ok(&format!("{generate} --given-from one.h5"));
    assert_eq!(lab.read("new.h5").columns["signal"], [1.0; 200]);
    lab.ok(&format!("{generate} --count 100"));
    let lines = said(
        &lab,
        &format!("{EVALUATE} --truth both.h5 --generated new.h5"),
    );
    assert!(
        lines.contains("signal  W1 jet_pt") && lines.contains("background  W1 jet_pt"),
        "{lines}"
    );
    warned(
        &lab,
        &format!(
            "{EVALUATE} --truth both.h5 --select signal=W --generated new.h5 --select-generated signal=1"
        ),
        &[],
    );
    let report = format!("{EVALUATE} --truth one.h5 --generated new.h5");
    assert!(
        !said(&lab, &report).contains("background  W1"),
        "W is class 1 beside the model's names"
    );
}

#[test]
fn classes_and_weights_that_are_left_out_are_named() {
    let lab = Lab::trained(DC);
    images(
        &lab,
        "three.h5",
        "1",
        "f['kind'] = k % 3; f['weight'] = np.where(k % 4 == 0, -1.0, 1.0)",
    );
    let weight = "every image counts once, though 'three.h5' has a data set 'weight'";
    let evaluate = format!("{EVALUATE} --generated data.h5 --truth three.h5");
    warned(
        &lab,
        &evaluate,
        &[
            weight,
            "the generated images have 'signal' and the true ones do not",
        ],
    );
    warned(
        &lab,
        &format!("{evaluate} --class kind"),
        &[
            "66 true images are neither class 0 nor class 1 of 'signal' and are compared only among all (the first is 2)",
        ],
    );
    warned(&lab, &format!("{TRAIN} three.h5"), &[weight]);
    // What weights make no difference to says nothing of them, and what else there is to know.
    let score = "score --model run/model.safetensors --out s.h5 --force --data";
    warned(&lab, &format!("{score} three.h5"), &[]);
    images(
        &lab,
        "units.h5",
        "1",
        "f.attrs['units'] = 'transverse momentum of a cell in MeV'",
    );
    let unit = "the attribute 'units' of 'units.h5' names no unit";
    warned(&lab, &format!("{score} units.h5"), &[unit]);
    let info = String::from_utf8(lab.ok("info three.h5").stdout).unwrap();
    assert!(info.contains(weight), "{info}");
    let named = said(&lab, &format!("{TRAIN} three.h5 --weights weight"));
    assert!(!named.contains("counts once"), "{named}");
    lab.refuses(
        "train --config config.toml --out none --data three.h5 --weights weight --select row=0",
        &["the weights 'weight' of 'three.h5' sum to -1"],
    );
    images(&lab, "soft.h5", "1", "f['signal'] = np.full((200, 2), 0.5)");
    warned(
        &lab,
        &format!("{EVALUATE} --generated data.h5 --truth soft.h5"),
        &["classes are left out: cannot read data set 'signal' of 'soft.h5'"],
    );
}

#[test]
fn a_condition_without_a_unit_is_said_where_pixels_are_converted() {
    let lab = Lab::trained(DC);
    lab.file(
        "config.toml",
        format!("{DC}[condition]\nnames = ['energy']\n"),
    );
    let remark =
        |file: &str| format!("'energy' of '{file}' names no unit: its values stay as they are");
    for (file, factor, more, bare) in [
        ("gev.h5", "1", "", false),
        ("mev.h5", "1000", "f.attrs['units'] = 'MeV'", true),
        (
            "both.h5",
            "1000",
            "f.attrs['units'] = 'MeV'\nf['energy'].attrs['units'] = 'MeV'",
            false,
        ),
    ] {
        let more = format!("f['energy'] = {factor} * rng.uniform(10, 20, 200)\n{more}");
        images(&lab, file, factor, &more);
        let train = said(&lab, &format!("{TRAIN} {file}"));
        assert_eq!(train.contains(&remark(file)), bare, "{train}");
    }
}

#[test]
fn weights_are_numbers() {
    let lab = Lab::trained(DC);
    for (file, weight, words) in [
        (
            "names.h5",
            "np.where(k % 2, b'1.0', b'-1.0')",
            "its shape is [200], of",
        ),
        (
            "hot.h5",
            "np.eye(2)[k % 2]",
            "its shape is [200, 2], of float64, and the file has 200",
        ),
        (
            "short.h5",
            "np.ones(50)",
            "its shape is [50], of float64, and the file has 200",
        ),
    ] {
        images(&lab, file, "1", &format!("f['w'] = {weight}"));
        let words = [words, "weights are one number an image"];
        lab.refuses(
            &format!("train --config config.toml --out none --data {file} --weights w"),
            &words,
        );
        lab.refuses(
            &format!("evaluate --out none --truth {file} --generated data.h5 --weights w"),
            &words,
        );
    }
}
