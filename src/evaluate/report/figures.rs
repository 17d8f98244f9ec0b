//! Which figures a report has, and their captions.

use rayon::prelude::*;

use super::Extras;
use super::boosting::Feature;
use super::calorimeter;
use super::plot::{
    Figure, HistogramPlot, Scale, extrapolation, histogram_page, map_page, profile, roc_curves,
    sample_page_in, signed_map, training_curve,
};
use super::text::value_with_error;
use crate::evaluate::compare::{ClassEvaluation, Evaluation, ObservableEvaluation};
use crate::evaluate::histogram::Comparison;
use crate::evaluate::{Given, OBSERVABLES, Response};

/// The section of classifiers, in the place of a class.
pub(super) const CLASSIFIERS: &str = "classifiers";

/// The section of boosted trees, in the place of a class.
pub(super) const BOOSTING: &str = "boosting";

/// The section of calorimeter showers, in the place of a class.
pub(super) const CALORIMETER: &str = "calorimeter";

/// A drawn figure.
pub(super) struct Drawn {
    /// File name without its ending.
    pub(super) name: String,
    /// Class it belongs to, [`BOOSTING`], [`CALORIMETER`] or [`CLASSIFIERS`]; empty for the model's own.
    pub(super) class: &'static str,
    pub(super) caption: String,
    /// Whether it takes the page's whole width.
    pub(super) wide: bool,
    pub(super) svg: String,
    /// Also as a picture for slides and web pages, where asked for.
    pub(super) png: Option<Result<Vec<u8>, String>>,
}

type Job<'a> = Box<dyn Fn() -> Drawn + Send + Sync + 'a>;

/// All figures, in the order of the page.
pub(super) fn draw(evaluation: &Evaluation, extras: &Extras) -> Vec<Drawn> {
    let mut jobs: Vec<Job<'_>> = Vec::new();
    for class in &evaluation.classes {
        for observable in &class.observables {
            jobs.push(Box::new(move || histogram(class, observable)));
        }
        jobs.push(Box::new(move || {
            spectrum(evaluation, class, &class.images.spectrum, false)
        }));
        jobs.push(Box::new(move || {
            spectrum(evaluation, class, &class.images.log_spectrum, true)
        }));
        jobs.push(Box::new(move || mean_images(evaluation, class)));
        jobs.push(Box::new(move || zeros(evaluation, class)));
        jobs.push(Box::new(move || zero_pulls(evaluation, class)));
        if class.features.fpd.is_some() || class.feature_halves.found.fpd.is_some() {
            jobs.push(Box::new(move || frechet(class)));
        }
        for response in &class.responses {
            for quantity in &response.quantities {
                jobs.push(Box::new(move || given(class, response, quantity)));
            }
        }
        jobs.push(Box::new(move || samples(evaluation, class)));
    }
    if let Some(showers) = &extras.calorimeter {
        for figure in calorimeter::figures(showers) {
            jobs.push(Box::new(move || {
                drawn(
                    figure.name,
                    CALORIMETER,
                    figure.caption,
                    false,
                    figure.draw(),
                )
            }));
        }
    }
    for (class, test) in extras.boosting.iter().flat_map(|b| &b.classes) {
        for feature in test.iter().flat_map(|test| &test.features) {
            jobs.push(Box::new(move || used(class, feature)));
        }
    }
    if let Some(transfer) = (extras.classifiers.as_ref()).and_then(|c| c.transfer.as_ref()) {
        jobs.push(Box::new(move || {
            let caption = "Rejection of background against the efficiency for signal, of classifiers trained on \
                           generated images and on truth, both tested on truth. Thin: guessing.";
            drawn("transfer", CLASSIFIERS, caption, false, roc_curves(transfer))
        }));
    }
    if let Some(curve) = &extras.training {
        jobs.push(Box::new(move || {
            let caption = &format!("{} over the training.", curve.title);
            drawn("training", "", caption, false, training_curve(curve))
        }));
    }
    jobs.par_iter().map(|job| job()).collect()
}

fn drawn(
    name: &str,
    class: &'static str,
    caption: impl Into<String>,
    wide: bool,
    figure: Figure,
) -> Drawn {
    Drawn {
        name: if class.is_empty() {
            name.to_string()
        } else {
            format!("{class}-{name}")
        },
        class,
        caption: caption.into(),
        wide,
        svg: figure.svg(),
        png: None,
    }
}

/// "Signal".
pub(super) fn class_title(name: &str) -> &'static str {
    match name {
        "signal" => "Signal",
        "background" => "Background",
        _ => "All images",
    }
}

fn histogram(class: &ClassEvaluation, found: &ObservableEvaluation) -> Drawn {
    let (observable, m) = (&found.observable, &found.metrics);
    let symbol = observable.symbol;
    let (x_title, y_title) = match (symbol, m.unit.as_str()) {
        ("n", _) => (format!("{} n", observable.title), "(1/N) dN/dn".to_string()),
        (_, "") => (
            format!("{} {symbol}", observable.title),
            format!("(1/N) dN/d{symbol}"),
        ),
        (_, unit) => (
            format!("{} {symbol} [{unit}]", observable.title),
            format!("(1/N) dN/d{symbol} [1/{unit}]"),
        ),
    };
    let mut notes = Vec::new();
    if let Some(w1) = m.w1 {
        let text = value_with_error(w1, m.w1_error);
        notes.push(format!("W1 = {text} {}", m.unit));
    }
    if let Some(floor) = m.w1_floor {
        let text = value_with_error(floor, m.w1_floor_std);
        notes.push(format!("truth against truth: {text} {}", m.unit));
    }
    let plot = HistogramPlot {
        title: class_title(class.name),
        x_title: &x_title,
        y_title: &y_title,
        notes,
        ..HistogramPlot::default()
    };
    let figure = histogram_page(&found.histogram, &plot);
    let caption = observable.title.as_str();
    drawn(&observable.name, class.name, caption, false, figure)
}

/// What boosted trees use of a class.
fn used(class: &str, feature: &Feature) -> Drawn {
    let unit = match feature.unit.as_str() {
        "" => String::new(),
        unit => format!(" [{unit}]"),
    };
    let plot = HistogramPlot {
        title: class_title(class),
        x_title: &format!("{}{unit}", feature.title),
        y_title: "(1/N) dN/dx",
        notes: vec![format!("{:.1} % of the trees' gain", 100.0 * feature.gain)],
        ..HistogramPlot::default()
    };
    let figure = histogram_page(&feature.comparison(), &plot);
    let name = format!("{class}-{}", feature.name);
    drawn(&name, BOOSTING, feature.title.as_str(), false, figure)
}

fn spectrum(
    evaluation: &Evaluation,
    class: &ClassEvaluation,
    comparison: &Comparison,
    log: bool,
) -> Drawn {
    let unit = &evaluation.unit;
    let plot = HistogramPlot {
        title: class_title(class.name),
        x_title: &format!("Pixel intensity I [{unit}]"),
        y_title: &format!("Pixels per image, dn/dI [1/{unit}]"),
        log_x: log,
        log_y: true,
        ..HistogramPlot::default()
    };
    let (name, caption) = if log {
        ("pixel_spectrum_log", "Pixel intensities, soft end")
    } else {
        ("pixel_spectrum", "Pixel intensities")
    };
    let figure = histogram_page(comparison, &plot);
    drawn(name, class.name, caption, false, figure)
}

fn mean_images(evaluation: &Evaluation, class: &ClassEvaluation) -> Drawn {
    let title = format!("{}: average image", class_title(class.name));
    let figure = map_page(
        &class.images.mean,
        &evaluation.geometry,
        Scale::Log,
        &title,
        &format!("Average pixel pT [{}]", evaluation.unit),
    );
    let most = class.images.distances.mean_image_max_abs_difference;
    let [row, column] = class.images.distances.mean_image_max_abs_difference_at;
    let caption = format!(
        "Average images and their difference; it is largest, {most:.3} {}, at row {row}, column \
         {column}. Pixels that are never hit are grey. The difference is logarithmic in its size.",
        evaluation.unit
    );
    drawn("average_image", class.name, caption, true, figure)
}

fn zeros(evaluation: &Evaluation, class: &ClassEvaluation) -> Drawn {
    let title = format!("{}: how often a pixel is zero", class_title(class.name));
    let figure = map_page(
        &class.images.zeros,
        &evaluation.geometry,
        Scale::Linear,
        &title,
        "Fraction of images",
    );
    let sparsity = class.images.sparsity;
    let caption = format!(
        "Fraction of images in which a pixel is zero. Over all pixels: truth {:.2} %, generated \
         {:.2} %.",
        100.0 * sparsity.truth,
        100.0 * sparsity.generated
    );
    drawn("zero_fraction", class.name, caption, true, figure)
}

fn zero_pulls(evaluation: &Evaluation, class: &ClassEvaluation) -> Drawn {
    let title = format!("{}: zero fraction, pull", class_title(class.name));
    let figure = signed_map(
        &class.images.zero_pulls,
        &evaluation.geometry,
        &title,
        "(generated − truth) / error",
    );
    let found = &class.images.distances;
    let [row, column] = found.zero_fraction_max_abs_difference_at;
    let caption = format!(
        "Difference of the zero fractions in units of its statistical error. The difference itself is \
         largest, {:.4}, at row {row}, column {column}.",
        found.zero_fraction_max_abs_difference
    );
    drawn("zero_pull", class.name, caption, false, figure)
}

fn given(class: &ClassEvaluation, response: &Response, quantity: &Given) -> Drawn {
    let observable = OBSERVABLES.iter().find(|o| o.name == quantity.quantity);
    let named = observable.map_or(quantity.quantity.as_str(), |o| o.title);
    let y_title = match quantity.unit.as_str() {
        "" => named.to_string(),
        unit => format!("{named} [{unit}]"),
    };
    let condition = &response.condition;
    let title = format!("{}: given {condition}", class_title(class.name));
    let figure = profile(quantity, &response.edges, &title, condition, &y_title);
    let caption = format!(
        "{named} in bins of {condition}: mean and width of the truth (line and band) and of the generated images (point and \
         bar; thick: the mean's error)."
    );
    // A column's name may hold what no file name can.
    let stem: String = condition
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    let name = format!("{}_given_{stem}", quantity.quantity);
    drawn(&name, class.name, caption, false, figure)
}

fn frechet(class: &ClassEvaluation) -> Drawn {
    let title = format!("{}: Fréchet physics distance", class_title(class.name));
    let figure = extrapolation(
        class.features.fpd.as_ref(),
        class.feature_halves.found.fpd.as_ref(),
        &title,
    );
    let caption = "Fréchet distance of samples of several sizes, and the line that takes it to samples \
                   without end: its value there is the FPD (thick: its error). JetNet's fit of the same points may end \
                   with another line.";
    drawn("fpd", class.name, caption, false, figure)
}

fn samples(evaluation: &Evaluation, class: &ClassEvaluation) -> Drawn {
    let figure = sample_page_in(
        evaluation.unit.as_str(),
        &class.samples.truth,
        &class.samples.generated,
    );
    let caption = "The first images of either side. Empty pixels are dark.";
    let png = Some(figure.png(2.0));
    Drawn {
        png,
        ..drawn("samples", class.name, caption, true, figure)
    }
}
