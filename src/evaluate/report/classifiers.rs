//! Classifiers' verdicts on the compared images, as they stand in a report.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::classify::{Epoch, Options, Transfer, TwoSample, transfer, two_sample};
use crate::data::{Dataset, SparseImages};
use crate::evaluate::compare::{CLASSES, members};
use crate::evaluate::resample::class_stream;
use crate::evaluate::weights::{kept, of_members};
use crate::evaluate::{Reasons, Sides, Unavailable};

/// What classifiers found; `docs/metrics.md` defines each key.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Classifiers {
    /// Truth against generated images, per class.
    pub two_sample: TwoSamples,
    /// Signal against background, learnt from generated images, tested on truth.
    pub transfer: Option<Transfer>,
    /// Why there is no transfer test.
    #[serde(default, skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
}

/// Two-sample tests of the classes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TwoSamples {
    /// Why a class has none.
    #[serde(default, skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
    /// Per class (`all`, `signal`, `background`).
    #[serde(flatten)]
    pub classes: BTreeMap<String, Option<TwoSample>>,
}

impl Classifiers {
    /// Make every test that the images allow: the two-sample test of each class that both sides hold (`all` is left out
    /// where it is one of the others exactly), the transfer test where both sides hold signal and background. It takes
    /// minutes.
    ///
    /// `progress` is told of every epoch, with the class of a two-sample test or `None`. A test that cannot be made has
    /// its reason in the result.
    pub fn judge(
        truth: &Dataset,
        generated: &Dataset,
        options: &Options,
        progress: &mut dyn FnMut(Option<&'static str>, &Epoch),
    ) -> Self {
        let data = Sides { truth, generated };
        let mut found = Self::default();
        let mut classes = Vec::new();
        // Why a class that both sides hold has no images to train on.
        let mut refused = None;
        for (number, (name, label)) in CLASSES.into_iter().enumerate() {
            let rows = data.map(|d| members(d, label));
            if rows.truth.is_empty() || rows.generated.is_empty() {
                continue;
            }
            let whole = rows.truth.len() == truth.images.len()
                && rows.generated.len() == generated.images.len();
            let chosen = [(truth, &rows.truth), (generated, &rows.generated)];
            let stream = class_stream(number as u32);
            let sides = [0, 1].map(|k| images(chosen[k].0, chosen[k].1, options.seed, stream, k));
            match sides {
                [Ok(truth), Ok(generated)] => {
                    classes.push((name, whole, Sides { truth, generated }));
                }
                [Err(why), _] | [_, Err(why)] => {
                    let reasons = &mut found.two_sample.reasons;
                    reasons.insert(name.to_string(), why.to_string());
                    if name != "all" {
                        refused = Some(why.to_string());
                    }
                    found.two_sample.classes.insert(name.to_string(), None);
                }
            }
        }
        if classes
            .iter()
            .any(|(name, whole, _)| *name != "all" && *whole)
        {
            classes.retain(|(name, ..)| *name != "all");
        }
        for (name, _, sides) in &classes {
            let told = &mut |epoch: &Epoch| progress(Some(name), epoch);
            let test = two_sample(&sides.truth, &sides.generated, options, told).map_err(|why| {
                found
                    .two_sample
                    .reasons
                    .insert(name.to_string(), why.to_string())
            });
            found.two_sample.classes.insert(name.to_string(), test.ok());
        }
        let class = |name: &str| classes.iter().find(|(n, ..)| *n == name).map(|(.., s)| s);
        let test = match (class("signal"), class("background")) {
            (Some(signal), Some(background)) => transfer(
                &signal.truth,
                &background.truth,
                &signal.generated,
                &background.generated,
                options,
                &mut |epoch| progress(None, epoch),
            )
            .map_err(|why| why.to_string()),
            _ => {
                Err(refused.unwrap_or("signal and background are wanted on both sides".to_string()))
            }
        };
        found.transfer = test
            .map_err(|why| found.reasons.insert("transfer".to_string(), why))
            .ok();
        found
    }
}

/// The images of these rows; of weighted ones, a choice that stands for them.
///
/// # Errors
/// As [`chosen`].
fn images<'a>(
    data: &'a Dataset,
    rows: &[usize],
    seed: u64,
    stream: u32,
    side: usize,
) -> Result<Cow<'a, SparseImages>, Unavailable> {
    let rows = chosen(data, rows, seed, stream, side)?;
    if rows.len() == data.images.len() {
        return Ok(Cow::Borrowed(&data.images));
    }
    Ok(Cow::Owned(data.images.gather(rows.iter().copied())))
}

/// These rows; of weighted images, a choice that stands for them.
///
/// # Errors
/// Weights below 0, for which no choice of images stands.
pub(super) fn chosen<'a>(
    data: &Dataset,
    rows: &'a [usize],
    seed: u64,
    stream: u32,
    side: usize,
) -> Result<Cow<'a, [usize]>, Unavailable> {
    // Numbers of earlier choices of the same streams are neighbours'.
    const FIRST: usize = 16;
    match of_members(data, rows) {
        None => Ok(Cow::Borrowed(rows)),
        Some(weights) => {
            let places = kept(rows.len(), Some(&weights), seed, stream, FIRST + side)?;
            Ok(places.into_iter().map(|place| rows[place]).collect())
        }
    }
}
