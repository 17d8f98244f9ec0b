//! Telling truth from generated images by their observables.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::boosting::{Boosted, Events};
use super::{ClassifyError, LEAST, Sizes, Stream, score};
use crate::data::SparseImages;
use crate::physics::{Geometry, ImageObservables, Quantity, Table};
use crate::random::{Purpose, permutation};

/// The most images of a side that are looked at: so many take less than a minute on two cores.
pub const BOOSTED: usize = 50_000;
/// Observables that are named in a result.
const NAMED: usize = 10;

/// Images of one side of the test.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// A whole data set.
    pub images: &'a SparseImages,
    /// Of all its images.
    pub observables: &'a [ImageObservables],
    /// The images to judge.
    pub rows: &'a [usize],
}

/// Result of [`boosted`].
#[derive(Debug, Clone, PartialEq)]
pub struct Boosting {
    /// Of either side; the validation images are a part of what it is trained on.
    pub images: Sizes,
    /// Trees kept.
    pub trees: usize,
    /// Of the test images.
    pub auc: score::Auc,
    /// The single observable that tells most.
    pub single: Single,
    /// What the trees use most, first the most useful.
    pub used: Vec<Used>,
}

/// One observable as a test by itself: chosen on the training images, judged on the test images.
#[derive(Debug, Clone, PartialEq)]
pub struct Single {
    /// Which.
    pub quantity: Quantity,
    /// How it ranks images.
    pub by: By,
    /// Of the test images, turned so that it is above 0.5 for the training images.
    pub auc: score::Auc,
}

/// How one observable ranks images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// By its value.
    Value,
    /// By its distance from the median of the truth: one of two samples is wider.
    Distance,
}

/// An observable that the trees use.
#[derive(Debug, Clone, PartialEq)]
pub struct Used {
    /// Which.
    pub quantity: Quantity,
    /// Its fraction of the gain of all splits.
    pub gain: f64,
    /// Its value for every true image that was looked at.
    pub truth: Vec<f32>,
    /// Its value for every generated image that was looked at.
    pub generated: Vec<f32>,
}

/// Train boosted trees to tell `truth` (the positive class) from `generated` by the observables of a [`Table`].
///
/// Equally many images of both sides are drawn at random, at most [`BOOSTED`]: 56 % train, 14 % choose the number of trees,
/// 30 % test. The result depends on the images and `seed`, not on the number of threads.
///
/// # Errors
/// Fewer than [`LEAST`] images on a side, images of another size than the geometry's, a side whose images are all empty,
/// observables that nearly all images have in common.
pub fn boosted(
    truth: Judged<'_>,
    generated: Judged<'_>,
    geometry: &Geometry,
    seed: u64,
) -> Result<Boosting, ClassifyError> {
    let count = BOOSTED.min(truth.rows.len()).min(generated.rows.len());
    let sides = [("generated", generated), ("truth", truth)];
    for (class, side) in sides {
        check(class, side, geometry)?;
    }
    let mut tables = Vec::new();
    for (number, (class, side)) in sides.into_iter().enumerate() {
        let item = Stream::Rows.item(0, number as u32);
        let order = permutation(seed, Purpose::Classify, item, side.rows.len());
        let rows: Vec<usize> = (order[..count].iter())
            .map(|place| side.rows[*place as usize])
            .collect();
        if (rows.iter()).all(|row| side.images.image(*row).0.is_empty()) {
            return Err(ClassifyError::Empty { class, count });
        }
        tables.push(Table::of(side.images, side.observables, geometry, &rows));
    }
    of_tables(&tables[0], &tables[1])
}

fn check(class: &'static str, side: Judged<'_>, geometry: &Geometry) -> Result<(), ClassifyError> {
    let (height, width) = (side.images.height(), side.images.width());
    let (wanted_height, wanted_width) = (geometry.height(), geometry.width());
    if (height, width) != (wanted_height, wanted_width) {
        return Err(ClassifyError::Size {
            class,
            height,
            width,
            wanted_height,
            wanted_width,
        });
    }
    let count = side.rows.len();
    if count < LEAST {
        return Err(ClassifyError::TooFew {
            class,
            count,
            wanted: LEAST,
        });
    }
    Ok(())
}

/// 56, 14 and 30 of a hundred.
fn sizes(images: usize) -> Sizes {
    let test = 3 * images / 10;
    let validation = (images - test) / 5;
    Sizes {
        train: images - test - validation,
        validation,
        test,
    }
}

/// The test on tables of equally many images in random order.
fn of_tables(generated: &Table, truth: &Table) -> Result<Boosting, ClassifyError> {
    let count = truth.len();
    let images = sizes(count);
    let learnt = images.train + images.validation;
    let part = |from: usize, to: usize| Events {
        columns: (generated.columns.iter().zip(&truth.columns))
            .map(|(generated, truth)| [&generated[from..to], &truth[from..to]].concat())
            .collect(),
        labels: (0..2 * (to - from)).map(|i| i >= to - from).collect(),
    };
    let (train, validation, test) = (
        part(0, images.train),
        part(images.train, learnt),
        part(learnt, count),
    );
    let nothing = || ClassifyError::Alike { count };
    let trees = Boosted::fit(&train, &validation).ok_or_else(nothing)?;
    let auc = score::auc(&trees.scores(&test.columns), &test.labels).ok_or_else(nothing)?;
    let (column, by, single) = single(&train, &test, images.train).ok_or_else(nothing)?;
    let gains = trees.gains(truth.columns.len());
    let mut order: Vec<usize> = (0..gains.len()).filter(|k| gains[*k] > 0.0).collect();
    order.sort_by(|a, b| gains[*b].total_cmp(&gains[*a]));
    order.truncate(NAMED);
    Ok(Boosting {
        images,
        trees: trees.trees(),
        auc,
        single: Single {
            quantity: truth.quantities[column].clone(),
            by,
            auc: single,
        },
        used: (order.into_iter())
            .map(|k| Used {
                quantity: truth.quantities[k].clone(),
                gain: gains[k],
                truth: truth.columns[k].clone(),
                generated: generated.columns[k].clone(),
            })
            .collect(),
    })
}

/// The column that tells most of `train`, how it ranks images, and what it tells of `test`; the first of `negatives` events
/// are generated.
fn single(train: &Events, test: &Events, negatives: usize) -> Option<(usize, By, score::Auc)> {
    let ranks = |values: &[f32], by: By, median: f32| -> Vec<f32> {
        match by {
            By::Value => values.to_vec(),
            By::Distance => values.iter().map(|v| (v - median).abs()).collect(),
        }
    };
    let found: Vec<_> = (0..train.columns.len())
        .into_par_iter()
        .flat_map_iter(|k| [(k, By::Value), (k, By::Distance)])
        .map(|(k, by)| {
            let column = &train.columns[k];
            let mut truth = column[negatives..].to_vec();
            let half = truth.len() / 2;
            let median = *truth.select_nth_unstable_by(half, f32::total_cmp).1;
            let auc = score::auc(&ranks(column, by, median), &train.labels)?;
            Some((k, by, median, auc.value))
        })
        .collect();
    let far = |auc: f64| (auc - 0.5).abs();
    let (k, by, median, trained) =
        (found.into_iter().flatten()).reduce(|a, b| if far(b.3) > far(a.3) { b } else { a })?;
    let auc = score::auc(&ranks(&test.columns[k], by, median), &test.labels)?;
    let value = if trained < 0.5 {
        1.0 - auc.value
    } else {
        auc.value
    };
    Some((k, by, score::Auc { value, ..auc }))
}
