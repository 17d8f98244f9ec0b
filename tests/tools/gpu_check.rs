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

/// A kit of imitations, and a machine of which it asks the same things as of one with a card.
struct Card {
    lab: tempfile::TempDir,
}

impl Card {
    /// With a kit whose engine test is `engine` and whose peers' script is `peers`; a sanitizer called `finds` finds something.
    fn new(engine: &str, peers: &str, finds: &str) -> Self {
        let card = Self {
            lab: tempfile::tempdir().unwrap(),
        };
        let (kit, machine) = (card.path("kit"), card.path("machine"));
        let bin = kit.join("bin");
        script(&bin, "sarm", SARM);
        script(&bin, "kernels-bench", CRITERION);
        card.engine(engine);
        fs::create_dir_all(kit.join("peers")).unwrap();
        let sampling = if peers.is_empty() { "" } else { SAMPLING_PEERS };
        for (name, text) in [("train", peers), ("sample", sampling), ("vae", "")] {
            fs::write(kit.join(format!("peers/{name}.py")), text).unwrap();
        }
        fs::write(kit.join("kit.json"), r#"{"version": "1.2.3"}"#).unwrap();
        script(
            &machine,
            "nvidia-smi",
            "echo \"$*\" >>smi; echo 'name, driver_version'; echo 'Imitation, 580.1'",
        );
        script(
            &machine,
            "compute-sanitizer",
            &format!(
                r#"[ "$2" != "{finds}" ] || {{ echo hazard; exit 9; }}; shift 4; "$@" || exit $?; echo '===== ERROR SUMMARY: 0 errors'"#
            ),
        );
        script(&machine, "ncu", "echo 'sample_24, 1.5 stalls'");
        card
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.lab.path().join(name)
    }

    /// Its engine tests are `engine` from now on.
    fn engine(&self, engine: &str) {
        let tests = format!("case $1 in\nengine::) {engine} ;;\n*) {PASSED} ;;\nesac");
        script(&self.path("kit/bin"), "cuda", &tests);
    }

    /// Run it: its exit code and what it said.
    fn run(&self, options: &str) -> (Option<i32>, String) {
        let path = std::env::var("PATH").unwrap();
        let output = Command::new("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/gpu-check"))
            .arg(self.path("kit"))
            .args(["--out", "out"])
            .args(options.split_whitespace())
            .current_dir(self.lab.path())
            .env("PATH", format!("{}:{path}", self.path("machine").display()))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    }

    /// Run it: whether it said that all is well, its report, and the same to be read.
    fn check(&self, options: &str) -> (bool, serde_json::Value, String) {
        let (code, said) = self.run(options);
        assert!(code == Some(0) || code == Some(1), "{said}");
        let read = |name: &str| fs::read_to_string(self.path("out").join(name)).unwrap();
        let report = serde_json::from_str(&read("gpu-report.json")).unwrap();
        (code == Some(0), report, read("gpu-report.md"))
    }
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
    let card = Card::new("echo 'a test that fails'; exit 101", PEERS, "racecheck");
    let (well, report, page) = card.check("");
    assert!(!well);
    let failed = phases(&report, |outcome| outcome != "passed");
    assert_eq!(
        failed,
        ["racecheck", "engine beside the CPU's", "PyTorch, sampling"],
        "{page}"
    );
    // The headline, the race detector and the tests come before what takes long.
    let all = phases(&report, |_| true);
    let at = |name| all.iter().position(|phase| *phase == name).unwrap();
    for early in ["headline", "racecheck", "VAEs beside the CPU's"] {
        for late in ["sarm bench", "PyTorch, training", "criterion"] {
            assert!(at(early) < at(late), "{all:?}");
        }
    }
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
        "sample_24, 1.5 stalls",
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
    let (well, report, page) = Card::new(PASSED, PEERS, "").check("--seconds 1");
    assert!(!well, "{page}");
    assert!(phases(&report, |outcome| outcome == "failed").is_empty());
    let left_out = phases(&report, |outcome| outcome == "left out");
    assert!(left_out.contains(&"racecheck") && left_out.contains(&"synccheck"));
    let words = format!(
        "left out or cut short, as the time was over: {}.",
        left_out.join(", ")
    );
    assert!(page.contains(&words), "no '{words}' in\n{page}");
}

#[test]
fn without_pytorch_bounds_are_of_our_own_instruction() {
    let (well, report, page) = Card::new(PASSED, "", "").check("");
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

/// How often a phase's name was said as it began.
fn begun(said: &str, phase: &str) -> usize {
    let line = format!("{phase} ..");
    said.lines().filter(|l| *l == line).count()
}

#[test]
fn a_second_call_goes_on_where_the_first_stopped() {
    let card = Card::new(PASSED, PEERS, "racecheck");
    let (code, said) = card.run("");
    assert!(code == Some(1) && begun(&said, "kernels") == 1, "{said}");
    // What failed is done again, what passed is not.
    let (code, said) = card.run("");
    assert_eq!((code, begun(&said, "racecheck")), (Some(1), 1), "{said}");
    assert_eq!(begun(&said, "kernels") + begun(&said, "criterion"), 0);
    assert!(said.contains("kernels: done before"), "{said}");
    // A hazard that is found once and not again is not forgotten.
    script(
        &card.path("machine"),
        "compute-sanitizer",
        r#"shift 4; "$@" || exit $?; echo 'RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)'"#,
    );
    let (well, _, page) = card.check("");
    assert!(
        !well && page.contains("passed, failed before") && page.contains("hazard"),
        "{page}"
    );
    // One that does not say that it found nothing has shown nothing.
    script(
        &card.path("machine"),
        "compute-sanitizer",
        r#"shift 4; exec "$@""#,
    );
    let (_, said) = card.run("--again memcheck");
    assert!(said.contains("memcheck: failed, it does not say"), "{said}");
    let (_, said) = card.run("--again kernels,criterion");
    assert_eq!(begun(&said, "kernels") + begun(&said, "criterion"), 2);
    assert_eq!(begun(&said, "headline"), 0, "{said}");
    // The figures of all calls are there.
    let (_, report, page) = card.check("");
    assert_eq!(
        report["figures"]["kernels"][0]["bound_by"], "memory",
        "{page}"
    );
    assert!(page.contains("| 300.0 | 4.0 | graph, 65536 |"), "{page}");

    // Another kit's report is put aside.
    card.engine("echo 'a test that fails'; exit 101");
    let (_, said) = card.run("");
    assert!(said.contains("is of another kit") && begun(&said, "kernels") == 1);
    assert!(card.path("out/gpu-report-of-another-kit.json").is_file());

    let (code, said) = card.run("--again kernel");
    assert_eq!(code, Some(1));
    assert!(said.contains("there is no phase 'kernel'"), "{said}");
}

#[test]
fn a_report_of_another_card_is_not_gone_on_with() {
    let card = Card::new(PASSED, PEERS, "");
    card.run("--seconds 20");
    let path = card.path("out/gpu-report.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"Imitation\"", "\"Another\"")).unwrap();
    let (code, said) = card.run("");
    assert_eq!(code, Some(1));
    assert!(said.contains("is of another card (Another)"), "{said}");
}

#[test]
fn the_phases_fit_their_time() {
    let card = Card::new(PASSED, PEERS, "");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/gpu-check");
    let output = Command::new("python3")
        .args([script.as_os_str(), "--list".as_ref()])
        .current_dir(card.lab.path())
        .output()
        .unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    let begins = |phase: &str| -> u32 {
        let line = listed.lines().find(|l| l.ends_with(phase));
        let line = line.unwrap_or_else(|| panic!("no '{phase}' in {listed}"));
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    // Correctness and the headline within 8 minutes, all within 25.
    assert!(begins("loss curves") <= 480, "{listed}");
    let whole = listed.lines().last().unwrap();
    let whole: u32 = whole.trim().trim_end_matches(" s").parse().unwrap();
    assert!(whole < 1500, "{listed}");
}
