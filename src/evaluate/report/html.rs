//! `index.html`: one page that needs nothing else, figures inside.

use std::fmt::Write;

use super::figures::{BOOSTING, CALORIMETER, CLASSIFIERS, Drawn, class_title};
use super::metrics::MetricsFile;
use super::text::{escape, thousands};
use super::{calorimeter, memorising, tables, verdicts};

const STYLE: &str = include_str!("style.css");
/// In the order of the page.
const CLASSES: [&str; 3] = ["all", "signal", "background"];

/// The whole page.
pub(super) fn page(metrics: &MetricsFile, figures: &[Drawn]) -> String {
    let mut out = String::new();
    out.push_str("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    let _ = write!(
        out,
        "<title>Generated against truth</title>\n<style>\n{STYLE}</style></head>"
    );
    out.push_str("<body><main>\n<h1>Generated images against truth</h1>\n");
    head(&mut out, metrics);
    verdicts::headlines(&mut out, &metrics.headline, &CLASSES);
    let classes = || CLASSES.iter().filter(|c| metrics.classes.contains_key(**c));
    out.push_str("<nav>");
    for class in classes() {
        let _ = write!(out, "<a href=\"#{class}\">{}</a>", class_title(class));
    }
    if metrics.calorimeter.is_some() {
        let _ = write!(out, "<a href=\"#{CALORIMETER}\">Calorimeter</a>");
    }
    if metrics.memorising.is_some() {
        out.push_str("<a href=\"#memorising\">Memorising</a>");
    }
    if metrics.boosting.is_some() {
        let _ = write!(out, "<a href=\"#{BOOSTING}\">Boosted trees</a>");
    }
    if metrics.classifiers.is_some() {
        let _ = write!(out, "<a href=\"#{CLASSIFIERS}\">Classifiers</a>");
    }
    if figures.iter().any(|f| f.class.is_empty()) {
        out.push_str("<a href=\"#model\">Training</a>");
    }
    out.push_str("</nav>\n");
    legend(&mut out);
    for class in classes() {
        let _ = writeln!(
            out,
            "<section id=\"{class}\"><h2>{}</h2>",
            class_title(class)
        );
        tables::write(&mut out, metrics, class);
        gallery(&mut out, figures, class);
        out.push_str("</section>\n");
    }
    if let Some(found) = &metrics.calorimeter {
        let _ = writeln!(out, "<section id=\"{CALORIMETER}\"><h2>Calorimeter</h2>");
        calorimeter::write(&mut out, found);
        gallery(&mut out, figures, CALORIMETER);
        out.push_str("</section>\n");
    }
    if let Some(found) = &metrics.memorising {
        out.push_str("<section id=\"memorising\"><h2>Memorising</h2>\n");
        memorising::write(&mut out, found, metrics.meta.training.as_ref(), &CLASSES);
        out.push_str("</section>\n");
    }
    if let Some(found) = &metrics.boosting {
        let _ = writeln!(
            out,
            "<section id=\"{BOOSTING}\"><h2>Boosted trees on observables</h2>"
        );
        verdicts::boosting(&mut out, found, &CLASSES);
        gallery(&mut out, figures, BOOSTING);
        out.push_str("</section>\n");
    }
    if let Some(found) = &metrics.classifiers {
        let _ = writeln!(out, "<section id=\"{CLASSIFIERS}\"><h2>Classifiers</h2>");
        verdicts::write(&mut out, found, &metrics.headline, &CLASSES);
        gallery(&mut out, figures, CLASSIFIERS);
        out.push_str("</section>\n");
    }
    if metrics.nll.is_some() || figures.iter().any(|f| f.class.is_empty()) {
        out.push_str("<section id=\"model\"><h2>Training</h2>\n");
        if let Some(nll) = metrics.nll {
            let validation = nll.validation.map_or(String::new(), |v| {
                format!(", <b>{v:.3}</b> nats on the validation images")
            });
            let _ = writeln!(
                out,
                "<p>Negative log-likelihood per image: <b>{:.3}</b> nats on the training images{validation}.</p>",
                nll.train
            );
        }
        gallery(&mut out, figures, "");
        out.push_str("</section>\n");
    }
    out.push_str("</main></body></html>\n");
    out
}

fn head(out: &mut String, metrics: &MetricsFile) {
    let meta = &metrics.meta;
    out.push_str("<dl class=\"meta\">");
    let mut side = |name: &str, file: &str, selection: &[String], images: usize| {
        let chosen = match selection {
            [] => String::new(),
            some => format!(", selected by <code>{}</code>", escape(&some.join(" "))),
        };
        let _ = write!(
            out,
            "<dt>{name}</dt><dd><code>{}</code>, {} images{chosen}</dd>",
            escape(file),
            thousands(images)
        );
    };
    let (files, selection, images) = (&meta.files, &meta.selection, &meta.images);
    side("Truth", &files.truth, &selection.truth, images.truth);
    side(
        "Generated",
        &files.generated,
        &selection.generated,
        images.generated,
    );
    let _ = write!(
        out,
        "<dt>Made by</dt><dd>{}; resampling seed {}, {} bootstrap replicas, {} splits",
        escape(&meta.program),
        meta.seed,
        meta.bootstrap,
        meta.floor_splits
    );
    if let Some(command) = &meta.command {
        let _ = write!(out, "<br><code>{}</code>", escape(command));
    }
    out.push_str("</dd></dl>\n");
}

fn legend(out: &mut String) {
    out.push_str(
        "<p class=\"note\"><b>W1</b>: Wasserstein distance of the two distributions, with its \
         bootstrap error. <b>Floor</b>: what W1 would be if the generated images were truth, at \
         these sample sizes (mean and spread over random splits of the truth). \
         <span class=\"tag good\">at the floor</span> W1 is within two spreads of the floor; \
         <span class=\"tag fair\">near</span> below five floors; \
         <span class=\"tag far\">far</span> above. <b>W1, JetNet</b>: mean and spread of W1 over \
         5 batches of 50 000 images drawn with replacement, as JetNet reports it; the batches' own \
         noise makes it larger. <b>Truth</b>: the same number for one half of the truth against the \
         other. <b>Separation</b>: 0 for equal histograms, 1 for such that share no bin. In the figures error bars are Poisson; the \
         band in a ratio panel is the truth's own error.</p>\n",
    );
}

fn gallery(out: &mut String, figures: &[Drawn], class: &str) {
    out.push_str("<div class=\"gallery\">\n");
    for figure in figures.iter().filter(|f| f.class == class) {
        let wide = if figure.wide { " class=\"wide\"" } else { "" };
        let _ = writeln!(
            out,
            "<figure{wide}>{}<figcaption>{} <a href=\"figures/{name}.svg\">SVG</a></figcaption>\
             </figure>",
            figure.svg,
            escape(&figure.caption),
            name = figure.name
        );
    }
    out.push_str("</div>\n");
}
