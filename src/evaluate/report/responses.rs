//! The tables of quantities given a condition in `index.html`.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::text::{escape, number, thousands};
use crate::evaluate::{Given, GivenBin, OBSERVABLES, Response, Spread, Verdict};

/// All conditions of a class.
pub(super) fn write(out: &mut String, found: &BTreeMap<String, Response>) {
    out.push_str(
        "<h3>Given the conditions</h3><p class=\"note\">Images of the same condition, truth and generated: W1 in bins of the \
         condition (mean over the bins), its floor, and the quantity divided by the condition (mean and width) where it \
         grows with it. Two samples may agree in a quantity as a whole and not given a condition.</p>\n",
    );
    out.push_str(
        "<div class=\"scroll\"><table><thead><tr><th>Condition</th><th>Quantity</th><th>W1 in bins</th><th>Floor</th>\
         <th></th><th>Quantity / condition: truth</th><th>Generated</th></tr></thead><tbody>\n",
    );
    for (condition, response) in found {
        if let Some(why) = &response.reason {
            let _ = writeln!(
                out,
                "<tr><td>{}</td><td colspan=\"6\">not available: the condition {}</td></tr>",
                escape(condition),
                escape(why)
            );
        }
        for given in &response.quantities {
            row(out, condition, given);
        }
    }
    out.push_str("</tbody></table></div>\n");
    for (condition, response) in found {
        if let Some(suggestion) = &response.suggestion {
            let _ = writeln!(out, "<p class=\"note\">{}.</p>", escape(suggestion));
        }
        let outside = response.outside;
        if outside.truth + outside.generated > 0 {
            let _ = writeln!(
                out,
                "<p class=\"note\">{} true and {} generated images are in no bin of {}: theirs is no number or beyond the \
                 truth's.</p>",
                thousands(outside.truth),
                thousands(outside.generated),
                escape(condition)
            );
        }
        bins(out, condition, response);
    }
}

/// "Sum of all pixels ΣI [GeV]".
fn named(given: &Given) -> String {
    let found = OBSERVABLES.iter().find(|o| o.name == given.quantity);
    let title = found.map_or(given.quantity.as_str(), |o| o.title);
    match given.unit.as_str() {
        "" => title.to_string(),
        unit => format!("{title} [{unit}]"),
    }
}

fn row(out: &mut String, condition: &str, given: &Given) {
    let (style, word) = tag(given.verdict);
    let _ = write!(
        out,
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td><span class=\"tag {style}\">{word}</span></td>",
        escape(condition),
        named(given),
        number(given.w1, None),
        number(given.w1_floor, given.w1_floor_std),
    );
    for side in [0, 1] {
        let text = given.ratio.as_ref().map_or("–".to_string(), |ratio| {
            let spread = [ratio.spread.truth, ratio.spread.generated][side];
            let width = spread.std.map_or("no".to_string(), |s| format!("{s:.4}"));
            format!("{:.4}, width {width}", spread.mean)
        });
        let _ = write!(out, "<td>{text}</td>");
    }
    out.push_str("</tr>\n");
}

fn bins(out: &mut String, condition: &str, response: &Response) {
    if response.quantities.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "<details><summary>Bins of {}</summary><div class=\"scroll\"><table><thead><tr><th>Quantity</th><th>From</th>\
         <th>To</th><th>Images: truth, generated</th><th>Truth: mean</th><th>Generated: mean</th><th>Truth: width</th>\
         <th>Generated: width</th><th>W1</th><th>Floor</th></tr></thead><tbody>",
        escape(condition)
    );
    for given in &response.quantities {
        for (bin, ends) in given.bins.iter().zip(response.edges.windows(2)) {
            one(out, &named(given), bin, [ends[0], ends[1]]);
        }
    }
    out.push_str("</tbody></table></div></details>\n");
}

fn one(out: &mut String, name: &str, bin: &GivenBin, [low, high]: [f64; 2]) {
    let _ = write!(
        out,
        "<tr><td>{name}</td><td>{low:.6}</td><td>{high:.6}</td><td>{}, {}</td>",
        thousands(bin.count.truth),
        thousands(bin.count.generated)
    );
    let (truth, generated) = (bin.spread.truth, bin.spread.generated);
    let mean = |s: Option<Spread>| number(s.map(|s| s.mean), s.map(|s| s.mean_error));
    let width = |s: Option<Spread>| number(s.and_then(|s| s.std), s.and_then(|s| s.std_error));
    for cell in [
        mean(truth),
        mean(generated),
        width(truth),
        width(generated),
        number(bin.w1, None),
        number(bin.w1_floor, bin.w1_floor_std),
    ] {
        let _ = write!(out, "<td>{cell}</td>");
    }
    out.push_str("</tr>\n");
}

/// A verdict's style and word.
pub(super) fn tag(verdict: Option<Verdict>) -> (&'static str, &'static str) {
    let style = match verdict {
        Some(Verdict::AtTheFloor) => "good",
        Some(Verdict::Near) => "fair",
        Some(Verdict::Far) => "far",
        None => return ("none", ""),
    };
    (style, verdict.map_or("", Verdict::word))
}
