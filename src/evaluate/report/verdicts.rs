//! The tables of two-sample tests and classifiers in `index.html`.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::figures::class_title;
use super::headline::ranking;
use super::text::{escape, thousands, value_with_error};
use super::{Boosted, Classifiers, Conclusion, Headline};
use crate::classify::{Separation, Sizes, Transferred};

/// What all tests of each class say together; `classes` in the order of the page.
pub(super) fn headlines(out: &mut String, found: &BTreeMap<String, Headline>, classes: &[&str]) {
    if found.is_empty() {
        return;
    }
    out.push_str("<dl class=\"meta\">");
    for (class, headline) in classes.iter().filter_map(|c| found.get(*c).map(|h| (c, h))) {
        let style = match headline.conclusion {
            Conclusion::ToldApart => "far",
            Conclusion::NotToldApart => "good",
            Conclusion::NoTest => "none",
        };
        let _ = write!(
            out,
            "<dt>{}</dt><dd><span class=\"tag {style}\">{}</span> {}</dd>",
            class_title(class),
            headline.conclusion.words(),
            headline.largest()
        );
    }
    out.push_str(
        "</dl>\n<p class=\"note\">The largest <b>AUC</b> of all two-sample tests that were made: how often the test calls the true \
         one of a true and a generated image true, 0.5 where it cannot tell. <b>told apart</b>: it is above 0.5 by more than \
         three errors. What is not told apart may differ by less than these tests see in so many images.</p>\n",
    );
}

/// The tests of boosted trees.
pub(super) fn boosting(out: &mut String, found: &Boosted, classes: &[&str]) {
    out.push_str(
        "<p class=\"note\">Boosted trees learn to tell generated images from truth by observables. <b>AUC</b>: area under \
         their ROC curve on images that they have not seen. <b>Best observable</b>: the one that tells most by itself, chosen on \
         the training images. The figures show the observables that the trees gain most from, most gain first.</p>\n\
         <div class=\"scroll\"><table><thead><tr><th>Images</th><th>AUC</th><th>AUC of the best observable</th>\
         <th>Which</th><th>Images of a side: trained, chosen, tested</th><th>Trees</th></tr></thead><tbody>\n",
    );
    for class in classes {
        let title = class_title(class);
        match found.classes.get(*class) {
            None => {}
            Some(None) => missing(out, title, "", 4, found.reasons.get(*class)),
            Some(Some(test)) => {
                let single = &test.observable;
                let _ = writeln!(
                    out,
                    "<tr><td>{title}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                    value_with_error(test.auc, Some(test.auc_error)),
                    value_with_error(single.auc, Some(single.auc_error)),
                    escape(&ranking(&single.title, single.by)),
                    sizes(test.images),
                    test.trees
                );
            }
        }
    }
    out.push_str("</tbody></table></div>\n");
}

/// Both tests of networks; `classes` in the order of the page.
pub(super) fn write(
    out: &mut String,
    found: &Classifiers,
    headlines: &BTreeMap<String, Headline>,
    classes: &[&str],
) {
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
                let learnt = test.generated.learnt;
                let said = headlines.get(*class).and_then(|h| h.remark(learnt));
                remark(out, title, 4, said);
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
                remark(out, title, 3, found.learnt.remark());
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
fn remark(out: &mut String, title: &str, columns: usize, remark: Option<String>) {
    if let Some(remark) = remark {
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
