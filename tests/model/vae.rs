//! The jet VAE: its loss and its images by an independent program, the same bits whoever works on them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use sarm::conditions::{ConditionedImages, Conditions};
use sarm::data::{Dataset, SparseImages};
use sarm::device::Devices;
use sarm::families;
use sarm::family::{Codes, Latent, SamplingPlan};
use sarm::run::Checkpoint;
use sarm::run::train::{Ending, Observer, Silent, Summary, TrainError, TrainPlan, train};
use sarm::synthetic;

use crate::golden_network::npy;
use crate::support::h5::python;

const SIDE: usize = 9;
const COUNT: usize = 90;

/// Small networks. Of both classes one has brighter images: there is something for the classifier to learn.
const CONFIG: &str = "[model]\nfamily = 'vae'\n[network]\nlatents = 3\nfilters = [3, 4, 5]\n[perceptual]\nfilters = [3, 4, 2]\nunits = [5, 4]\nepochs = 3\nbatch = 24\n[loss]\nunit = 20.0\nlower = 0.05\nperceptual = 0.7\ndivergence = 0.9\nbernoulli = 1.1\n[condition]\nnames = ['signal', 'jet_pt']\n[train]\nepochs = 3\nbatch = 24\nlearning_rate = 1e-2\nvalidation = 0.2\n";

fn dataset() -> Dataset {
    let random = synthetic::images(SIDE, SIDE, COUNT, 5, 0.3).unwrap();
    let mut images = SparseImages::new(SIDE, SIDE).unwrap();
    for (i, (index, value)) in random.iter().enumerate() {
        let factor = (1 + i % 2) as f32;
        images.push(index.iter().zip(value).map(|(p, v)| (*p, factor * v)));
    }
    let column = |f: fn(usize) -> f32| (0..COUNT).map(f).collect::<Vec<f32>>();
    Dataset {
        columns: BTreeMap::from([
            ("sum".to_string(), images.totals()),
            ("signal".to_string(), column(|i| (i % 2) as f32)),
            ("jet_pt".to_string(), column(|i| 250.0 + (i % 17) as f32)),
        ]),
        images,
        rows: (0..COUNT as u64).collect(),
        ..Dataset::default()
    }
}

fn plan(config: &str, out: &Path) -> TrainPlan {
    let config = families::configuration(config).unwrap();
    TrainPlan::new(config, dataset(), out)
}

fn trained(config: &str, threads: usize, out: &Path) -> Summary {
    train(
        &Devices::cpu(threads).unwrap(),
        plan(config, out),
        &mut Silent,
    )
    .unwrap()
}

/// The images, and their conditions as `model` wants them.
fn conditioned(checkpoint: &Checkpoint) -> Arc<ConditionedImages> {
    let Dataset {
        images, columns, ..
    } = dataset();
    let told = checkpoint.model.conditions();
    let rows = (0..COUNT).flat_map(|row| {
        let values = told.names.iter().map(|name| columns[name][row]);
        let standard: Vec<f32> = values
            .enumerate()
            .map(|(i, v)| told.standardise(i, v))
            .collect();
        standard
    });
    Arc::new(ConditionedImages {
        conditions: Conditions::new(told.names.len(), rows.collect())
            .with_total(told.total_over(SIDE * SIDE)),
        images,
    })
}

fn numpy(model: &Path, words: &[&str]) -> Vec<f64> {
    let output = Command::new(python())
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/vae.py"))
        .arg(model)
        .args(words)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{error}\n`make setup` installs the numpy that this test needs"
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers = text.split([',', '\n']).filter(|word| !word.is_empty());
    numbers.map(|word| word.parse().unwrap()).collect()
}

#[test]
fn loss_and_images_are_those_of_the_numpy_program() {
    let lab = tempfile::tempdir().unwrap();
    let devices = Devices::cpu(2).unwrap();
    let dense = {
        let images = dataset().images;
        let mut all = vec![0.0; COUNT * SIDE * SIDE];
        for (i, image) in all.chunks_exact_mut(SIDE * SIDE).enumerate() {
            images.dense_into(i, image);
        }
        all.into_iter().map(f64::from).collect::<Vec<_>>()
    };
    let columns = dataset().columns;
    let files = ["images.npy", "given.npy"].map(|name| lab.path().join(name));
    std::fs::write(&files[0], npy(&[COUNT, SIDE, SIDE], &dense)).unwrap();
    let [images, conditions] = files.each_ref().map(|file| file.to_str().unwrap());

    for (name, weight, told) in [
        ("with", "0.7", vec!["signal", "jet_pt"]),
        ("without", "0.0", vec!["signal", "jet_pt"]),
        ("told nothing", "0.0", vec![]),
    ] {
        let config = CONFIG.replace("perceptual = 0.7", &format!("perceptual = {weight}"));
        let config = config.replace("['signal', 'jet_pt']", &format!("{told:?}"));
        let given: Vec<f64> = (0..COUNT)
            .flat_map(|row| told.iter().map(move |name| (name, row)))
            .map(|(name, row)| f64::from(columns[*name][row]))
            .collect();
        std::fs::write(&files[1], npy(&[COUNT, told.len()], &given)).unwrap();
        let summary = trained(&config, 2, &lab.path().join(name));
        let checkpoint = Checkpoint::read(&summary.model).unwrap();
        let data = conditioned(&checkpoint);
        let rows: Vec<u32> = (0..COUNT as u32).collect();
        let mut trainer = checkpoint
            .model
            .trainer(&devices, Arc::clone(&data))
            .unwrap();
        let found = trainer.nll(&rows).unwrap();
        let terms = trainer.take_terms();
        // However the images are shared out among calls.
        let mut pieces = trainer.nll(&rows[..37]).unwrap();
        pieces.extend(trainer.nll(&rows[37..]).unwrap());
        assert_eq!(found, pieces);
        assert_eq!(trainer.take_terms(), terms);
        assert!(trainer.take_terms().is_empty());
        let (sum, mean) = (
            terms.iter().map(|(_, term)| term).sum::<f64>(),
            found.iter().sum::<f64>() / COUNT as f64,
        );
        assert!((sum - mean).abs() < 1e-9 * mean, "{terms:?} {mean}");
        let said = numpy(&summary.model, &["loss", images, conditions]);
        let (terms, _) = said.as_chunks::<4>();
        assert_eq!(terms.len(), COUNT);
        for (found, [perceptual, divergence, bernoulli, loss]) in found.iter().zip(terms) {
            assert!(
                (found - loss).abs() < 2e-5 * loss.abs(),
                "{name}: {found} {loss}"
            );
            assert!(*divergence > 0.0 && *bernoulli > 0.0);
            assert_eq!(*perceptual > 0.0, name == "with");
        }
        // A step's numbers are of other noise, and of the same size.
        let step = trainer.steps(&rows, COUNT, 0.0.into()).unwrap()[0];
        let mean = found.iter().sum::<f64>() / COUNT as f64;
        assert!((step - mean).abs() < 0.2 * mean, "{step} {mean}");

        let plan = SamplingPlan {
            seed: (3 << 32) + 9,
            conditions: Conditions::new(told.len(), data.conditions.row(1).to_vec()),
            ..SamplingPlan::default()
        };
        let mut sampler = checkpoint.model.sampler(&devices, &plan).unwrap();
        let drawn = sampler.sample(0, 23).unwrap();
        let seed = plan.seed.to_string();
        let mut words = vec!["draw", "23", "--seed", &seed, "--given"];
        words.extend(["1", "251"].iter().take(told.len()));
        let said = numpy(&summary.model, &words);
        assert_eq!(said.len(), 23 * SIDE * SIDE);
        let mut image = vec![0.0; SIDE * SIDE];
        for (i, want) in said.chunks_exact(SIDE * SIDE).enumerate() {
            drawn.dense_into(i, &mut image);
            for (found, want) in image.iter().zip(want) {
                // What lies at the lower end may be on either side of it.
                let near = (want - 0.05).abs().min((f64::from(*found) - 0.05).abs()) < 1e-4;
                assert!(
                    near || (f64::from(*found) - want).abs() < 2e-5 * want.max(1.0),
                    "{found} {want}"
                );
            }
        }
        assert!(drawn.nonzeros() > 23, "{}", drawn.nonzeros());
    }
}

/// The images and their conditions, the first of class, pT and sum, as files for the numpy program.
fn write_arrays(folder: &Path, told: usize) -> [String; 2] {
    let data = dataset();
    let mut dense = vec![0.0; COUNT * SIDE * SIDE];
    for (i, image) in dense.chunks_exact_mut(SIDE * SIDE).enumerate() {
        data.images.dense_into(i, image);
    }
    let dense: Vec<f64> = dense.into_iter().map(f64::from).collect();
    let columns = ["signal", "jet_pt", "sum"].map(|name| &data.columns[name]);
    let given: Vec<f64> = (0..COUNT)
        .flat_map(|row| {
            columns[..told]
                .iter()
                .map(move |column| f64::from(column[row]))
        })
        .collect();
    let files = ["images.npy", "given.npy"].map(|name| folder.join(name));
    std::fs::write(&files[0], npy(&[COUNT, SIDE, SIDE], &dense)).unwrap();
    std::fs::write(&files[1], npy(&[COUNT, told], &given)).unwrap();
    files.map(|file| file.to_str().unwrap().to_string())
}

/// A sparse decoder, in either space of a mixture.
fn sparse(space: &str) -> String {
    let config = CONFIG.replace("perceptual = 0.7\n", "perceptual = 0.0\n");
    let config = config.replace(
        "bernoulli = 1.1\n",
        &format!("[likelihood]\nkind = 'dc'\ncomponents = 3\n{space}\n"),
    );
    config.replace("epochs = 3\nbatch", "epochs = 4\nbatch")
}

#[test]
fn sparse_decoders_have_the_bounds_of_the_numpy_program() {
    let lab = tempfile::tempdir().unwrap();
    let devices = Devices::cpu(2).unwrap();
    for (name, space) in [
        ("linear", "unit = 2.0\nupper = 500.0"),
        ("log", "space = 'log'\nunit = 3.0"),
        ("total", "space = 'log'\nunit = 3.0"),
    ] {
        let has_total = name == "total";
        let files = write_arrays(lab.path(), if has_total { 3 } else { 2 });
        let [images, conditions] = files.each_ref().map(String::as_str);
        let told = "names = ['signal', 'jet_pt', 'sum']\ntotal = 'sum'";
        let config = match has_total {
            true => sparse(space).replace("names = ['signal', 'jet_pt']", told),
            false => sparse(space),
        };
        let summary = trained(&config, 2, &lab.path().join(name));
        let history: Vec<f64> = summary.history.iter().map(|m| m.train_nll).collect();
        assert!(history[3] < history[0], "{history:?}");
        let checkpoint = Checkpoint::read(&summary.model).unwrap();
        let model = checkpoint.model.as_ref();
        assert!(model.scorer().is_none());
        let data = conditioned(&checkpoint);
        let rows: Vec<u32> = (0..COUNT as u32).collect();
        let mut trainer = model.trainer(&devices, Arc::clone(&data)).unwrap();
        let found = trainer.nll(&rows).unwrap();
        let said = numpy(&summary.model, &["loss", images, conditions]);
        for (found, [perceptual, divergence, pixels, loss]) in found.iter().zip(said.as_chunks().0)
        {
            assert!(
                (found - loss).abs() < 3e-5 * loss.abs(),
                "{name}: {found} {loss}"
            );
            assert!(*perceptual == 0.0 && *divergence > 0.0 && *pixels != 0.0);
        }
        let bounded = model.bounded().unwrap();
        let all: Vec<u64> = (0..COUNT as u64).collect();
        let bounds = bounded.bounds(&devices, (&data, &all), 7).unwrap();
        let one = Devices::cpu(1).unwrap();
        assert_eq!(bounds, bounded.bounds(&one, (&data, &all), 7).unwrap());
        // Whatever it is scored with.
        let some = ConditionedImages {
            images: data.images.gather(40..50),
            conditions: data.conditions.gather(40..50),
        };
        let of_some = bounded.bounds(&one, (&some, &all[40..50]), 7).unwrap();
        assert_eq!(bounds[40..50], of_some);
        assert!(bounded.bounds(&one, (&some, &all[40..50]), 0).is_err());
        let said = numpy(&summary.model, &["bound", "7", images, conditions]);
        for (found, [evidence, weighted]) in bounds.iter().zip(said.as_chunks().0) {
            let near = |a: f64, b: f64| (a - b).abs() < 3e-5 * b.abs().max(10.0);
            assert!(
                near(found.evidence, *evidence),
                "{name}: {found:?} {evidence}"
            );
            assert!(
                near(found.weighted, *weighted),
                "{name}: {found:?} {weighted}"
            );
            assert!(found.weighted > found.evidence && found.error > 0.0);
        }
        // Zeros are as frequent as in the data, and nothing is beyond the range.
        let plan = SamplingPlan {
            seed: 11,
            conditions: data.conditions.gather(1..2),
            ..SamplingPlan::default()
        };
        let mut sampler = model.sampler(&devices, &plan).unwrap();
        let drawn = sampler.sample(0, 500).unwrap();
        let sum = data.images.totals()[1];
        let words = ["draw", "60", "--seed", "11", "--given", "1", "251"];
        let mut words = words.map(String::from).to_vec();
        words.extend(has_total.then(|| sum.to_string()));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = numpy(&summary.model, &words);
        let mut image = vec![0.0; SIDE * SIDE];
        let mut off = 0;
        for (i, want) in said.chunks_exact(SIDE * SIDE).enumerate() {
            drawn.dense_into(i, &mut image);
            for (found, want) in image.iter().zip(want) {
                let found = f64::from(*found);
                off += usize::from((found - want).abs() > 1e-3 * want.max(0.1));
            }
        }
        // A gate or a component may lie a rounding from its random number.
        assert!(said.len() == 60 * SIDE * SIDE && off <= 3, "{name}: {off}");
        let fraction =
            |images: &SparseImages| images.nonzeros() as f64 / (images.len() * SIDE * SIDE) as f64;
        let (found, want) = (fraction(&drawn), fraction(&data.images));
        // Those of one condition, which with a total says how many there are.
        let most = if has_total { 0.5 } else { 0.1 };
        assert!((found / want - 1.0).abs() < most, "{name}: {found} {want}");
        assert!(model.beyond(&drawn).is_empty(), "{name}");
        let near = |total: f32| (total - sum).abs() < 1e-5 * sum;
        assert!(!has_total || drawn.totals().into_iter().all(near));
    }
}

#[test]
fn codes_say_what_is_drawn() {
    let lab = tempfile::tempdir().unwrap();
    let file = trained(CONFIG, 2, lab.path()).model;
    let checkpoint = Checkpoint::read(&file).unwrap();
    let (model, data) = (checkpoint.model.as_ref(), conditioned(&checkpoint));
    let devices = Devices::cpu(2).unwrap();
    let drawn = |codes: Codes| {
        let plan = SamplingPlan {
            // The same of all, so that only codes tell images apart.
            conditions: Conditions::new(2, data.conditions.row(1).to_vec()),
            codes,
            ..SamplingPlan::default()
        };
        let mut sampler = model.sampler(&devices, &plan)?;
        sampler.sample(0, COUNT)
    };
    let encoder = model.encoder().unwrap();
    assert_eq!(encoder.latents(), 3);
    let codes = encoder.encode(&devices, &data).unwrap();
    let files = write_arrays(lab.path(), 2);
    let said = numpy(&file, &["codes", &files[0], &files[1]]);
    let answers = encoder.classify(&devices, &data).unwrap().unwrap();
    assert_eq!((codes.len(), answers.len()), (COUNT * 6, COUNT));
    // They differ from image to image.
    assert!(answers.iter().any(|x| (x - answers[0]).abs() > 1e-3));
    let found: Vec<f32> = (codes.chunks(6).zip(answers))
        .flat_map(|(code, answer)| [code, &[answer]].concat())
        .collect();
    assert_eq!(said.len(), found.len());
    for (found, want) in found.iter().zip(&said) {
        assert!(
            (f64::from(*found) - want).abs() < 1e-5 * want.abs().max(1.0),
            "{found} {want}"
        );
    }
    // An image is made of its row's code, whatever its number.
    let means: Vec<f32> = codes
        .chunks_exact(6)
        .flat_map(|code| code[..3].to_vec())
        .collect();
    let made = drawn(Codes::Rows(means.clone().into())).unwrap();
    let moved = drawn(Codes::Rows([&means[6..], &means[..6]].concat().into())).unwrap();
    assert!(made.gather(2..COUNT) == moved.gather(0..COUNT - 2));
    assert!(made.gather(1..COUNT) != moved.gather(0..COUNT - 1));
    // Bounds of one number change the images; bounds that say nothing do not.
    let number = 1;
    let between = |low: f64, high: f64| {
        let latent = Latent { number, low, high };
        drawn(Codes::Drawn(vec![latent])).unwrap()
    };
    let plain = drawn(Codes::default()).unwrap();
    assert!(between(f64::NEG_INFINITY, f64::INFINITY) == plain);
    assert!(between(1.0, 2.0) != plain);
    // Codes of another model are refused.
    let zeros = vec![0.0; 4];
    let line = |ends| Codes::Line { ends, images: 0..9 };
    for codes in [
        Codes::Rows(zeros.clone().into()),
        Codes::Rows(Vec::new().into()),
        line([zeros.clone(), zeros]),
        Codes::Drawn(vec![Latent {
            number: 3,
            low: 0.0,
            high: 1.0,
        }]),
    ] {
        let error = drawn(codes.clone()).unwrap_err().to_string();
        assert!(error.contains("3 numbers"), "{codes:?}: {error}");
    }
}

#[test]
fn an_image_is_the_same_in_any_company() {
    let lab = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::read(&trained(CONFIG, 2, lab.path()).model).unwrap();
    let conditions = conditioned(&checkpoint).conditions.clone();
    let drawn = |threads: usize, pieces: &[(u64, usize)]| {
        let plan = SamplingPlan {
            seed: 4,
            conditions: conditions.clone(),
            ..SamplingPlan::default()
        };
        let devices = Devices::cpu(threads).unwrap();
        let mut sampler = checkpoint.model.sampler(&devices, &plan).unwrap();
        let mut all = SparseImages::new(SIDE, SIDE).unwrap();
        for (first, count) in pieces {
            all.extend(&sampler.sample(*first, *count).unwrap());
        }
        all
    };
    let whole = drawn(2, &[(0, 137)]);
    assert!(whole == drawn(1, &[(0, 1), (1, 12), (13, 0), (13, 124)]));
    assert!(drawn(3, &[(77, 50)]) == whole.gather(77..127));
    // Codes differ: so do images.
    let all: std::collections::BTreeSet<Vec<u32>> = whole
        .iter()
        .map(|(_, values)| values.iter().map(|v| v.to_bits()).collect())
        .collect();
    assert!(all.len() > 130, "{}", all.len());
}

/// Stops when asked so often.
struct Stops(usize);

impl Observer for Stops {
    fn stops(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 == 0
    }
}

#[test]
fn training_is_the_same_on_any_threads_and_however_interrupted() {
    let lab = tempfile::tempdir().unwrap();
    let out = |name: &str| lab.path().join(name);
    let whole = trained(CONFIG, 2, &out("whole"));
    let history: Vec<f64> = whole.history.iter().map(|m| m.train_nll).collect();
    assert!(history[2] < 0.95 * history[0], "{history:?}");
    let metrics = std::fs::read_to_string(out("whole").join("metrics.csv")).unwrap();
    let (head, rows) = metrics.split_once('\n').unwrap();
    assert!(
        head.ends_with(",validation_perceptual,validation_divergence,validation_bernoulli"),
        "{head}"
    );
    assert!(
        rows.lines().all(|row| row.split(',').count() == 10),
        "{rows}"
    );
    let bytes = |name: &str| std::fs::read(out(name).join("model.safetensors")).unwrap();
    trained(CONFIG, 3, &out("threads"));
    assert!(bytes("whole") == bytes("threads"));
    let mut interrupted = 0;
    loop {
        let mut plan = plan(CONFIG, &out("pieces"));
        plan.resume = true;
        let summary = train(&Devices::cpu(1).unwrap(), plan, &mut Stops(4)).unwrap();
        match summary.ending {
            Ending::Interrupted => interrupted += 1,
            _ => break,
        }
    }
    assert!(interrupted >= 2, "{interrupted}");
    assert!(bytes("whole") == bytes("pieces"));
    // The classifier stays as it was before the first epoch.
    let one = CONFIG.replace("[train]\nepochs = 3", "[train]\nepochs = 1");
    let [early, late] = [trained(&one, 1, &out("one")).model, whole.model]
        .map(|file| Checkpoint::read(&file).unwrap().model);
    let pairs = early.parameters().iter().zip(late.parameters());
    for (tensor, (early, late)) in early.tensors().iter().zip(pairs) {
        let stays = tensor.name.starts_with("features") || tensor.name.starts_with("head");
        assert_eq!(early == late, stays, "{}", tensor.name);
    }
}

#[test]
fn what_it_cannot_learn_from_is_refused() {
    let lab = tempfile::tempdir().unwrap();
    let devices = Devices::cpu(1).unwrap();
    let refused = |dataset: Dataset| -> TrainError {
        let config = families::configuration(CONFIG).unwrap();
        let plan = TrainPlan::new(config, dataset, lab.path().join("run"));
        train(&devices, plan, &mut Silent).unwrap_err()
    };
    let mut one_class = dataset();
    one_class.columns.insert("signal".into(), vec![1.0; COUNT]);
    let error = refused(one_class).to_string();
    assert!(error.contains("'signal' has not two values"), "{error}");
    let wide = Dataset {
        images: synthetic::images(9, 12, COUNT, 1, 0.3).unwrap(),
        ..dataset()
    };
    let error = refused(wide).to_string();
    assert!(error.contains("one more than a multiple of 4"), "{error}");
    let told = |config: &str| {
        let told = "names = ['signal', 'sum']\ntotal = 'sum'";
        config.replace("names = ['signal', 'jet_pt']", told)
    };
    let misread = |config: &str| families::configuration(config).err().unwrap().to_string();
    let error = misread(&told(CONFIG));
    assert!(
        error.contains("a plain decoder add up to no number"),
        "{error}"
    );
    let limited = told(&sparse("unit = 2.0\nupper = 500.0"));
    let error = misread(&limited);
    assert!(error.contains("beyond any upper end"), "{error}");
    assert!(!lab.path().join("run").exists());
}
