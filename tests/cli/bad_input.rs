//! Every bad input through the binary: one clear line, exit code 1, nothing half-written.

use crate::support::h5;
use std::fs;
use std::os::unix::fs::FileTypeExt;

use crate::support::program::{DC, DD, Lab, column, conditioned, write_images};

/// Lines of every verb that reads images, `{}` standing for the file.
const READERS: [&str; 4] = [
    "train --data {} --config config.toml --out out",
    "score --model run/model.safetensors --data {} --out out",
    "evaluate --truth {} --generated data.h5 --out out",
    "evaluate --truth data.h5 --generated {} --out out",
];

/// Each reader must refuse `file` with `words`.
fn all_refuse(lab: &Lab, file: &str, words: &[&str]) {
    for line in READERS {
        let mut wanted = vec![file];
        wanted.extend(words);
        lab.refuses(&line.replace("{}", file), &wanted);
    }
}

/// A file that h5py makes: `image` from the expression `images`, and what `more` adds.
fn foreign(lab: &Lab, name: &str, images: &str, more: &str) {
    h5::h5py(
        &lab.path(name),
        &format!(
            "rng = np.random.default_rng(1)
x = rng.exponential(2.0, (300, 7, 7)) * (rng.random((300, 7, 7)) < 0.2)
f = h5py.File(path, 'w')
f['image'] = {images}
{more}"
        ),
    );
}

#[test]
fn files_that_are_not_there() {
    let lab = Lab::trained(DC);
    fs::create_dir(lab.path("folder")).unwrap();
    all_refuse(&lab, "nowhere.h5", &["cannot open", "check the path"]);
    all_refuse(&lab, "folder", &["not a regular file"]);
    for line in [
        "generate --model nowhere --count 5 --out out",
        "score --model nowhere --data data.h5 --out out",
        "train --data data.h5 --config nowhere --out out",
        "info nowhere",
    ] {
        lab.refuses(line, &["nowhere", "No such file"]);
        let error = lab.fails(line);
        assert_eq!(error.matches("No such file").count(), 1, "{error}");
    }
    lab.refuses("info folder", &["folder", "directory"]);
    lab.refuses(
        "score --model folder --data data.h5 --out out",
        &["folder", "directory"],
    );
    lab.refuses(
        "train --data data.h5 --config folder --out out",
        &["folder", "directory"],
    );
}

#[test]
fn data_sets_missing_or_of_the_wrong_shape() {
    let lab = Lab::trained(DC);
    foreign(&lab, "flat.h5", "x.reshape(300, 49)", "");
    all_refuse(
        &lab,
        "flat.h5",
        &["'image'", "[300, 49]", "flat rows of 49 values"],
    );
    foreign(&lab, "text.h5", "np.array([b'a', b'b'])", "");
    all_refuse(&lab, "text.h5", &["'image'"]);
    h5::h5py(
        &lab.path("none.h5"),
        "h5py.File(path, 'w')['jet_pt'] = np.arange(3.0)",
    );
    all_refuse(&lab, "none.h5", &["no data set 'image'", "jet_pt"]);
    // Data sets that a selection or a condition names.
    let select = "train --data data.h5 --select colour=1 --config config.toml --out out";
    lab.refuses(select, &["data.h5", "no data set 'colour'", "signal"]);
    foreign(
        &lab,
        "short.h5",
        "x",
        "f['signal'] = np.zeros(299); f['jet_pt'] = np.ones(300)",
    );
    let select = "score --model run/model.safetensors --data short.h5 --select signal=0 --out out";
    lab.refuses(select, &["short.h5", "'signal'", "[299]", "300 images"]);
    lab.file("conditioned.toml", conditioned());
    lab.refuses(
        "train --data short.h5 --config conditioned.toml --out out",
        &["short.h5", "'signal'", "[299]"],
    );
    foreign(&lab, "unlabelled.h5", "x", "f['jet_pt'] = np.ones(300)");
    lab.refuses(
        "train --data unlabelled.h5 --config conditioned.toml --out out",
        &["unlabelled.h5", "no data set 'signal'", "jet_pt"],
    );
    foreign(
        &lab,
        "gap.h5",
        "x",
        "f['signal'] = np.zeros(300); p = np.ones(300); p[7] = np.nan; f['jet_pt'] = p",
    );
    lab.refuses(
        "train --data gap.h5 --config conditioned.toml --out out",
        &["gap.h5", "'jet_pt'", "row 7", "NaN"],
    );
}

#[test]
fn pixels_that_no_detector_has() {
    let lab = Lab::trained(DC);
    for (name, value, shown) in [
        ("nan.h5", "np.nan", "NaN"),
        ("inf.h5", "np.inf", "inf"),
        ("minus.h5", "-0.25", "-0.25"),
        ("huge.h5", "1e300", "inf"),
    ] {
        foreign(&lab, name, "x", &format!("f['image'][123, 4, 5] = {value}"));
        let place = "'image', image 123, row 4, column 5";
        all_refuse(&lab, name, &[place, &format!(": {shown} (")]);
    }
}

#[test]
fn images_of_another_size() {
    let lab = Lab::trained(DC);
    write_images(&lab.path("large.h5"), 20, 9, 3, &[]);
    for line in &READERS[1..] {
        let line = line.replace("{}", "large.h5");
        lab.refuses(&line, &["9 x 9", "7 x 7", ".h5"]);
    }
    lab.file(
        "sized.toml",
        format!("{DC}[image]\nheight = 7\nwidth = 7\n"),
    );
    lab.refuses(
        "train --data large.h5 --config sized.toml --out out",
        &["large.h5", "9 x 9", "7 x 7"],
    );
    write_images(&lab.path("small.h5"), 40, 2, 3, &[]);
    lab.refuses(
        "train --data small.h5 --config config.toml --out out",
        &["stage[0].square", "3", "2"],
    );
}

#[test]
fn pixels_beyond_the_model() {
    let lab = Lab::trained(DD);
    let far = [(5, 10, 500.0), (5, 11, 600.0), (8, 48, 550.5)];
    write_images(&lab.path("far.h5"), 30, 7, 1, &far);
    let info = lab.json("info --json run/model.safetensors");
    let maximum = info["config"]["likelihood"]["maximum"].as_f64().unwrap();
    let end = format!("grid's end at {:.4} GeV", maximum * 20.5 / 20.0);
    let score = "score --model run/model.safetensors --data far.h5";
    let place = "600 GeV: image 5, row 1, column 4";
    // These are the events that somebody looks for: they have no likelihood, and the others are scored.
    let scores = |options: &str| -> (Vec<f64>, String) {
        let output = lab.ok(&format!("{score} {options}"));
        let lines = String::from_utf8(output.stdout).unwrap();
        let values = lines.lines().map(|line| line.parse().unwrap()).collect();
        (values, String::from_utf8(output.stderr).unwrap())
    };
    let (all, said) = scores("");
    for part in [
        "2 of 30 images have pixels beyond the ",
        &end,
        "log_likelihood -inf",
        "600 GeV, in row 5",
        "likelihood.maximum",
        "\n28 images: mean log-likelihood",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    for (row, value) in all.iter().enumerate() {
        assert_eq!(*value == f64::NEG_INFINITY, [5, 8].contains(&row), "{row}");
        assert!(value.is_finite() || *value == f64::NEG_INFINITY);
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = std::process::Command::new(h5::python())
        .arg(root.join("docs/loglikelihood.py"))
        .args([lab.path("run/model.safetensors"), lab.path("far.h5")])
        .output()
        .unwrap();
    let said_by_python = String::from_utf8(python.stdout).unwrap();
    let by_python: Vec<f64> = said_by_python.lines().map(|l| l.parse().unwrap()).collect();
    assert_eq!(by_python.len(), all.len());
    for (is, was) in all.iter().zip(&by_python) {
        // Sums in single precision.
        let same = is == was || (is - was).abs() < 1e-4 * was.abs();
        assert!(same, "{is} {was}");
    }
    // The image is named by its row in the file, whatever was selected; one alone; none.
    let (one, said) = scores("--select jet_pt=258");
    assert_eq!(one, [f64::NEG_INFINITY]);
    assert!(said.contains("550.5 GeV, in row 8"), "{said}");
    assert!(
        !said.contains("NaN") && said.contains("no image has a likelihood above 0"),
        "{said}"
    );
    let (rest, said) = scores("--select jet_pt=259..300");
    assert_eq!(rest, all[9..]);
    assert!(!said.contains("beyond"), "{said}");
    let summary = lab.json(&format!("{score} --json --out out"));
    assert_eq!(summary["images"], 30);
    assert_eq!(summary["images_beyond_range"], 2);
    let mean = all.iter().filter(|s| s.is_finite()).sum::<f64>() / 28.0;
    let said = summary["mean_log_likelihood"].as_f64().unwrap();
    assert!((said - mean).abs() < 1e-9 * mean.abs(), "{said} {mean}");
    assert_eq!(column(&lab.path("out"), "log_likelihood"), all);
    fs::remove_file(lab.path("out")).unwrap();
    // A pixel inside the last cell is none beyond.
    let edge = (maximum * 20.499 / 20.0) as f32;
    write_images(&lab.path("edge.h5"), 3, 7, 1, &[(1, 3, edge)]);
    lab.ok("score --quiet --model run/model.safetensors --data edge.h5");

    lab.file(
        "low.toml",
        DD.replace("levels = 20", "levels = 20\nmaximum = 400.0"),
    );
    lab.refuses(
        "train --data far.h5 --config low.toml --out out",
        &[
            "3 pixels lie beyond",
            "410.0000 GeV",
            place,
            "likelihood.maximum",
        ],
    );
    // D+C with an upper end.
    lab.file(
        "upper.toml",
        DC.replace("components = 2", "components = 2\nupper = 100.0"),
    );
    lab.refuses(
        "train --data far.h5 --config upper.toml --out out",
        &[
            "3 pixels lie beyond",
            "100.0000 GeV",
            place,
            "likelihood.upper",
        ],
    );
    lab.ok("train --quiet --data data.h5 --config upper.toml --out upper");
    let said = lab.ok("score --model upper/model.safetensors --data far.h5 --out out");
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("2 of 30 images") && said.contains("likelihood.upper"));
    let scored = column(&lab.path("out"), "log_likelihood");
    assert_eq!(scored.iter().filter(|s| s.is_finite()).count(), 28);
    // Single precision's next number above the end is still the end.
    write_images(&lab.path("end.h5"), 3, 7, 1, &[(1, 3, 100.0f32.next_up())]);
    lab.ok("score --quiet --model upper/model.safetensors --data end.h5");
}

#[test]
fn pixels_below_the_lower_end() {
    let lab = Lab::new();
    let log = DC.replace("components = 2", "components = 2\nspace = 'log'");
    let with = |more: &str| log.replace("space = 'log'", &format!("space = 'log'\n{more}"));
    lab.file("log.toml", &log);
    let floor = [(0, 0, 0.5), (3, 7, 1e-3), (3, 8, 2e-3), (9, 5, 4e-3)];
    write_images(&lab.path("near.h5"), 30, 7, 1, &floor);
    lab.file("low.toml", with("lower = 0.003"));
    lab.refuses(
        "train --data near.h5 --config low.toml --out out",
        &[
            "2 pixels lie below likelihood.lower at 0.003 GeV",
            "the smallest holds 0.001 GeV: image 3, row 1, column 0",
            "lower likelihood.lower or leave it out, or set them to zero with --threshold 0.003",
        ],
    );
    // Both ends are told at once.
    lab.file("both.toml", with("lower = 0.003\nupper = 5.0"));
    lab.refuses(
        "train --data near.h5 --config both.toml --out out",
        &[
            "beyond likelihood.upper at 5.0000 GeV",
            "2 pixels lie below likelihood.lower",
        ],
    );
    // What it says to do does it.
    lab.ok("train --quiet --data near.h5 --config low.toml --threshold 0.003 --out cut");
    // Nothing would be left with a threshold of 1000 GeV.
    lab.file("high.toml", with("lower = 1000.0"));
    let error = lab.fails("train --data near.h5 --config high.toml --out out");
    assert!(error.contains("pixels lie below likelihood.lower at 1000 GeV"));
    assert!(
        error.contains("lower likelihood.lower or leave it out") && !error.contains("--threshold"),
        "{error}"
    );

    // Left out, the lower end is the smallest pixel.
    lab.ok("train --quiet --data near.h5 --config log.toml --out run");
    let info = lab.json("info --json run/model.safetensors");
    let lower = info["config"]["likelihood"]["lower"].as_f64().unwrap();
    assert_eq!(lower as f32, 1e-3);
    // Scored are the others; the image is named by its row in the file.
    let score = "score --model cut/model.safetensors --data near.h5";
    let output = lab.ok(score);
    let said = String::from_utf8(output.stderr).unwrap();
    for part in [
        "1 of 30 images have pixels below likelihood.lower at 0.003 GeV",
        "log_likelihood -inf",
        "the smallest pixel has 0.001 GeV, in row 3",
        "pass --threshold 0.003 to set such pixels to zero",
        "\n29 images: mean log-likelihood",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let lines = String::from_utf8(output.stdout).unwrap();
    let scores: Vec<f64> = lines.lines().map(|line| line.parse().unwrap()).collect();
    for (row, score) in scores.iter().enumerate() {
        assert_eq!(*score == f64::NEG_INFINITY, row == 3, "{row}");
    }
    let summary = lab.json(&format!("{score} --json --out s.h5"));
    assert_eq!(summary["images_beyond_range"], 1);
    let cut = lab.ok(&format!("{score} --threshold 0.003"));
    let said = String::from_utf8(cut.stderr).unwrap();
    assert!(
        !said.contains("have pixels below") && said.contains("30 images: mean"),
        "{said}"
    );
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = std::process::Command::new(h5::python())
        .arg(root.join("docs/loglikelihood.py"))
        .args([lab.path("cut/model.safetensors"), lab.path("near.h5")])
        .output()
        .unwrap();
    let by_python = String::from_utf8(python.stdout).unwrap();
    let by_python: Vec<f64> = by_python.lines().map(|l| l.parse().unwrap()).collect();
    assert_eq!(by_python.len(), scores.len());
    for (is, was) in scores.iter().zip(&by_python) {
        assert!(
            is == was || (is - was).abs() < 1e-4 * was.abs(),
            "{is} {was}"
        );
    }
    // Single precision's next number below the end is still the end.
    write_images(&lab.path("end.h5"), 3, 7, 1, &[(1, 3, 1e-3f32.next_down())]);
    let said = lab.ok("score --model run/model.safetensors --data end.h5");
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(!said.contains("-inf"), "{said}");

    for (text, words) in [
        (
            DC.replace("components = 2", "components = 2\nlower = 0.1"),
            ["likelihood.lower", "likelihood.space = \"log\""],
        ),
        (
            with("lower = 5.0\nupper = 10.0"),
            ["likelihood.lower", "less than half of likelihood.upper, 10"],
        ),
        (with("lower = 0.0"), ["likelihood.lower", "positive"]),
        (with("lower = -1.0"), ["likelihood.lower", "positive"]),
        (
            DC.replace("components = 2", "components = 2\nspace = 'ln'"),
            ["expected `linear` or `log`", "line"],
        ),
        (
            DD.replace("levels = 20", "levels = 20\nspace = 'log'"),
            ["space", "likelihood"],
        ),
        // The smallest pixel of the data.
        (with("upper = 0.0015"), ["likelihood.lower", "half of"]),
    ] {
        lab.file("bad.toml", text);
        lab.refuses("train --data near.h5 --config bad.toml --out out", &words);
    }
}

/// With a total, pixels smaller than what counts as nothing of it are told of.
#[test]
fn pixels_that_count_as_nothing() {
    let lab = Lab::empty();
    let toml = DC.replace("components = 2", "components = 2\nspace = 'log'")
        + "[condition]\nnames = ['all']\ntotal = 'all'\n";
    lab.file("log.toml", toml);
    let crumbs = [(3, 7, 1e-6), (4, 8, 2e-6)];
    write_images(&lab.path("data.h5"), 60, 7, 1, &crumbs);
    let train = "train --data data.h5 --config log.toml --epochs 1";
    let said = String::from_utf8(lab.ok(&format!("{train} --out a")).stderr).unwrap();
    for part in [
        "2 of ",
        "nonzero pixels are no larger than ",
        "counts as nothing of a total of ",
        "; pass --threshold ",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // What it says to do does it.
    let (_, threshold) = said.split_once("pass --threshold ").unwrap();
    let threshold = threshold.split_whitespace().next().unwrap();
    let again = lab.ok(&format!("{train} --threshold {threshold} --out b"));
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(!said.contains("counts as nothing"), "{said}");
}

#[test]
fn nothing_selected() {
    let lab = Lab::trained(DC);
    lab.refuses(
        "train --data data.h5 --select signal=3 --config config.toml --out out",
        &[
            "no image of 'data.h5'",
            "signal=3",
            "signal runs from 0 to 1",
        ],
    );
    lab.refuses(
        "score --model run/model.safetensors --data data.h5 --select signal=1 --select jet_pt=1..2",
        &["no image of 'data.h5'", "jet_pt", "from 250 to 299"],
    );
    lab.refuses(
        "evaluate --truth data.h5 --generated data.h5 --select-generated jet_pt=1 --out out",
        &["no image of 'data.h5'", "jet_pt"],
    );
    lab.refuses(
        "train --data data.h5 --limit 0 --out out",
        &["data.h5", "limit"],
    );
    lab.refuses(
        "train --data data.h5 --config config.toml --limit 3 --out out",
        &["3 images leave none to validate on"],
    );
    lab.refuses(
        "evaluate --truth data.h5 --generated data.h5 --select jet_pt=250 --select signal=1 --out out",
        &["data.h5", "no image"],
    );
    lab.refuses(
        "generate --model run/model.safetensors --count 9 --first 18446744073709551610 --out out",
        &["numbers end at 2^64"],
    );
}

#[test]
fn files_cut_short() {
    let lab = Lab::trained(DC);
    let whole = fs::read(lab.path("data.h5")).unwrap();
    for (i, part) in [0, 4, 100, whole.len() / 2, whole.len() - 1]
        .into_iter()
        .enumerate()
    {
        let name = format!("cut{i}.h5");
        lab.file(&name, &whole[..part]);
        all_refuse(&lab, &name, &["cannot read", "complete"]);
    }
    lab.file("toml.h5", DC);
    all_refuse(&lab, "toml.h5", &["cannot read", "HDF5"]);
    let whole = fs::read(lab.path("run/model.safetensors")).unwrap();
    for part in [0, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        lab.file("cut.safetensors", &whole[..part]);
        for line in [
            "generate --model cut.safetensors --count 5 --out out",
            "score --model cut.safetensors --data data.h5 --out out",
            "info cut.safetensors",
        ] {
            lab.refuses(
                line,
                &["'cut.safetensors' is not a usable checkpoint", "truncated"],
            );
        }
    }
    // The wrong kind of file.
    for (file, kind) in [("data.h5", "an HDF5 file"), ("config.toml", "a text file")] {
        lab.refuses(
            &format!("generate --model {file} --count 5 --out out"),
            &[&format!(
                "'{file}' is not a usable checkpoint (it is {kind}"
            )],
        );
    }
    for line in [
        "generate --count 5 --out out --model run/state.safetensors",
        "info run/state.safetensors",
    ] {
        lab.refuses(line, &["a training state", "model.safetensors beside it"]);
    }
    for (name, content) in [
        ("empty", &b""[..]),
        ("notes.txt", b"my notes"),
        ("bytes", b"\xff\xfe"),
    ] {
        lab.file(name, content);
        lab.refuses(
            &format!("info {name}"),
            &["is not HDF5, safetensors or TOML"],
        );
    }
    lab.file("settings", DC);
    lab.ok("info settings");
    // A state that was cut.
    let state = fs::read(lab.path("run/state.safetensors")).unwrap();
    lab.file("run/state.safetensors", &state[..state.len() - 5]);
    lab.refuses(
        "train --resume --epochs 3 --data data.h5 --config config.toml --out run",
        &["state.safetensors", "truncated"],
    );
}

#[test]
fn configurations_that_cannot_be() {
    let lab = Lab::new();
    for (text, words) in [
        ("[train]\nbatches = 3\n", ["line 2", "batches"]),
        ("# note\n\ncolour = 1\n", ["line 3", "colour"]),
        ("[train]\nbatch = 'many'\n", ["line 2", "batch"]),
        ("[train]\nbatch = 0\n", ["train.batch", "0"]),
        ("[train]\nbatch = -1\n", ["line 2", "-1"]),
        (
            "[train]\nlearning_rate = nan\n",
            ["train.learning_rate", "NaN"],
        ),
        ("[likelihood]\nkind = 'xx'\n", ["xx", "dc"]),
        (
            "[likelihood]\nkind = 'dd'\nlevels = 0\n",
            ["likelihood.levels", "0"],
        ),
        (
            "[likelihood]\nkind = 'dd'\npower = 10.0\nlevels = 60000\nmaximum = 1.0\n",
            ["likelihood.power", "10"],
        ),
        (
            "[likelihood]\nkind = 'dc'\nunit = 1e-40\n",
            ["likelihood.unit", "1e-15"],
        ),
        (
            "[[stage]]\nsquare = 9\n[[stage]]\n",
            ["stage[0].square", "9"],
        ),
        ("[[stage]]\nlayers = 1000\n", ["stage[0].layers", "1000"]),
        ("[order]\nkind = 'zigzag'\n", ["line 2", "zigzag"]),
        (
            "[condition]\nnames = ['colour']\n",
            ["no data set 'colour'", "signal"],
        ),
        ("[train\n", ["line 1", "[train"]),
        ("[train]\nbatch = 1\nbatch = 2\n", ["line 3", "batch"]),
    ] {
        lab.file("bad.toml", text);
        let train = "train --data data.h5 --config bad.toml --out out";
        lab.refuses(train, &words);
        if !text.contains("square") && !text.contains("names") {
            lab.refuses(train, &["bad.toml"]);
            lab.refuses("info bad.toml", &["bad.toml", words[0], words[1]]);
        }
    }
    lab.file("bad.toml", b"[train]\nbatch = \xff\n");
    lab.refuses(
        "train --data data.h5 --config bad.toml --out out",
        &["bad.toml"],
    );
    lab.refuses(
        "train --data data.h5 --epochs 0 --out out",
        &["train.epochs", "0"],
    );
}

#[test]
fn outputs_that_exist_or_have_no_place() {
    let lab = Lab::trained(DC);
    let train = "train --data data.h5 --config config.toml --out";
    lab.refuses(&format!("{train} run"), &["'run'", "--resume", "--force"]);
    lab.refuses(&format!("{train} data.h5"), &["data.h5", "file"]);
    lab.refuses(&format!("{train} data.h5/run"), &["data.h5"]);
    lab.file("out.h5", "my own notes");
    fs::create_dir_all(lab.path("thesis/chapter")).unwrap();
    let generate = "generate --model run/model.safetensors --count 5 --out";
    let score = "score --model run/model.safetensors --data data.h5 --out";
    for line in [generate, score] {
        lab.refuses(&format!("{line} out.h5"), &["out.h5", "exists", "--force"]);
        lab.refuses(
            &format!("{line} data.h5/no/where/out.h5"),
            &["data.h5/no/where", "'data.h5' is not a directory"],
        );
        lab.refuses(&format!("{line} thesis --force"), &["thesis", "not a file"]);
    }
    // What is read is not overwritten, by whatever name.
    std::os::unix::fs::symlink("data.h5", lab.path("link.h5")).unwrap();
    for line in [
        "score --model run/model.safetensors --data data.h5 --out",
        "generate --model run/model.safetensors --given-from data.h5 --out",
    ] {
        for out in ["run/../data.h5", "link.h5", "run/model.safetensors"] {
            let words = [out, "is an input of this command"];
            lab.refuses(&format!("{line} {out} --force"), &words);
        }
    }
    let evaluate = "evaluate --truth data.h5 --generated data.h5 --bootstrap 5 --out";
    lab.refuses(&format!("{evaluate} thesis"), &["thesis", "--force"]);
    lab.refuses(
        &format!("{evaluate} thesis --force"),
        &["thesis", "not a report"],
    );
    lab.refuses(&format!("{evaluate} out.h5"), &["out.h5"]);
    lab.refuses(&format!("{evaluate} data.h5/report"), &["data.h5"]);
    for line in [generate, score] {
        lab.ok(&format!("{line} out.h5 --force --quiet"));
    }
    lab.ok(&format!("{train} run --force --quiet"));
    // Every output is made with all that leads to it.
    lab.ok(&format!("{train} runs/of/today --quiet"));
    lab.ok(&format!("{generate} images/of/today/g.h5 --quiet"));
    lab.ok(&format!("{score} scores/of/today/s.h5 --quiet"));
    lab.ok("pack --quiet --model run/model.safetensors --out packed/of/today/m.safetensors");
    let evaluate = "evaluate --truth data.h5 --generated data.h5 --bootstrap 5 --quiet --out";
    lab.ok(&format!("{evaluate} reports/of/today"));
    // Nothing is read before it is known that the output can be written: here these files are not there.
    for line in [
        "train --data gone.h5 --out /proc/new",
        "generate --model gone --count 5 --out /proc/new/g.h5",
        "score --model gone --data gone.h5 --out /proc/new.h5",
        "evaluate --truth gone.h5 --generated gone.h5 --out /proc/new/report",
        "pack --model gone --out /proc/new.safetensors",
    ] {
        lab.refuses(
            line,
            &["cannot write '/proc/new", "no file can be made in '/proc'"],
        );
    }
    let probes = |folder: &str| lab.names(folder).iter().any(|n| n.contains("probe"));
    assert!(!probes(".") && !probes("scores/of/today"));
    // What is refused after the images were read must not have cost the run that was there.
    lab.file(
        "upper.toml",
        DC.replace("components = 2", "components = 2\nupper = 0.001"),
    );
    lab.refuses(
        "train --data data.h5 --config upper.toml --out run --force",
        &["pixels lie beyond"],
    );
    lab.refuses(
        "train --data data.h5 --config upper.toml --out run --resume",
        &["pixels lie beyond"],
    );
    lab.refuses(
        "train --data data.h5 --config config.toml --limit 200 --out run --resume",
        &["'run' was trained on other images", "--limit"],
    );
    // The split, and with it a D+D grid's end, follows from the table: that is what differs.
    lab.file("batch.toml", DD.replace("batch = 32", "batch = 16"));
    lab.refuses(
        "train --data data.h5 --config batch.toml --seed 5 --out run --resume",
        &[
            "another [train] table",
            "batch was 32, not 16",
            "seed was 1, not 5",
        ],
    );
    lab.file("other.toml", DC.replace("layers = 1", "layers = 2"));
    lab.refuses(
        "train --data data.h5 --config other.toml --out run --resume",
        &["another model configuration", "layers was 1, not 2"],
    );
}

#[test]
fn a_device_is_no_output() {
    let full = std::path::Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    let lab = Lab::trained(DC);
    for line in [
        "generate --model run/model.safetensors --count 5 --out /dev/full",
        "score --model run/model.safetensors --data data.h5 --out /dev/full",
    ] {
        lab.refuses(line, &["/dev/full", "exists"]);
        // Not even then: the new file would take the device's place.
        lab.refuses(&format!("{line} --force"), &["/dev/full", "not a file"]);
    }
    assert!(fs::metadata(full).unwrap().file_type().is_char_device());
}
