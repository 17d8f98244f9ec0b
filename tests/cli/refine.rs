//! `refine` through the program: what it says, what it refuses, how it goes on after a signal.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::program::{Lab, SARM, conditioned, write_images};

const REFINE: &str = "refine --model run/model.safetensors --data more.h5 --batch 32";

/// A model, and enough images to refine it with.
fn lab() -> Lab {
    let lab = Lab::trained(&conditioned());
    write_images(&lab.path("more.h5"), 1500, 7, 3, &[]);
    lab
}

#[test]
fn a_refined_model_is_a_model_like_any_other() {
    let lab = lab();
    let output = lab.ok(&format!(
        "{REFINE} --rounds 2 --out refined.safetensors --json"
    ));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("refining on 1 425 images, 75 held out, NLL "),
        "{said}"
    );
    assert!(said.contains("round   2  "), "{said}");
    assert!(
        said.contains("the refined model is refined.safetensors"),
        "{said}"
    );
    assert!(
        said.contains("refined.safetensors, told apart from truth by AUC 0.")
            || said.contains("not told apart from truth"),
        "{said}"
    );
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rounds = &summary["rounds"];
    assert_eq!(rounds.as_array().unwrap().len(), 2);
    assert!(rounds[1]["validation_nll"].is_f64(), "{rounds}");
    assert!(!summary["after"].is_null(), "{summary}");
    assert!(!lab.path("refined.safetensors.lock").exists());
    let info = lab.ok("info refined.safetensors");
    let info = String::from_utf8(info.stdout).unwrap();
    assert!(info.contains("then refined in 2 of 2 rounds"), "{info}");
    assert!(
        info.contains("\n            round  trees' AUC        validation\n"),
        "{info}"
    );
    for round in 0..3 {
        assert!(
            info.contains(&format!("\n                {round}  ")),
            "{info}"
        );
    }
    let info = lab.json("info --json refined.safetensors");
    let refined = &info["record"]["refined"];
    let from = lab.json("info --json run/model.safetensors");
    assert_eq!(refined["model_sha256"], from["sha256"], "{info}");
    assert_eq!(refined["rounds"], serde_json::json!([2, 2]));
    assert_eq!(refined["after"], summary["after"]);
    for (kept, told) in refined["history"]
        .as_array()
        .unwrap()
        .iter()
        .zip(rounds.as_array().unwrap())
    {
        for key in ["before", "learning_rate", "validation_nll"] {
            assert_eq!(kept[key], told[key], "{key}");
        }
    }
    assert!(refined["validation_nll_before"].is_f64());
    // Packed, drawn from, scored, refined again.
    // Who gets a packed model does not learn where its data lay.
    fs::create_dir(lab.path("deep")).unwrap();
    fs::copy(lab.path("more.h5"), lab.path("deep/more.h5")).unwrap();
    let deep = REFINE.replace("more.h5", "deep/more.h5");
    lab.ok(&format!("{deep} --rounds 1 --out deep.safetensors"));
    lab.ok("pack --model deep.safetensors --out packed.safetensors");
    let data =
        |file: &str| lab.json(&format!("info --json {file}"))["record"]["refined"]["data"].clone();
    assert_eq!(data("deep.safetensors"), "deep/more.h5");
    assert_eq!(data("packed.safetensors"), "more.h5");
    lab.ok("generate --model packed.safetensors --count 20 --out drawn.h5");
    lab.ok("score --model refined.safetensors --data data.h5 --json");
    lab.ok(&format!(
        "{} --rounds 1 --out again.safetensors",
        REFINE.replace("run/model", "packed")
    ));
    // All images trained on, into a new directory, events together, steps of all images at once.
    let all = "--rounds 1 --validation 0 --group jet_pt --batch 18446744073709551615 --out new/one/refined.safetensors";
    lab.ok(&format!("{} {all}", REFINE.replace(" --batch 32", "")));
    let info = lab.json("info --json new/one/refined.safetensors");
    assert!(info["record"]["validation_nll"].is_null(), "{info}");
    assert_eq!(
        info["record"]["refined"]["images"],
        serde_json::json!([1500, 0])
    );
    // Done is done.
    let again = lab.ok(&format!(
        "{REFINE} --rounds 2 --out refined.safetensors --resume"
    ));
    let again = String::from_utf8(again.stderr).unwrap();
    assert!(again.contains("all rounds were done before"), "{again}");
}

#[test]
fn what_it_cannot_do_is_refused() {
    let lab = lab();
    lab.ok(&format!("{REFINE} --rounds 1 --out refined.safetensors"));
    for (line, words) in [
        (
            "--out refined.safetensors",
            &["'refined.safetensors' exists", "--force"][..],
        ),
        (
            "--out refined.safetensors --resume --rounds 3",
            &["cannot resume", "--rounds"],
        ),
        (
            "--out run/model.safetensors --force",
            &["run/model.safetensors"],
        ),
        (
            "--out run/state.safetensors --resume",
            &["run/state.safetensors"],
        ),
        (
            "--out x.safetensors --limit 900",
            &["855 images besides those held out are too few"],
        ),
        ("--out new/", &["'new/' names a directory"]),
        ("--out x.safetensors --group nobody", &["nobody"]),
        ("--out x.safetensors --range 100", &["half-width"]),
        (
            "--out x.safetensors --validation 0.0001",
            &["none to validate on"],
        ),
    ] {
        lab.refuses(&format!("{REFINE} {line}"), words);
    }
    let shipped = REFINE.replace("run/model.safetensors", "jets-w");
    lab.refuses(
        &format!("{shipped} --out x.safetensors"),
        &["'jets-w'", "sarm unpack --model jets-w"],
    );
    write_images(&lab.path("wide.h5"), 1500, 9, 3, &[]);
    let wide = REFINE.replace("more.h5", "wide.h5");
    lab.refuses(&format!("{wide} --out x.safetensors"), &["9 x 9"]);
}

#[test]
fn a_class_that_is_missing_is_said() {
    let lab = Lab::trained(&conditioned());
    write_images(&lab.path("more.h5"), 2200, 7, 3, &[]);
    let output = lab.ok(&format!(
        "{REFINE} --rounds 1 --select signal=1 --out one.safetensors"
    ));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("trained on images with signal = 0, of which there are none here"),
        "{said}"
    );
}

#[cfg(unix)]
#[test]
fn one_process_at_a_time_writes_a_model() {
    let lab = lab();
    // What a refining of the same file holds.
    let held = fs::File::create(lab.path("refined.safetensors.lock")).unwrap();
    held.lock().unwrap();
    let line = format!("{REFINE} --rounds 1 --out refined.safetensors");
    lab.refuses(&line, &["another process", "'refined.safetensors'"]);
    drop(held);
    // A file that nobody holds is no obstacle.
    lab.ok(&line);
}

#[cfg(unix)]
#[test]
fn a_signal_keeps_whole_rounds() {
    let lab = lab();
    lab.ok(&format!(
        "{REFINE} --rounds 3 --quiet --out whole.safetensors"
    ));
    let child = Command::new(SARM)
        .args(format!("{REFINE} --rounds 3 --out pieces.safetensors").split(' '))
        .current_dir(lab.path("."))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !lab.path("pieces.safetensors").exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never starts");
        std::thread::sleep(Duration::from_millis(1));
    }
    // SAFETY: the child was started by this process and has not been waited for: its number is no other's.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    // A machine may be so fast that nothing was left to stop.
    if output.status.code() == Some(143) {
        let (_, line) = said.split_once("go on with: ").unwrap();
        let line = line.trim();
        assert!(line.ends_with(" --resume"), "{said}");
        let shell = Command::new("sh")
            .args(["-c", line])
            .current_dir(lab.path("."))
            .output();
        let shell = shell.unwrap();
        assert!(
            shell.status.success(),
            "{}",
            String::from_utf8_lossy(&shell.stderr)
        );
        let on = String::from_utf8(shell.stderr).unwrap();
        assert!(on.contains("going on after round "), "{on}");
    }
    let read = |name: &str| fs::read(lab.path(name)).unwrap();
    assert!(
        read("whole.safetensors") == read("pieces.safetensors"),
        "{said}"
    );
}
