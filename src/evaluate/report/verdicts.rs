//! The tables of classifiers in `index.html`.

use std::fmt::Write;

use super::Classifiers;
use super::figures::class_title;
use super::text::{escape, thousands, value_with_error};
use crate::classify::{Learnt, Separation, Sizes, Transferred};

/// Both tests; `classes` in the order of the page.
pub(super) fn write(out: &mut String, found: &Classifiers, classes: &[&str]) {
    out.push_str(
        "<h3>Truth from generated images</h3><p class=\"note\">A classifier learns to tell generated images from \
         truth. <b>AUC</b>: area under its ROC curve on images that it has not seen, 0.5 where it cannot tell, \
         or has not learnt to. <b>JSD</b>: Jensen-Shannon divergence by its calibrated answer, 0 where it cannot tell, 1 where it always \
         can. <b>Truth</b>: the same for two disjoint parts of truth.</p>\n<div class=\"scroll\"><table><thead><tr>\
         <th>Images</th><th></th><th>AUC</th><th>JSD [bit]</th><th>Images of a side: trained, chosen, tested</th>\
         <th>Epochs, kept</th></tr></thead><tbody>\n",
    );
    let tests = &found.two_sample;
    for class in classes {
        let title = class_title(class);
        match tests.classes.get(*class) {
            None => {}
            Some(None) => missing(out, title, "", 4, tests.reasons.get(*class)),
            Some(Some(test)) => {
                separation(out, title, "Generated", &test.generated);
                remark(out, title, 4, test.generated.learnt);
                match &test.truth {
                    Some(truth) => separation(out, title, "Truth", truth),
                    None => missing(out, title, "Truth", 4, test.truth_reason.as_ref()),
                }
            }
        }
    }
    out.push_str(
        "</tbody></table></div>\n<h3>Signal from background</h3><p class=\"note\">A classifier learns to tell \
         signal from background on generated images and is tested on truth; beside it the same, learnt from truth. \
         <b>Rejection</b>: one over the fraction of background that passes where half of the signal does.</p>\n\
         <div class=\"scroll\"><table><thead><tr><th>Trained on</th><th>AUC</th><th>Rejection</th>\
         <th>Images of a class: trained, chosen, tested</th><th>Epochs, kept</th></tr></thead><tbody>\n",
    );
    match &found.transfer {
        Some(test) => {
            for (title, found) in [
                ("Generated images", &test.generated),
                ("Truth", &test.truth),
            ] {
                transferred(out, title, found, test.images);
                remark(out, title, 3, found.learnt);
            }
        }
        None => {
            let reason = found.reasons.get("transfer");
            missing(out, "Generated images", "", 3, reason);
        }
    }
    out.push_str("</tbody></table></div>\n");
}

fn missing(out: &mut String, title: &str, side: &str, columns: usize, reason: Option<&String>) {
    let why = reason.map_or(String::new(), |r| format!(": {}", escape(r)));
    let _ = writeln!(
        out,
        "<tr><td>{title}</td><td>{side}</td><td colspan=\"{columns}\">not available{why}</td></tr>"
    );
}

/// That an AUC of 0.5 is that of a network which has not learnt, in a row of its own.
fn remark(out: &mut String, title: &str, columns: usize, learnt: Learnt) {
    if let Some(remark) = learnt.remark() {
        let _ = writeln!(
            out,
            "<tr><td>{title}</td><td></td><td colspan=\"{columns}\"><span class=\"tag none\">{}</span></td></tr>",
            escape(&remark)
        );
    }
}

fn separation(out: &mut String, title: &str, side: &str, found: &Separation) {
    let _ = writeln!(
        out,
        "<tr><td>{title}</td><td>{side}</td><td>{}</td><td>{}</td><td>{}</td><td>{}, {}</td></tr>",
        value_with_error(found.auc, Some(found.auc_error)),
        value_with_error(found.jsd, Some(found.jsd_error)),
        sizes(found.images),
        found.epochs,
        found.best_epoch
    );
}

fn transferred(out: &mut String, title: &str, found: &Transferred, images: Sizes) {
    let rejection = found.rejection.map_or_else(
        || {
            let why = found.reason.as_deref().unwrap_or_default();
            format!("not available: {}", escape(why))
        },
        |r| value_with_error(r, found.rejection_error),
    );
    let _ = writeln!(
        out,
        "<tr><td>{title}</td><td>{}</td><td>{rejection}</td><td>{}</td><td>{}, {}</td></tr>",
        value_with_error(found.auc, Some(found.auc_error)),
        sizes(images),
        found.epochs,
        found.best_epoch
    );
}

fn sizes(images: Sizes) -> String {
    [images.train, images.validation, images.test]
        .map(thousands)
        .join(", ")
}
