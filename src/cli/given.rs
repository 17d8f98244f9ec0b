//! What images are conditioned on: from the command line or from a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::bail;
use sha2::{Digest, Sha256};

use super::grouped;
use crate::data::{self, ReadOptions, Selection};
use crate::engine::Conditions;
use crate::model::Model;
use crate::pretrained::Pretrained;
use crate::random::{self, Purpose};

/// A condition of no more values than these is a label.
const LABELS: usize = 16;

/// NAME=VALUE
#[derive(Clone)]
pub struct Given {
    name: String,
    value: f32,
}

impl Given {
    /// `list` and the conditions that the name of a model of the program's own stands for.
    pub fn with_those_of(list: &[Self], own: Option<&Pretrained>) -> anyhow::Result<Vec<Self>> {
        let mut list = list.to_vec();
        for (name, value) in own.map_or(&[][..], |own| own.given) {
            match list.iter().find(|g| g.name == *name) {
                Some(g) if g.value != *value => bail!(
                    "{} stands for {name} = {value} (--given says {}); choose another model or leave it out",
                    own.map_or("", |own| own.name),
                    g.value
                ),
                Some(_) => {}
                None => list.push(Self {
                    name: (*name).into(),
                    value: *value,
                }),
            }
        }
        Ok(list)
    }

    /// Refuse names that `model` is not conditioned on, or that stand twice.
    fn check(list: &[Self], model: &Model) -> anyhow::Result<()> {
        let names = &model.config.condition.names;
        for (i, g) in list.iter().enumerate() {
            if list[..i].iter().any(|other| other.name == g.name) {
                bail!("--given names '{}' twice; give it one value", g.name);
            }
            if !names.contains(&g.name) {
                bail!(
                    "the model has no condition '{}' ({}); leave it out of --given",
                    g.name,
                    if names.is_empty() {
                        "it has none".into()
                    } else {
                        format!("it has {}", names.join(", "))
                    }
                );
            }
        }
        Ok(())
    }

    /// Columns of `model`'s conditions that `list` leaves to a file.
    pub fn left_out(list: &[Self], model: &Model) -> anyhow::Result<Vec<String>> {
        Self::check(list, model)?;
        let names = model.config.condition.names.iter();
        let left = names.filter(|n| !list.iter().any(|g| g.name == **n));
        Ok(left.cloned().collect())
    }

    /// Put the values of `list` in the place of the columns of `rows` rows.
    pub fn put(list: &[Self], columns: &mut BTreeMap<String, Vec<f32>>, rows: usize) {
        columns.extend(list.iter().map(|g| (g.name.clone(), vec![g.value; rows])));
    }
}

impl std::str::FromStr for Given {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| format!("'{text}' is not NAME=VALUE"))?;
        match value.trim().parse::<f32>() {
            Ok(value) if value.is_finite() => Ok(Self {
                name: name.trim().into(),
                value,
            }),
            _ => Err(format!("'{value}' is not a finite number")),
        }
    }
}

/// Raw condition values per row, by name; one row for all images with `--given`.
pub struct GivenRows {
    pub names: Vec<String>,
    columns: Vec<Vec<f32>>,
    /// Whether they are those of training images.
    of_training: bool,
}

impl GivenRows {
    /// Of `given` on the command line, or the columns of `from` that `select` leaves: what `model` is
    /// conditioned on. What `given` leaves out is that of training images which agree with it, in an order of `seed`.
    pub fn new(
        model: &Model,
        given: &[Given],
        from: Option<&Path>,
        select: &[Selection],
        seed: u64,
    ) -> anyhow::Result<Self> {
        let names = model.config.condition.names.clone();
        Given::check(given, model)?;
        let mut of_training = false;
        let columns = match from {
            Some(_) if names.is_empty() => {
                bail!("the model has no conditions (--given-from makes no sense); leave it out")
            }
            Some(path) => {
                let options = ReadOptions {
                    selections: select.to_vec(),
                    columns: names.clone(),
                    prefer_given: true,
                    ..ReadOptions::default()
                };
                let mut read = data::read(path, &options)?;
                let columns: Vec<Vec<f32>> = names
                    .iter()
                    .map(|n| read.columns.remove(n).unwrap_or_default())
                    .collect();
                for (name, column) in names.iter().zip(&columns) {
                    if let Some(row) = column.iter().position(|v| !v.is_finite()) {
                        bail!(
                            "'{}', data set '{name}', row {row} holds {} (a condition must be finite); deselect it",
                            path.display(),
                            column[row]
                        );
                    }
                }
                columns
            }
            None => match names.iter().find(|n| !given.iter().any(|g| g.name == **n)) {
                None => names
                    .iter()
                    .filter_map(|n| given.iter().find(|g| g.name == *n))
                    .map(|g| vec![g.value])
                    .collect(),
                Some(left_out) => {
                    of_training = true;
                    of_population(model, given, left_out, seed)?
                }
            },
        };
        Ok(GivenRows {
            names,
            columns,
            of_training,
        })
    }

    /// Where the conditions of `count` images come from, where that is not plain from the command.
    pub fn origin(&self, count: u64) -> Option<String> {
        let rows = self.rows() as u64;
        let (least, most) = (count / rows.max(1), count.div_ceil(rows.max(1)));
        let again = match (least, most) {
            (_, ..2) => String::new(),
            (a, b) if a == b => format!(", each of them {a} times"),
            (a, b) => format!(", each of them {a} or {b} times"),
        };
        self.of_training
            .then(|| format!("those of {} training images{again}", grouped(rows)))
    }

    /// Conditions beyond all that `model` was trained on.
    pub fn beyond(&self, model: &Model) -> Vec<String> {
        let width = self.names.len();
        let seen = |i: usize| model.population.iter().skip(i).step_by(width).copied();
        let named = self.names.iter().zip(&self.columns).enumerate();
        named
            .filter_map(|(i, (name, column))| {
                let (low, high) = (seen(i).reduce(f32::min)?, seen(i).reduce(f32::max)?);
                if let Some(v) = column.iter().find(|v| **v < low || **v > high) {
                    return Some(format!(
                        "{name} = {v} lies outside the {low} to {high} that the model was trained on"
                    ));
                }
                // A label: the model knows nothing of what lies between two of its values.
                let mut values: Vec<f32> = Vec::new();
                for v in seen(i) {
                    if !values.contains(&v) {
                        values.push(v);
                    }
                    if values.len() > LABELS {
                        return None;
                    }
                }
                let v = column.iter().find(|v| !values.contains(v))?;
                Some(format!(
                    "no image that the model was trained on had {name} = {v}: there were {values:?}"
                ))
            })
            .collect()
    }

    /// How many.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, Vec::len)
    }

    /// As the network is shown them.
    pub fn standardised(&self, model: &Model) -> Conditions {
        let values = (0..self.rows())
            .flat_map(|row| (0..self.names.len()).map(move |i| (row, i)))
            .map(|(row, i)| model.standardise(i, self.columns[i][row]))
            .collect();
        Conditions::new(self.names.len(), values)
    }

    /// What images `first ..` were conditioned on, by the name it is written under: a quantity that is
    /// also computed from the image keeps that name for the computed one.
    pub fn written(
        &self,
        first: u64,
        count: usize,
        computed: &BTreeSet<String>,
    ) -> BTreeMap<String, Vec<f32>> {
        let rows = self.rows() as u64;
        self.names
            .iter()
            .zip(&self.columns)
            .map(|(name, column)| {
                let name = if computed.contains(name) {
                    format!("given_{name}")
                } else {
                    name.clone()
                };
                let values = (first..first + count as u64)
                    .map(|i| column[(i % rows) as usize])
                    .collect();
                (name, values)
            })
            .collect()
    }
}

/// Columns of the training images that agree with `given`, in an order of `seed`; `left_out` is a condition that `given`
/// does not name.
fn of_population(
    model: &Model,
    given: &[Given],
    left_out: &str,
    seed: u64,
) -> anyhow::Result<Vec<Vec<f32>>> {
    let names = &model.config.condition.names;
    let all = names.join(", ");
    let remedy = format!("give every one (--given {left_out}=VALUE,..) or --given-from FILE");
    if model.population.is_empty() {
        bail!("the model is conditioned on {all} and brings no values to draw from; {remedy}");
    }
    let agrees = |row: &&[f32]| {
        let mut pairs = names.iter().zip(row.iter());
        pairs.all(|(name, v)| given.iter().all(|g| g.name != *name || g.value == *v))
    };
    let rows: Vec<&[f32]> = (model.population.chunks_exact(names.len()))
        .filter(agrees)
        .collect();
    if rows.is_empty() {
        let asked: Vec<String> =
            (given.iter().map(|g| format!("{}={}", g.name, g.value))).collect();
        bail!(
            "no image that the model was trained on had exactly {}, so there is no '{left_out}' to draw (it is conditioned on {all}); {remedy}",
            asked.join(", ")
        );
    }
    let order = random::permutation(seed, Purpose::Population, 1, rows.len());
    let column = |i: usize| order.iter().map(|row| rows[*row as usize][i]).collect();
    Ok((0..names.len()).map(column).collect())
}

/// SHA-256 of the condition vectors, zeros without.
pub fn hash(conditions: &Conditions) -> [u8; 32] {
    if conditions.rows() == 0 {
        return [0; 32];
    }
    let mut hash = Sha256::new();
    for row in 0..conditions.rows() as u64 {
        for v in conditions.row(row) {
            hash.update(v.to_le_bytes());
        }
    }
    hash.finalize().into()
}
