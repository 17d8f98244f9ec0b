//! What images are conditioned on: from the command line or from a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use crate::data::{self, ReadOptions, Selection};
use crate::engine::Conditions;
use crate::model::Model;
use crate::pretrained::Pretrained;

/// NAME=VALUE
#[derive(Clone)]
pub struct Given {
    name: String,
    value: f32,
}

impl Given {
    /// The conditions that a model of the program's own is drawn with.
    pub fn of(model: &Pretrained) -> Vec<Self> {
        let of = |(name, value): &(&str, f32)| Self {
            name: (*name).into(),
            value: *value,
        };
        model.given.iter().map(of).collect()
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
}

impl GivenRows {
    /// Of `given` on the command line, or the columns of `from` that `select` leaves: what `model` is
    /// conditioned on.
    pub fn new(
        model: &Model,
        given: &[Given],
        from: Option<&Path>,
        select: &[Selection],
    ) -> anyhow::Result<Self> {
        let names = model.config.condition.names.clone();
        for (i, g) in given.iter().enumerate() {
            if given[..i].iter().any(|other| other.name == g.name) {
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
            None => names
                .iter()
                .map(|name| {
                    let found = given.iter().find(|g| g.name == *name);
                    found.map(|g| vec![g.value]).with_context(|| {
                        format!(
                            "the model is conditioned on {}; give every one (--given {name}=VALUE) or --given-from FILE",
                            names.join(", ")
                        )
                    })
                })
                .collect::<anyhow::Result<_>>()?,
        };
        Ok(GivenRows { names, columns })
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
