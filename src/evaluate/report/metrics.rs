//! `metrics.json`: the values of a report. `docs/metrics.md` defines it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Boosted, Classifiers, Extras, Headline, Meta, Nll, headlines};
use crate::evaluate::compare::Metrics;
use crate::evaluate::{
    Evaluation, FEATURES, FeatureDistances, Halves, ImageDistances, Memorising, Response,
    ShowerEvaluation, Sides, WeightSummary,
};

/// The file as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricsFile {
    /// Where the images came from.
    pub meta: Meta,
    /// Likelihoods, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nll: Option<Nll>,
    /// Per class what is not an observable of one image.
    pub images: BTreeMap<String, ImageMetrics>,
    /// Per class the distances of vectors of features.
    pub features: BTreeMap<String, FeatureMetrics>,
    /// Per class and condition what comes out for what was asked for; absent where no conditions are compared.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub response: BTreeMap<String, BTreeMap<String, Response>>,
    /// Per class what all two-sample tests say together; absent where none was asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headline: BTreeMap<String, Headline>,
    /// Boosted trees' verdicts, where asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boosting: Option<Boosted>,
    /// Classifiers' verdicts, where asked for: keys `two_sample`, `transfer`, `reasons`.
    #[serde(flatten)]
    pub classifiers: Option<Classifiers>,
    /// Calorimeter showers, where a binning says that the images are some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calorimeter: Option<ShowerEvaluation>,
    /// Whose images are nearest, where training images were named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memorising: Option<Memorising>,
    /// Per class (`all`, `signal`, `background`) and observable.
    #[serde(flatten)]
    pub classes: BTreeMap<String, BTreeMap<String, Metrics>>,
}

/// Numbers of the images of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageMetrics {
    /// Images compared.
    pub count: Sides<usize>,
    /// Their weights, where a side has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Sides<WeightSummary>>,
    /// Fraction of zeros among all pixels.
    pub sparsity: Sides<f64>,
    /// Generated from truth.
    #[serde(flatten)]
    pub distances: ImageDistances,
    /// Truth from itself; `None` of a single image.
    pub halves: Option<Halves<ImageDistances>>,
}

/// Numbers of the vectors of features of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureMetrics {
    /// What the vectors hold.
    pub names: Vec<String>,
    /// Generated from truth.
    #[serde(flatten)]
    pub distances: FeatureDistances,
    /// Truth from itself.
    pub halves: Halves<FeatureDistances>,
}

impl MetricsFile {
    /// Of an evaluation. A likelihood that is not finite is left out.
    pub fn new(evaluation: &Evaluation, extras: &Extras) -> Self {
        let (mut images, mut features) = (BTreeMap::new(), BTreeMap::new());
        let (mut classes, mut response) = (BTreeMap::new(), BTreeMap::new());
        for class in &evaluation.classes {
            let of_images = ImageMetrics {
                count: class.counts,
                weights: class.weights,
                sparsity: class.images.sparsity,
                distances: class.images.distances.clone(),
                halves: class.images.halves.clone(),
            };
            let of_features = FeatureMetrics {
                names: FEATURES.iter().map(|(name, _)| name.to_string()).collect(),
                distances: class.features.clone(),
                halves: class.feature_halves.clone(),
            };
            if !class.responses.is_empty() {
                let found = class.responses.iter();
                let found = found.map(|r| (r.condition.clone(), r.clone())).collect();
                response.insert(class.name.to_string(), found);
            }
            features.insert(class.name.to_string(), of_features);
            images.insert(class.name.to_string(), of_images);
            let observables = (class.observables.iter())
                .map(|o| (o.observable.name.to_string(), o.metrics.clone()))
                .collect();
            classes.insert(class.name.to_string(), observables);
        }
        Self {
            meta: extras.meta.clone(),
            nll: (extras.nll)
                .filter(|n| n.train.is_finite() && n.validation.is_none_or(f64::is_finite)),
            images,
            features,
            response,
            headline: headlines(extras.boosting.as_ref(), extras.classifiers.as_ref()),
            boosting: extras.boosting.clone(),
            classifiers: extras.classifiers.clone(),
            calorimeter: extras.calorimeter.clone(),
            memorising: extras.memorising.clone(),
            classes,
        }
    }

    /// As the file's text.
    pub fn to_json(&self) -> String {
        // Maps with string keys and finite numbers always serialise.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}
