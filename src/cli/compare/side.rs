//! What is known of one run: its directory, its report.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::evaluate::report::MetricsFile;
use crate::family::Objective;
use crate::run::pretrained;
use crate::run::train::read_metrics;

/// One column of the comparison.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Side {
    /// As it was given.
    pub name: String,
    /// Weights and biases that are not masked.
    pub parameters: Option<usize>,
    /// Images trained on.
    pub images: Option<usize>,
    /// Epoch of the best model, and epochs in all.
    pub epochs: Option<[usize; 2]>,
    /// What the next two are.
    #[serde(skip)]
    pub objective: Option<Objective>,
    /// Nats per image, or a loss.
    pub train_nll: Option<f64>,
    /// The same of a held-out image.
    pub validation_nll: Option<f64>,
    /// Epoch and loss: of held-out images where there were any, else of training images.
    pub losses: Vec<(f64, f64)>,
    /// The configuration, a dotted key a value.
    pub settings: BTreeMap<String, String>,
    /// W1 in floors, by class and observable.
    pub floors: BTreeMap<String, BTreeMap<String, f64>>,
    /// Frechet physics distance times 1000 and its error, by class.
    pub fpd: BTreeMap<String, [f64; 2]>,
    /// Largest difference of the average images, by class.
    pub average_image: BTreeMap<String, f64>,
    /// Files and selections of the truth that it was compared with.
    pub truth: Option<String>,
    /// AUC of the network's two-sample test and its error, by class.
    pub auc: BTreeMap<String, [f64; 2]>,
    /// AUC of the boosted trees and its error, by class.
    pub boosting: BTreeMap<String, [f64; 2]>,
}

impl Side {
    /// Of `RUN`, `REPORT` or `RUN,REPORT`.
    pub fn read(text: &str) -> anyhow::Result<Self> {
        let mut side = Self {
            name: text.into(),
            ..Self::default()
        };
        let paths: Vec<PathBuf> = match Path::new(text).exists() {
            true => vec![text.into()],
            false => text.split(',').map(PathBuf::from).collect(),
        };
        for path in &paths {
            if !path.is_dir() {
                bail!(
                    "'{}' is no directory; name a run directory or a report",
                    path.display()
                );
            }
            let (run, report) = (path.join("model.safetensors"), path.join("metrics.json"));
            if !(run.exists() || report.exists()) {
                bail!(
                    "'{}' holds neither a run (model.safetensors) nor a report (metrics.json); wait for the first epoch or name another directory",
                    path.display()
                );
            }
            if run.exists() {
                side.read_run(path)?;
            }
            let named = paths.len() > 1;
            if let Some(report) = report.exists().then_some(report).or_else(|| match named {
                true => None,
                false => report_inside(path),
            }) {
                side.read_report(&report)?;
            }
        }
        Ok(side)
    }

    fn read_run(&mut self, directory: &Path) -> anyhow::Result<()> {
        let model = directory.join("model.safetensors");
        let checkpoint = pretrained::open(&model)?;
        let tensors = checkpoint.model.tensors();
        self.parameters = Some(tensors.iter().map(|t| t.unmasked).sum());
        self.images = Some(checkpoint.record.images[0]);
        self.objective = Some(checkpoint.model.objective());
        self.train_nll = checkpoint.record.train_nll;
        self.validation_nll = checkpoint.record.validation_nll;
        let history = read_metrics(&model);
        self.epochs = Some([
            checkpoint.record.epochs,
            history.len().max(checkpoint.record.epochs),
        ]);
        let held_out = history.iter().all(|(_, _, v)| v.is_some());
        self.losses = (history.iter())
            .map(|(epoch, train, held)| {
                (*epoch as f64, held.filter(|_| held_out).unwrap_or(*train))
            })
            .filter(|(_, loss)| loss.is_finite())
            .collect();
        let path = directory.join("config.toml");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read '{}'", path.display()))?;
        let table: toml::Table = text
            .parse()
            .with_context(|| format!("in '{}'", path.display()))?;
        flatten("", &toml::Value::Table(table), &mut self.settings);
        Ok(())
    }

    fn read_report(&mut self, path: &Path) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read '{}'", path.display()))?;
        let report: MetricsFile = serde_json::from_str(&text)
            .with_context(|| format!("'{}' is no report of this program", path.display()))?;
        let meta = &report.meta;
        let selected = meta.selection.truth.join(" and ");
        self.truth = Some(
            format!("{} {selected}", meta.files.truth)
                .trim()
                .to_string(),
        );
        for (class, features) in &report.features {
            if let Some(fpd) = &features.distances.fpd {
                let found = [fpd.value, fpd.error].map(|v| 1e3 * v);
                self.fpd.insert(class.clone(), found);
            }
        }
        for (class, images) in &report.images {
            let most = images.distances.mean_image_max_abs_difference;
            self.average_image.insert(class.clone(), most);
        }
        for (class, observables) in &report.classes {
            let floors = observables.iter().filter_map(|(name, m)| {
                let floors = m.w1? / m.w1_floor.filter(|f| *f > 0.0)?;
                Some((name.clone(), floors))
            });
            self.floors.insert(class.clone(), floors.collect());
        }
        for (class, test) in report.boosting.iter().flat_map(|b| &b.classes) {
            if let Some(test) = test {
                let found = [test.auc, test.auc_error];
                self.boosting.insert(class.clone(), found);
            }
        }
        for (class, test) in report
            .classifiers
            .iter()
            .flat_map(|c| &c.two_sample.classes)
        {
            if let Some(test) = test {
                let found = &test.generated;
                self.auc.insert(class.clone(), [found.auc, found.auc_error]);
            }
        }
        Ok(())
    }

    /// `12 of 20`.
    pub fn best_epoch(&self) -> Option<String> {
        self.epochs.map(|[best, all]| format!("{best} of {all}"))
    }
}

/// The one report in a directory of `run`, if there is one.
fn report_inside(run: &Path) -> Option<PathBuf> {
    let mut found = (std::fs::read_dir(run).ok()?)
        .filter_map(|entry| Some(entry.ok()?.path().join("metrics.json")))
        .filter(|path| path.is_file());
    let report = found.next()?;
    // Of several nobody knows which is meant.
    found.next().is_none().then_some(report)
}

/// Every value of a table under its dotted key.
fn flatten(key: &str, value: &toml::Value, into: &mut BTreeMap<String, String>) {
    let below = |name: &str| match key.is_empty() {
        true => name.to_string(),
        false => format!("{key}.{name}"),
    };
    match value {
        toml::Value::Table(table) => {
            table
                .iter()
                .for_each(|(name, v)| flatten(&below(name), v, into));
        }
        toml::Value::Array(list) if list.iter().any(toml::Value::is_table) => {
            (list.iter().enumerate()).for_each(|(i, v)| flatten(&below(&i.to_string()), v, into));
        }
        other => {
            into.insert(key.into(), other.to_string());
        }
    }
}
