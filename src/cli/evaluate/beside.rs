//! What two data sets have to say of each other before they are compared.

use std::path::PathBuf;

use crate::data::{Dataset, grouped};
use crate::evaluate::{Sides, WeightSummary};

/// Half-width, in decades, of what passes for a power of ten.
const NEAR: f64 = 0.08;

/// All that makes the comparison mean less than it says, a sentence each; `sums` are the mean sums of an image's pixels.
pub(super) fn all(sides: &Sides<Dataset>, sums: Sides<f64>) -> Vec<String> {
    let mut remarks: Vec<String> = (units(sides).into_iter())
        .chain(scale(sides, sums))
        .collect();
    remarks.extend(classes(sides));
    remarks.extend(uneven(&sides.truth, &sides.generated));
    remarks
}

/// Files of the generated images that are files of the true ones, too.
pub(super) fn both(sides: &Sides<Dataset>) -> Vec<PathBuf> {
    let files = |side: &Dataset| -> Vec<(PathBuf, PathBuf)> {
        let paths = side.origins.iter().map(|origin| origin.path.clone());
        paths
            .map(|path| (path.canonicalize().unwrap_or_else(|_| path.clone()), path))
            .collect()
    };
    let truth = files(&sides.truth);
    (files(&sides.generated).into_iter())
        .filter(|(real, _)| truth.iter().any(|(other, _)| other == real))
        .map(|(_, path)| path)
        .collect()
}

/// That the sides are in different units, where they say so.
fn units(sides: &Sides<Dataset>) -> Option<String> {
    let units = sides.map(|side| &side.about.unit);
    (units.truth != units.generated).then(|| {
        format!(
            "the true images are in {} and the generated ones in {}; give files of one unit",
            units.truth, units.generated
        )
    })
}

/// That one side's pixels are a power of ten of the other's, where they are.
fn scale(sides: &Sides<Dataset>, sums: Sides<f64>) -> Option<String> {
    let decades = (sums.truth / sums.generated).log10();
    let power = decades.round();
    (power != 0.0 && (decades - power).abs() < NEAR).then(|| {
        format!(
            "the true images sum to {:.4} {} on average and the generated ones to {:.4} {}, 10^{power} apart: the two look like one quantity in different units; write the unit of each file in its attribute 'units' (MeV, GeV ..)",
            sums.truth, sides.truth.about.unit, sums.generated, sides.generated.about.unit
        )
    })
}

/// Classes that are not compared apart.
fn classes(sides: &Sides<Dataset>) -> Vec<String> {
    let labels = sides.map(|side| side.columns.get("signal"));
    let mut remarks = Vec::new();
    match (labels.truth, labels.generated) {
        (Some(_), None) => remarks.push(
            "classes are left out: the true images have 'signal' and the generated ones do not"
                .into(),
        ),
        (None, Some(_)) => remarks.push(
            "classes are left out: the generated images have 'signal' and the true ones do not"
                .into(),
        ),
        _ => {}
    }
    for (side, labels) in [("true", labels.truth), ("generated", labels.generated)] {
        let others: Vec<f32> = (labels.into_iter().flatten().copied())
            .filter(|v| ![0.0, 1.0].contains(v))
            .collect();
        let Some(first) = others.first() else {
            continue;
        };
        remarks.push(format!(
            "{} {side} images are neither class 0 nor class 1 of 'signal' and are compared only among all (the first is {first}); select a class to compare it alone",
            grouped(others.len() as u64)
        ));
    }
    remarks
}

/// Fractions of signal that differ by more than this, and more than by chance, make the comparison of all images one of classes.
const UNEVEN: f64 = 0.02;

/// That the two sides mix the classes differently, where they do.
fn uneven(truth: &Dataset, generated: &Dataset) -> Option<String> {
    let signal = |data: &Dataset| {
        let labels = data.columns.get("signal")?;
        let weight = |i: usize| data.weights.as_ref().map_or(1.0, |w| f64::from(w[i]));
        let known = match &data.weights {
            Some(weights) => WeightSummary::of(weights),
            None => WeightSummary::ones(labels.len()),
        };
        let hits = labels.iter().enumerate().filter(|(_, s)| **s == 1.0);
        let hits: f64 = hits.map(|(i, _)| weight(i)).sum();
        (known.sum > 0.0 && known.effective > 0.0).then(|| (hits / known.sum, known.effective))
    };
    let ((a, of_a), (b, of_b)) = (signal(truth)?, signal(generated)?);
    let both = ((a * of_a + b * of_b) / (of_a + of_b)).clamp(0.0, 1.0);
    let chance = (both * (1.0 - both) * (1.0 / of_a + 1.0 / of_b)).sqrt();
    let apart = (a - b).abs();
    (apart > UNEVEN && apart > 4.0 * chance).then(|| {
        format!(
            "{:.1} % of the true images are signal and {:.1} % of the generated: what is said of all together partly tells the classes apart and not the generator; select a class, or look at each",
            100.0 * a,
            100.0 * b
        )
    })
}
