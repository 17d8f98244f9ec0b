//! Refining a trained model: towards what classifiers still tell its images from true ones by.
//!
//! A network is trained on pixels, one after the other; what comes out wrong are numbers over all of them, such as the mass or how
//! many are hit. Boosted trees see those. So, round by round: draw as many images as there are, under their conditions; let
//! trees estimate how much likelier each is in truth ([`ratios`](crate::classify::ratios)); go on training on the true images and on the generated
//! ones, which count by these ratios and so stand for further true images. After that the trees' next judgement is a harder one.
//! The idea of weighting by a classifier is that of Butter et al. (arXiv:2110.13632) for normalising flows; here the weighted
//! images are the model's own, and only the parameters change: likelihood and drawing stay exact.

mod round;

use std::path::{Path, PathBuf};

use crate::checkpoint::{CheckpointError, Refined, RefinedRound, ToldApart};
use crate::data::{DataError, Dataset, FileOptions, ReadOptions, Selection};
use crate::device::Devices;
use crate::family::{EngineError, TrainConfig};
use crate::physics::{DEFAULT_RANGE, GeometryError};
use crate::prior::Prior;
use crate::run::Checkpoint;
use crate::run::checkpoint::save;
use crate::run::dataset::{DatasetError, read_for};
use crate::run::lock::Lock;
use crate::run::train::TrainError;
use round::Refining;

/// The fewest images to refine with.
pub const LEAST: usize = 1000;

/// Which true images to refine with.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The files, treated as one.
    pub data: Vec<PathBuf>,
    /// Which of their rows.
    pub select: Vec<Selection>,
    /// Only so many of the selected images.
    pub limit: Option<usize>,
    /// What the files do not say of themselves.
    pub file: FileOptions,
}

/// How to refine.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Times that images are drawn, judged and trained on.
    pub rounds: usize,
    /// Adam's step size in the first round; it falls along half a cosine.
    pub learning_rate: f64,
    /// Images of a step.
    pub batch: usize,
    /// Seed of the generated images, of the order of all, and of which are held out.
    pub seed: u64,
    /// Fraction of the images held out.
    pub validation: f64,
    /// A column of the data: images for which it holds the same number are held out together.
    pub group: Option<String>,
    /// Half-width of the images in eta and phi.
    pub range: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rounds: 12,
            learning_rate: 5e-4,
            batch: 128,
            // Those of a training that says nothing else: the same images are held out.
            seed: TrainConfig::default().seed,
            validation: TrainConfig::default().validation,
            group: None,
            range: DEFAULT_RANGE,
        }
    }
}

/// Why a model could not be refined.
#[derive(Debug, thiserror::Error)]
pub enum RefineError {
    /// Too few images to learn from.
    #[error(
        "{images} images besides those held out are too few to refine with; give at least {LEAST}"
    )]
    TooFew {
        /// How many there are besides those held out.
        images: usize,
    },
    /// A family that has no likelihood.
    #[error("models of the family '{0}' have no exact likelihood; refine a SARM")]
    NoLikelihood(&'static str),
    /// A device that trains on images of equal weight alone.
    #[error(
        "models are refined on the processor alone (its images have weights, which a card does not train with); pass --device cpu"
    )]
    OnCard,
    /// A file that does not hold what a resumed refining needs.
    #[error("cannot resume with '{}' ({what}); give the same options and files, or --force instead of --resume to start over", path.display())]
    Other {
        /// The output.
        path: PathBuf,
        /// What is different.
        what: String,
    },
    /// Somebody else writes the output.
    #[error("another process is refining into '{}'; wait for it or choose another file", .0.display())]
    Busy(PathBuf),
    /// The likelihood is no number any more, or far worse than it was.
    #[error(
        "the likelihood was lost in round {round} (NLL {nll:.1} nats/image); start again with a lower learning rate (it was {rate})"
    )]
    Diverged {
        /// Counted from 1.
        round: usize,
        /// Nats per image, of a step or of the images held out.
        nll: f64,
        /// The step size.
        rate: f64,
    },
    /// The files.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Images or conditions that are not the model's.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// What is held out.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The range.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The output.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The device.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What a round found and did.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Round {
    /// Counted from 1.
    pub round: usize,
    /// What the model's record keeps of it.
    #[serde(flatten)]
    pub record: RefinedRound,
    /// Wall time in seconds.
    pub seconds: f64,
}

/// Told of progress.
pub trait Observer {
    /// It begins, or goes on, with `round` rounds done, on `images` images, `held` of them held out; `nll` is their mean NLL.
    fn start(&mut self, _images: [usize; 2], _round: usize, _nll: Option<f64>) {}
    /// `done` of the images of a round (drawn, judged and trained on, in that order) are. After the last round images are drawn
    /// and judged once more.
    fn step(&mut self, _round: usize, _doing: Doing, _images: usize) {}
    /// A round ended, its model is saved.
    fn round(&mut self, _round: &Round) {}
    /// Asked every few seconds, but not while trees grow (half a minute for 100 000 images): whether to end; what the last whole
    /// round gave is there.
    fn stops(&mut self) -> bool {
        false
    }
}

/// A part of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Images are drawn.
    Drawing,
    /// Trees learn to tell them from truth.
    Judging,
    /// The model is trained.
    Training,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Summary {
    /// The rounds of this run.
    pub rounds: Vec<Round>,
    /// Rounds done in all; fewer than asked for where the observer asked to stop.
    pub done: usize,
    /// How well the refined model's images are told from truth; `None` where the observer asked to stop before that was known.
    pub after: Option<ToldApart>,
}

/// The images that `request` names, with the columns that refining `checkpoint` needs.
///
/// # Errors
/// A model without a likelihood; devices that cannot train with weights; a file that cannot be read.
pub fn read(
    checkpoint: &Checkpoint,
    devices: &Devices,
    request: &Request,
    options: &Options,
) -> Result<Dataset, RefineError> {
    if checkpoint.model.scorer().is_none() {
        return Err(RefineError::NoLikelihood(checkpoint.model.family()));
    }
    if matches!(devices, Devices::Cards(_)) {
        return Err(RefineError::OnCard);
    }
    let conditions = checkpoint.model.conditions();
    let mut dataset = read_for(
        checkpoint,
        &request.data,
        ReadOptions {
            selections: request.select.clone(),
            columns: conditions.read().chain(&options.group).cloned().collect(),
            limit: request.limit,
            file: request.file.clone(),
            ..ReadOptions::default()
        },
    )?;
    let lacking = (checkpoint.prior.as_ref()).and_then(|prior| lacking(prior, &dataset));
    dataset.about.warnings.extend(lacking);
    Ok(dataset)
}

/// What to say where classes that the model was trained on are not among the images.
fn lacking(prior: &Prior, dataset: &Dataset) -> Option<String> {
    let names = &prior.labels.names;
    let columns: Option<Vec<&Vec<f32>>> = names.iter().map(|n| dataset.columns.get(n)).collect();
    let columns = columns?;
    let there = |values: &Vec<f32>| {
        (0..dataset.images.len()).any(|row| {
            (columns.iter().zip(values)).all(|(column, value)| column.get(row) == Some(value))
        })
    };
    let lacking: Vec<String> = (prior.labels.values.iter())
        .filter(|values| !there(values))
        .map(|values| {
            let each = names.iter().zip(values).map(|(n, v)| format!("{n} = {v}"));
            each.collect::<Vec<_>>().join(", ")
        })
        .collect();
    (!lacking.is_empty()).then(|| {
        format!(
            "the model was trained on images with {}, of which there are none here: what it has learnt of these may be lost",
            lacking.join(" and on images with ")
        )
    })
}

/// Refine `checkpoint` with the images of `dataset`, which `request` names, into the file `out`: after each round it holds the
/// model.
///
/// With `resume`, a file that such a run has left goes on, and ends in the same bits as a run that was not interrupted.
///
/// # Errors
/// See [`RefineError`].
pub fn refine(
    devices: &Devices,
    checkpoint: Checkpoint,
    (dataset, request): (Dataset, &Request),
    options: &Options,
    (out, resume): (&Path, bool),
    observer: &mut dyn Observer,
) -> Result<Summary, RefineError> {
    let mut path = out.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let lock = Lock::take(path.clone()).map_err(|source| CheckpointError::Io {
        action: "create",
        path,
        source,
    })?;
    let Some(_lock) = lock else {
        return Err(RefineError::Busy(out.into()));
    };
    let mut refining = Refining::new(devices, checkpoint.model, dataset, options)?;
    let mut so_far = Refined {
        data: (request.data.iter())
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>()
            .join(", "),
        select: request.select.iter().map(ToString::to_string).collect(),
        images: refining.images(),
        model_sha256: checkpoint.sha256,
        data_checksum: refining.checksum(),
        rounds: [0, options.rounds],
        learning_rate: options.learning_rate,
        batch: options.batch,
        seed: options.seed,
        range: options.range,
        validation_nll_before: refining.nll()?,
        history: Vec::new(),
        after: None,
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let mut record = checkpoint.record;
    let start_nll = so_far.validation_nll_before;
    if record.refined.is_none() && record.images[1] == 0 && start_nll.is_some() {
        log::warn!(
            "the model was trained with validation = 0, perhaps on the images that are held out now (their likelihood is then none of unseen images); judge by other images"
        );
    }
    if resume && out.exists() {
        let there = Checkpoint::read(out)?;
        so_far = gone_on_with(&there, &so_far, out)?;
        refining.set_parameters(there.model.parameters().to_vec());
        record = there.record;
    }
    observer.start(refining.images(), so_far.rounds[0], start_nll);
    let mut rounds = Vec::new();
    while so_far.rounds[0] < options.rounds {
        let Some(round) = refining.round(so_far.rounds[0], start_nll, observer)? else {
            break;
        };
        so_far.rounds[0] += 1;
        so_far.history.push(round.record);
        record.refined = Some(so_far.clone());
        record.validation_nll = round.record.validation_nll;
        save(out, refining.model(), checkpoint.prior.as_ref(), &record)?;
        observer.round(&round);
        rounds.push(round);
    }
    if so_far.rounds[0] == options.rounds && so_far.after.is_none() {
        so_far.after = refining.told_apart(observer)?;
        record.refined = Some(so_far.clone());
        save(out, refining.model(), checkpoint.prior.as_ref(), &record)?;
    }
    Ok(Summary {
        rounds,
        done: so_far.rounds[0],
        after: so_far.after,
    })
}

/// What the model `there` has behind it, if it comes from a run as the one that is `asked` for.
fn gone_on_with(there: &Checkpoint, asked: &Refined, out: &Path) -> Result<Refined, RefineError> {
    let other = |what: &str| RefineError::Other {
        path: out.into(),
        what: what.into(),
    };
    let Some(found) = &there.record.refined else {
        return Err(other("it was not refined"));
    };
    let differ = [
        (
            found.model_sha256 != asked.model_sha256,
            "it comes from another --model",
        ),
        (found.rounds[1] != asked.rounds[1], "--rounds was another"),
        (
            found.learning_rate != asked.learning_rate,
            "--learning-rate was another",
        ),
        (found.batch != asked.batch, "--batch was another"),
        (found.seed != asked.seed, "--seed was another"),
        (found.range != asked.range, "--range was another"),
        (
            found.data_checksum != asked.data_checksum,
            "the images were others, or others of them were held out",
        ),
    ];
    let differ: Vec<&str> = (differ.into_iter())
        .filter_map(|(differs, what)| differs.then_some(what))
        .collect();
    let [done, of] = found.rounds;
    if done > of || found.history.len() > done || (found.after.is_some() && done < of) {
        return Err(other("its record contradicts itself"));
    }
    match differ.is_empty() {
        true => Ok(found.clone()),
        false => Err(other(&differ.join(", "))),
    }
}
