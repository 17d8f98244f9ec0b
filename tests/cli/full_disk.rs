//! Disks that are full: one clear error, nothing under the final name, and a way on once there is space.
//!
//! A limit on the size of files stands in for the disk; the program ignores the signal that it sends.

use std::fs;
use std::process::{Command, Output};

use crate::support::program::{DC, Lab, SARM, assert_same, one_error, write_images};

/// The program where no file may grow beyond `kib` KiB: what a full disk does to it, but for the words.
fn cramped(lab: &Lab, kib: u32, line: &str) -> Output {
    Command::new("bash")
        .args(["-c", &format!("ulimit -f {kib}; exec \"$0\" {line}"), SARM])
        .current_dir(lab.path("."))
        .output()
        .unwrap()
}

#[test]
fn full_disks() {
    let lab = Lab::trained(DC);
    let too_large = |kib, line: &str| {
        let error = one_error(line, &cramped(&lab, kib, line));
        assert!(error.contains("File too large"), "{line}: {error}");
        error
    };
    let before = lab.names(".");
    let score = "score --quiet --model run/model.safetensors --data data.h5 --out s.h5";
    for kib in [0, 1, 2] {
        assert!(too_large(kib, score).contains("s.h5"));
        assert_eq!(lab.names("."), before);
    }
    let evaluate =
        "evaluate --quiet --truth data.h5 --generated data.h5 --bootstrap 5 --out report";
    for kib in [0, 4, 40] {
        too_large(kib, evaluate);
        assert_eq!(lab.names("."), before);
    }
    // Training: neither a model nor a state, and the next run needs no --force.
    let train = "train --quiet --data data.h5 --config config.toml --out new";
    for kib in [0, 1, 8] {
        let error = too_large(kib, train);
        assert!(error.contains("new/"), "{error}");
        let left = lab.names("new");
        assert!(left.iter().all(|n| n == "config.toml"), "{left:?}");
    }
    lab.ok(train);
    assert!(
        fs::read(lab.path("new/model.safetensors")).unwrap()
            == fs::read(lab.path("run/model.safetensors")).unwrap()
    );
    // A run that overwrites one loses it, but leaves nothing that looks like a run.
    too_large(1, &format!("{train} --force"));
    lab.ok(train);
}

#[test]
fn a_full_disk_while_generating() {
    let lab = Lab::trained(DC);
    let generate = "generate --quiet --observables --model run/model.safetensors --seed 3 --count 20000 --threads 1";
    lab.ok(&format!("{generate} --out whole.h5"));
    let whole = lab.read("whole.h5");
    for layout in ["dense", "sparse"] {
        let line = format!("{generate} --layout {layout} --out g.h5");
        for kib in [0, 1, 300, 700] {
            let error = one_error(&line, &cramped(&lab, kib, &line));
            assert!(error.contains("File too large"), "{error}");
            // What was drawn is not lost, and the message says how to go on.
            assert_eq!(error.contains("with --resume the run"), kib > 1, "{error}");
            assert!(!lab.path("g.h5").exists());
            let left: Vec<_> = (lab.names(".").into_iter())
                .filter(|n| n.contains("g.h5"))
                .collect();
            let expected: &[&str] = if kib > 1 { &["g.h5.partial"] } else { &[] };
            assert_eq!(left, expected, "{layout} {kib}");
            if kib > 1 {
                lab.refuses(&line, &["g.h5.partial", "--resume", "--force"]);
            }
            let went_on = lab.json(&format!("{line} --resume --json"));
            let taken_over = went_on["images_taken_over"].as_u64().unwrap();
            assert_eq!(taken_over > 0, kib > 1, "{layout} {kib}: {taken_over}");
            assert_same(&lab.read("g.h5"), &whole, layout);
            assert!(!lab.path("g.h5.partial").exists());
            fs::remove_file(lab.path("g.h5")).unwrap();
        }
    }
}

/// What a run will take is said after its first images, refused where it is more than is allowed, and about right.
#[test]
fn space_is_foretold() {
    let lab = Lab::trained(DC);
    let generate = "generate --model run/model.safetensors --seed 3 --count 40000 --threads 1";
    for (layout, observables) in [("dense", "true"), ("sparse", "false")] {
        let line = format!("{generate} --layout {layout} --observables {observables} --out g.h5");
        let before = lab.names(".");
        let limited = format!("{line} --quiet --max-disk 200KiB");
        for words in [
            "cannot write 'g.h5'",
            "--max-disk allows 205 kB",
            "allow more",
        ] {
            lab.refuses(&limited, &[words]);
        }
        assert_eq!(
            lab.fails(&limited).contains("--layout sparse"),
            layout == "dense"
        );
        assert_eq!(lab.names("."), before, "nothing is left");
        let said = String::from_utf8(lab.ok(&format!("{line} --max-disk 1GiB")).stderr).unwrap();
        let foretold = said.lines().find(|l| l.starts_with("about ")).unwrap();
        // `about 2.1 MB for 40 000 images, 900 kB more on the disk until they are complete; about 3 s left`
        let words: Vec<&str> = foretold.split(' ').collect();
        let unit = |word: &str| match word {
            "kB" => 1e3,
            "MB" => 1e6,
            other => panic!("{other}: {foretold}"),
        };
        let output = words[1].parse::<f64>().unwrap() * unit(words[2]);
        let is = fs::metadata(lab.path("g.h5")).unwrap().len() as f64;
        // A file has room for whole chunks: 32768 numbers of each column or list.
        let apart = (is - output).abs();
        assert!(apart < 0.15 * is + 500e3, "{layout}: {is}, {foretold}");
        assert!(foretold.contains("for 40 000 images, "), "{foretold}");
        assert!(
            foretold.contains(" until they are complete; about "),
            "{foretold}"
        );
        fs::remove_file(lab.path("g.h5")).unwrap();
    }
}

/// A network that does not fit is refused before anything of it is allocated, with what to lower; and that fits.
#[test]
fn too_little_memory_for_a_network() {
    let lab = Lab::empty();
    write_images(&lab.path("big.h5"), 20, 30, 1, &[]);
    lab.file("large.toml", "[[stage]]\nunits_per_pixel = 2\nlayers = 1\n");
    lab.file("small.toml", "[[stage]]\nunits_per_pixel = 1\nlayers = 1\n");
    write_images(&lab.path("larger.h5"), 4, 60, 1, &[]);
    let train = |data: &str, config: &str| {
        let line = format!(
            "train --data {data} --config {config} --epochs 1 --threads 1 --device cpu --out run"
        );
        // The heap of each thread reserves 64 MiB of addresses, which count here: about two more than what is foretold.
        let script = format!("ulimit -v 1100000; exec \"$0\" {line}");
        let mut command = Command::new("bash");
        command
            .args(["-c", &script, SARM])
            .current_dir(lab.path("."));
        (line, command.output().unwrap())
    };
    let began = std::time::Instant::now();
    let (line, output) = train("big.h5", "large.toml");
    let error = one_error(&line, &output);
    // 15 numbers for each of 900 pixels from each of 1800 units, the units of two layers, biases.
    for words in [
        "this network has 30.8",
        " million parameters and takes 1.4 GB to train (",
        " are available); lower units_per_pixel (2 -> 1)",
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    assert!(!lab.path("run").exists());
    // Where the lowest settings are too high, that is said.
    let (line, output) = train("larger.h5", "large.toml");
    let error = one_error(&line, &output);
    let words = "use fewer pixels or a machine with more memory, for even with units_per_pixel = 1, layers = 1 and components = 1 it takes ";
    assert!(error.contains(words), "{error}");
    let (line, output) = train("big.h5", "small.toml");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {said}");
    assert!(
        said.contains(" million parameters; training takes up to "),
        "{said}"
    );
}
