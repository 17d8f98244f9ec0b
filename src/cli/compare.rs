//! `sarm compare`

mod side;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::bail;

use super::plot::Picture;
use super::{Global, output, print, print_json};
use crate::checkpoint::tensors::write_atomically;
use crate::evaluate::report::loss_curves;
use crate::family::Objective;
use side::Side;

/// Compare runs and reports side by side.
///
/// Shown are the settings that differ, losses, likelihoods, distances and what classifiers said. Each argument is a run directory of `train`, a report directory of `evaluate`, or RUN,REPORT for both. A report is
/// also found inside its run directory. Distances are given in floors: the W1 that two true samples of the same sizes
/// have. Only what the reports hold is shown; nothing is computed anew.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  sarm compare runs/a runs/b\n  sarm compare runs/a,report-a runs/b,report-b --out losses.svg"
)]
pub struct Compare {
    /// Runs and reports to compare, two or more.
    #[arg(value_name = "RUN|REPORT|RUN,REPORT", num_args = 2.., required = true)]
    runs: Vec<String>,
    /// Also draw the validation losses: .png or .svg.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Overwrite the output.
    #[arg(long)]
    force: bool,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

impl Compare {
    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        let picture = match &self.out {
            Some(out) => {
                output::check(out, self.force)?;
                Some((out, Picture::of(out)?))
            }
            None => None,
        };
        let sides = (self.runs.iter())
            .map(|text| Side::read(text))
            .collect::<anyhow::Result<Vec<_>>>()?;
        if let Some((out, picture)) = picture {
            let curves: Vec<_> = (sides.iter())
                .filter(|s| !s.losses.is_empty())
                .map(|s| (s.name.as_str(), s.losses.as_slice()))
                .collect();
            if curves.is_empty() {
                bail!(
                    "no losses to draw (none of these is a run directory with metrics.csv); leave --out away"
                );
            }
            let other = |side: &Side| side.objective.is_some_and(|o| o != Objective::NLL);
            let title = match sides.iter().any(other) {
                true => Objective::LOSS.title(),
                false => Objective::NLL.title(),
            };
            output::make_parents(out)?;
            write_atomically(out, &picture.bytes(&loss_curves(&curves, title), out)?)?;
            global.say(format!("picture: {}", out.display()));
        }
        let mut truths = sides.iter().filter_map(|s| s.truth.as_ref());
        let first = truths.next();
        if truths.any(|truth| Some(truth) != first) {
            log::warn!(
                "the reports compare with different truths (each has its own floors and classes); evaluate all with one truth"
            );
        }
        match self.json {
            true => print_json(&sides),
            false => print(&table(&sides)),
        }
    }
}

/// A row: its name and a cell of each side.
type Row = (String, Vec<String>);

/// The rows of the table; the titles of its sections have no cells.
#[derive(Default)]
struct Rows(Vec<Row>);

impl Rows {
    /// Add the rows that somebody has a value for, under `title`.
    fn section(&mut self, title: &str, rows: Vec<(String, Vec<Option<String>>)>) {
        let known = |(_, cells): &(_, Vec<Option<String>>)| cells.iter().any(Option::is_some);
        let rows: Vec<_> = rows.into_iter().filter(known).collect();
        if !rows.is_empty() {
            self.0.push((title.into(), Vec::new()));
        }
        for (name, cells) in rows {
            let cells = cells.into_iter().map(|c| c.unwrap_or_else(|| "-".into()));
            self.0.push((format!("  {name}"), cells.collect()));
        }
    }
}

fn table(sides: &[Side]) -> String {
    let of = |get: &dyn Fn(&Side) -> Option<String>| sides.iter().map(get).collect::<Vec<_>>();
    let mut rows = Rows::default();
    let names = sides.iter().map(|s| s.name.clone());
    rows.0.push((String::new(), names.collect()));
    let counted = |n: Option<usize>| n.map(|n| super::grouped(n as u64));
    // Likelihoods and other losses are not to be compared.
    let losses = |objective: Objective, get: fn(&Side) -> Option<f64>| {
        let each = sides
            .iter()
            .map(|side| match side.objective == Some(objective) {
                true => get(side).map(|v| format!("{v:.4}")),
                false => None,
            });
        each.collect::<Vec<_>>()
    };
    let (nll, loss) = (Objective::NLL, Objective::LOSS);
    rows.section(
        "training",
        vec![
            ("parameters".into(), of(&|s| counted(s.parameters))),
            ("images".into(), of(&|s| counted(s.images))),
            ("best epoch".into(), of(&|s| s.best_epoch())),
            ("train NLL".into(), losses(nll, |s| s.train_nll)),
            ("validation NLL".into(), losses(nll, |s| s.validation_nll)),
            ("train loss".into(), losses(loss, |s| s.train_nll)),
            ("validation loss".into(), losses(loss, |s| s.validation_nll)),
            ("loss by epoch".into(), sparklines(sides)),
        ],
    );
    let differing = differing_settings(sides).into_iter();
    let differing: Vec<_> = differing
        .map(|key| (key.clone(), of(&|s| s.settings.get(key).cloned())))
        .collect();
    let runs = sides.iter().filter(|s| !s.settings.is_empty()).count();
    if differing.is_empty() && runs > 1 {
        rows.0.push(("configuration: the same".into(), Vec::new()));
    }
    rows.section("configuration, where it differs", differing);
    let classes: BTreeSet<&String> = sides.iter().flat_map(|s| s.floors.keys()).collect();
    for class in classes {
        let names: BTreeSet<&String> = (sides.iter())
            .filter_map(|s| s.floors.get(class))
            .flat_map(|f| f.keys())
            .collect();
        let lines = names.into_iter().map(|name| {
            let cell = |s: &Side| Some(format!("{:.2}", s.floors.get(class)?.get(name)?));
            (name.clone(), of(&cell))
        });
        rows.section(&format!("W1 in floors, {class}"), lines.collect());
    }
    let classes: BTreeSet<&String> = sides.iter().flat_map(|s| s.fpd.keys()).collect();
    let lines = classes.into_iter().map(|class| {
        let cell = |s: &Side| s.fpd.get(class).map(|[v, e]| format!("{v:.3} +- {e:.3}"));
        (class.clone(), of(&cell))
    });
    rows.section("Frechet physics distance x 1000", lines.collect());
    let classes: BTreeSet<&String> = sides.iter().flat_map(|s| s.average_image.keys()).collect();
    let lines = classes.into_iter().map(|class| {
        let cell = |s: &Side| s.average_image.get(class).map(|v| format!("{v:.4}"));
        (class.clone(), of(&cell))
    });
    rows.section(
        "average image, largest difference of a pixel",
        lines.collect(),
    );
    type Areas = fn(&Side) -> &BTreeMap<String, [f64; 2]>;
    let tests: [(&str, Areas); 2] = [
        ("two-sample AUC, boosted trees", |s| &s.boosting),
        ("two-sample AUC, network", |s| &s.auc),
    ];
    for (title, areas) in tests {
        let classes: BTreeSet<&String> = sides.iter().flat_map(|s| areas(s).keys()).collect();
        let lines = classes.into_iter().map(|class| {
            let cell = |s: &Side| {
                areas(s)
                    .get(class)
                    .map(|[v, e]| format!("{v:.3} +- {e:.3}"))
            };
            (class.clone(), of(&cell))
        });
        rows.section(title, lines.collect());
    }
    aligned(&rows.0)
}

/// Keys whose values differ between those sides that have a configuration.
fn differing_settings(sides: &[Side]) -> Vec<&String> {
    let configured: Vec<&Side> = sides.iter().filter(|s| !s.settings.is_empty()).collect();
    let keys: BTreeSet<&String> = configured.iter().flat_map(|s| s.settings.keys()).collect();
    (keys.into_iter())
        .filter(|key| {
            let mut values = configured.iter().map(|s| s.settings.get(*key));
            let first = values.next();
            values.any(|v| Some(v) != first)
        })
        .collect()
}

/// Validation losses (training losses where there are none) as rows of blocks, all on one scale.
fn sparklines(sides: &[Side]) -> Vec<Option<String>> {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const WIDEST: usize = 24;
    let all = || sides.iter().flat_map(|s| s.losses.iter().map(|(_, v)| *v));
    let (low, high) = (
        all().fold(f64::INFINITY, f64::min),
        all().fold(f64::NEG_INFINITY, f64::max),
    );
    (sides.iter())
        .map(|s| {
            let step = s.losses.len().div_ceil(WIDEST).max(1);
            let line: String = (s.losses.iter().step_by(step))
                .map(|(_, v)| {
                    let part = if high > low {
                        (v - low) / (high - low)
                    } else {
                        0.0
                    };
                    LEVELS[((part * 7.0).round() as usize).min(7)]
                })
                .collect();
            (!line.is_empty()).then_some(line)
        })
        .collect()
}

fn aligned(rows: &[Row]) -> String {
    let width = |text: &String| text.chars().count();
    let first = rows.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let columns = rows.iter().map(|(_, cells)| cells.len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| {
            rows.iter()
                .filter_map(|(_, cells)| cells.get(c))
                .map(width)
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for (name, cells) in rows {
        let mut line = format!("{name}{}", " ".repeat(first - width(name)));
        for (cell, width_of) in cells.iter().zip(&widths) {
            line += &format!("  {}{cell}", " ".repeat(width_of - width(cell)));
        }
        text += line.trim_end();
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_gaps_are_dashes() {
        let mut a = Side {
            name: "a".into(),
            objective: Some(Objective::NLL),
            validation_nll: Some(98.5),
            ..Side::default()
        };
        let mut b = Side {
            name: "longer".into(),
            ..Side::default()
        };
        a.settings.insert("train.batch".into(), "32".into());
        b.settings.insert("train.batch".into(), "64".into());
        a.settings.insert("train.seed".into(), "0".into());
        b.settings.insert("train.seed".into(), "0".into());
        let text = table(&[a, b]);
        let line = |start: &str| {
            text.lines()
                .find(|l| l.trim_start().starts_with(start))
                .unwrap()
                .to_string()
        };
        assert!(
            line("validation NLL").ends_with(" 98.5000       -"),
            "{text}"
        );
        assert!(line("train.batch").ends_with("     32      64"), "{text}");
        assert!(
            !text.contains("train.seed") && !text.contains("AUC"),
            "{text}"
        );
    }
}
