//! `scripts/gpu-check` on a kit of imitations: that its report says what went well and what did not.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A program of the kit, or of the machine, that is a shell script.
fn script(folder: &Path, name: &str, body: &str) {
    fs::create_dir_all(folder).unwrap();
    let file = folder.join(name);
    fs::write(&file, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
}

const SARM: &str = r#"
case "$*" in
*--devices*) echo '{"cpu": "cpu", "cuda": [{"name": "Imitation"}], "without_cuda": null}' ;;
train*) for word; do out=$word; done
    mkdir -p "$out"
    case "$*" in *"--device cpu"*) nll=250.0 ;; *) nll=250.5 ;; esac
    printf 'epoch,train_nll\n1,%s\n' $nll >"$out/metrics.csv" ;;
bench*) echo '{"card": {"matrix_teraflops": 500.0, "copy_gigabytes": 2000.0, "training": [{"config": "jets-dc", "batch": 8192, "images_per_second": 8192000.0, "step_microseconds": 1000.0,
    "operations_per_image": 2.5e7, "teraflops": 204.8, "bytes_per_step": 1e8}], "sampling": [{"config": "jets-dc", "paper_images_per_second": 2480.0,
    "on_card": [{"images": 1000000, "drawn": 1000000, "images_per_second": 6e6}], "into_memory": [{"images": 1000000, "drawn": 1000000, "images_per_second": 4.96e6}],
    "onto_disk": [{"images": 1000000, "drawn": 400000, "images_per_second": 800000.0}], "disk_bytes_per_second": 2.96e8, "one_image_milliseconds": 0.5,
    "events_per_gpu_hour": 1.7856e10, "images_per_joule": null, "watts": null, "bounds": {"weights": 2e7, "matrix": 9e7, "latency": 8e6}, "fraction_of_bound": 0.75}]}}' ;;
esac"#;

const PEERS: &str = r#"
print('{"torch": "2", "device": "Imitation"}')
print('{"rates": {"bf16_teraflops": 512.0, "copy_terabytes_per_second": 2.0}}')
print('{"config": "jets-dc", "batch": 8192, "way": "eager", "images_per_second": 409600.0}')
print('{"config": "jets-dc", "batch": 8192, "way": "compiled", "error": "out of memory"}')"#;

const SAMPLING_PEERS: &str = r#"
print('{"torch": "2", "device": "Imitation"}')
print('{"config": "jets-dc", "batch": 4096, "way": "naive-bf16", "images_per_second": 20000.0}')
print('{"config": "jets-dc", "batch": 1024, "way": "naive-bf16", "images_per_second": 10000.0}')
print('{"config": "jets-dc", "batch": 65536, "way": "graph", "images_per_second": 1500000.0}')
print('{"config": "jets-dd", "batch": 65536, "way": "graph", "images_per_second": 9000000.0}')
print('{"config": "jets-dc", "batch": 65536, "way": "compiled-graph", "skipped": "60 s were over"}')"#;

const CRITERION: &str = r#"
mkdir -p "$CRITERION_HOME/linear_forward/new"
echo '{"linear/forward": {"matrix_operations": 5.12e8, "bytes": 4e6}}' >"$CRITERION_HOME/work.json"
cd "$CRITERION_HOME/linear_forward/new"
echo '{"full_id": "linear/forward", "throughput": null}' >benchmark.json
echo '{"mean": {"point_estimate": 8000.0}, "slope": null}' >estimates.json"#;

const PASSED: &str = "echo 'test result: ok. 2 passed; 0 failed'";

/// Run it on a kit whose engine test is `engine` and whose peers' script is `peers`, where a sanitizer called `finds`
/// finds something: whether it said that all is well, its report, and the same to be read.
fn check(
    engine: &str,
    peers: &str,
    finds: &str,
    seconds: &str,
) -> (bool, serde_json::Value, String) {
    let lab = tempfile::tempdir().unwrap();
    let (kit, bin) = (lab.path().join("kit"), lab.path().join("kit/bin"));
    let machine = lab.path().join("machine");
    script(&bin, "sarm", SARM);
    let tests = format!("case $1 in\nengine::) {engine} ;;\n*) {PASSED} ;;\nesac");
    script(&bin, "cuda", &tests);
    script(&bin, "kernels-bench", CRITERION);
    fs::create_dir_all(kit.join("peers")).unwrap();
    fs::write(kit.join("peers/train.py"), peers).unwrap();
    let sampling = if peers.is_empty() { "" } else { SAMPLING_PEERS };
    fs::write(kit.join("peers/sample.py"), sampling).unwrap();
    fs::write(kit.join("kit.json"), r#"{"version": "1.2.3"}"#).unwrap();
    script(
        &machine,
        "nvidia-smi",
        "echo 'name, driver_version'; echo 'Imitation, 580.1'",
    );
    script(
        &machine,
        "compute-sanitizer",
        &format!(r#"[ "$2" != "{finds}" ] || {{ echo hazard; exit 9; }}; shift 4; exec "$@""#),
    );
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/gpu-check"))
        .arg(&kit)
        .args(["--out", "out", "--seconds", seconds])
        .current_dir(lab.path())
        .env("PATH", format!("{}:{path}", machine.display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code();
    assert!(code == Some(0) || code == Some(1), "{said}");
    let read = |name| fs::read_to_string(lab.path().join("out").join(name)).unwrap();
    let report = serde_json::from_str(&read("gpu-report.json")).unwrap();
    (code == Some(0), report, read("gpu-report.md"))
}

/// Phases with an outcome of which `wanted` holds.
fn phases(report: &serde_json::Value, wanted: impl Fn(&str) -> bool) -> Vec<&str> {
    let all = report["phases"].as_array().unwrap().iter();
    all.filter(|p| wanted(p["outcome"].as_str().unwrap()))
        .map(|p| p["phase"].as_str().unwrap())
        .collect()
}

#[test]
fn a_report_is_written_whatever_fails() {
    let (well, report, page) = check(
        "echo 'a test that fails'; exit 101",
        PEERS,
        "racecheck",
        "60",
    );
    assert!(!well);
    let failed = phases(&report, |outcome| outcome != "passed");
    assert_eq!(failed, ["engine beside the CPU's", "racecheck"], "{page}");
    // What takes long, and may leave no time, comes after the race detector.
    let all = phases(&report, |_| true);
    let at = |name| all.iter().position(|phase| *phase == name).unwrap();
    assert!(
        at("racecheck") < at("peers")
            && at("racecheck") < at("peers, sampling")
            && at("racecheck") < at("criterion")
    );
    let figures = &report["figures"];
    let number = |v: &serde_json::Value| v.as_f64().unwrap_or(f64::NAN);
    let training = &figures["sarm"][0];
    // 8192 images of 2.5e7 operations at 512 TFLOP/s: 400 us of 1000.
    assert_eq!(training["bound_by"], "arithmetic");
    assert!((number(&training["fraction_of_bound"]) - 0.4).abs() < 1e-9);
    assert!((number(&training["fraction_of_matrix_rate"]) - 0.4).abs() < 1e-9);
    assert!((number(&training["times_faster_than"]["eager"]) - 20.0).abs() < 1e-9);
    // Beside the best of each kind, of the same network, that was measured.
    let faster = &figures["sampling"][0]["times_faster_than"];
    assert!((number(&faster["naive"]) - 300.0).abs() < 1e-9);
    assert!((number(&faster["incremental"]) - 4.0).abs() < 1e-9);
    let kernel = &figures["kernels"][0];
    // 4e6 bytes at 2 TB/s: 2 us of 8.
    assert_eq!(kernel["bound_by"], "memory");
    assert!((number(&kernel["fraction_of_bound"]) - 0.25).abs() < 1e-9);

    for words in [
        "1.2.3",
        "Imitation",
        "out of memory",
        "hazard",
        "a test that fails",
        "| 40.0 % |",
        "| 20.0 |",
        "| 300.0 | 4.0 | graph, 65536 |",
        "| jets-dc, 1000000 | 6000000 | 4960000 | 800000 (400000 drawn) |",
        "| jets-dc | 0.50 | 2000 | 1.79e+10 | - | - | 296 |",
        "by PyTorch 2 in this run: bf16 products 512 TFLOP/s (8192^3",
    ] {
        assert!(page.contains(words), "no '{words}' in\n{page}");
    }
}

#[test]
fn what_was_left_out_is_not_well() {
    let (well, report, page) = check(PASSED, PEERS, "", "1");
    assert!(!well, "{page}");
    assert!(phases(&report, |outcome| outcome == "failed").is_empty());
    let left_out = phases(&report, |outcome| outcome == "left out");
    assert!(left_out.contains(&"racecheck") && left_out.contains(&"synccheck"));
    let words = format!("left out, as the time was over: {}.", left_out.join(", "));
    assert!(page.contains(&words), "no '{words}' in\n{page}");
}

#[test]
fn without_pytorch_bounds_are_of_our_own_instruction() {
    let (well, report, page) = check(PASSED, "", "", "60");
    assert!(well, "{page}");
    let figures = &report["figures"];
    let training = &figures["sarm"][0];
    // 409.6 us at 500 TFLOP/s; but that is not the card's matrix rate.
    assert!((training["fraction_of_bound"].as_f64().unwrap() - 0.4096).abs() < 1e-9);
    assert!(training["fraction_of_matrix_rate"].is_null(), "{training}");
    assert!(figures["sampling"][0]["times_faster_than"].is_null());
    let words = "by sarm bench in this run: bf16 products 500 TFLOP/s (mma.sync out of registers";
    assert!(page.contains(words), "no '{words}' in\n{page}");
    assert!(!page.contains("8192^3"), "{page}");
}
