//! The driver's wrapper and the choice of cards, on an imitation of the driver (tests/cuda/driver/libcuda.cpp).

use crate::driver;
use crate::emulation::build::{Instrumentation, PROJECT, library};
use crate::support::program::{self, DC, Lab};

/// The program, on a machine whose card runs the emulated kernels.
fn on_card(lab: &Lab, machine: &str, line: &str) -> assert_cmd::Command {
    let kernels = library(&PROJECT, Instrumentation::None);
    let mut command = sarm(lab, machine, line);
    command.env("SARM_IMITATION_KERNELS", kernels);
    command
}

/// The program, on a machine of which `machine` says what it has.
fn sarm(lab: &Lab, machine: &str, line: &str) -> assert_cmd::Command {
    let mut command = lab.sarm(line);
    command
        .env("LD_LIBRARY_PATH", driver::folder())
        .env("SARM_IMITATION", machine);
    command
}

fn fails(lab: &Lab, machine: &str, line: &str, words: &[&str]) {
    let output = sarm(lab, machine, line).output().unwrap();
    let error = program::one_error(line, &output);
    for word in words {
        assert!(error.contains(word), "{machine}: no '{word}' in: {error}");
    }
}

const TRAIN: &str = "train --quiet --data data.h5 --config config.toml --out run";

fn lab() -> Lab {
    let lab = Lab::new();
    lab.file("config.toml", DC);
    lab
}

#[test]
fn cards_are_listed() {
    let lab = Lab::empty();
    let output = sarm(&lab, "cards=2 capability=80", "info --devices")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let card = "Imitation, compute capability 8.0, 4 multiprocessors, 1 024 MiB";
    for number in [0, 1] {
        assert!(said.contains(&format!("cuda:{number}, {card}")), "{said}");
    }
}

#[test]
fn cards_have_the_identifiers_of_nvidias_tools() {
    let lab = Lab::empty();
    let uuid = |machine: &str| {
        let output = sarm(&lab, machine, "info --devices --json").output();
        let json: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        json["cuda"][0]["uuid"].as_str().unwrap().to_string()
    };
    let number = "49494949-4949-4949-4949-494949494949";
    assert_eq!(uuid(""), format!("GPU-{number}"));
    // A part of a card.
    let machine = "name=NVIDIA_H100_80GB_HBM3_MIG_1g.10gb";
    assert_eq!(uuid(machine), format!("MIG-{number}"));
}

#[test]
fn auto_takes_the_first_card_that_can_be_used() {
    let lab = lab();
    lab.ok(&format!("{TRAIN} --device cpu"));
    let draw = "generate --model run/model.safetensors --count 3 --out g.h5 --force";
    let device = |machine: &str| {
        let output = on_card(&lab, machine, &format!("{draw} --json")).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let json: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
        (json["device"].to_string(), said)
    };
    let (found, said) = device("cards=3 capability=70,90,70");
    assert!(found.contains("cuda, Imitation"), "{found}: {said}");
    // Without any the reason is that of the first.
    let (found, said) = device("cards=2 capability=70,75");
    assert!(found.contains("cpu"), "{found}");
    assert!(
        said.contains("running on the CPU") && said.contains("7.0"),
        "{said}"
    );
}

#[test]
fn time_is_told_by_the_older_name_of_a_function_too() {
    let lab = Lab::empty();
    let line = "bench --tiny --device cuda --config jets-dc --seconds 0.01 --json";
    let mut command = on_card(&lab, "", line);
    let output = command
        .env("LD_LIBRARY_PATH", driver::older_folder())
        .output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let sampling = &json["card"]["sampling"][0];
    assert!(
        sampling["on_card"][0]["images_per_second"]
            .as_f64()
            .unwrap()
            > 0.0
    );
    let why = json["card"]["without_energy"].as_str().unwrap();
    assert!(why.contains("NVML"), "{why}");
}

/// A thread that spins while the card works would take the core that writes the file.
#[test]
fn few_cores_sleep_while_they_wait_for_a_card() {
    let lab = lab();
    let few = std::thread::available_parallelism().is_ok_and(|cores| cores.get() <= 4);
    let output = on_card(&lab, "asleep=1", &format!("{TRAIN} --device cuda")).output();
    assert_eq!(output.unwrap().status.success(), few);
    lab.ok(&format!("{TRAIN} --device cpu --force"));
    let draw = "generate --model run/model.safetensors --count 500 --out g.h5 --device cuda";
    let output = on_card(&lab, "asleep=1", draw).output().unwrap();
    assert_eq!(output.status.success(), few);
}

/// What does not fit is refused before anything is allocated, and what is taken does not fail later: the driver's pages are left room for.
#[test]
fn memory_is_refused_in_time() {
    let lab = Lab::empty();
    let jets = include_str!("../../configs/paper/jets-dc.toml");
    lab.file("jets.toml", jets.replace("layers = 5", "layers = 1"));
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/data/jets-sample.h5");
    let line = format!(
        "train --quiet --data {sample} --limit 20 --epochs 1 --set train.batch=16 --config jets.toml --out run --force --device cuda"
    );
    let output = |mib: u64| {
        let machine = format!("memory={}", mib << 20);
        on_card(&lab, &machine, &line).output().unwrap()
    };
    let error = program::one_error(&line, &output(64));
    let needed = error
        .split("memory: ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    let needed: u64 = needed.parse().unwrap_or_else(|_| panic!("{error}"));
    // A batch comes after the parameters; what is announced is never too little.
    for more in [0, 9] {
        let output = output(needed + more);
        if !output.status.success() {
            let error = program::one_error(&line, &output);
            assert!(error.contains("MiB are needed"), "{more}: {error}");
        }
    }
    let enough = output(needed * 16 / 15 + 16);
    let said = String::from_utf8_lossy(&enough.stderr);
    assert!(enough.status.success(), "{needed} MiB: {said}");
}

#[test]
fn what_a_machine_lacks_is_said() {
    let lab = lab();
    let cases: [(&str, &str, &[&str]); 8] = [
        (
            "cards=0",
            "cuda",
            &["no CUDA device", "CUDA_VISIBLE_DEVICES"],
        ),
        (
            "cards=1",
            "cuda:1",
            &["no device cuda:1", "1 CUDA device, cuda:0"],
        ),
        ("cards=3", "cuda:9", &["3 CUDA devices, cuda:0 to cuda:2"]),
        (
            "version=12020",
            "cuda",
            &[
                "too old",
                "CUDA 12.2",
                "built with nvcc",
                "drivers before CUDA 12.4",
            ],
        ),
        ("capability=70", "cuda", &["too old", "7.0", "8.0 or newer"]),
        ("fail=cuInit:1:803", "cuda", &["cuInit", "803", "driver"]),
        (
            "fail=cuModuleLoadData:1:209",
            "cuda",
            &[
                "cuModuleLoadData",
                "kernels/",
                "NO_BINARY_FOR_GPU",
                "update the driver",
            ],
        ),
        (
            "memory=1000000",
            "cuda",
            &["too little free memory", "1 MiB are free"],
        ),
    ];
    for (machine, device, words) in cases {
        fails(&lab, machine, &format!("{TRAIN} --device {device}"), words);
    }
    // `auto` goes on without the card.
    for line in [
        &*TRAIN.replace("--quiet", ""),
        "generate --model run/model.safetensors --count 3 --out g.h5",
    ] {
        let output = sarm(&lab, "version=12020", line).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        assert!(
            said.contains("running on the CPU") && said.contains("CUDA 12.2"),
            "{said}"
        );
    }
}

#[test]
fn lists_of_cards_are_looked_up() {
    let lab = lab();
    lab.ok(&format!("{TRAIN} --device cpu"));
    let draw = "generate --model run/model.safetensors --count 3 --out g.h5 --device";
    let train = TRAIN.replace("--out run", "--out all --device");
    fails(
        &lab,
        "cards=2",
        &format!("{draw} cuda:0,5"),
        &["no device cuda:5"],
    );
    fails(
        &lab,
        "cards=2 capability=70",
        &format!("{draw} cuda:all"),
        &["too old"],
    );
    fails(
        &lab,
        "cards=2",
        &format!("{train} cuda:all"),
        &["cuda:all names 2", "cuda:0"],
    );
    // All of one is one.
    on_card(&lab, "cards=1", &format!("{train} cuda:all"))
        .assert()
        .success();
}

/// Mean negative log-likelihoods of a run's epochs.
fn losses(lab: &Lab, run: &str) -> Vec<f64> {
    let text = std::fs::read_to_string(lab.path(run).join("metrics.csv")).unwrap();
    let mut lines = text.lines().map(|l| l.split(',').collect::<Vec<_>>());
    let column = lines
        .next()
        .unwrap()
        .iter()
        .position(|n| *n == "train_nll")
        .unwrap();
    lines
        .map(|fields| fields[column].parse().unwrap())
        .collect()
}

#[test]
fn training_and_scoring_go_through_the_driver() {
    let lab = lab();
    on_card(&lab, "", &format!("{TRAIN} --device cuda"))
        .assert()
        .success();
    lab.ok(&format!("{TRAIN}-cpu --device cpu"));
    let (card, cpu) = (losses(&lab, "run"), losses(&lab, "run-cpu"));
    assert_eq!(card.len(), cpu.len());
    for (a, b) in card.iter().zip(&cpu) {
        // Weights and activations of the card have 8 bits.
        assert!((a - b).abs() < 0.01 * b.abs(), "{card:?} {cpu:?}");
    }
    let score =
        "score --quiet --json --out s.h5 --force --model run/model.safetensors --data data.h5";
    let mean = |output: std::process::Output| {
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (
            json["mean_log_likelihood"].as_f64().unwrap(),
            json["device"].to_string(),
        )
    };
    let on_cuda = format!("{score} --device cuda");
    let (a, device) = mean(on_card(&lab, "", &on_cuda).output().unwrap());
    assert!(device.contains("Imitation"), "scored on {device}");
    // Exact likelihoods are the CPU's: `auto` takes it.
    let (b, device) = mean(on_card(&lab, "", score).output().unwrap());
    assert!(device.contains("cpu"), "auto took {device}");
    assert_ne!(a, b);
    assert!((a - b).abs() < 0.01 * b.abs(), "{a} {b}");
}

#[test]
fn the_kernel_that_failed_is_named_where_that_is_asked_for() {
    let lab = lab();
    let line = format!("{TRAIN} --force --device cuda");
    let machine = "broken=mixture_likelihood:700";
    let fault = |environment: &[(&str, &str)]| {
        let mut command = on_card(&lab, machine, &line);
        command.env_remove("CUDA_LAUNCH_BLOCKING");
        command.envs(environment.iter().copied());
        program::one_error(&line, &command.output().unwrap())
    };
    for environment in [&[][..], &[("SARM_CUDA_STEP", "0")]] {
        let said = fault(environment);
        for words in [
            "ILLEGAL_ADDRESS",
            " kernels, gather_batch to finish_step",
            "SARM_CUDA_STEP=1",
        ] {
            assert!(said.contains(words), "no '{words}' in: {said}");
        }
    }
    for variable in ["SARM_CUDA_STEP", "CUDA_LAUNCH_BLOCKING"] {
        let said = fault(&[(variable, "1")]);
        let words = "on Imitation, after mixture_likelihood with";
        assert!(said.contains(words), "{variable}: {said}");
    }
    // Nothing else is different.
    for (run, step) in [("whole", "0"), ("stepped", "1")] {
        let line = format!("{TRAIN}-{run} --device cuda");
        let mut command = on_card(&lab, "", &line);
        command.env("SARM_CUDA_STEP", step).assert().success();
    }
    assert_eq!(losses(&lab, "run-whole"), losses(&lab, "run-stepped"));
}

#[test]
fn a_card_that_fails_leaves_a_run_that_goes_on() {
    let lab = lab();
    lab.ok("train --quiet --data data.h5 --config config.toml --out whole --device cpu");
    let cases: [(&str, &[&str]); 4] = [
        (
            "fail=cuGraphLaunch:14:700",
            &["cuGraphLaunch", "ILLEGAL_ADDRESS", "--resume"],
        ),
        (
            "fail=cuMemcpyDtoHAsync_v2:12:214",
            &["ECC_UNCORRECTABLE", "--resume"],
        ),
        (
            "fail=cuStreamSynchronize:12:719",
            &["cuStreamSynchronize", "LAUNCH_FAILED", "--resume"],
        ),
        (
            "fail=cuMemAlloc_v2:3:2",
            &["too little free memory", "--device cpu"],
        ),
    ];
    for (machine, words) in cases {
        let line = format!("{TRAIN} --force --device cuda");
        let error = program::one_error(&line, &on_card(&lab, machine, &line).output().unwrap());
        for word in words {
            assert!(error.contains(word), "{machine}: no '{word}' in: {error}");
        }
        // From the last checkpoint, on the processor; or from the start, where it came to none.
        let resume = lab
            .sarm(&format!("{TRAIN} --resume --device cpu"))
            .output()
            .unwrap();
        if !resume.status.success() {
            assert!(machine.contains("cuMemAlloc"), "{machine}");
            lab.ok(&format!("{TRAIN} --force --device cpu"));
        }
        assert_eq!(losses(&lab, "run").len(), losses(&lab, "whole").len());
    }
}
const DRAW: &str = "generate --model run/model.safetensors --seed 3 --count 900 --max-memory 300KiB --json --quiet --out";

#[test]
fn cards_draw_one_file_together() {
    let lab = lab();
    lab.ok(&format!("{TRAIN} --device cpu"));
    let draw = |device: &str, out: &str| -> serde_json::Value {
        let line = format!("{DRAW} {out} --device {device}");
        let output = on_card(&lab, "cards=3", &line).assert().success();
        serde_json::from_slice(&output.get_output().stdout).unwrap()
    };
    let one = draw("cuda:1", "one.h5");
    let wanted = lab.read("one.h5");
    assert_eq!(wanted.images.len(), 900);
    for (device, cards) in [("cuda:0,2", "2 x cuda, "), ("cuda:all", "3 x cuda, ")] {
        let out = format!("{}.h5", &device[5..]);
        let several = draw(device, &out);
        let said = several["device"].as_str().unwrap();
        assert!(said.starts_with(cards), "{said}");
        assert!(several["events_per_core_hour"].is_null());
        assert!(several["events_per_gpu_hour"].as_f64().unwrap() > 0.0);
        program::assert_same(&lab.read(&out), &wanted, device);
    }
    assert!(one["device"].as_str().unwrap().starts_with("cuda, "));
    let about = lab.json("info --json one.h5");
    assert_eq!(about["attributes"]["arithmetic"], "bf16, sm_90");
}

/// A card that is lost keeps what was drawn, for a card of its kind alone.
#[test]
fn a_drawing_card_that_fails_leaves_a_run_that_goes_on() {
    let lab = lab();
    lab.ok(&format!("{TRAIN} --device cpu"));
    on_card(&lab, "", &format!("{DRAW} whole.h5 --device cuda"))
        .assert()
        .success();
    let wanted = lab.read("whole.h5");
    let line = format!("{DRAW} g.h5 --device cuda");
    let machine = "fail=cuMemcpyDtoHAsync_v2:7:700";
    let error = program::one_error(&line, &on_card(&lab, machine, &line).output().unwrap());
    for words in ["cuMemcpyDtoHAsync", "--resume"] {
        assert!(error.contains(words), "no '{words}' in: {error}");
    }
    lab.refuses(
        &format!("{DRAW} g.h5 --resume --device cpu").replace("--max-memory 300KiB", ""),
        &["arithmetic bf16, sm_90 instead of float32", "cuda for bf16"],
    );
    let resumed = on_card(&lab, "", &format!("{line} --resume"))
        .assert()
        .success();
    let report: serde_json::Value = serde_json::from_slice(&resumed.get_output().stdout).unwrap();
    assert!(
        report["images_taken_over"].as_u64().unwrap() > 0,
        "{report}"
    );
    program::assert_same(&lab.read("g.h5"), &wanted, "resumed");
    // Nothing fits.
    let none = line.replace("300KiB", "1KiB") + " --force";
    let error = program::one_error(&none, &on_card(&lab, "", &none).output().unwrap());
    assert!(error.contains("--max-memory"), "{error}");
}

/// Under `auto` a network that the card cannot draw is drawn on the CPU, which is said.
#[test]
fn what_a_card_cannot_draw_the_cpu_does() {
    let lab = Lab::new();
    lab.file(
        "config.toml",
        "stage = [{layers = 1, units_per_pixel = 20}]\n[train]\nepochs = 1",
    );
    lab.ok(&format!("{TRAIN} --device cpu"));
    let draw = "generate --model run/model.safetensors --count 20 --out";
    let output = on_card(&lab, "", &format!("{draw} auto.h5"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    for words in [
        "running on the CPU",
        "up to 16 units per pixel, this one has 20",
    ] {
        assert!(said.contains(words), "no '{words}' in: {said}");
    }
    lab.ok(&format!("{draw} cpu.h5 --device cpu"));
    program::assert_same(&lab.read("auto.h5"), &lab.read("cpu.h5"), "auto");
    let line = format!("{draw} cuda.h5 --device cuda");
    let error = program::one_error(&line, &on_card(&lab, "", &line).output().unwrap());
    assert!(error.contains("--device cpu"), "{error}");
}
