//! Does a classifier of signal and background that has seen generated images only work on truth?

use serde::{Deserialize, Serialize};

use super::fit::{Learnt, Progress, Run, fit};
use super::input::Labelled;
use super::{Class, ClassifyError, LEAST, Options, Sizes, classes, score};
use crate::data::SparseImages;

/// Result of the transfer test; `docs/metrics.md` defines each key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// How the classifiers were trained.
    pub options: Options,
    /// Images of either class; the test part is truth, the same for both trainings.
    pub images: Sizes,
    /// Trained on generated images.
    pub generated: Transferred,
    /// Trained on truth.
    pub truth: Transferred,
}

/// A classifier of signal (positive) and background, tested on truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "docs/metrics.md defines each key")]
pub struct Transferred {
    pub epochs: usize,
    pub best_epoch: usize,
    pub auc: f64,
    pub auc_error: f64,
    pub rejection: Option<f64>,
    pub rejection_error: Option<f64>,
    pub roc: Vec<[f64; 2]>,
    #[serde(flatten)]
    pub learnt: Learnt,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Signal efficiency at which the background rejection is given.
pub const WORKING_POINT: f64 = 0.5;
/// Equal steps of the signal efficiency between the points of a stored ROC curve.
const STEPS: usize = 200;

/// The SARM paper's transfer test (figures 9 and 14): train signal against background on generated images, test on truth;
/// beside it the same trained on truth, of which no image is in the test.
///
/// As many images of each of the four classes are drawn at random, at most [`Options::images`]: 60 % train and 20 % choose
/// the epoch, generated ones or true ones; the other 20 % of truth test both classifiers.
///
/// # Errors
/// As of [`two_sample`](super::two_sample()).
pub fn transfer(
    truth_signal: &SparseImages,
    truth_background: &SparseImages,
    generated_signal: &SparseImages,
    generated_background: &SparseImages,
    options: &Options,
    progress: Progress,
) -> Result<Transfer, ClassifyError> {
    options.check()?;
    let named = [
        ("true signal", truth_signal),
        ("true background", truth_background),
        ("generated signal", generated_signal),
        ("generated background", generated_background),
    ];
    // Generated images are not tested on: 80 of them stand beside 100 true ones.
    let truth = truth_signal.len().min(truth_background.len());
    let generated = generated_signal.len().min(generated_background.len());
    let count = options
        .images
        .min(truth)
        .min(generated.saturating_mul(5) / 4);
    let [signal, background, drawn_signal, drawn_background] =
        classes(named, [count; 4], options.seed)?;
    if count < LEAST {
        return Err(ClassifyError::TooFew {
            class: "every class",
            count,
            wanted: LEAST,
        });
    }
    let images = Sizes::of(count);
    let test = part(images, [&background, &signal], 2);
    let mut run = |name, number, classes: [&Class<'_>; 2]| {
        let run = Run { name, number };
        let fitted = fit(
            &part(images, classes, 0),
            &part(images, classes, 1),
            run,
            options,
            progress,
        )?;
        let diverged = || ClassifyError::Diverged {
            training: name,
            epoch: fitted.best_epoch,
        };
        judged(
            &fitted.scores(&test)?,
            &test.labels(),
            [fitted.epochs, fitted.best_epoch],
            fitted.learnt,
        )
        .ok_or_else(diverged)
    };
    Ok(Transfer {
        options: *options,
        images,
        generated: run(
            "signal against background, generated",
            0,
            [&drawn_background, &drawn_signal],
        )?,
        truth: run(
            "signal against background, truth",
            1,
            [&background, &signal],
        )?,
    })
}

/// The images of part number `part` of a background and a signal class.
fn part<'a>(images: Sizes, classes: [&'a Class<'_>; 2], part: usize) -> Labelled<'a> {
    Labelled {
        classes: classes.map(|c| (c.images, images.cut(&c.rows)[part])),
    }
}

/// `None` where a score is no number.
fn judged(
    scores: &[f32],
    labels: &[bool],
    [epochs, best_epoch]: [usize; 2],
    learnt: Learnt,
) -> Option<Transferred> {
    let auc = score::auc(scores, labels)?;
    let curve = score::roc(scores, labels)?;
    let at = |efficiency| score::false_positive_at(&curve, efficiency);
    let background = labels.iter().filter(|l| !**l).count() as f64;
    let passed = at(WORKING_POINT);
    let rejection = (passed > 0.0).then(|| 1.0 / passed);
    Some(Transferred {
        epochs,
        best_epoch,
        auc: auc.value,
        auc_error: auc.error,
        learnt: learnt.with(auc),
        rejection,
        // Of the number of background events that pass, which is binomial.
        rejection_error: rejection.map(|r| r * ((1.0 - passed) / (passed * background)).sqrt()),
        roc: (0..=STEPS)
            .map(|step| step as f64 / STEPS as f64)
            .map(|efficiency| [efficiency, at(efficiency)])
            .collect(),
        reason: rejection.is_none().then(|| {
            format!("none of {background} background events passes where half of the signal does")
        }),
    })
}
