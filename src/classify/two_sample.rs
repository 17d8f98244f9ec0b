//! Telling truth from generated images.

use serde::{Deserialize, Serialize};

use super::calibrate::Isotonic;
use super::fit::{Learnt, Progress, Run, fit};
use super::input::Labelled;
use super::{Class, ClassifyError, LEAST, Options, Sizes, classes, score};
use crate::data::SparseImages;

/// Result of the two-sample test; `docs/metrics.md` defines each key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TwoSample {
    /// How the classifiers were trained.
    pub options: Options,
    /// Truth against generated images.
    pub generated: Separation,
    /// Truth against other truth: what a perfect generator would get.
    pub truth: Option<Separation>,
    /// Why there is no truth against truth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truth_reason: Option<String>,
}

/// How well two samples can be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "docs/metrics.md defines each key")]
pub struct Separation {
    pub images: Sizes,
    pub epochs: usize,
    pub best_epoch: usize,
    pub auc: f64,
    pub auc_error: f64,
    pub jsd: f64,
    pub jsd_error: f64,
    #[serde(flatten)]
    pub learnt: Learnt,
}

/// Train a classifier to tell `truth` (the positive class) from `generated`, and another one on two disjoint parts of
/// truth.
///
/// Equal numbers of both sides are drawn at random, at most [`Options::images`]: 60 % train, 20 % choose the epoch and
/// calibrate, 20 % test. Truth against truth takes as many, where there are twice as many true images, else halves of
/// truth; its sizes stand in the result.
///
/// # Errors
/// Fewer than [`LEAST`] images on a side, images of different sizes, a side whose images are all empty, images too small
/// for the network, impossible options, a training that diverges.
pub fn two_sample(
    truth: &SparseImages,
    generated: &SparseImages,
    options: &Options,
    progress: Progress,
) -> Result<TwoSample, ClassifyError> {
    options.check()?;
    let count = options.images.min(truth.len()).min(generated.len());
    let half = count.min(truth.len() / 2);
    let [truth, generated] = classes(
        [("truth", truth), ("generated", generated)],
        [count.max(2 * half), count],
        options.seed,
    )?;
    if options.images < LEAST {
        return Err(ClassifyError::TooFew {
            class: "truth and generated",
            count: options.images,
            wanted: LEAST,
        });
    }
    let side = |class: &Class<'_>, rows: std::ops::Range<usize>| class.rows[rows].to_vec();
    let run = Run {
        name: "truth against generated",
        number: 0,
    };
    let against_generated = train_and_judge(
        [
            (generated.images, &side(&generated, 0..count)),
            (truth.images, &side(&truth, 0..count)),
        ],
        run,
        options,
        progress,
    )?;
    let run = Run {
        name: "truth against truth",
        number: 1,
    };
    let enough = half >= LEAST;
    let against_truth = if enough {
        let parts = [side(&truth, half..2 * half), side(&truth, 0..half)];
        let sides = [
            (truth.images, parts[0].as_slice()),
            (truth.images, parts[1].as_slice()),
        ];
        Some(train_and_judge(sides, run, options, progress)?)
    } else {
        None
    };
    Ok(TwoSample {
        options: *options,
        generated: against_generated,
        truth: against_truth,
        truth_reason: (!enough).then(|| {
            let all = truth.images.len();
            format!("{all} true images are too few for two halves of {LEAST}")
        }),
    })
}

/// Train and judge on images of the negative and the positive class, as many of either.
fn train_and_judge(
    sides: [(&SparseImages, &[u32]); 2],
    run: Run,
    options: &Options,
    progress: Progress,
) -> Result<Separation, ClassifyError> {
    let images = Sizes::of(sides[0].1.len());
    let cut = sides.map(|(images_of, rows)| images.cut(rows).map(|part| (images_of, part)));
    let [train, validation, test] = [0, 1, 2].map(|part| Labelled {
        classes: [cut[0][part], cut[1][part]],
    });
    let fitted = fit(&train, &validation, run, options, progress)?;
    let diverged = || ClassifyError::Diverged {
        training: run.name,
        epoch: fitted.best_epoch,
    };
    let calibration =
        Isotonic::fit(&fitted.scores(&validation)?, &validation.labels()).ok_or_else(diverged)?;
    let scores = fitted.scores(&test)?;
    let labels = test.labels();
    let auc = score::auc(&scores, &labels).ok_or_else(diverged)?;
    let calibrated: Vec<f64> = scores.iter().map(|s| calibration.at(*s)).collect();
    let jsd = score::jsd(&calibrated, &labels).ok_or_else(diverged)?;
    Ok(Separation {
        images,
        epochs: fitted.epochs,
        best_epoch: fitted.best_epoch,
        auc: auc.value,
        auc_error: auc.error,
        jsd: jsd.value,
        jsd_error: jsd.error,
        learnt: fitted.learnt.with(auc),
    })
}
