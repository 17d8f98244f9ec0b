//! Refining a model: it comes closer to what trees see, the same bits however often it is interrupted.

use std::collections::BTreeMap;
use std::path::Path;

use sarm::data::{Dataset, SparseImages};
use sarm::device::Devices;
use sarm::families::sarm::Config;
use sarm::family::Configuration;
use sarm::random::{Purpose, permutation, unit_f64, words};
use sarm::run::Checkpoint;
use sarm::run::refine::{Observer, Options, RefineError, Request, Round, Summary, refine};
use sarm::run::train::{Silent, TrainPlan, train};

const SIDE: usize = 5;

/// Images in which about eight pixels are hit, more alike in number than by chance: no pixel says it, all of them do.
fn images(count: usize, seed: u64) -> Dataset {
    let mut images = SparseImages::new(SIDE, SIDE).unwrap();
    for i in 0..count {
        let order = permutation(seed, Purpose::Synthetic, i as u32, SIDE * SIDE);
        let chance = |k: u32| {
            let w = words(seed, Purpose::Synthetic, i as u64, (1 << 31) + k);
            unit_f64(w[0], w[1])
        };
        let hit = 5 + (4.0 * chance(0)) as usize + (4.0 * chance(20)) as usize;
        let mut pixels: Vec<u16> = order[..hit].iter().map(|p| *p as u16).collect();
        pixels.sort_unstable();
        // A logistic, which one component is.
        let value = |k| {
            let u = chance(30 + k);
            (6.0 + (u / (1.0 - u)).ln()).max(0.1) as f32
        };
        images.push((0u32..).zip(pixels).map(|(k, p)| (p, value(k))));
    }
    Dataset {
        images,
        columns: BTreeMap::from([(
            "signal".to_string(),
            (0..count).map(|i| (i % 2) as f32).collect(),
        )]),
        rows: (0..count as u64).collect(),
        ..Dataset::default()
    }
}

/// A model that has not learnt all of it.
fn trained(directory: &Path, likelihood: &str) -> Checkpoint {
    let text = format!(
        "[[stage]]\nunits_per_pixel = 3\nlayers = 1\n[likelihood]\n{likelihood}\n[condition]\nnames = [\"signal\"]\n[train]\nepochs = 6\nbatch = 64\nlearning_rate = 5e-3\n"
    );
    let config: Box<dyn Configuration> = Box::new(Config::parse(&text).unwrap());
    let plan = TrainPlan::new(config, images(4000, 1), directory);
    let summary = train(&Devices::cpu(2).unwrap(), plan, &mut Silent).unwrap();
    Checkpoint::read(&summary.model).unwrap()
}

fn options() -> Options {
    Options {
        rounds: 4,
        learning_rate: 4e-3,
        batch: 64,
        ..Options::default()
    }
}

/// Stops when asked so often.
#[derive(Default)]
struct Patient {
    rounds: Vec<Round>,
    start_nll: Option<f64>,
    asked: usize,
    stops_at: Option<usize>,
}

impl Observer for Patient {
    fn start(&mut self, _: [usize; 2], _: usize, nll: Option<f64>) {
        self.start_nll = nll;
    }
    fn round(&mut self, round: &Round) {
        self.rounds.push(*round);
    }
    fn stops(&mut self) -> bool {
        self.asked += 1;
        self.stops_at.is_some_and(|at| self.asked >= at)
    }
}

fn run(
    checkpoint: Checkpoint,
    threads: usize,
    options: &Options,
    out: &Path,
    observer: &mut Patient,
) -> Result<Summary, RefineError> {
    let devices = Devices::cpu(threads).unwrap();
    refine(
        &devices,
        checkpoint,
        (images(4000, 1), &Request::default()),
        options,
        (out, true),
        observer,
    )
}

#[test]
fn what_trees_see_is_learnt_and_interruptions_change_no_bit() {
    let lab = tempfile::tempdir().unwrap();
    let begin = || Checkpoint::read(&lab.path().join("model.safetensors")).unwrap();
    trained(lab.path(), "kind = \"dc\"\ncomponents = 2");
    let whole = lab.path().join("whole.safetensors");
    let mut observer = Patient::default();
    let summary = run(begin(), 2, &options(), &whole, &mut observer).unwrap();
    assert_eq!((summary.done, summary.rounds.len()), (4, 4));
    let aucs: Vec<f64> = observer
        .rounds
        .iter()
        .map(|r| r.record.before.auc.unwrap())
        .collect();
    // The number of pixels varies too much in the model; the first trees see that, the last less of it.
    assert!(aucs[0] > 0.58, "{aucs:?}");
    assert!(aucs[3] - 0.5 < 0.85 * (aucs[0] - 0.5), "{aucs:?}");
    // The last ones judge what the last round made.
    let after = summary.after.unwrap().auc.unwrap();
    assert!(after - 0.5 < 0.85 * (aucs[0] - 0.5), "{after}");
    let nll = observer.rounds[3].record.validation_nll.unwrap();
    assert!((nll - observer.start_nll.unwrap()).abs() < 0.3, "{nll}");
    let refined = Checkpoint::read(&whole).unwrap();
    let record = refined.record.refined.as_ref().unwrap();
    assert_eq!(record.rounds, [4, 4]);
    assert_eq!(record.model_sha256, begin().sha256);
    assert_eq!(refined.record.validation_nll, Some(nll));

    // Stopped now and then, on other numbers of threads.
    let pieces = lab.path().join("pieces.safetensors");
    let mut stopped = 0;
    for piece in 0.. {
        let mut observer = Patient {
            stops_at: Some(9 + piece),
            ..Patient::default()
        };
        let summary = run(begin(), 1 + piece % 2, &options(), &pieces, &mut observer).unwrap();
        stopped += usize::from(summary.after.is_none());
        if summary.after.is_some() {
            assert_eq!(summary.done, 4);
            break;
        }
    }
    assert!(stopped >= 2, "{stopped}");
    let pieces = Checkpoint::read(&pieces).unwrap();
    assert_eq!(pieces.model.parameters(), refined.model.parameters());
    assert_eq!(pieces.record, refined.record);

    // Another way is not gone on with.
    for (other, what) in [
        (
            Options {
                rounds: 5,
                ..options()
            },
            "--rounds",
        ),
        (
            Options {
                seed: 2,
                ..options()
            },
            "--seed",
        ),
        (
            Options {
                learning_rate: 1e-3,
                ..options()
            },
            "--learning-rate",
        ),
    ] {
        let error = run(begin(), 2, &other, &whole, &mut Patient::default()).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
    let error = run(refined, 2, &options(), &whole, &mut Patient::default()).unwrap_err();
    assert!(error.to_string().contains("--model"), "{error}");
    let plain = lab.path().join("model.safetensors");
    let error = run(begin(), 2, &options(), &plain, &mut Patient::default()).unwrap_err();
    assert!(error.to_string().contains("it was not refined"), "{error}");
}

#[test]
fn models_of_mirror_images_and_totals_are_refined() {
    let lab = tempfile::tempdir().unwrap();
    let text = "[[stage]]\nunits_per_pixel = 3\nlayers = 1\n[likelihood]\nkind = \"dc\"\ncomponents = 2\nspace = \"log\"\nunit = 2.0\n[input]\nleft = 4\n[condition]\nnames = [\"signal\", \"sum\"]\ntotal = \"sum\"\n[symmetry]\nmirror = true\n[train]\nepochs = 2\nbatch = 64\nlearning_rate = 3e-3\n";
    let mut dataset = images(3000, 1);
    dataset
        .columns
        .insert("sum".into(), dataset.images.totals());
    let config: Box<dyn Configuration> = Box::new(Config::parse(text).unwrap());
    let devices = Devices::cpu(2).unwrap();
    let plan = TrainPlan::new(config, dataset.clone(), lab.path());
    let summary = train(&devices, plan, &mut Silent).unwrap();
    let options = Options {
        rounds: 2,
        learning_rate: 1e-3,
        ..options()
    };
    let out = lab.path().join("refined.safetensors");
    let checkpoint = Checkpoint::read(&summary.model).unwrap();
    let mut observer = Patient::default();
    let data = (dataset, &Request::default());
    refine(
        &devices,
        checkpoint,
        data,
        &options,
        (&out, false),
        &mut observer,
    )
    .unwrap();
    // The likelihood before is that of the training: the same images are held out, under their conditions.
    let trained = summary.history[1].validation_nll.unwrap();
    let before = observer.start_nll.unwrap();
    assert!((before - trained).abs() < 1e-6, "{before} {trained}");
    let after = observer.rounds[1].record.validation_nll.unwrap();
    assert!(after < before + 0.2, "{after} {before}");
    let refined = Checkpoint::read(&out).unwrap();
    assert!(refined.prior.is_some());
    assert_eq!(refined.record.refined.unwrap().images, [2850, 150]);
}

#[test]
fn a_grid_is_not_told_by_its_levels() {
    let lab = tempfile::tempdir().unwrap();
    let checkpoint = trained(
        lab.path(),
        "kind = \"dd\"\nlevels = 20\nlatents = 4\npower = 1.0",
    );
    let options = Options {
        rounds: 1,
        ..options()
    };
    let mut observer = Patient::default();
    let out = lab.path().join("refined.safetensors");
    run(checkpoint, 2, &options, &out, &mut observer).unwrap();
    // Were the true pixels not on the grid, too, no generated image would be taken for a true one.
    let auc = observer.rounds[0].record.before.auc.unwrap();
    assert!(auc < 0.9, "{auc}");
}

#[test]
fn what_cannot_be_refined_is_refused() {
    let lab = tempfile::tempdir().unwrap();
    trained(lab.path(), "kind = \"dc\"\ncomponents = 2\nupper = 30.0");
    let devices = Devices::cpu(1).unwrap();
    let out = lab.path().join("refined.safetensors");
    let refused = |dataset: Dataset, options: &Options| -> String {
        let checkpoint = Checkpoint::read(&lab.path().join("model.safetensors")).unwrap();
        let observer = &mut Patient::default();
        let error = refine(
            &devices,
            checkpoint,
            (dataset, &Request::default()),
            options,
            (&out, false),
            observer,
        );
        error.unwrap_err().to_string()
    };
    let few = refused(images(500, 1), &options());
    assert!(few.contains("too few to refine with"), "{few}");
    let mut far = images(2000, 1);
    far.images.push([(3, 40.0)]);
    far.rows.push(2000);
    far.columns.values_mut().for_each(|c| c.push(0.0));
    let far = refused(far, &options());
    assert!(
        far.contains("likelihood.upper") && far.contains("image 2000"),
        "{far}"
    );
    let none = Dataset {
        columns: BTreeMap::new(),
        ..images(2000, 1)
    };
    let none = refused(none, &options());
    assert!(none.contains("'signal'"), "{none}");
    let wide = Options {
        range: 1e9,
        ..options()
    };
    let wide = refused(images(2000, 1), &wide);
    assert!(wide.contains("half-width"), "{wide}");
    assert!(!out.exists());
}
