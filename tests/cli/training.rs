//! `train` as a cluster meets it: one line that starts or goes on, signals, progress where nobody looks, a configuration
//! changed on the command line.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sarm::data::{Layout, SparseImages, WriteOptions, write};

use crate::support::program::{DC, Lab, SARM, conditioned, write_images};

/// The program at work, once `ready` says so.
fn started(lab: &Lab, line: &str, ready: impl Fn() -> bool) -> Child {
    let child = Command::new(SARM)
        .args(line.split(' '))
        .current_dir(lab.path("."))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(ready);
    child
}

fn wait_for(ready: impl Fn() -> bool) {
    let begun = Instant::now();
    while !ready() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never starts");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn said(lab: &Lab, line: &str) -> String {
    String::from_utf8(lab.ok(line).stderr).unwrap()
}

#[test]
fn one_line_starts_goes_on_and_ends() {
    let lab = Lab::new();
    lab.file("config.toml", DC);
    let line = "train --data data.h5 --config config.toml --resume --out";
    // Nothing there, an empty directory, what a run leaves that was killed before it could save anything.
    fs::create_dir(lab.path("empty")).unwrap();
    fs::create_dir(lab.path("young")).unwrap();
    lab.file("young/config.toml", "of the run before");
    lab.file("young/lock", "");
    for run in ["new", "empty", "young"] {
        let first = said(&lab, &format!("{line} {run}"));
        assert!(first.contains("the best model is epoch"), "{first}");
        let model = fs::read(lab.path(run).join("model.safetensors")).unwrap();
        let again = said(&lab, &format!("{line} {run}"));
        assert!(
            again.contains(&format!("'{run}' is complete already, after 2 epochs")),
            "{again}"
        );
        assert_eq!(again.lines().count(), 1, "{again}");
        assert!(fs::read(lab.path(run).join("model.safetensors")).unwrap() == model);
    }
    // Whoever deletes the state does not want the model to go with it.
    fs::remove_file(lab.path("new/state.safetensors")).unwrap();
    lab.refuses(
        &format!("{line} new"),
        &["'new'", "no state.safetensors", "--force"],
    );
    // Other data are refused however complete it is.
    lab.refuses(&format!("{line} empty --limit 200"), &["other images"]);
}

#[cfg(unix)]
mod signals {
    use super::*;

    fn send(child: &Child, signal: i32) {
        // SAFETY: the child was started by this process and has not been waited for: its number is no other's.
        unsafe { libc::kill(child.id() as i32, signal) };
    }

    /// The line that goes on, run by a shell.
    fn go_on(lab: &Lab, said: &str) {
        let (_, line) = said.split_once("go on with: ").unwrap();
        let shell = Command::new("sh")
            .args(["-c", line.trim()])
            .current_dir(lab.path("."))
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&shell.stderr);
        assert!(shell.status.success(), "{line}: {error}");
    }

    #[test]
    fn a_stopped_training_goes_on_to_the_same_bits() {
        let lab = Lab::new();
        lab.file("config.toml", conditioned());
        // Nothing is saved inside an epoch unless a signal says so.
        let train = "train --quiet --data data.h5 --config config.toml --epochs 40 --checkpoint-every 100000";
        lab.ok(&format!("{train} --out whole"));
        let model = |run: &str| fs::read(lab.path(run).join("model.safetensors")).unwrap();
        for (signal, name) in [
            (libc::SIGINT, "Ctrl-C"),
            (libc::SIGTERM, "SIGTERM"),
            (libc::SIGHUP, "SIGHUP"),
            (libc::SIGUSR1, "SIGUSR1"),
            (libc::SIGUSR2, "SIGUSR2"),
            (libc::SIGXCPU, "SIGXCPU"),
        ] {
            let metrics = lab.path(name).join("metrics.csv");
            // With --force, which does not go with --resume.
            let child = started(&lab, &format!("{train} --out {name} --force"), || {
                metrics.exists()
            });
            let sent = Instant::now();
            send(&child, signal);
            let output = child.wait_with_output().unwrap();
            assert!(sent.elapsed() < Duration::from_secs(10));
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(128 + signal), "{said}");
            assert!(
                said.starts_with(&format!("sarm: stopped by {name} in epoch ")),
                "{said}"
            );
            assert!(
                said.trim_end().ends_with("--resume") && !said.contains("--force"),
                "{said}"
            );
            let epochs = fs::read_to_string(&metrics).unwrap().lines().count() - 1;
            assert!((1..40).contains(&epochs), "{epochs}");
            go_on(&lab, &said);
            assert!(model(name) == model("whole"), "{name}");
        }
    }

    #[test]
    fn a_signal_before_the_first_step_ends_it_at_once_and_says_how_to_start_again() {
        let lab = Lab::empty();
        // Many images: their conditions take a while to learn.
        write_images(&lab.path("data.h5"), 3000, 7, 1, &[]);
        lab.file("config.toml", conditioned());
        // On a fast or crowded machine the first step may come before the signal: then once more.
        for attempt in 0..5 {
            let run = lab.path(&format!("run{attempt}"));
            let train = format!(
                "train --data data.h5 --config config.toml --epochs 1 --resume --out run{attempt}"
            );
            let child = started(&lab, &train, || run.join("config.toml").exists());
            send(&child, libc::SIGTERM);
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            if !said.contains("stopped by SIGTERM before the first step; go on with: ") {
                continue;
            }
            assert_eq!(output.status.code(), Some(143), "{said}");
            assert!(!run.join("state.safetensors").exists());
            go_on(&lab, &said);
            assert!(run.join("model.safetensors").exists());
            return;
        }
        panic!("five times it had begun to train");
    }

    #[test]
    fn what_nohup_ignores_stays_ignored() {
        let lab = Lab::new();
        lab.file("config.toml", DC);
        let train = "train --quiet --data data.h5 --config config.toml --epochs 100000 --set train.patience=0 --set train.learning_rate=1e-6 --out run";
        let script = format!("trap '' HUP; exec {SARM} {train}");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .current_dir(lab.path("."))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for(|| lab.path("run/metrics.csv").exists());
        send(&child, libc::SIGHUP);
        std::thread::sleep(Duration::from_millis(500));
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        send(&child, libc::SIGTERM);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(143));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("stopped by SIGTERM"), "{said}");
    }
}

#[test]
fn progress_is_plain_lines_where_nobody_looks() {
    let lab = Lab::new();
    lab.file("config.toml", DC);
    let train = "train --data data.h5 --config config.toml --epochs 60 --set train.batch=8 --set train.validation=0.0";
    let lines = |text: &str, start: &str| -> Vec<String> {
        let of = |line: &&str| line.starts_with(start) && line.contains(" images, ");
        text.lines().filter(of).map(String::from).collect()
    };
    let text = said(&lab, &format!("{train} --out run --progress-every 0.05"));
    let found = lines(&text, "epoch ");
    assert!(found.len() > 2, "{text}");
    for words in ["/60: ", " of 18 000 images", " images/s", " left"] {
        assert!(found.last().unwrap().contains(words), "{words}: {text}");
    }
    assert!(
        !cfg!(target_os = "linux") || found[0].contains("MiB of memory"),
        "{text}"
    );
    // After the first hundred steps, once.
    let told = text
        .lines()
        .filter(|l| l.starts_with("an epoch takes about "));
    assert_eq!(told.count(), 1, "{text}");
    assert!(text.contains(", all 60 about "), "{text}");
    let generate = "generate --model run/model.safetensors --count 60000 --observables --progress-every 0.05 --out";
    let text = said(&lab, &format!("{generate} g.h5"));
    let found = lines(&text, "generate: ");
    assert!(found.len() > 1, "{text}");
    assert!(
        found.last().unwrap().contains(" of 60 000 images, "),
        "{text}"
    );
    assert!(
        lab.ok(&format!("{generate} q.h5 --quiet"))
            .stderr
            .is_empty()
    );
}

#[test]
fn patience_is_there_unless_it_is_said_otherwise() {
    let lab = Lab::new();
    lab.file("config.toml", DC);
    let train = "train --data data.h5 --config config.toml --set train.learning_rate=2e-2 --epochs";
    // Random images are soon learnt by heart.
    let text = said(&lab, &format!("{train} 200 --out run"));
    assert!(text.contains("stopped early"), "{text}");
    let config = fs::read_to_string(lab.path("run/config.toml")).unwrap();
    assert!(config.contains("patience = 10\n"), "{config}");
    assert!(config.contains("learning_rate = 0.02\n"), "{config}");
    let metrics = fs::read_to_string(lab.path("run/metrics.csv")).unwrap();
    let best: Vec<bool> = metrics
        .lines()
        .skip(1)
        .map(|l| l.split(',').nth(4) == Some("1"))
        .collect();
    let last = best.iter().rposition(|b| *b).unwrap();
    assert_eq!(best.len(), last + 1 + 10, "{metrics}");
    // Without held-out images there is nothing to be patient about.
    lab.ok(&format!("{train} 2 --out all --set train.validation=0.0"));
    let config = fs::read_to_string(lab.path("all/config.toml")).unwrap();
    assert!(config.contains("patience = 0\n"), "{config}");
}

#[test]
fn a_diverged_training_stops_and_keeps_the_best_model() {
    let lab = Lab::new();
    lab.file("config.toml", DC);
    let train = "train --quiet --data data.h5 --config config.toml --out run --epochs";
    lab.ok(&format!("{train} 2"));
    let best = fs::read(lab.path("run/model.safetensors")).unwrap();
    // The same run at a rate that no step survives: a schedule that rises is not to be had, so it is another directory.
    let error = lab.fails("train --quiet --data data.h5 --config config.toml --out fast --set train.learning_rate=1.0");
    for words in [
        "diverged in epoch 1",
        "before the first step",
        "lower learning_rate",
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(fs::read(lab.path("run/model.safetensors")).unwrap() == best);
    // A loop that resumes would train the same epoch for ever.
    let error = lab.fails("train --quiet --data data.h5 --config config.toml --out fast --set train.learning_rate=1.0 --resume");
    assert!(
        error.contains("'fast' diverged in epoch 1 (going on would repeat that)"),
        "{error}"
    );
    lab.ok("train --quiet --data data.h5 --config config.toml --out fast --set train.learning_rate=0.01 --force");
}

#[test]
fn settings_change_a_configuration() {
    let lab = Lab::new();
    lab.file("config.toml", DC);
    let info = "info config.toml --json --set train.batch=7 --set stage.0.units_per_pixel=3";
    let shown = lab.json(info);
    assert_eq!(shown["train"]["batch"], 7);
    assert_eq!(shown["stage"][0]["units_per_pixel"], 3);
    assert_eq!(shown["train"]["epochs"], 2);
    let train = "train --quiet --data data.h5 --config config.toml --out run";
    lab.ok(&format!(
        "{train} --set likelihood.components=3 --set order.kind=rows"
    ));
    let kept = fs::read_to_string(lab.path("run/config.toml")).unwrap();
    assert!(
        kept.contains("components = 3") && kept.contains("kind = \"rows\""),
        "{kept}"
    );
    // What is recorded is the configuration of the run.
    lab.ok("train --quiet --data data.h5 --config run/config.toml --out run --resume --epochs 3");
    for (set, words) in [
        (
            "train.learning_rat=1",
            ["--set train.learning_rat=1", "'learning_rate' is near"],
        ),
        (
            "train.batch=0",
            ["--set train.batch=0", "'train.batch' is 0"],
        ),
        ("stage.7.layers=1", ["'stage.7'", "there are 2"]),
    ] {
        lab.refuses(
            &format!("train --data data.h5 --config config.toml --out no --set {set}"),
            &words,
        );
    }
    lab.refuses(
        "info data.h5 --set train.batch=1",
        &["'data.h5' is no configuration"],
    );
    lab.sarm("info config.toml --set train.batch")
        .assert()
        .code(2);
    // Several mistakes of a file in one message, with their lines.
    lab.file(
        "bad.toml",
        "[train]\nbatchs = 3\nvalidation = 2.0\n[[stage]]\nlayers = 'two'\n[input]\nunit = 0.0\n",
    );
    lab.refuses(
        "info bad.toml",
        &[
            "in 'bad.toml': 3 mistakes",
            "line 2",
            "'batch' is near",
            "line 5",
            "line 7: 'input.unit' is 0",
        ],
    );
}

/// Images of one to five pixels whose sum is `share` times their energy, give or take `spread`.
fn write_showers(lab: &Lab, name: &str, share: f32, spread: f32) {
    let mut images = SparseImages::new(4, 4).unwrap();
    let (mut energy, mut dense) = (Vec::new(), [0.0f32; 16]);
    for i in 0..400usize {
        let e = 10.0 + (i * 37 % 90) as f32;
        let off = spread * ((i * 61 % 101) as f32 / 50.0 - 1.0);
        dense.fill(0.0);
        let pixels = 1 + i % 5;
        for k in 0..pixels {
            dense[(i * 7 + 3 * k) % 16] = e * (share + off) / pixels as f32;
        }
        images.push_dense(&dense);
        energy.push(e);
    }
    let options = WriteOptions {
        layout: Layout::Dense,
        height: 4,
        width: 4,
        ..Default::default()
    };
    // Children of other tests inherit the lock of a file that is open for writing: a copy has none.
    let locked = lab.path("showers.locked");
    write(
        &locked,
        &images,
        &BTreeMap::from([("energy".to_string(), energy)]),
        &options,
    )
    .unwrap();
    fs::copy(&locked, lab.path(name)).unwrap();
    fs::remove_file(&locked).unwrap();
}

#[test]
fn a_total_is_suggested_where_a_condition_is_nearly_the_sum() {
    let lab = Lab::empty();
    write_showers(&lab, "near.h5", 0.85, 0.05);
    write_showers(&lab, "far.h5", 0.85, 2.0);
    lab.file(
        "config.toml",
        format!("{DC}[condition]\nnames = ['energy']\n"),
    );
    let near = said(
        &lab,
        "train --data near.h5 --config config.toml --epochs 1 --out near",
    );
    let line = near
        .lines()
        .find(|l| l.starts_with("condition 'energy'"))
        .unwrap();
    assert!(
        line.contains("names = [\"energy\", \"sum\"] and total = \"sum\""),
        "{line}"
    );
    let far = said(
        &lab,
        "train --data far.h5 --config config.toml --epochs 1 --out far",
    );
    assert!(!far.contains("total"), "{far}");
    // As it says, and then there is nothing more to say.
    let taken = "train --data near.h5 --config config.toml --epochs 1 --out taken --set condition.names=[\"energy\",\"sum\"] --set condition.total=sum";
    let text = said(&lab, taken);
    assert!(!text.contains("nearly proportional"), "{text}");
    let images =
        "generate --quiet --model taken/model.safetensors --given energy=50 --count 20 --out g.h5";
    lab.ok(images);
    let generated = lab.read("g.h5");
    for (i, sum) in generated.columns["given_sum"].iter().enumerate() {
        let found: f32 = generated.images.image(i).1.iter().sum();
        // After one epoch it does not always use up what there is; it never has more.
        assert!(found < 1.0001 * sum, "{found} {sum}");
        assert_eq!(generated.columns["energy"][i], 50.0);
    }
}
