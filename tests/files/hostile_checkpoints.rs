//! Damaged and hostile models, states and configurations: an answer or an error, never a panic, a
//! hang, or memory beyond the file's size class.
//!
//! A child process reads the corpus, under a limit on its memory, and says which file it is at.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::program::{DC, DD, Lab, conditioned};
use sarm::checkpoint::Header;
use sarm::checkpoint::tensors::{Named, Numbers, write_tensors};
use sarm::conditions::Conditions;
use sarm::data::ImageSize;
use sarm::device::Devices;
use sarm::families::sarm::{Config, Sarm};
use sarm::family::SamplingPlan;
use sarm::prior::draw;
use sarm::run::Checkpoint;
use sarm::run::train::{Silent, TrainPlan, train};

use crate::support::dice::Dice;

const CORPUS: &str = "SARM_TEST_CHECKPOINTS";
/// Address space of the child, KiB: the program and its threads take most of it.
const MEMORY: u64 = 1 << 20;

/// One damaged copy: cut, flipped bits, other bytes, a piece moved, or another number in its text.
fn damage(whole: &[u8], text: usize, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let place = |dice: &mut Dice| match dice.roll(4) {
        0 => dice.roll(whole.len()),
        _ => dice.roll(text),
    };
    match dice.roll(7) {
        0 => bytes.truncate(dice.roll(whole.len())),
        1 => {
            for _ in 0..=dice.roll(4) {
                bytes[place(dice)] ^= 1 << dice.roll(8);
            }
        }
        2 => bytes[place(dice)] = dice.roll(256) as u8,
        3 => bytes[place(dice)] = b"\"{}[]:,.-0 \n#="[dice.roll(14)],
        4 => {
            let (from, to) = (place(dice), place(dice));
            let n = (1 + dice.roll(40)).min(bytes.len() - from.max(to));
            bytes.copy_within(from..from + n, to);
        }
        _ => {
            // A number for a number, of the same length so that what follows still stands where it did.
            let digit = |b: &[u8], i: usize| b.get(i).is_some_and(u8::is_ascii_digit);
            let mut at = dice.roll(text);
            while at < text && !digit(&bytes, at) {
                at += 1;
            }
            let mut end = at;
            while digit(&bytes, end) {
                end += 1;
            }
            match dice.roll(3) {
                0 => bytes[at..end].fill(b'9'),
                1 => bytes[at..end].fill(b'0'),
                _ => bytes[at..end].fill(b'1' + dice.roll(9) as u8),
            }
        }
    }
    bytes
}

/// Length of a safetensors file's text.
fn text(bytes: &[u8]) -> usize {
    8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize
}

/// Another number or word for one of a configuration's.
fn rewrite(config: &str, dice: &mut Dice) -> String {
    const WORDS: [&str; 14] = [
        "-1",
        "0",
        "1e400",
        "nan",
        "-inf",
        "99999999999999999999",
        "9223372036854775807",
        "65537",
        "''",
        "[]",
        "{}",
        "true",
        "1e-320",
        "'a/b'",
    ];
    let mut lines: Vec<String> = config.lines().map(String::from).collect();
    for _ in 0..=dice.roll(2) {
        let at = dice.roll(lines.len());
        match (dice.roll(4), lines[at].split_once('=')) {
            (0, _) => drop(lines.remove(at)),
            (1, _) => {
                let copy = lines[dice.roll(lines.len())].clone();
                lines.insert(at, copy);
            }
            (_, Some((key, _))) => lines[at] = format!("{key}= {}", WORDS[dice.roll(WORDS.len())]),
            _ => {}
        }
    }
    lines.join("\n")
}

/// A model's file written again with other metadata or numbers.
fn forged(
    path: &Path,
    source: &Path,
    metadata: impl FnOnce(&mut BTreeMap<String, String>),
    tensors: impl FnOnce(&mut Vec<(String, Vec<usize>, Vec<f32>)>),
) {
    let c = Checkpoint::read(source).unwrap();
    let header = Header {
        family: c.model.family().into(),
        config: c.model.config_json(),
        record: c.record,
    };
    let mut about = header.metadata();
    metadata(&mut about);
    let mut list: Vec<_> = (c.model.tensors().into_iter().zip(c.model.parameters()))
        .map(|(tensor, values)| (tensor.name, tensor.shape, values.clone()))
        .collect();
    tensors(&mut list);
    let named: Vec<Named> = list
        .iter()
        .map(|(name, shape, values)| Named {
            name: name.clone(),
            shape: shape.clone(),
            values: Numbers::F32(values),
        })
        .collect();
    write_tensors(path, &named, about).unwrap();
}

#[test]
fn forged_models_are_refused_with_a_reason() {
    let lab = Lab::trained(DD);
    let source = lab.path("run/model.safetensors");
    let whole = fs::read(&source).unwrap();
    let forge = lab.path("f.safetensors");
    let refused = |words: &[&str]| {
        for line in [
            "info f.safetensors",
            "generate --model f.safetensors --count 5 --out out",
            "score --model f.safetensors --data data.h5 --out out",
        ] {
            lab.refuses(line, &[words, &["f.safetensors"]].concat());
        }
    };
    let config = |from: &str, to: &str| {
        let swap = |m: &mut BTreeMap<String, String>| {
            assert!(m["config"].contains(from), "{}", m["config"]);
            m.insert("config".into(), m["config"].replace(from, to));
        };
        forged(&forge, &source, swap, |_| ());
    };
    config("\"layers\":1", "\"layers\":64");
    refused(&["parameters, more than the file can hold"]);
    config("\"height\":7,\"width\":7", "\"height\":100,\"width\":100");
    refused(&["more than the file can hold"]);
    config("\"height\":7,\"width\":7", "\"height\":256,\"width\":256");
    refused(&["parameters (it must be below 2^32"]);
    config("\"units_per_pixel\":1", "\"units_per_pixel\":1000000000000");
    refused(&["units_per_pixel", "1000000000000"]);
    config("\"levels\":20", "\"levels\":0");
    refused(&["likelihood.levels"]);
    for levels in ["19", "21"] {
        config("\"levels\":20", &format!("\"levels\":{levels}"));
        refused(&["levels", "its configuration asks for F32", levels]);
    }
    config("\"order\"", "\"disorder\"");
    refused(&["does not parse", "disorder"]);
    let nested = "[".repeat(200_000);
    for key in ["config", "record", "format", "format_version"] {
        let set = |value: &str| {
            let value = value.to_string();
            forged(
                &forge,
                &source,
                |m| drop(m.insert(key.into(), value)),
                |_| (),
            );
        };
        set("2");
        refused(&["f.safetensors"]);
        set("");
        refused(&["f.safetensors"]);
        if !key.starts_with("format") {
            set(&nested);
            refused(&["does not parse"]);
        }
        forged(&forge, &source, |m| drop(m.remove(key)), |_| ());
        refused(&[&format!("no '{key}'"), "written by sarm"]);
    }
    forged(
        &forge,
        &source,
        |m| drop(m.insert("format_version".into(), "2".into())),
        |_| (),
    );
    refused(&["format version 2, this program reads 1"]);
    for (value, shown) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        forged(&forge, &source, |_| (), |t| t[0].2[2] = value);
        refused(&["tensor '", &format!("holds {shown} at 2")]);
    }
    // The first pixel's units see no pixel: their weights are masked.
    forged(&forge, &source, |_| (), |t| t[0].2[5] = 0.5);
    refused(&["masked weight that is not 0 in row 0"]);
    forged(&forge, &source, |_| (), |t| drop(t.remove(1)));
    refused(&["is missing"]);
    forged(&forge, &source, |_| (), |t| t[0].1 = vec![t[0].2.len()]);
    refused(&["its configuration asks for F32"]);
    for length in [0, 1, 1 << 40, 1 << 60, u64::MAX - 7, u64::MAX] {
        let mut bytes = whole.clone();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        fs::write(&forge, bytes).unwrap();
        refused(&["not a usable checkpoint"]);
    }
    // Tensors of another type, and one that claims more than there is.
    let header = String::from_utf8(whole[8..text(&whole)].to_vec()).unwrap();
    for (from, to) in [
        ("F32", "I32"),
        ("[0,", "[4,"),
        ("\"shape\":[", "\"shape\":[9999999999,"),
    ] {
        assert!(header.contains(from), "{header}");
        let other = header.replacen(from, to, 1);
        let mut bytes = (other.len() as u64).to_le_bytes().to_vec();
        bytes.extend(other.as_bytes());
        bytes.extend(&whole[text(&whole)..]);
        fs::write(&forge, bytes).unwrap();
        refused(&["not a usable checkpoint"]);
    }
    // The file that all were made from is fine.
    forged(&forge, &source, |_| (), |_| ());
    assert!(fs::read(&forge).unwrap() == whole);
}

#[test]
fn forged_states_are_refused_with_a_reason() {
    let lab = Lab::trained(DD);
    let state = fs::read(lab.path("run/state.safetensors")).unwrap();
    let header = String::from_utf8(state[8..text(&state)].to_vec()).unwrap();
    let most = u64::MAX;
    for (from, to) in [
        (r#"best_epoch\":1"#, format!(r#"best_epoch\":{most}"#)),
        (
            r#"steps_in_epoch\":0"#,
            format!(r#"steps_in_epoch\":{most}"#),
        ),
        (
            r#"{\"epoch\":1,\"steps"#,
            format!(r#"{{\"epoch\":{most},\"steps"#),
        ),
        (r#""steps":"9""#, format!(r#""steps":"{most}""#)),
    ] {
        assert_eq!(header.matches(from).count(), 1, "{from} in {header}");
        let other = header.replace(from, &to);
        let mut bytes = (other.len() as u64).to_le_bytes().to_vec();
        bytes.extend(other.as_bytes());
        bytes.extend(&state[text(&state)..]);
        lab.file("run/state.safetensors", bytes);
        lab.refuses(
            "train --resume --epochs 3 --data data.h5 --config config.toml --out run",
            &["run/state.safetensors", "does not add up"],
        );
    }
}

#[test]
fn hostile_configurations() {
    let deep = format!("a = {}", "[".repeat(100_000));
    let inline = format!("train = {}", "{a=".repeat(100_000));
    let dotted = format!("train.{} = 1", "a.".repeat(100_000) + "a");
    let wide = "[[stage]]\nsquare = 1\n".repeat(20_000);
    let names = format!("[condition]\nnames = [{}]", "'a',".repeat(100_000));
    let long = format!("[order]\nkind = '{}'", "x".repeat(1 << 20));
    for text in [deep, inline, dotted, wide, names, long] {
        let started = Instant::now();
        let error = Config::parse(&text).unwrap_err().to_string();
        assert_eq!(error.lines().count(), 1);
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{:?}",
            &text[..40]
        );
    }
    for name in ["a/b", "image", "", "nul\\u0000"] {
        let text = format!("[condition]\nnames = [\"{name}\"]");
        let error = Config::parse(&text).unwrap_err().to_string();
        assert!(error.contains("condition.names"), "{error}");
    }
}

#[test]
fn damaged_checkpoints_are_survived() {
    let lab = Lab::trained(DD);
    lab.file("conditioned.toml", conditioned());
    lab.ok("train --quiet --data data.h5 --config conditioned.toml --out other --epochs 1");
    let corpus = lab.path("corpus");
    fs::create_dir(&corpus).unwrap();
    fs::copy(lab.path("data.h5"), corpus.join("data.h5")).unwrap();
    fs::copy(lab.path("config.toml"), corpus.join("config.txt")).unwrap();
    let read = |name: &str| fs::read(lab.path(name)).unwrap();
    let (model, other) = (
        read("run/model.safetensors"),
        read("other/model.safetensors"),
    );
    let state = read("run/state.safetensors");
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/paper");
    let mut texts: Vec<String> = (fs::read_dir(configs).unwrap())
        .map(|e| fs::read_to_string(e.unwrap().path()).unwrap())
        .collect();
    texts.sort();
    texts.extend([DC.to_string(), DD.to_string(), conditioned()]);
    let mut dice = Dice(0x0dd_ba11);
    let count: usize = std::env::var("SARM_TEST_MUTATIONS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(900);
    for i in 0..count {
        let (kind, bytes) = match i % 6 {
            0 => ("model", damage(&model, text(&model), &mut dice)),
            1 => ("model", damage(&other, text(&other), &mut dice)),
            2 | 3 => ("state", damage(&state, text(&state), &mut dice)),
            4 => {
                let config = texts[dice.roll(texts.len())].as_bytes();
                ("toml", damage(config, config.len(), &mut dice))
            }
            _ => {
                let config = &texts[dice.roll(texts.len())];
                ("toml", rewrite(config, &mut dice).into_bytes())
            }
        };
        fs::write(corpus.join(format!("{i:06}.{kind}")), bytes).unwrap();
    }
    let shell = format!("ulimit -v {MEMORY}; exec \"$0\" \"$@\"");
    let mut child = Command::new("sh")
        .args(["-c", &shell])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "hostile_checkpoints::child",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CORPUS, &corpus)
        .stdout(fs::File::create(lab.path("out")).unwrap())
        .stderr(fs::File::create(lab.path("err")).unwrap())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60 + count as u64 / 20);
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let output = fs::read_to_string(lab.path("out")).unwrap();
    let errors = fs::read_to_string(lab.path("err")).unwrap();
    if status.is_none_or(|s| !s.success()) {
        let at = output.lines().rev().find_map(|l| l.strip_prefix("at "));
        let at = at.unwrap_or("none");
        let keep = std::env::temp_dir().join("sarm-hostile-checkpoint");
        fs::copy(corpus.join(at), &keep).ok();
        panic!("{status:?} at {at}, kept as {}\n{errors}", keep.display());
    }
    // Some damage is harmless, and some goes all the way through a reader before it is found.
    for kind in ["model", "state", "toml"] {
        let of = |outcome: &str| {
            let word = format!("{outcome} {kind} ");
            let line = output.lines().find_map(|l| l.strip_prefix(&word));
            line.unwrap().parse::<usize>().unwrap()
        };
        assert!(of("read") > 0 && of("refused") > of("read") / 4, "{output}");
    }
}

/// What a mutated model that is still one is used for.
fn use_model(devices: &Devices, checkpoint: &Checkpoint) {
    let model = checkpoint.model.as_ref();
    let width = model.conditions().names.len();
    let total = model.conditions().total_over(model.image().pixels());
    let plan = SamplingPlan {
        conditions: Conditions::new(width, vec![0.5; width]).with_total(total),
        ..SamplingPlan::default()
    };
    if let Ok(mut sampler) = model.sampler(devices, &plan) {
        sampler.sample(0, 20).ok();
    }
    if let Some(prior) = &checkpoint.prior {
        draw::draw(prior, &BTreeMap::new(), 1, 3..20).ok();
        let given = prior.names().last().map(|n| (n.to_string(), 260.0));
        draw::draw(prior, &given.into_iter().collect(), 1, 3..20).ok();
        let columns = prior.names().map(|n| (n.to_string(), vec![1.0, 260.0]));
        draw::log_density(prior, &columns.collect()).ok();
    }
}

/// Resume a training from the state at `path`; all epochs are done unless the damage says otherwise.
fn use_state(devices: &Devices, corpus: &Path, path: &Path) -> bool {
    let run = corpus.join("run");
    fs::create_dir_all(&run).unwrap();
    fs::copy(path, run.join("state.safetensors")).unwrap();
    let config = fs::read_to_string(corpus.join("config.txt")).unwrap();
    let plan = TrainPlan {
        config: Box::new(Config::parse(&config).unwrap()),
        dataset: sarm::data::read(&corpus.join("data.h5"), &Default::default()).unwrap(),
        data: "data.h5".into(),
        select: Vec::new(),
        file: Default::default(),
        out: run,
        resume: true,
        force: false,
        checkpoint_every: Duration::from_secs(300),
    };
    train(devices, plan, &mut Silent).is_ok()
}

/// Reads the corpus; run by the test above, in a process of its own.
#[test]
#[ignore = "a part of damaged_checkpoints_are_survived"]
fn child() {
    let Some(corpus) = std::env::var_os(CORPUS).map(PathBuf::from) else {
        return;
    };
    let mut files: Vec<PathBuf> = fs::read_dir(&corpus)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    let devices = Devices::cpu(1).unwrap();
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for path in files {
        println!("at {}", path.file_name().unwrap().to_str().unwrap());
        std::io::stdout().flush().unwrap();
        let started = Instant::now();
        let (kind, fine) = match path.extension().and_then(|e| e.to_str()) {
            Some("model") => {
                let found = Checkpoint::read(&path);
                if let Ok(c) = &found {
                    use_model(&devices, c);
                }
                ("model", found.is_ok())
            }
            Some("state") => ("state", use_state(&devices, &corpus, &path)),
            Some("toml") => {
                let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
                let found = Config::parse(&text);
                let side = ImageSize {
                    height: 25,
                    width: 25,
                };
                if let Ok(model) = found
                    .as_ref()
                    .map_err(drop)
                    .and_then(|c| c.resolve(side).map_err(drop))
                    && model.check().is_ok()
                    && model.parameters() < 1 << 22
                {
                    Sarm::new(model).unwrap();
                }
                ("toml", found.is_ok())
            }
            _ => continue,
        };
        *counts
            .entry((if fine { "read" } else { "refused" }, kind))
            .or_default() += 1;
        let time = started.elapsed();
        assert!(time < Duration::from_secs(10), "took {time:?}");
    }
    for ((outcome, kind), n) in counts {
        println!("{outcome} {kind} {n}");
    }
}
