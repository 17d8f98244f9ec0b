//! `index.html`: one page that needs nothing else, figures inside.

use std::fmt::Write;

use super::figures::{Drawn, class_title, value_with_error};
use super::metrics::MetricsFile;
use super::plot::thousands;
use crate::evaluate::OBSERVABLES;
use crate::evaluate::compare::Metrics;

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
    let classes = || CLASSES.iter().filter(|c| metrics.classes.contains_key(**c));
    out.push_str("<nav>");
    for class in classes() {
        let _ = write!(out, "<a href=\"#{class}\">{}</a>", class_title(class));
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
        table(&mut out, metrics, class);
        gallery(&mut out, figures, class);
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
         <span class=\"tag far\">far</span> above. In the figures error bars are Poisson; the \
         band in a ratio panel is the truth's own error.</p>\n",
    );
}

fn table(out: &mut String, metrics: &MetricsFile, class: &str) {
    let Some(observables) = metrics.classes.get(class) else {
        return;
    };
    out.push_str(
        "<div class=\"scroll\"><table><thead><tr><th>Observable</th><th>W1</th><th>Floor</th>\
         <th>W1 / floor</th><th></th><th>Truth: mean (width)</th><th>Generated: mean (width)</th>\
         </tr></thead><tbody>\n",
    );
    for observable in OBSERVABLES {
        let Some(m) = observables.get(observable.name) else {
            continue;
        };
        let unit = if m.unit.is_empty() {
            String::new()
        } else {
            format!(" [{}]", m.unit)
        };
        let number = |value: Option<f64>, error: Option<f64>| {
            value.map_or("–".to_string(), |v| value_with_error(v, error))
        };
        let times = match (m.w1, m.w1_floor) {
            (Some(w1), Some(floor)) if floor > 0.0 => format!("{:.1}", w1 / floor),
            _ => "–".to_string(),
        };
        let (tag, word) = verdict(m);
        let reason = m.reason.as_deref().unwrap_or("");
        let _ = writeln!(
            out,
            "<tr><td>{} <i>{}</i>{unit}</td><td>{}</td><td>{}</td><td>{times}</td>\
             <td><span class=\"tag {tag}\">{word}</span>{}</td><td>{}</td><td>{}</td></tr>",
            observable.title,
            observable.symbol,
            number(m.w1, m.w1_error),
            number(m.w1_floor, m.w1_floor_std),
            escape(reason),
            spread(m.truth_mean, m.truth_std),
            spread(m.generated_mean, m.generated_std),
        );
    }
    out.push_str("</tbody></table></div>\n");
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
    }
}

/// "78.80 (6.50)", with digits that suit the width.
fn spread(mean: f64, width: f64) -> String {
    let digits = if width > 0.0 && width.is_finite() {
        (2.0 - width.log10().floor()).clamp(0.0, 6.0) as usize
    } else {
        2
    };
    format!("{mean:.digits$} ({width:.digits$})")
}

/// How far W1 is from its floor, as a style and a word.
fn verdict(m: &Metrics) -> (&'static str, &'static str) {
    match (m.w1, m.w1_floor, m.w1_floor_std) {
        (Some(w1), Some(floor), Some(std)) if w1 <= floor + 2.0 * std => ("good", "at the floor"),
        (Some(w1), Some(floor), _) if w1 <= 5.0 * floor => ("fair", "near"),
        (Some(_), Some(_), _) => ("far", "far"),
        _ => ("none", ""),
    }
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

/// Text as HTML.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_the_page() {
        assert_eq!(escape("a<b>&\"c\".h5"), "a&lt;b&gt;&amp;&quot;c&quot;.h5");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(value_with_error(0.14321, Some(0.0213)), "0.143 ± 0.021");
        assert_eq!(value_with_error(0.0, Some(0.0)), "0.00 ± 0.00");
        assert_eq!(value_with_error(12.3, None), "12");
        assert_eq!(spread(78.8123, 6.5412), "78.81 (6.54)");
        assert_eq!(spread(3.0, 0.0), "3.00 (0.00)");
    }
}
