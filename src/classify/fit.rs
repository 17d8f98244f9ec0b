//! Training a classifier: epochs, the best one by validation, scores.

use std::time::Instant;

use candle_core::{Result, Tensor};

use super::adam::Adam;
use super::input::Labelled;
use super::network::Classifier;
use super::{ClassifyError, Options, Stream, score};
use crate::random::{Purpose, permutation};

/// What a finished epoch of a training found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    /// Which training of the test: what is told from what, on which images.
    pub training: &'static str,
    /// Counted from 1.
    pub epoch: usize,
    /// Epochs that there may be.
    pub epochs: usize,
    /// Mean binary cross entropy in nats over the epoch's steps; `ln 2` is guessing.
    pub loss: f64,
    /// Area under the ROC curve of the validation images.
    pub validation_auc: f64,
    /// Whether it is the best so far.
    pub best: bool,
    /// Training images per second.
    pub images_per_second: f64,
}

/// Told of every finished epoch.
pub type Progress<'a> = &'a mut dyn FnMut(&Epoch);

/// A trained classifier.
pub(super) struct Fitted {
    classifier: Classifier,
    /// Epochs trained.
    pub epochs: usize,
    /// Whose parameters were kept, counted from 1.
    pub best_epoch: usize,
}

/// Which training it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub name: &'static str,
    /// Keeps the random numbers of trainings apart.
    pub number: u32,
}

/// Images scored at once.
const SCORED: usize = 256;
/// Draws of first parameters before a network without an answer is accepted as it is.
const ATTEMPTS: u32 = 8;

/// Mean binary cross entropy in nats of `logits [images]`, stable for any of them.
pub(super) fn loss(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let tail = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
    ((logits.relu()? - (logits * labels)?)? + tail)?.mean_all()
}

/// Train on `train`, keep the epoch with the best AUC on `validation`.
pub(super) fn fit(
    train: &Labelled,
    validation: &Labelled,
    run: Run,
    options: &Options,
    progress: Progress,
) -> std::result::Result<Fitted, ClassifyError> {
    let mut attempt = 0;
    loop {
        let classifier = start(train, run, options, attempt)?;
        attempt += 1;
        let last = attempt == ATTEMPTS;
        // The paper's last convolution has one filter. Once its ReLU is off for every image nothing can be learnt: that
        // may be so from the start, or after the first steps.
        if !last && !answers(&classifier, train, run, options)? {
            continue;
        }
        let trained = Training {
            run,
            options,
            train,
            validation,
            last,
        };
        if let Some(fitted) = trained.epochs(classifier, progress)? {
            return Ok(fitted);
        }
    }
}

struct Training<'a> {
    run: Run,
    options: &'a Options,
    train: &'a Labelled<'a>,
    validation: &'a Labelled<'a>,
    /// Whether a network that gives every image the same score is accepted.
    last: bool,
}

impl Training<'_> {
    /// `None`: after the first epoch all images score the same.
    fn epochs(
        &self,
        classifier: Classifier,
        progress: &mut dyn FnMut(&Epoch),
    ) -> std::result::Result<Option<Fitted>, ClassifyError> {
        let Self {
            run,
            options,
            train,
            validation,
            last,
        } = *self;
        let mut adam = Adam::new(&classifier.parameters, options.learning_rate);
        let labels = validation.labels();
        let mut best: Option<(usize, f64, Vec<Tensor>)> = None;
        let mut epochs = 0;
        for epoch in 1..=options.epochs {
            let clock = Instant::now();
            let diverged = || ClassifyError::Diverged {
                training: run.name,
                epoch,
            };
            let mut sum = 0.0;
            for places in shuffled(train, run, options, epoch).chunks(options.batch) {
                let (x, y) = train.batch(places)?;
                let loss = loss(&classifier.logits(&x)?, &y)?;
                sum += f64::from(loss.to_scalar::<f32>()?) * places.len() as f64;
                adam.step(&loss.backward()?)?;
            }
            let loss = sum / train.len() as f64;
            let rate = train.len() as f64 / clock.elapsed().as_secs_f64();
            if !loss.is_finite() {
                return Err(diverged());
            }
            let scores = scores(&classifier, validation)?;
            // A score that is no number has no place in a ranking.
            let auc = score::auc(&scores, &labels).ok_or_else(diverged)?.value;
            if epoch == 1 && !last && scores.iter().all(|s| *s == scores[0]) {
                return Ok(None);
            }
            let better = best.as_ref().is_none_or(|(_, b, _)| auc > *b);
            if better {
                let kept = classifier.parameters.iter().map(|p| p.as_tensor().copy());
                best = Some((epoch, auc, kept.collect::<Result<_>>()?));
            }
            progress(&Epoch {
                training: run.name,
                epoch,
                epochs: options.epochs,
                loss,
                validation_auc: auc,
                best: better,
                images_per_second: rate,
            });
            epochs = epoch;
            let since = best.as_ref().map_or(0, |(b, ..)| epoch - b);
            if options.patience > 0 && since >= options.patience {
                break;
            }
        }
        let mut best_epoch = 0;
        if let Some((epoch, _, kept)) = best {
            best_epoch = epoch;
            for (parameter, kept) in classifier.parameters.iter().zip(&kept) {
                parameter.set(kept)?;
            }
        }
        Ok(Some(Fitted {
            classifier,
            epochs,
            best_epoch,
        }))
    }
}

fn shuffled(train: &Labelled, run: Run, options: &Options, epoch: usize) -> Vec<u32> {
    let item = Stream::Shuffle.item(run.number, epoch as u32);
    permutation(options.seed, Purpose::Classify, item, train.len())
}

/// An untrained classifier whose scores are centred: else the first steps pull all of them to 0, which switches the ReLU of
/// a single filter off for good.
fn start(
    train: &Labelled,
    run: Run,
    options: &Options,
    attempt: u32,
) -> std::result::Result<Classifier, ClassifyError> {
    let size = train.size();
    let found = Classifier::new(options.network, size, options.seed, run.number, attempt)?;
    let classifier = found.ok_or(ClassifyError::TooSmall {
        height: size.height,
        width: size.width,
    })?;
    let scores = classifier.logits(&train.batch(&few(train, run, options))?.0)?;
    if let Some(bias) = classifier.parameters.last() {
        bias.set(&(bias.as_tensor() - scores.mean(0)?.reshape(1)?)?)?;
    }
    Ok(classifier)
}

/// Some training images, to look at an untrained network by.
fn few(train: &Labelled, run: Run, options: &Options) -> Vec<u32> {
    let mut places = shuffled(train, run, options, 0);
    places.truncate(SCORED);
    places
}

/// Whether most of a few training images score differently.
fn answers(classifier: &Classifier, train: &Labelled, run: Run, options: &Options) -> Result<bool> {
    let few = few(train, run, options);
    let scores = classifier.logits(&train.batch(&few)?.0)?.to_vec1::<f32>()?;
    let different = scores.iter().filter(|s| **s != scores[0]).count();
    Ok(different > few.len() / 2)
}

/// A score for each image, larger for the positive class.
fn scores(classifier: &Classifier, images: &Labelled) -> Result<Vec<f32>> {
    let places: Vec<u32> = (0..images.len() as u32).collect();
    let mut scores = Vec::with_capacity(places.len());
    for places in places.chunks(SCORED) {
        scores.extend(
            classifier
                .logits(&images.batch(places)?.0)?
                .to_vec1::<f32>()?,
        );
    }
    Ok(scores)
}

impl Fitted {
    /// A score for each image, larger for the positive class.
    pub fn scores(&self, images: &Labelled) -> Result<Vec<f32>> {
        scores(&self.classifier, images)
    }
}
