//! Models small enough to ship, and those that come with the program.

use crate::support::program::Lab;
use crate::support::{common, h5};
use std::path::Path;

use assert_cmd::Command;
use half::bf16;
use sarm::conditions::ConditionConfig;
use sarm::data::{ReadOptions, read};
use sarm::families::sarm::Sarm;
use sarm::prior::Prior;
use sarm::prior::{Density, Labels, Range};
use sarm::run::checkpoint::{Checkpoint, save, save_packed};

fn sarm() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sarm"))
}

const MODELS: [&str; 3] = [
    "stage = [{square = 3, units_per_pixel = 5, layers = 1}, {layers = 2}]\n[likelihood]\nkind = 'dc'\n\
     [input]\nalso = [{transform = 'log1p', unit = 0.1, scale = 0.5}]\n[condition]\nnames = ['a', 'b']",
    "stage = [{units_per_pixel = 2, layers = 1}]\n[likelihood]\nkind = 'dd'\nlatents = 3\nlevels = 7",
    "stage = [{square = 3, units_per_pixel = 2, layers = 1}, {layers = 1}]\n[likelihood]\nkind = 'dc'\ncomponents = 2\n\
     space = 'log'\nlower = 0.01\n[input]\nleft = 5\n[condition]\nnames = ['a', 'b']\ntotal = 'b'",
];

/// A distribution of the conditions `a`, a label, and `b`.
fn prior(model: &Sarm) -> Option<Prior> {
    let condition = &model.config.condition;
    if condition.names.is_empty() {
        return None;
    }
    let range = Range::of("b", (0..100).map(|i| 0.25 * i as f32));
    let mut of_b = Density::model(
        &range,
        ConditionConfig {
            names: vec!["a".into()],
            total: None,
            log: Vec::new(),
            mean: condition.mean[..1].to_vec(),
            scale: condition.scale[..1].to_vec(),
        },
    )
    .unwrap();
    for bias in of_b.parameters.iter_mut().filter(|p| p.len() == 32) {
        bias.fill(0.3);
    }
    Some(Prior {
        labels: Labels {
            names: vec!["a".into()],
            values: vec![vec![0.0], vec![1.0]],
            images: vec![4, 5],
        },
        densities: vec![Density {
            range,
            nll: 1.25,
            model: of_b,
        }],
    })
}

/// Packed and read again, every weight is the nearest bfloat16, every bias what it was, every mask kept.
#[test]
fn only_rounding_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, packed) = (folder.path().join("m"), folder.path().join("p"));
    for toml in MODELS {
        let model = common::model(toml, 6, 7, 5, 0.4);
        let known = prior(&model);
        save(&whole, &model, known.as_ref(), &Default::default()).unwrap();
        let call = sarm()
            .args(["pack", "--force", "--model"])
            .arg(&whole)
            .arg("--out")
            .arg(&packed)
            .assert();
        call.success();
        assert_eq!(Checkpoint::read(&packed).unwrap().prior, known);
        let read = common::read_model(&packed);
        assert_eq!(read.config, model.config);
        for ((spec, was), is) in model
            .tensors
            .iter()
            .zip(&model.parameters)
            .zip(&read.parameters)
        {
            let rounded = |v: &f32| {
                if spec.is_weight() {
                    bf16::from_f32(*v).to_f32()
                } else {
                    *v
                }
            };
            assert!(
                was.iter().map(rounded).eq(is.iter().copied()),
                "{}",
                spec.name
            );
            assert_eq!(spec.row_beyond_mask(is), None);
        }
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        assert!(
            2 * size(&packed) < size(&whole),
            "{} {}",
            size(&packed),
            size(&whole)
        );
    }
}

/// A packed file that was damaged is refused with a reason.
#[test]
fn damage_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p");
    let model = common::model(MODELS[0], 6, 7, 5, 0.4);
    save_packed(&path, &model, None, &Default::default()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let text = |from: &str, to: &str| {
        let at = bytes
            .windows(from.len())
            .position(|w| w == from.as_bytes())
            .unwrap();
        let mut damaged = bytes.clone();
        damaged[at..at + to.len()].copy_from_slice(to.as_bytes());
        damaged
    };
    for (damaged, why) in [
        (
            text("\"packed\":\"bf16\"", "\"packed\":\"bf17\""),
            "packed as 'bf17'",
        ),
        (
            text("\"packed\"", "\"pecked\""),
            "more than the file can hold",
        ),
        (
            text(r#"units_per_pixel\":5"#, r#"units_per_pixel\":6"#),
            "asks for BF16",
        ),
    ] {
        std::fs::write(&path, damaged).unwrap();
        let error = Checkpoint::read(&path).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

/// A checkpoint that another program saved in half precision: the message names tensor and type.
#[test]
fn half_precision_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    let model = common::model(MODELS[0], 6, 7, 5, 0.4);
    save(&path, &model, None, &Default::default()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let halves: Vec<(String, Vec<usize>, Vec<u8>)> = (file.tensors().iter())
        .map(|(name, tensor)| {
            let numbers = tensor.data().chunks_exact(4);
            let halved = numbers.flat_map(|b| {
                let value = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                half::f16::from_f32(value).to_le_bytes()
            });
            (name.clone(), tensor.shape().to_vec(), halved.collect())
        })
        .collect();
    let views = halves.iter().map(|(name, shape, bytes)| {
        let dtype = safetensors::Dtype::F16;
        let view = safetensors::tensor::TensorView::new(dtype, shape.clone(), bytes).unwrap();
        (name.clone(), view)
    });
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let saved = safetensors::serialize(views, header.metadata().clone()).unwrap();
    std::fs::write(&path, saved).unwrap();
    let error = Checkpoint::read(&path).unwrap_err().to_string();
    for part in ["stage.0.", "F16", "float32"] {
        assert!(error.contains(part), "{error}");
    }
}

/// A name is enough, and says which class.
#[test]
fn models_come_with_the_program() {
    let folder = tempfile::tempdir().unwrap();
    for (name, class) in [
        ("jets-w", 1.0),
        ("jets-qcd", 0.0),
        ("muons-iso", 1.0),
        ("muons-bb", 0.0),
    ] {
        let out = folder.path().join(name).with_extension("h5");
        let mut call = sarm();
        call.current_dir(folder.path()).args([
            "generate", "--quiet", "--device", "cpu", "--count", "20", "--model", name,
        ]);
        call.arg("--out").arg(&out).assert().success();
        let drawn = read(&out, &ReadOptions::default()).unwrap();
        assert_eq!(drawn.images.len(), 20);
        let pixels = drawn.images.nonzeros() / 20;
        assert!(
            (5..120).contains(&pixels),
            "{pixels} nonzero pixels an image"
        );
        assert_eq!(drawn.columns["signal"], vec![class; 20]);
    }
    // Of the rows of a file, those of its class.
    let out = folder.path().join("rows.h5");
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/data/jets-sample.h5");
    let rows = [
        "generate", "--quiet", "--device", "cpu", "--model", "jets-qcd", "--count", "40",
    ];
    let mut call = sarm();
    call.args(rows)
        .args(["--given-from", sample, "--out"])
        .arg(&out);
    call.assert().success();
    let drawn = read(&out, &ReadOptions::default()).unwrap();
    assert_eq!(drawn.columns["signal"], vec![0.0; 40]);
    // A name stands for its class, whatever the file says of the images.
    let scores = |model: &[&str]| {
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/data/jets-sample.h5");
        let line = [
            "score", "--quiet", "--device", "cpu", "--data", data, "--limit", "30",
        ];
        let call = sarm().args(line).args(model).assert().success();
        String::from_utf8(call.get_output().stdout.clone()).unwrap()
    };
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/models/jets.safetensors");
    let w = scores(&["--model", "jets-w"]);
    assert_ne!(w, scores(&["--model", "jets-qcd"]));
    assert_eq!(w, scores(&["--model", file, "--given", "signal=1"]));
    let refused = |line: &[&str], why: &str| {
        let call = sarm().args(line).assert().failure();
        let error = String::from_utf8_lossy(&call.get_output().stderr).into_owned();
        assert!(error.contains(why), "{error}");
    };
    let other = [
        "score", "--model", "jets-w", "--given", "signal=0", "--data", "never.h5",
    ];
    refused(&other, "jets-w stands for signal = 1");
    let unknown = [
        "generate", "--model", "jets-z", "--count", "1", "--out", "never.h5",
    ];
    refused(&unknown, "jets-w, jets-qcd, muons-iso, muons-bb");
    let call = sarm().args(["info", "jets-w"]).assert().success();
    assert!(String::from_utf8_lossy(&call.get_output().stdout).contains("25 x 25"));
}

/// Unpacked, a model is what the packed one is read as: packed again it is the same file.
#[test]
fn unpacked_and_packed_again_nothing_changes() {
    let lab = Lab::empty();
    lab.ok("unpack --quiet --model jets-w --out whole.safetensors");
    lab.ok("pack --quiet --model whole.safetensors --out packed.safetensors");
    lab.ok("unpack --quiet --model packed.safetensors --out again.safetensors");
    let bytes = |name: &str| std::fs::read(lab.path(name)).unwrap();
    assert!(bytes("whole.safetensors") == bytes("again.safetensors"));
    assert!(bytes("whole.safetensors").len() > 3 * bytes("packed.safetensors").len());
    for model in ["jets-w", "whole.safetensors --given signal=1"] {
        lab.ok(&format!(
            "generate --quiet --force --device cpu --model {model} --count 40 --out images.h5"
        ));
        let images = lab.read("images.h5").images;
        std::fs::rename(lab.path("images.h5"), lab.path("last.h5")).unwrap();
        if lab.path("first.h5").exists() {
            assert!(images == lab.read("first.h5").images);
        } else {
            std::fs::rename(lab.path("last.h5"), lab.path("first.h5")).unwrap();
        }
    }
    lab.refuses(
        "unpack --model whole.safetensors --out packed.safetensors",
        &["packed.safetensors", "--force"],
    );
}

/// docs/loglikelihood.py gives the same of a packed model as of the unpacked one, and of sparse files as of dense ones.
#[test]
fn the_script_reads_packed_models_and_sparse_files() {
    for toml in MODELS {
        let lab = Lab::empty();
        let model = common::model(toml, 6, 7, 5, 0.4);
        save_packed(&lab.path("packed"), &model, None, &Default::default()).unwrap();
        lab.ok("unpack --quiet --model packed --out whole");
        let condition = &model.config.condition;
        let given = match (condition.names.is_empty(), &condition.total) {
            (true, _) => "",
            (_, None) => " --given a=0.5,b=-1",
            (_, Some(_)) => " --given a=0.5,b=35",
        };
        for layout in ["dense", "sparse"] {
            lab.ok(&format!(
                "generate --quiet --device cpu --model packed --count 30 --layout {layout} --out {layout}.h5{given}"
            ));
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let script = |model: &str, data: &str| {
            let output = std::process::Command::new(h5::python())
                .arg(root.join("docs/loglikelihood.py"))
                .args([lab.path(model), lab.path(data)])
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8(output.stdout).unwrap()
        };
        let whole = script("whole", "dense.h5");
        assert_eq!(whole.lines().count(), 30);
        assert_eq!(script("packed", "dense.h5"), whole);
        assert_eq!(script("packed", "sparse.h5"), whole);
    }
}
