//! What all two-sample tests of a class say together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::text::value_with_error;
use super::{Boosted, Classifiers};
use crate::classify::{Auc, By, Learnt};

/// The largest AUC of all two-sample tests of a class, and what follows from all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "docs/metrics.md defines each key")]
pub struct Headline {
    pub conclusion: Conclusion,
    pub auc: Option<f64>,
    pub auc_error: Option<f64>,
    pub test: Option<Test>,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// A test tells generated images from truth, by more than three errors of its AUC.
    ToldApart,
    /// Tests that could have told them apart do not.
    NotToldApart,
    /// None could be made, or those that were made have learnt nothing.
    NoTest,
}

/// Which two-sample test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// Boosted trees on observables.
    Boosting,
    /// A single observable.
    Observable,
    /// A neural network on pixels.
    Network,
}

/// Of each class that any test looked at. A network that has learnt nothing says nothing.
pub fn headlines(
    boosting: Option<&Boosted>,
    classifiers: Option<&Classifiers>,
) -> BTreeMap<String, Headline> {
    let mut found: BTreeMap<&String, Vec<(Test, Auc)>> = BTreeMap::new();
    for (class, test) in boosting.iter().flat_map(|b| &b.classes) {
        let tests = found.entry(class).or_default();
        let Some(test) = test else { continue };
        let single = &test.observable;
        let auc = |value, error| Auc { value, error };
        tests.push((Test::Boosting, auc(test.auc, test.auc_error)));
        tests.push((Test::Observable, auc(single.auc, single.auc_error)));
    }
    for (class, test) in (classifiers.iter()).flat_map(|c| &c.two_sample.classes) {
        let tests = found.entry(class).or_default();
        if let Some(test) = test.as_ref().filter(|t| t.generated.learnt.learnt) {
            let auc = Auc {
                value: test.generated.auc,
                error: test.generated.auc_error,
            };
            tests.push((Test::Network, auc));
        }
    }
    (found.into_iter())
        .map(|(class, tests)| (class.clone(), Headline::of(&tests)))
        .collect()
}

impl Headline {
    fn of(tests: &[(Test, Auc)]) -> Self {
        let apart = tests.iter().any(|(_, auc)| auc.above_chance());
        let largest = (tests.iter()).max_by(|a, b| a.1.value.total_cmp(&b.1.value));
        Self {
            conclusion: match (apart, largest) {
                (true, _) => Conclusion::ToldApart,
                (false, Some(_)) => Conclusion::NotToldApart,
                (false, None) => Conclusion::NoTest,
            },
            auc: largest.map(|(_, auc)| auc.value),
            auc_error: largest.map(|(_, auc)| auc.error),
            test: largest.map(|(test, _)| *test),
        }
    }

    /// "AUC 0.654 ± 0.005, boosted trees on observables"; empty where there is no test.
    pub fn largest(&self) -> String {
        match (self.auc, self.test) {
            (Some(auc), Some(test)) => {
                format!(
                    "AUC {}, {}",
                    value_with_error(auc, self.auc_error),
                    test.name()
                )
            }
            _ => String::new(),
        }
    }

    /// That a network has learnt nothing, where it is so, and what tells the images apart where it does not.
    pub fn remark(&self, learnt: Learnt) -> Option<String> {
        let remark = learnt.remark()?;
        Some(match self.conclusion {
            Conclusion::ToldApart => {
                format!(
                    "no test: {remark}; others tell them apart ({})",
                    self.largest()
                )
            }
            _ => format!("no test: {remark}"),
        })
    }
}

impl Conclusion {
    /// For readers.
    pub fn words(self) -> &'static str {
        match self {
            Self::ToldApart => "told apart",
            Self::NotToldApart => "not told apart",
            Self::NoTest => "no test",
        }
    }
}

impl Test {
    /// For readers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boosting => "boosted trees on observables",
            Self::Observable => "a single observable",
            Self::Network => "a neural network on pixels",
        }
    }
}

/// "Sum of all pixels, by its distance from the median".
pub(super) fn ranking(title: &str, by: By) -> String {
    match by {
        By::Value => title.to_string(),
        By::Distance => format!("{title}, by its distance from the median"),
    }
}
