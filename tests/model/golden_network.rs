//! Whole models against vectors that PyTorch made in float64 (tests/golden/network.py).

use crate::support::common;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use sarm::conditions::{ConditionedImages, Conditions};
use sarm::data::{SparseImages, WriteOptions, write};
use sarm::families::sarm::cpu::CpuEngine;
use sarm::families::sarm::{Engine, reference};
use sarm::families::sarm::{ModelConfig, Sarm};
use sarm::family::Trainer;
use sarm::run::checkpoint::save;

/// One golden file: a model, images, and what PyTorch says about them.
struct Golden {
    name: String,
    model: Sarm,
    /// Row-major pixel indices of each stage in drawing order.
    order: Vec<Vec<i32>>,
    /// Dense images, row-major, GeV.
    images: Vec<Vec<f32>>,
    /// The standardised condition of each image.
    conditions: Vec<Vec<f32>>,
    /// -ln p in nats, a density per GeV for every positive pixel.
    nll: Vec<f64>,
    /// Derivatives of the mean of `nll`, in the order of the model's tensors.
    gradients: Vec<Vec<f64>>,
}

fn numbers(file: &SafeTensors, name: &str) -> Option<(Vec<usize>, Vec<f64>)> {
    let view = file.tensor(name).ok()?;
    let bytes = view.data();
    let values = match view.dtype() {
        Dtype::F32 => bytes
            .chunks_exact(4)
            .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
            .collect(),
        Dtype::F64 => bytes
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes(b.try_into().unwrap()))
            .collect(),
        Dtype::I32 => bytes
            .chunks_exact(4)
            .map(|b| f64::from(i32::from_le_bytes(b.try_into().unwrap())))
            .collect(),
        other => panic!("{name} is {other:?}"),
    };
    Some((view.shape().to_vec(), values))
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|v| *v as f32).collect()
}

impl Golden {
    fn read(path: &Path) -> Golden {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let config = &header.metadata().as_ref().unwrap()["config"];
        let config: ModelConfig = serde_json::from_str(config).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();

        let mut model = Sarm::new(config).unwrap();
        let mut gradients = Vec::new();
        for (spec, values) in model.tensors.iter().zip(&mut model.parameters) {
            let (shape, read) = numbers(&file, &spec.name)
                .unwrap_or_else(|| panic!("{name}: no tensor {}", spec.name));
            assert_eq!(shape, spec.shape, "{name}: {}", spec.name);
            *values = narrow(&read);
            let (shape, read) = numbers(&file, &format!("grad.{}", spec.name)).unwrap();
            assert_eq!(shape, spec.shape, "{name}: {}", spec.name);
            gradients.push(read);
        }
        let order = (0..model.stages.len())
            .map(|s| numbers(&file, &format!("order.{s}")).unwrap().1)
            .map(|stage| stage.iter().map(|p| *p as i32).collect())
            .collect();
        let (_, nll) = numbers(&file, "nll").unwrap();
        let (shape, images) = numbers(&file, "images").unwrap();
        assert_eq!(shape[0], nll.len());
        let width = model.config.condition.names.len();
        let conditions = match numbers(&file, "conditions") {
            Some((_, values)) => narrow(&values).chunks(width).map(<[f32]>::to_vec).collect(),
            None => vec![Vec::new(); nll.len()],
        };
        Golden {
            name,
            order,
            images: narrow(&images)
                .chunks(model.pixels())
                .map(<[f32]>::to_vec)
                .collect(),
            conditions,
            nll,
            gradients,
            model,
        }
    }

    fn all() -> Vec<Golden> {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"));
        let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
            .collect();
        paths.sort();
        assert!(paths.len() >= 7, "golden files are missing");
        paths.iter().map(|path| Golden::read(path)).collect()
    }

    /// The images as engines take them.
    fn data(&self) -> ConditionedImages {
        let size = self.model.config.image;
        let mut images = SparseImages::new(size.height, size.width).unwrap();
        for image in &self.images {
            images.push_dense(image);
        }
        let width = self.model.config.condition.names.len();
        ConditionedImages {
            images,
            conditions: Conditions::new(width, self.conditions.concat())
                .with_total(self.model.total()),
        }
    }

    /// Fails where a number is further from PyTorch's than `tolerance`, relative to 1 + its size.
    fn expect_nll(&self, what: &str, got: &[f64], want: &[f64], tolerance: f64) {
        assert_eq!(got.len(), want.len(), "{}: {what}", self.name);
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            let error = (got - want).abs() / (1.0 + want.abs());
            assert!(
                error <= tolerance,
                "{}: {what} of image {i} is {got}, should be {want}, relative error {error:.1e}",
                self.name
            );
        }
    }

    /// Fails where a derivative is further from PyTorch's than `tolerance`, relative to the largest of its tensor.
    fn expect_gradients(&self, what: &str, got: &[Vec<f32>], tolerance: f64) {
        assert_eq!(got.len(), self.gradients.len(), "{}: {what}", self.name);
        for ((spec, got), want) in self.model.tensors.iter().zip(got).zip(&self.gradients) {
            assert_eq!(got.len(), want.len(), "{}: {}", self.name, spec.name);
            let largest = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            for (i, (got, want)) in got.iter().zip(want).enumerate() {
                let error = (f64::from(*got) - want).abs();
                assert!(
                    error <= tolerance * largest,
                    "{}: {what} by {}[{i}] is {got}, should be {want} (largest {largest})",
                    self.name,
                    spec.name
                );
            }
        }
    }
}

fn every_row(data: &ConditionedImages) -> Vec<u32> {
    (0..data.images.len() as u32).collect()
}

/// -ln p of each image by the float64 reference.
fn reference_nll(golden: &Golden) -> Vec<f64> {
    let images = golden.images.iter().zip(&golden.conditions);
    images
        .map(|(image, condition)| reference::nll(&golden.model, image, condition).unwrap())
        .collect()
}

/// -ln p of each image by the CPU engine.
fn engine_nll(golden: &Golden) -> Vec<f64> {
    let engine = CpuEngine::new(2).unwrap();
    let score = engine
        .score(&golden.model, Arc::new(golden.data()))
        .unwrap();
    score.iter().map(|v| -v).collect()
}

/// The CPU trainer's -ln p of each image, and the gradients of its mean over all of them in tensor order.
fn engine_training(golden: &Golden) -> (Vec<f64>, Vec<Vec<f32>>) {
    let data = Arc::new(golden.data());
    let rows = every_row(&data);
    let mut trainer = CpuEngine::new(2).unwrap().cpu_trainer(&golden.model, data);
    let (_, gradients) = trainer.gradients(&rows).unwrap();
    (trainer.nll(&rows).unwrap(), gradients)
}

#[test]
fn orders_are_the_same() {
    for golden in Golden::all() {
        for (stage, (got, want)) in golden.model.order.iter().zip(&golden.order).enumerate() {
            let got: Vec<i32> = got.iter().map(|p| i32::from(*p)).collect();
            assert_eq!(&got, want, "{}: stage {stage}", golden.name);
        }
    }
}

/// The script's masks come from degrees and this program's from prefixes: what one lets through the
/// other must. Weights are drawn from a continuum, so exactly the masked ones are 0.
#[test]
fn masks_are_the_same() {
    for golden in Golden::all() {
        for (spec, values) in golden.model.tensors.iter().zip(&golden.model.parameters) {
            if !spec.is_weight() {
                continue;
            }
            for (row, weights) in values.chunks(spec.columns()).enumerate() {
                for (column, weight) in weights.iter().enumerate() {
                    assert_eq!(
                        *weight != 0.0,
                        column < spec.read(row),
                        "{}: {}[{row}, {column}]",
                        golden.name,
                        spec.name
                    );
                }
            }
        }
    }
}

#[test]
fn reference_agrees() {
    for golden in Golden::all() {
        // Only what the network is shown of a pixel is rounded to f32 on the way.
        golden.expect_nll("nll", &reference_nll(&golden), &golden.nll, 1e-8);
    }
}

#[test]
fn engine_agrees() {
    for golden in Golden::all() {
        // Sums of a hundred f32 terms; measured: 1e-7.
        golden.expect_nll("nll", &engine_nll(&golden), &golden.nll, 1e-6);
        let (nll, gradients) = engine_training(&golden);
        golden.expect_nll("training nll", &nll, &golden.nll, 1e-6);
        // Measured: 1.4e-6.
        golden.expect_gradients("derivative", &gradients, 1e-5);
    }
}

/// numpy's own format: magic, version, length of the header, a Python literal, the numbers.
pub fn npy(shape: &[usize], values: &[f64]) -> Vec<u8> {
    let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
    let shape = shape.join(", ");
    let mut header =
        format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape},), }}").into_bytes();
    header.resize((10 + header.len() + 1).next_multiple_of(64) - 11, b' ');
    header.push(b'\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header);
    file.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    file
}

/// -ln p of each image from a list of ln p.
fn printed(list: &[u8]) -> Vec<f64> {
    let lines = std::str::from_utf8(list).unwrap().lines();
    lines.map(|line| -line.parse::<f64>().unwrap()).collect()
}

/// Several numbers shown of a pixel: the Python example knows no line of this program.
#[test]
fn python_example_reads_channels() {
    let toml = "stage = [{square = 3, units_per_pixel = 2, layers = 1}, {layers = 2}]\n\
        [likelihood]\nkind = 'dc'\ncomponents = 3\nupper = 60.0\n\
        [input]\nunit = 30.0\nalso = [{transform = 'log1p', unit = 0.5, scale = 0.3}, {transform = 'sqrt'}]\n";
    let total = "[condition]\nnames = ['a', 'all']\ntotal = 'all'";
    for toml in [toml.to_string(), toml.to_string() + total] {
        let model = common::model(&toml, 4, 5, 17, 0.4);
        python_example_says_what_the_reference_says(&model, &common::data(&model, 6, 3, 0.3));
    }
}

/// Logistics of the logarithm and outputs that are shown what is left, each alone and both.
#[test]
fn python_example_knows_a_lower_end_and_what_is_left() {
    let likelihood = "stage = [{square = 3, units_per_pixel = 2, layers = 1}, {layers = 2}]\n\
        [likelihood]\nkind = 'dc'\ncomponents = 3\n";
    let log = "space = 'log'\nlower = 1e-3\nunit = 2.0\nupper = 60.0\n";
    let total = "[condition]\nnames = ['a', 'all']\ntotal = 'all'\n";
    for toml in [
        format!("{likelihood}{log}"),
        format!("{likelihood}{log}{total}"),
        format!("{likelihood}upper = 60.0\n[input]\nleft = 1\n{total}"),
        format!("{likelihood}{log}[input]\nleft = 2\n{total}"),
        format!("{likelihood}{log}[input]\nleft = 7\n{total}"),
    ] {
        let model = common::model(&toml, 4, 5, 17, 0.4);
        python_example_says_what_the_reference_says(&model, &common::data(&model, 60, 3, 0.3));
    }
}

/// What is left around two pixels of the lower end, and around the range's upper end.
#[test]
fn python_example_knows_the_last_two_pixels() {
    let toml = "stage = [{units_per_pixel = 3, layers = 1}]\n[likelihood]\nkind = 'dc'\ncomponents = 3\nspace = 'log'\n\
        lower = 0.5\nupper = 20.0\n[input]\nleft = 3\n[condition]\nnames = ['all']\ntotal = 'all'";
    let model = common::model(toml, 1, 3, 1, 0.6);
    let mut images = SparseImages::new(1, 3).unwrap();
    let mut told = Vec::new();
    for image in [
        [0.75f32, 0.0, 0.0],
        [0.0, 0.5, 0.0],
        [0.6, 0.7, 0.0],
        [0.0, 0.7, 0.6],
        [0.6, 0.0, 19.0],
        [19.0, 18.5, 0.6],
        [0.0, 0.0, 20.0],
        [0.0, 0.0, 0.0],
    ] {
        images.push_dense(&image);
        told.push(model.standardise(0, image.iter().sum()));
    }
    let conditions = Conditions::new(1, told).with_total(model.total());
    let data = ConditionedImages { images, conditions };
    python_example_says_what_the_reference_says(&model, &data);
}

/// As tests/model/total.rs has it.
#[test]
fn python_example_knows_where_all_that_is_left_counts() {
    let (mut model, data) = common::around_the_range();
    python_example_says_what_the_reference_says(&model, &data);
    model.config.symmetry.mirror = true;
    python_example_says_what_the_reference_says(&model, &data);
}

/// docs/loglikelihood.py and the float64 reference, of images whose conditions but for a total have mean 0 and scale 1.
fn python_example_says_what_the_reference_says(model: &Sarm, data: &ConditionedImages) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let (height, width, count) = (data.images.height(), data.images.width(), data.images.len());
    let checkpoint = folder.path().join("model.safetensors");
    save(&checkpoint, model, None, &Default::default()).unwrap();
    let mut images = vec![0.0; count * height * width];
    for (i, image) in images.chunks_exact_mut(height * width).enumerate() {
        data.images.dense_into(i, image);
    }
    let want = (images.chunks(height * width).zip(0..)).map(|(image, row)| {
        let nll = |image: &[f32]| reference::nll(model, image, data.conditions.row(row)).unwrap();
        let mirrored: Vec<f32> = (image.chunks(width))
            .flat_map(|row| row.iter().rev().copied())
            .collect();
        match model.config.symmetry.mirror && mirrored != image {
            true => -((-nll(image)).exp() + (-nll(&mirrored)).exp()).ln(),
            false => nll(image),
        }
    });
    let (image_file, given_file) = (folder.path().join("i.npy"), folder.path().join("c.npy"));
    let wide: Vec<f64> = images.iter().map(|v| f64::from(*v)).collect();
    std::fs::write(&image_file, npy(&[count, height, width], &wide)).unwrap();
    // A total is not asked for.
    let given: Vec<f64> = (0..count as u64)
        .flat_map(|row| data.conditions.row(row).iter().map(|v| f64::from(*v)))
        .collect();
    std::fs::write(&given_file, npy(&[count, data.conditions.width()], &given)).unwrap();
    let output = Command::new(python(root))
        .arg(root.join("docs/loglikelihood.py"))
        .args([&checkpoint, &image_file, &given_file])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // A total is told in single precision.
    let accuracy = if data.conditions.width() > 0 {
        1e-5
    } else {
        1e-8
    };
    let got = printed(&output.stdout);
    assert_eq!(got.len(), count);
    for (got, want) in got.into_iter().zip(want) {
        assert!(
            (got - want).abs() < accuracy * want.abs().max(1.0),
            "{got} {want}"
        );
    }
}

/// With numpy: what `make setup` installed, or the machine's.
fn python(root: &Path) -> PathBuf {
    let installed = root.join(".tools/venv/bin/python3");
    if installed.exists() {
        installed
    } else {
        PathBuf::from("python3")
    }
}

/// docs/loglikelihood.py, the description of the checkpoint that can be run, says the same, and so does `sarm score`.
#[test]
fn python_example_agrees() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    for golden in Golden::all() {
        let size = golden.model.config.image;
        let count = golden.images.len();
        let images: Vec<f64> = golden
            .images
            .iter()
            .flatten()
            .map(|v| (*v).into())
            .collect();
        // Conditions as they stand in data files.
        let condition = &golden.model.config.condition;
        let given: Vec<f64> = golden
            .conditions
            .iter()
            .flat_map(|row| {
                let standard = condition.mean.iter().zip(&condition.scale);
                row.iter()
                    .zip(standard)
                    .map(|(c, (m, s))| f64::from(*c) * s + m)
            })
            .collect();
        let (image_file, given_file) = (folder.path().join("i.npy"), folder.path().join("c.npy"));
        std::fs::write(&image_file, npy(&[count, size.height, size.width], &images)).unwrap();
        std::fs::write(&given_file, npy(&[count, condition.names.len()], &given)).unwrap();
        let checkpoint = root.join(format!("tests/golden/{}.safetensors", golden.name));
        let output = Command::new(python(root))
            .arg(root.join("docs/loglikelihood.py"))
            .arg(&checkpoint)
            .args([&image_file, &given_file])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{error}\n`make setup` installs the numpy that this test needs"
        );
        let got = printed(&output.stdout);
        // Ten digits are printed.
        golden.expect_nll("python's nll", &got, &golden.nll, 1e-8);

        // And so does `sarm score`, of D+C and D+D alike, to the accuracy of its f32.
        let columns = condition.names.iter().enumerate().map(|(i, name)| {
            let column = given.iter().skip(i).step_by(condition.names.len());
            (name.clone(), column.map(|v| *v as f32).collect())
        });
        let data = folder.path().join(format!("{}.h5", golden.name));
        let options = WriteOptions {
            height: size.height,
            width: size.width,
            ..Default::default()
        };
        write(&data, &golden.data().images, &columns.collect(), &options).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_sarm"))
            .args(["score", "--quiet", "--model"])
            .arg(&checkpoint)
            .arg("--data")
            .arg(&data)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {error}", golden.name);
        golden.expect_nll("score's nll", &printed(&output.stdout), &got, 1e-6);
    }
}
