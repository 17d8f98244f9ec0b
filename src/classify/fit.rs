//! Training a classifier: epochs, the best one by validation, scores.

use std::time::Instant;

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::input::{Labelled, Scale};
use super::network::Classifier;
use super::{ClassifyError, Options, Stream, score};
use crate::nn::adam::candle::Adam;
use crate::random::{Purpose, permutation};

/// What a finished epoch of a training found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    /// Which training of the test: which classes it separates, on which images.
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
    /// What it knows of images that it has not been trained on.
    pub learnt: Learnt,
}

/// Whether a classifier has learnt anything.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Learnt {
    /// Whether it tells the classes of the validation images apart, or those of the test, by more than three errors of its
    /// AUC. If not, its AUC says nothing of the images: it may be a network that cannot learn.
    #[serde(default = "yes")]
    pub learnt: bool,
    /// The smallest mean binary cross entropy of the validation images after an epoch, nats; `ln 2` is guessing.
    #[serde(default)]
    pub validation_loss: Option<f64>,
}

/// Reports of before did not say.
fn yes() -> bool {
    true
}

/// What is said of a classifier that has learnt nothing ..
const NOTHING: &str = "the classifier has learnt nothing (its loss is ln 2)";
/// .. and what follows.
const NO_EVIDENCE: &str = "its AUC is no evidence of agreement";

impl Learnt {
    /// Also by the AUC of the test.
    pub(super) fn with(self, test: score::Auc) -> Self {
        Self {
            learnt: self.learnt || test.above_chance(),
            ..self
        }
    }

    /// That it has learnt nothing, where it is so.
    pub fn remark(&self) -> Option<String> {
        (!self.learnt).then(|| format!("{NOTHING}: {NO_EVIDENCE}"))
    }
}

/// Mean binary cross entropy of logits in nats, stable for any of them.
pub(super) fn cross_entropy(logits: impl IntoIterator<Item = f64>, labels: &[bool]) -> f64 {
    let each = logits.into_iter().zip(labels).map(|(logit, label)| {
        let missed = if *label { -logit } else { logit };
        missed.max(0.0) + (-missed.abs()).exp().ln_1p()
    });
    each.sum::<f64>() / labels.len().max(1) as f64
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
    let (mut attempt, mut spent) = (0, 0);
    // Until a network tells two images apart they may all be the same.
    let mut alike = true;
    loop {
        let classifier = start(train, run, options, attempt)?;
        attempt += 1;
        // Where there is nothing to learn every attempt may end so: together they take less than three times as long as one.
        let last = attempt == ATTEMPTS || spent >= options.epochs;
        // The paper's last convolution has one filter. Once its ReLU is off for every image nothing can be learnt: that
        // may be so from the start, or after any step.
        let answers = answers(&classifier, train, run, options)?;
        if !last && !answers {
            continue;
        }
        alike &= !answers;
        let trained = Training {
            run,
            options,
            train,
            validation,
            last,
            alike,
        };
        match trained.epochs(classifier, progress)? {
            Ended::Fitted(fitted) => return Ok(fitted),
            Ended::Silent { epochs } => {
                log::info!(
                    "{}: the network gives all images one score after epoch {epochs}, another one is trained",
                    run.name
                );
                spent += epochs;
            }
        }
    }
}

/// How a training ended.
enum Ended {
    Fitted(Fitted),
    /// All images score the same after so many epochs, for good.
    Silent {
        epochs: usize,
    },
}

/// The best epoch so far.
struct Best {
    epoch: usize,
    /// On the validation images.
    auc: f64,
    /// Whether that is above 0.5 by more than its error.
    told_apart: bool,
    /// Whether it is by more than chance.
    above_chance: bool,
    parameters: Vec<Tensor>,
}

struct Training<'a> {
    run: Run,
    options: &'a Options,
    train: &'a Labelled<'a>,
    validation: &'a Labelled<'a>,
    /// Whether there is no other attempt: of a network that comes to give every image the same score, what it was before
    /// is taken, as it is where it had learnt something.
    last: bool,
    /// Whether no untrained network has told any two images apart: one score for all is then the right answer.
    alike: bool,
}

impl Training<'_> {
    fn epochs(
        &self,
        classifier: Classifier,
        progress: &mut dyn FnMut(&Epoch),
    ) -> std::result::Result<Ended, ClassifyError> {
        let Self {
            run,
            options,
            train,
            validation,
            last,
            alike,
        } = *self;
        let mut adam = Adam::new(&classifier.parameters, options.learning_rate);
        let labels = validation.labels();
        let mut best: Option<Best> = None;
        let mut epochs = 0;
        let mut least = f64::INFINITY;
        for epoch in 1..=options.epochs {
            let clock = Instant::now();
            let diverged = || ClassifyError::Diverged {
                training: run.name,
                epoch,
            };
            let mut sum = 0.0;
            for places in shuffled(train, run, options, epoch).chunks(options.batch) {
                let (x, y) = train.batch(places, &classifier.scale)?;
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
            let found = score::auc(&scores, &labels).ok_or_else(diverged)?;
            let auc = found.value;
            least = least.min(cross_entropy(scores.iter().map(|s| f64::from(*s)), &labels));
            let silent = scores.iter().all(|s| *s == scores[0]);
            let told_apart = best.as_ref().is_some_and(|b| b.told_apart);
            if silent && !last && !told_apart {
                return Ok(Ended::Silent { epochs: epoch });
            }
            if silent && best.is_none() && !alike {
                return Err(ClassifyError::Silent { training: run.name });
            }
            // One score for all is an AUC of 0.5 without error: above that of an honest guess half of the time.
            let better = (!silent || alike) && best.as_ref().is_none_or(|b| auc > b.auc);
            if better {
                let kept = classifier.parameters.iter().map(|p| p.as_tensor().copy());
                best = Some(Best {
                    epoch,
                    auc,
                    told_apart: auc - found.error > 0.5,
                    above_chance: found.above_chance(),
                    parameters: kept.collect::<Result<_>>()?,
                });
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
            let since = best.as_ref().map_or(0, |b| epoch - b.epoch);
            if silent || (options.patience > 0 && since >= options.patience) {
                break;
            }
        }
        let (mut best_epoch, mut learnt) = (0, false);
        if let Some(best) = best {
            (best_epoch, learnt) = (best.epoch, best.above_chance);
            for (parameter, kept) in classifier.parameters.iter().zip(&best.parameters) {
                parameter.set(kept)?;
            }
        }
        Ok(Ended::Fitted(Fitted {
            classifier,
            epochs,
            best_epoch,
            learnt: Learnt {
                learnt,
                validation_loss: least.is_finite().then_some(least),
            },
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
    let mut classifier = found.ok_or(ClassifyError::TooSmall {
        height: size.height,
        width: size.width,
    })?;
    classifier.scale = Scale::of(train, options.network.repeats(size.height * size.width));
    let scores =
        classifier.logits(&train.batch(&few(train, run, options), &classifier.scale)?.0)?;
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
    let scores = classifier
        .logits(&train.batch(&few, &classifier.scale)?.0)?
        .to_vec1::<f32>()?;
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
                .logits(&images.batch(places, &classifier.scale)?.0)?
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

#[cfg(test)]
mod tests {
    use super::super::network::Network;
    use super::*;
    use crate::data::SparseImages;

    /// Eight images of 13 x 13 pixels, the smallest that the network takes; `light` GeV and more in each.
    fn images(light: f32) -> SparseImages {
        let mut images = SparseImages::new(13, 13).unwrap();
        for i in 0..8u8 {
            images.push((0..169).map(|p| (p, light + f32::from(i))));
        }
        images
    }

    #[test]
    fn the_cross_entropy_of_guessing_is_ln_2() {
        let labels = [true, false];
        assert_eq!(cross_entropy([0.0, 0.0], &labels), std::f64::consts::LN_2);
        // -ln of 1 / (1 + e^-2), for either.
        let found = cross_entropy([2.0, -2.0], &labels);
        assert!((found - 0.126_928_011).abs() < 1e-8, "{found}");
        assert_eq!(cross_entropy([-500.0, -500.0], &labels), 250.0);
    }

    #[test]
    fn a_silent_network_is_no_better_than_a_wrong_one() {
        // The score grows with the light, positives are dark: the AUC is 0. All scores are far too large, so every step
        // takes the same from all parameters, until nothing passes the last convolution.
        let (bright, dark) = (images(20.0), images(1.0));
        let rows: Vec<u32> = (0..8).collect();
        let part = |rows| Labelled {
            classes: [(&bright, rows), (&dark, rows)],
        };
        let (train, validation) = (part(&rows[..4]), part(&rows[4..]));
        let options = Options {
            epochs: 12,
            patience: 0,
            batch: 8,
            learning_rate: 1e-3,
            ..Options::of(Network::Cnn)
        };
        let run = Run {
            name: "bright against dark",
            number: 0,
        };
        let ended = |last| {
            let classifier = start(&train, run, &options, 0).unwrap();
            for (place, parameter) in classifier.parameters.iter().enumerate() {
                let shape = parameter.dims();
                // Weights are means: a convolution's of a row, the last layer's of its 100 units.
                let value = match (place, shape) {
                    (11, _) => 50.0,
                    (10, _) => 0.01,
                    (8, _) => 1.0,
                    (_, [_, terms]) => 1.0 / *terms as f64,
                    _ => 0.0,
                };
                let ones = parameter.ones_like().unwrap();
                parameter.set(&(ones * value).unwrap()).unwrap();
            }
            let training = Training {
                run,
                options: &options,
                train: &train,
                validation: &validation,
                last,
                alike: false,
            };
            training.epochs(classifier, &mut |_| {}).unwrap()
        };
        let Ended::Silent { epochs } = ended(false) else {
            panic!("it never falls silent");
        };
        assert!((2..12).contains(&epochs), "{epochs}");
        let Ended::Fitted(fitted) = ended(true) else {
            panic!("there is no other attempt");
        };
        assert_eq!((fitted.epochs, fitted.best_epoch), (epochs, 1));
        let scores = fitted.scores(&validation).unwrap();
        assert!(scores.iter().any(|s| *s != scores[0]), "{scores:?}");
    }
}
