//! `metrics.json`: the numbers of a report. `docs/metrics.md` is its definition.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Extras, Meta, Nll};
use crate::evaluate::compare::Metrics;
use crate::evaluate::{Evaluation, Sides};

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
    /// Per class (`all`, `signal`, `background`) and observable.
    #[serde(flatten)]
    pub classes: BTreeMap<String, BTreeMap<String, Metrics>>,
}

/// Numbers of the images of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageMetrics {
    /// Images compared.
    pub count: Sides<usize>,
    /// Fraction of zeros among all pixels.
    pub sparsity: Sides<f64>,
    /// Largest absolute difference of the average images, GeV.
    pub mean_image_max_abs_difference: f64,
    /// Row and column of the pixel it is at.
    pub mean_image_max_abs_difference_at: [usize; 2],
}

impl MetricsFile {
    /// Of an evaluation. A likelihood that is not finite is left out.
    pub fn new(evaluation: &Evaluation, extras: &Extras) -> Self {
        let width = evaluation.geometry.width();
        let (mut images, mut classes) = (BTreeMap::new(), BTreeMap::new());
        for class in &evaluation.classes {
            let (difference, pixel) = class.images.mean_max_difference;
            let of_images = ImageMetrics {
                count: class.counts,
                sparsity: class.images.sparsity,
                mean_image_max_abs_difference: difference,
                mean_image_max_abs_difference_at: [pixel / width, pixel % width],
            };
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
