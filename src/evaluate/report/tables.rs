//! The tables of `index.html`.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::metrics::{FeatureMetrics, ImageMetrics, MetricsFile};
use super::responses;
use super::responses::tag;
use super::text::{escape, number, thousands, value_with_error};
use crate::evaluate::compare::Metrics;
use crate::evaluate::{
    FeatureDistances, ImageDistances, Label, Neighbours, Reasons, Response, Sides, Verdict,
    WeightSummary,
};

/// All tables of one class.
pub(super) fn write(out: &mut String, metrics: &MetricsFile, class: &str) {
    let Some(observables) = metrics.classes.get(class) else {
        return;
    };
    let unit = observables.get("intensity").map_or("GeV", |m| &m.unit);
    let labels = Label::of_keys(observables.keys().map(String::as_str), unit);
    let found =
        || (labels.iter()).filter_map(|l| observables.get(&l.name).map(|metrics| (l, metrics)));
    let response = metrics.response.get(class);
    distances(out, found(), response);
    if let Some(images) = metrics.images.get(class) {
        let _ = writeln!(
            out,
            "<p class=\"note\">{} true and {} generated images; {:.2} % and {:.2} % of their \
             pixels are zero.</p>",
            thousands(images.count.truth),
            thousands(images.count.generated),
            100.0 * images.sparsity.truth,
            100.0 * images.sparsity.generated
        );
        if let Some(weights) = &images.weights {
            weighted(out, weights, &images.count);
        }
    }
    if let Some(found) = response {
        responses::write(out, found);
    }
    means_and_widths(out, found());
    if let (Some(images), Some(features)) = (metrics.images.get(class), metrics.features.get(class))
    {
        quantities(out, images, features, unit);
    }
}

/// An observable's name, symbol and unit.
fn named(observable: &Label, m: &Metrics) -> String {
    let unit = match m.unit.as_str() {
        "" => String::new(),
        unit => format!(" [{}]", escape(unit)),
    };
    format!(
        "{} <i>{}</i>{unit}",
        escape(&observable.title),
        observable.symbol
    )
}

/// How much the events of either side tell.
fn weighted(out: &mut String, weights: &Sides<WeightSummary>, count: &Sides<usize>) {
    out.push_str("<p class=\"note\">Events have weights:");
    for (side, summary, count) in [
        ("true", &weights.truth, count.truth),
        ("generated", &weights.generated, count.generated),
    ] {
        let _ = write!(
            out,
            " the {} {side} ones are worth {} of equal weights ({} weigh less than 0);",
            thousands(count),
            thousands(summary.effective.round().max(0.0) as usize),
            thousands(summary.negative)
        );
    }
    out.push_str(
        " means, histograms, W1 and average images are those of the weighted events.</p>\n",
    );
}

/// Verdicts given a condition that are worse than the one of all images.
fn worse(found: Option<&BTreeMap<String, Response>>, name: &str, m: &Metrics) -> String {
    let own = match (m.w1, m.w1_floor, m.w1_floor_std) {
        (Some(w1), Some(floor), Some(spread)) => Some(Verdict::of(w1, floor, spread)),
        _ => None,
    };
    let mut out = String::new();
    for (condition, response) in found.into_iter().flatten() {
        let given = response.quantities.iter().find(|q| q.quantity == name);
        let verdict = given.and_then(|q| q.verdict);
        if verdict > own {
            let (style, word) = tag(verdict);
            let _ = write!(
                out,
                " <span class=\"tag {style}\">{word} given {}</span>",
                escape(condition)
            );
        }
    }
    out
}

fn distances<'a>(
    out: &mut String,
    rows: impl Iterator<Item = (&'a Label, &'a Metrics)>,
    response: Option<&BTreeMap<String, Response>>,
) {
    out.push_str(
        "<div class=\"scroll\"><table><thead><tr><th>Observable</th><th>W1</th><th>Floor</th>\
         <th>W1 / floor</th><th></th><th>W1, JetNet</th><th>Truth</th><th>Separation</th>\
         <th>Truth</th></tr></thead><tbody>\n",
    );
    for (observable, m) in rows {
        let times = match (m.w1, m.w1_floor) {
            (Some(w1), Some(floor)) if floor > 0.0 => format!("{:.1}", w1 / floor),
            _ => "–".to_string(),
        };
        let (tag, word) = closeness(m);
        let reason = m.distances.reasons.get("w1").map_or("", |r| r);
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{times}</td>\
             <td><span class=\"tag {tag}\">{word}</span>{}{}</td>",
            named(observable, m),
            number(m.w1, m.w1_error),
            number(m.w1_floor, m.w1_floor_std),
            worse(response, &observable.name, m),
            escape(reason),
        );
        let both = [&m.distances, &m.halves.found];
        for found in both {
            let w1 = found.w1_jetnet;
            let _ = write!(
                out,
                "<td>{}</td>",
                number(w1.map(|w| w.mean), w1.map(|w| w.std))
            );
        }
        for found in both {
            let _ = write!(out, "<td>{}</td>", number(found.separation, None));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

fn means_and_widths<'a>(out: &mut String, rows: impl Iterator<Item = (&'a Label, &'a Metrics)>) {
    out.push_str(
        "<h3>Mean and width</h3><p class=\"note\">Mean and standard deviation with their statistical \
         errors, as in table 2 of arXiv 2009.04842.</p>\n<div class=\"scroll\"><table><thead><tr>\
         <th>Observable</th><th>Truth: mean</th><th>Generated: mean</th><th>Truth: width</th>\
         <th>Generated: width</th></tr></thead><tbody>\n",
    );
    for (observable, m) in rows {
        let _ = write!(out, "<tr><td>{}</td>", named(observable, m));
        for (value, error) in [
            (Some(m.truth_mean), Some(m.truth_mean_error)),
            (Some(m.generated_mean), Some(m.generated_mean_error)),
            (m.truth_std, m.truth_std_error),
            (m.generated_std, m.generated_std_error),
        ] {
            let _ = write!(out, "<td>{}</td>", number(value, error));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

/// One quantity of generated against truth and of truth against truth; a reason where there is none.
struct Row {
    name: &'static str,
    /// What the number should be, and its unit; GeV stands for that of the pixels.
    note: &'static str,
    /// Key of its reason.
    key: &'static str,
    cells: [Option<String>; 2],
}

fn quantities(out: &mut String, images: &ImageMetrics, features: &FeatureMetrics, unit: &str) {
    let sizes = features.halves.sizes;
    let _ = writeln!(
        out,
        "<h3>Average images, pixels, vectors of features</h3><p class=\"note\">Truth: one half of it \
         ({} images) against the other ({}). Features: {}.</p>\n<div class=\"scroll\"><table>\
         <thead><tr><th>Quantity</th><th>Generated</th><th>Truth</th><th></th></tr></thead><tbody>",
        thousands(sizes[0]),
        thousands(sizes[1]),
        escape(&features.names.join(", "))
    );
    let sides = [
        Some(&images.distances),
        images.halves.as_ref().map(|h| &h.found),
    ];
    for row in image_rows(sides) {
        row.write(out, sides.map(|d| d.map(|d| &d.reasons)), unit);
    }
    let reasons = [&features.distances.reasons, &features.halves.found.reasons].map(Some);
    for row in feature_rows([&features.distances, &features.halves.found]) {
        row.write(out, reasons, unit);
    }
    out.push_str("</tbody></table></div>\n");
}

impl Row {
    fn write(&self, out: &mut String, reasons: [Option<&Reasons>; 2], unit: &str) {
        let _ = write!(out, "<tr><td>{}</td>", self.name);
        for (cell, reasons) in self.cells.iter().zip(reasons) {
            let why = || match reasons.and_then(|r| r.get(self.key)) {
                Some(reason) => format!("not available: {}", escape(reason)),
                None => "not available".to_string(),
            };
            let _ = write!(out, "<td>{}</td>", cell.clone().unwrap_or_else(why));
        }
        let _ = writeln!(
            out,
            "<td>{}</td></tr>",
            self.note.replace("GeV", &escape(unit))
        );
    }
}

fn image_rows(sides: [Option<&ImageDistances>; 2]) -> Vec<Row> {
    type Pick = fn(&ImageDistances) -> Option<f64>;
    let plain: [(&str, &str, &str, Pick); 9] = [
        ("Average image: largest difference", "GeV", "", |d| {
            Some(d.mean_image_max_abs_difference)
        }),
        ("Average image: mean absolute difference", "GeV", "", |d| {
            Some(d.mean_image_mean_abs_difference)
        }),
        ("Average image: mean squared error", "GeV²", "", |d| {
            Some(d.mean_image_mse)
        }),
        ("Zero fraction: largest difference", "", "", |d| {
            Some(d.zero_fraction_max_abs_difference)
        }),
        ("Zero fraction: mean absolute difference", "", "", |d| {
            Some(d.zero_fraction_mean_abs_difference)
        }),
        (
            "Zero fraction: χ² per pixel",
            "1 is expected of truth",
            "zero_fraction_chi2",
            |d| d.zero_fraction_chi2,
        ),
        (
            "Pixel intensities: separation",
            "equal bins",
            "pixel_spectrum_separation",
            |d| d.pixel_spectrum_separation,
        ),
        (
            "Pixel intensities: separation",
            "logarithmic bins",
            "pixel_spectrum_log_separation",
            |d| d.pixel_spectrum_log_separation,
        ),
        (
            "Pixel intensities: χ² per bin",
            "logarithmic bins; 1 is expected of truth",
            "pixel_spectrum_log_chi2",
            |d| d.pixel_spectrum_log_chi2,
        ),
    ];
    let mut rows: Vec<Row> = (plain.into_iter())
        .map(|(name, note, key, pick)| Row {
            name,
            note,
            key,
            cells: sides.map(|d| d.and_then(pick).map(|v| value_with_error(v, None))),
        })
        .collect();
    let ssim = Row {
        name: "Average image: structural similarity (SSIM)",
        note: "1 for equal images",
        key: "mean_image_ssim",
        cells: sides.map(|d| d?.mean_image_ssim.map(|v| format!("{v:.6}"))),
    };
    rows.insert(3, ssim);
    rows
}

fn feature_rows(sides: [&FeatureDistances; 2]) -> Vec<Row> {
    let thousandths = |value: f64, error: f64| value_with_error(1e3 * value, Some(1e3 * error));
    let mut rows = vec![
        Row {
            name: "Fréchet physics distance (FPD) · 10³",
            note: "line through the points; 0 is expected of truth",
            key: "fpd",
            cells: sides.map(|d| d.fpd.as_ref().map(|f| thousandths(f.value, f.error))),
        },
        Row {
            name: "FPD as JetNet's fit gives it · 10³",
            note: "the points' mean where distances are small",
            key: "fpd_jetnet",
            cells: sides.map(|d| d.fpd_jetnet.map(|f| thousandths(f.value, f.error))),
        },
        Row {
            name: "Kernel physics distance (KPD), as JetNet draws · 10³",
            note: "with replacement: above 0 for truth",
            key: "kpd",
            cells: sides.map(|d| d.kpd.map(|k| thousandths(k.value, k.error))),
        },
        Row {
            name: "KPD of all events, none twice · 10³",
            note: "0 is expected of truth",
            key: "kpd_unbiased",
            cells: sides.map(|d| d.kpd_unbiased.map(|k| thousandths(k.value, k.error))),
        },
    ];
    type Pick = fn(&Neighbours) -> f64;
    let shares: [(&str, &str, Pick); 4] = [
        ("Precision", "generated images among true ones", |n| {
            n.precision
        }),
        ("Recall", "true images among generated ones", |n| n.recall),
        ("Density", "1 is expected of truth", |n| n.density),
        ("Coverage", "true neighbourhoods that are hit", |n| {
            n.coverage
        }),
    ];
    rows.extend(shares.map(|(name, note, pick)| Row {
        name,
        note,
        key: "neighbours",
        cells: sides.map(|d| d.neighbours.map(|n| format!("{:.4}", pick(&n)))),
    }));
    rows
}

/// How far W1 is from its floor, as a style and a word.
fn closeness(m: &Metrics) -> (&'static str, &'static str) {
    match (m.w1, m.w1_floor, m.w1_floor_std) {
        (Some(w1), Some(floor), Some(spread)) => tag(Some(Verdict::of(w1, floor, spread))),
        _ => tag(None),
    }
}
