//! Classifiers' verdicts on the compared images, as they stand in a report.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::classify::{Epoch, Options, Transfer, TwoSample, transfer, two_sample};
use crate::data::{Dataset, SparseImages};
use crate::evaluate::compare::{CLASSES, members};
use crate::evaluate::{Reasons, Sides};

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
        let mut classes: Vec<_> = CLASSES
            .into_iter()
            .map(|(name, label)| (name, data.map(|d| images(d, label))))
            .filter(|(_, sides)| !sides.truth.is_empty() && !sides.generated.is_empty())
            .collect();
        let whole = |sides: &Sides<Cow<'_, SparseImages>>| {
            sides.truth.len() == truth.images.len()
                && sides.generated.len() == generated.images.len()
        };
        if classes.iter().any(|(name, s)| *name != "all" && whole(s)) {
            classes.retain(|(name, _)| *name != "all");
        }
        for (name, sides) in &classes {
            let told = &mut |epoch: &Epoch| progress(Some(name), epoch);
            let test = two_sample(&sides.truth, &sides.generated, options, told).map_err(|why| {
                found
                    .two_sample
                    .reasons
                    .insert(name.to_string(), why.to_string())
            });
            found.two_sample.classes.insert(name.to_string(), test.ok());
        }
        let class = |name: &str| classes.iter().find(|(n, _)| *n == name).map(|(_, s)| s);
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
            _ => Err("signal and background are wanted on both sides".to_string()),
        };
        found.transfer = test
            .map_err(|why| found.reasons.insert("transfer".to_string(), why))
            .ok();
        found
    }
}

/// The images of a class.
fn images(data: &Dataset, label: Option<f32>) -> Cow<'_, SparseImages> {
    match label {
        None => Cow::Borrowed(&data.images),
        label => Cow::Owned(data.images.gather(members(data, label))),
    }
}
