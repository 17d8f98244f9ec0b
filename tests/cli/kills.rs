//! `train` and `generate` killed again and again: resumed, they end as if nothing had happened.
//!
//! Kills are SIGKILL at random moments of a run, from before its first instruction to after its last.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::program::{DD, Lab, SARM, assert_same};
use sarm::random::{Purpose, unit, words};

/// Kills of each verb, at least.
const KILLS: usize = 26;

/// Deterministic numbers in (0, 1).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 += 1;
        f64::from(unit(words(2024, Purpose::Synthetic, self.0, 5)[0]))
    }
}

fn start(lab: &Lab, line: &str) -> Child {
    Command::new(SARM)
        .args(line.split_whitespace())
        .current_dir(lab.path("."))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Run `line`, kill it after `delay`; whether it had ended by itself, which it may do with success only.
fn killed(lab: &Lab, line: &str, delay: Duration) -> bool {
    let mut child = start(lab, line);
    std::thread::sleep(delay);
    // The standard library sends SIGKILL; one that has ended already is left alone.
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(code) => assert_eq!(code, 0, "{line}: {error}"),
        None => assert!(error.is_empty(), "{line}: {error}"),
    }
    output.status.success()
}

fn timed(lab: &Lab, line: &str) -> Duration {
    let started = Instant::now();
    lab.ok(line);
    started.elapsed()
}

/// Fields of a state's header that must not depend on kills, and the bytes of its tensors.
fn state(path: &Path) -> (serde_json::Value, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let metadata = header["__metadata__"].as_object_mut().unwrap();
    let progress = metadata["progress"].as_str().unwrap();
    let mut progress: serde_json::Value = serde_json::from_str(progress).unwrap();
    for epoch in progress["history"].as_array_mut().unwrap() {
        let epoch = epoch.as_object_mut().unwrap();
        assert!(epoch.remove("seconds").is_some());
        assert!(epoch.remove("images_per_second").is_some());
    }
    metadata["progress"] = progress;
    (header, bytes[8 + length..].to_vec())
}

/// `metrics.csv` but for its last two columns, which are times.
fn metrics(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|l| l.rsplitn(3, ',').last().unwrap().to_string())
        .collect()
}

fn assert_same_run(lab: &Lab, found: &str, wanted: &str) {
    let file = |run: &str, name: &str| lab.path(run).join(name);
    assert_eq!(
        lab.names(found),
        [
            "config.toml",
            "metrics.csv",
            "model.safetensors",
            "state.safetensors"
        ]
    );
    for name in ["model.safetensors", "config.toml"] {
        let [a, b] = [found, wanted].map(|run| fs::read(file(run, name)).unwrap());
        assert!(a == b, "{found}/{name} differs");
    }
    let [a, b] = [found, wanted].map(|run| state(&file(run, "state.safetensors")));
    assert_eq!(a.0, b.0, "{found}: the state's header");
    assert!(a.1 == b.1, "{found}: the state's tensors");
    let [a, b] = [found, wanted].map(|run| metrics(&file(run, "metrics.csv")));
    assert_eq!(a, b, "{found}: metrics.csv");
}

#[test]
fn killed_trainings_end_in_the_same_bits() {
    let lab = Lab::new();
    // Three stages of everything that a state holds: conditions, several epochs, a best one before the last.
    let toml = format!("{DD}halve_every = 2\n[condition]\nnames = ['signal', 'jet_pt']\n");
    lab.file(
        "config.toml",
        toml.replace("epochs = 1", "epochs = 4\nlearning_rate = 3e-2"),
    );
    let train = "train --quiet --data data.h5 --config config.toml --checkpoint-every";
    // Once after every step, once at the end of epochs alone.
    let every = [0, 300];
    let whole = every.map(|e| timed(&lab, &format!("{train} {e} --out whole{e}")));
    assert_same_run(&lab, "whole0", "whole300");
    let (mut dice, mut kills, mut resumed, mut round) = (Dice(0), 0, 0, 0);
    // How many kills leave a state depends on how much of so short a run is its start: on, until they are enough.
    while kills < KILLS || (resumed < KILLS / 3 && round < 60) {
        let which = round % every.len();
        let out = format!("run{round}");
        let mut died = 0;
        loop {
            let there = lab.path(&out).join("state.safetensors").exists();
            resumed += usize::from(there);
            let threads = 1 + (kills + round) % 2;
            let line = format!(
                "{train} {} --threads {threads} --out {out} --resume",
                every[which]
            );
            // Runs that die young get nowhere: enough of them have more time than they need.
            if killed(&lab, &line, whole[which].mul_f64(1.2 * dice.roll())) {
                break;
            }
            died += 1;
            assert!(died < 200, "{out} never ends");
        }
        assert_same_run(&lab, &out, "whole0");
        kills += died;
        round += 1;
    }
    assert!(
        resumed >= KILLS / 3,
        "{resumed} of {kills} kills left a state"
    );
    // A finished run resumed is finished.
    lab.ok(&format!("{train} 0 --out run0 --resume"));
    assert_same_run(&lab, "run0", "whole0");
    // A shorter run made longer is the longer run, but for what was asked for at first.
    lab.ok(&format!("{train} 0 --out short --epochs 2"));
    lab.ok(&format!("{train} 0 --out short --epochs 4 --resume"));
    let model = |run: &str| fs::read(lab.path(run).join("model.safetensors")).unwrap();
    assert!(model("short") == model("whole0"));
    assert_eq!(
        metrics(&lab.path("short/metrics.csv")),
        metrics(&lab.path("whole0/metrics.csv"))
    );
}

#[test]
fn killed_generations_lose_and_repeat_nothing() {
    let lab = Lab::trained(DD);
    let fixed = lab.names(".");
    let generate = "generate --quiet --model run/model.safetensors --seed 5 --first 1000 --count 60000 --observables";
    let (mut dice, mut kills, mut taken_over, mut round) = (Dice(1 << 20), 0, 0, 0);
    let layouts = ["dense", "sparse"];
    let whole = layouts.map(|l| timed(&lab, &format!("{generate} --layout {l} --out {l}.h5")));
    let wanted = lab.read("dense.h5");
    assert_eq!(wanted.images.len(), 60_000);
    assert_same(&lab.read("sparse.h5"), &wanted, "layouts");
    for layout in layouts {
        fs::remove_file(lab.path(&format!("{layout}.h5"))).unwrap();
    }
    while kills < KILLS {
        let which = round % layouts.len();
        let mut died = 0;
        loop {
            let journal = fs::metadata(lab.path("out.h5.partial")).map_or(0, |m| m.len());
            taken_over += usize::from(journal > 1000);
            let threads = 1 + (kills + round) % 2;
            let line = format!(
                "{generate} --layout {} --threads {threads} --out out.h5 --resume",
                layouts[which]
            );
            if killed(&lab, &line, whole[which].mul_f64(1.2 * dice.roll())) {
                break;
            }
            died += 1;
            assert!(died < 200, "round {round} never ends");
        }
        assert_same(&lab.read("out.h5"), &wanted, &format!("round {round}"));
        let mut names = lab.names(".");
        names.retain(|n| !fixed.contains(n));
        assert_eq!(names, ["out.h5"], "leftovers of round {round}");
        fs::remove_file(lab.path("out.h5")).unwrap();
        kills += died;
        round += 1;
    }
    assert!(
        taken_over >= KILLS / 3,
        "{taken_over} of {kills} kills left a journal"
    );
}
