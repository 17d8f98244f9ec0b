//! The boosted trees of `sarm evaluate`.

use super::classifiers::missing;
use crate::data::Dataset;
use crate::evaluate::{Evaluation, report};

/// Whether boosted trees judge.
#[derive(clap::Args)]
pub(super) struct Boosting {
    /// Leave out the boosted trees that tell truth from generated images by observables.
    ///
    /// They take seconds, and look at no more than 50 000 images of each side.
    #[arg(long)]
    skip_boosting: bool,
}

impl Boosting {
    /// The tests, unless they are to be left out.
    pub(super) fn judge(
        &self,
        truth: &Dataset,
        generated: &Dataset,
        evaluation: &Evaluation,
        seed: u64,
    ) -> Option<report::Boosted> {
        (!self.skip_boosting).then(|| report::Boosted::judge(truth, generated, evaluation, seed))
    }
}

/// A line of each class.
pub(super) fn summary(found: &report::Boosted) -> Vec<(&str, String)> {
    let line = |name: &str, test: &Option<report::BoostedTest>| match test {
        None => missing(found.reasons.get(name)),
        Some(test) => {
            let single = &test.observable;
            let used: Vec<&str> = (test.features.iter().take(3))
                .map(|feature| feature.name.as_str())
                .collect();
            format!(
                "AUC {:.4} +- {:.4} by {}; {} alone {:.4} +- {:.4}",
                test.auc,
                test.auc_error,
                used.join(", "),
                single.name,
                single.auc,
                single.auc_error
            )
        }
    };
    (found.classes.iter())
        .map(|(name, test)| {
            (
                name.as_str(),
                format!("boosted trees    {}", line(name, test)),
            )
        })
        .collect()
}
