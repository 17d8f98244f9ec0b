//! What the images were given, and what came out.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::data;
use crate::data::{FileOptions, FileSummary, SparseImages};
use crate::evaluate::{ClassEvaluation, Given, GivenRatio, Response, Spread};
use crate::physics::{DEFAULT_RANGE, Geometry, observables};

/// Conditions of the generated files that the truth has as well. A file of this program holds nothing else than its
/// images, their observables and their conditions; of another's only what is called `given_NAME` is one.
pub(super) fn found(
    (truth, of_truth): (&[PathBuf], &FileOptions),
    (generated, of_generated): (&[PathBuf], &FileOptions),
) -> Vec<String> {
    let mut conditions: Option<BTreeSet<String>> = None;
    for path in generated {
        // What is wrong with a file is said when its images are read.
        let Ok(file) = data::describe_with(path, of_generated) else {
            return Vec::new();
        };
        let here = named(&file);
        conditions = Some(match conditions {
            None => here,
            Some(all) => &all & &here,
        });
    }
    let mut conditions = conditions.unwrap_or_default();
    for path in truth {
        let Ok(file) = data::describe_with(path, of_truth) else {
            return Vec::new();
        };
        let columns: BTreeSet<String> = columns(&file).collect();
        conditions.retain(|name| columns.contains(name));
        for other in [&of_truth.weights, &of_truth.class].into_iter().flatten() {
            conditions.remove(other);
        }
    }
    (conditions.into_iter())
        .filter(|name| {
            truth.iter().all(|path| finite(path, of_truth, name))
                && generated
                    .iter()
                    .all(|path| finite(path, of_generated, name))
        })
        .collect()
}

/// Per-row data sets of a file.
fn columns(file: &FileSummary) -> impl Iterator<Item = String> {
    let rows = file.images.unwrap_or(0);
    let images = file.found_in.as_deref().unwrap_or_default();
    let group = &images[..images.rfind('/').map_or(0, |at| at + 1)];
    // Beside the images or in the root group; one value a row, whatever other axes of extent 1 there are.
    (file.datasets.iter())
        .filter(move |d| d.shape.contains(&rows) && d.shape.iter().product::<usize>() == rows)
        .map(move |d| d.name.strip_prefix(group).unwrap_or(&d.name))
        .filter(|name| !name.contains('/'))
        .map(String::from)
}

fn named(file: &FileSummary) -> BTreeSet<String> {
    let ours = file.attributes.contains_key("condition_sha256");
    let computed = computed();
    columns(file)
        .filter_map(|name| match name.strip_prefix("given_") {
            Some(given) => Some(given.to_string()),
            None => (ours && !computed.contains(&name)).then_some(name),
        })
        .collect()
}

/// Names that are no conditions: what is computed from an image, its place and its class.
fn computed() -> BTreeSet<String> {
    let others = ["signal", "row", "weight", "log_likelihood", "log_prior"];
    let image = SparseImages::new(1, 1);
    let geometry = Geometry::new(1, 1, DEFAULT_RANGE).ok();
    let found = image
        .zip(geometry)
        .and_then(|(i, g)| observables(&i, &g).ok());
    let names = found.map(|o| o.columns().into_keys().collect::<Vec<_>>());
    (names.into_iter().flatten())
        .chain(others.map(String::from))
        .collect()
}

/// Whether a column that nobody asked for can be used.
fn finite(path: &std::path::Path, options: &FileOptions, name: &str) -> bool {
    let given = format!("given_{name}");
    let values = data::read_column_with(path, &given, options)
        .or_else(|_| data::read_column_with(path, name, options));
    let bad = match &values {
        Ok(values) => values.iter().position(|v| !v.is_finite()),
        Err(_) => return false,
    };
    if let Some(row) = bad {
        log::warn!(
            "images are not compared given '{name}' (its row {row} in '{}' is no finite number); name it with --condition if \
             the selected rows are",
            path.display()
        );
    }
    bad.is_none()
}

/// How much weighted events tell, where there are weights.
pub(super) fn weights(class: &ClassEvaluation) -> Vec<String> {
    let Some(weights) = class.weights else {
        return Vec::new();
    };
    let side = |name: &str, count: usize, w: crate::evaluate::WeightSummary| {
        format!(
            "{count} {name} images are worth {:.0} of equal weights ({} below 0)",
            w.effective, w.negative
        )
    };
    vec![format!(
        "weights          {}, {}",
        side("true", class.counts.truth, weights.truth),
        side("generated", class.counts.generated, weights.generated)
    )]
}

/// The verdicts given each condition.
pub(super) fn lines(class: &ClassEvaluation) -> Vec<String> {
    let mut lines = Vec::new();
    for response in &class.responses {
        if let Some(why) = &response.reason {
            lines.push(format!(
                "given {:<10} not available: it {why}",
                response.condition
            ));
        }
        lines.extend(response.quantities.iter().map(|q| line(response, q)));
        // Once is enough: it is the same for every class.
        if let Some(suggestion) = response.suggestion.as_ref().filter(|_| class.name == "all") {
            lines.push(suggestion.clone());
        }
    }
    lines
}

fn line(response: &Response, given: &Given) -> String {
    let condition = &response.condition;
    let (Some(verdict), Some(w1), Some(floor)) = (given.verdict, given.w1, given.w1_floor) else {
        return format!("{} given {condition}: not available", given.quantity);
    };
    let ratio = given.ratio.as_ref().map_or(String::new(), |r| {
        let GivenRatio { spread, .. } = r;
        let floor = r
            .w1_floor
            .map_or(String::new(), |f| format!(", floor {f:.4}"));
        format!(
            "; {} / {condition} {} (truth: {}), W1 {:.4}{floor}",
            given.quantity,
            mean_and_width(spread.generated),
            mean_and_width(spread.truth),
            r.w1
        )
    });
    let unit = match given.unit.as_str() {
        "" => String::new(),
        unit => format!(" {unit}"),
    };
    format!(
        "{} given {condition}: {}, W1 in {} bins {w1:.4}{unit}, floor {floor:.4}{ratio}",
        given.quantity,
        verdict.word(),
        given.bins.len(),
    )
}

fn mean_and_width(spread: Spread) -> String {
    let width = spread
        .std
        .map_or("no width".to_string(), |s| format!("{s:.4}"));
    format!("{:.4} +- {width}", spread.mean)
}
