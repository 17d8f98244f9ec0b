//! The classifiers of `sarm evaluate`.

use std::collections::BTreeMap;

use crate::classify::{LEAST, Network, Options, Separation, Transferred};
use crate::cli::Global;
use crate::data::Dataset;
use crate::evaluate::report;

/// Whether and how classifiers judge.
#[derive(clap::Args)]
pub(super) struct Classifiers {
    /// Also train classifiers that tell truth from generated images; takes minutes.
    ///
    /// Truth against generated images for each class, and signal against background, trained on generated images and tested
    /// on truth. Each test takes some minutes; no other metric needs it.
    #[arg(long)]
    classifiers: bool,
    /// Maximum number of images of each class to use [default: 5000 for cnn, 20000 for dense].
    #[arg(long, value_name = "N", requires = "classifiers", allow_negative_numbers = true, value_parser = crate::cli::whole::<{ LEAST as u64 }, usize>)]
    classifier_images: Option<usize>,
    /// Network of the classifier: cnn (the SARM paper's; needs at least 13 x 13 pixels) or dense (all pixels at once).
    #[arg(long, value_name = "NETWORK", requires = "classifiers", default_value = "cnn", value_parser = network)]
    classifier_network: Network,
}

fn network(text: &str) -> Result<Network, String> {
    match text {
        "cnn" => Ok(Network::Cnn),
        "dense" => Ok(Network::Dense),
        other => Err(format!(
            "unknown network '{other}' (there are two); choose cnn or dense"
        )),
    }
}

impl Classifiers {
    /// The tests, where asked for.
    pub(super) fn judge(
        &self,
        truth: &Dataset,
        generated: &Dataset,
        seed: u64,
        global: &Global,
    ) -> Option<report::Classifiers> {
        let defaults = Options::of(self.classifier_network);
        let options = Options {
            images: self.classifier_images.unwrap_or(defaults.images),
            seed,
            ..defaults
        };
        self.classifiers.then(|| {
            report::Classifiers::judge(truth, generated, &options, &mut |class, epoch| {
                global.say(format!(
                    "{:>10}  {}  epoch {:>2}/{}  loss {:.3}  validation AUC {:.3}  {:.0} images/s{}",
                    class.unwrap_or("transfer"),
                    epoch.training,
                    epoch.epoch,
                    epoch.epochs,
                    epoch.loss,
                    epoch.validation_auc,
                    epoch.images_per_second,
                    if epoch.best { "  best" } else { "" },
                ));
            })
        })
    }
}

/// The lines of all tests, each with what it is about. Truth in brackets: in the place of the generated images.
pub(super) fn summary<'a>(
    found: &'a report::Classifiers,
    headlines: &BTreeMap<String, report::Headline>,
) -> Vec<(&'a str, String)> {
    let mut lines = Vec::new();
    for (name, test) in &found.two_sample.classes {
        let text = match test {
            None => missing(found.two_sample.reasons.get(name)),
            Some(test) => {
                let truth = (test.truth.as_ref())
                    .map_or_else(|| missing(test.truth_reason.as_ref()), separation);
                format!("{} (truth: {truth})", separation(&test.generated))
            }
        };
        lines.push((name.as_str(), format!("two-sample       {text}")));
        let nothing = (test.as_ref().zip(headlines.get(name)))
            .and_then(|(test, headline)| headline.remark(test.generated.learnt));
        lines.extend(nothing.map(|remark| (name.as_str(), remark)));
    }
    let text = match &found.transfer {
        None => missing(found.reasons.get("transfer")),
        Some(test) => format!(
            "{} (truth: {})",
            transferred(&test.generated),
            transferred(&test.truth)
        ),
    };
    lines.push(("transfer", format!("to truth         {text}")));
    if let Some(test) = &found.transfer {
        for (by, trained) in [
            ("generated images", &test.generated),
            ("truth", &test.truth),
        ] {
            let nothing = trained.learnt.remark();
            lines.extend(nothing.map(|remark| ("transfer", format!("trained on {by}, {remark}"))));
        }
    }
    lines
}

/// That a test has not been made, and why.
pub(super) fn missing(why: Option<&String>) -> String {
    why.map_or("not available".to_string(), |w| {
        format!("not available: {w}")
    })
}

fn separation(found: &Separation) -> String {
    format!(
        "AUC {:.4} +- {:.4}, JSD {:.4} +- {:.4} bit",
        found.auc, found.auc_error, found.jsd, found.jsd_error
    )
}

fn transferred(found: &Transferred) -> String {
    let rejection = found.rejection.map_or("not available".to_string(), |r| {
        let error = (found.rejection_error).map_or(String::new(), |e| format!(" +- {e:.2}"));
        format!("{r:.2}{error}")
    });
    format!(
        "AUC {:.4} +- {:.4}, rejection {rejection}",
        found.auc, found.auc_error
    )
}
