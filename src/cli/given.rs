//! What images are conditioned on: from the command line, from a file, or drawn.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use crate::conditions::Conditions;
use crate::data;
use crate::data::{ReadOptions, Selection};
use crate::families::sarm::Sarm;
use crate::prior::draw;
use crate::run::pretrained::Pretrained;

/// Rows of conditions that are drawn of one seed at the most; further images have them again.
const MOST_DRAWN: u64 = 1 << 20;

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
    fn check(list: &[Self], model: &Sarm) -> anyhow::Result<()> {
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
    pub fn left_out(list: &[Self], model: &Sarm) -> anyhow::Result<Vec<String>> {
        Self::check(list, model)?;
        let names = model.config.condition.names.iter();
        let left = names.filter(|n| !list.iter().any(|g| g.name == **n));
        Ok(left.cloned().collect())
    }

    /// Columns that images to be scored need of a file; their total is computed from them and cannot be given.
    pub fn scored(list: &[Self], model: &Sarm) -> anyhow::Result<Vec<String>> {
        let total = model.config.condition.total.as_ref();
        if let Some(g) = list.iter().find(|g| Some(&g.name) == total) {
            bail!(
                "'{}' is the sum of each image's pixels; leave it out of --given",
                g.name
            );
        }
        let left = Self::left_out(list, model)?.into_iter();
        Ok(left.filter(|name| Some(name) != total).collect())
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
    /// How they were drawn, where they were.
    drawn: Option<Drawn>,
}

struct Drawn {
    /// What was not given.
    names: Vec<String>,
    given: BTreeMap<String, f32>,
    seed: u64,
}

impl GivenRows {
    /// Of `given` on the command line, or the columns of `from` that `select` leaves: what `model` is
    /// conditioned on. What `given` leaves out is drawn for the images of these numbers, under `seed`.
    pub fn new(
        model: &Sarm,
        given: &[Given],
        from: Option<(&Path, &[Selection])>,
        seed: u64,
        images: Range<u64>,
    ) -> anyhow::Result<Self> {
        let names = model.config.condition.names.clone();
        Given::check(given, model)?;
        let mut drawn = None;
        let columns = match from {
            Some(_) if names.is_empty() => {
                bail!("the model has no conditions (--given-from makes no sense); leave it out")
            }
            Some((path, select)) => of_file(path, select, model)?,
            None => {
                let how = Drawn {
                    names: Given::left_out(given, model)?,
                    given: given.iter().map(|g| (g.name.clone(), g.value)).collect(),
                    seed,
                };
                if how.names.is_empty() {
                    names.iter().map(|n| vec![how.given[n]]).collect()
                } else {
                    let columns = how.columns(model, images)?;
                    drawn = Some(how);
                    columns
                }
            }
        };
        Ok(GivenRows {
            names,
            columns,
            drawn,
        })
    }

    /// Where the conditions of images up to number `end` come from, where that is not plain from the command.
    pub fn origin(&self, end: u64) -> Option<String> {
        let names = self.drawn.as_ref()?.names.join(", ");
        let again = match end > MOST_DRAWN {
            true => format!("; image i has those of image i - {MOST_DRAWN}"),
            false => String::new(),
        };
        Some(format!("{names} drawn from what the model learnt{again}"))
    }

    /// SHA-256 of what the conditions of an image follow from, besides the model and its number; zeros without any.
    pub fn hash(&self, model: &Sarm) -> [u8; 32] {
        let mut hash = Sha256::new();
        if let Some(drawn) = &self.drawn {
            hash.update(draw::WAY);
            hash.update(drawn.seed.to_le_bytes());
            for (name, value) in &drawn.given {
                hash.update(name);
                hash.update(b"=");
                hash.update(value.to_le_bytes());
            }
        } else if self.rows() == 0 {
            return [0; 32];
        } else {
            let conditions = self.standardised(model);
            for row in 0..conditions.rows() as u64 {
                for v in conditions.row(row) {
                    hash.update(v.to_le_bytes());
                }
            }
        }
        hash.finalize().into()
    }

    /// Conditions beyond all that `model` was trained on.
    pub fn beyond(&self, model: &Sarm) -> Vec<String> {
        let Some(prior) = &model.prior else {
            return Vec::new();
        };
        let column = |name: &str| {
            self.names
                .iter()
                .position(|n| n == name)
                .map(|i| &self.columns[i])
        };
        let mut remarks = Vec::new();
        for (i, name) in prior.labels.names.iter().enumerate() {
            // A label: the model knows nothing of what lies between two of its values.
            let seen: Vec<f32> = prior.labels.values_of(i).iter().map(|(v, _)| *v).collect();
            if let Some(v) = column(name).and_then(|c| c.iter().find(|v| !seen.contains(v))) {
                remarks.push(format!(
                    "no image that the model was trained on had {name} = {v}: there were {seen:?}"
                ));
            }
        }
        for range in prior.densities.iter().map(|d| &d.range) {
            if let Some(v) = column(&range.name).and_then(|c| c.iter().find(|v| !range.near(**v))) {
                remarks.push(format!(
                    "{} = {v} lies outside the {} to {} that the model was trained on",
                    range.name,
                    range.ends()[0],
                    range.ends()[1]
                ));
            }
        }
        remarks
    }

    /// How many.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, Vec::len)
    }

    /// As the network is shown them.
    pub fn standardised(&self, model: &Sarm) -> Conditions {
        let values = (0..self.rows())
            .flat_map(|row| (0..self.names.len()).map(move |i| (row, i)))
            .map(|(row, i)| model.standardise(i, self.columns[i][row]))
            .collect();
        Conditions::new(self.names.len(), values).with_total(model.total())
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

/// The conditions of `model` of the rows of `path` that `select` takes.
fn of_file(path: &Path, select: &[Selection], model: &Sarm) -> anyhow::Result<Vec<Vec<f32>>> {
    let condition = &model.config.condition;
    let names = &condition.names;
    let options = ReadOptions {
        selections: select.to_vec(),
        columns: condition.read().cloned().collect(),
        total: condition.total.clone(),
        prefer_given: true,
        ..ReadOptions::default()
    };
    let mut read = data::read(path, &options)?;
    let columns: Vec<Vec<f32>> = (names.iter())
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
    Ok(columns)
}

impl Drawn {
    /// The conditions of images `0 .. images.end`, as far as they do not repeat. Those of images before the first one
    /// are never looked at and cost nothing.
    fn columns(&self, model: &Sarm, images: Range<u64>) -> anyhow::Result<Vec<Vec<f32>>> {
        let names = &model.config.condition.names;
        let Some(prior) = &model.prior else {
            bail!(
                "the model is conditioned on {} and does not know how these are distributed; give every one (--given {}=VALUE,..) or --given-from FILE",
                names.join(", "),
                self.names[0]
            );
        };
        let rows = match images.end <= MOST_DRAWN {
            true => images.start as usize..images.end as usize,
            false => 0..MOST_DRAWN as usize,
        };
        let unused = rows.start;
        let mut drawn = draw::draw(prior, &self.given, self.seed, rows)
            .with_context(|| format!("cannot draw {}", self.names.join(", ")))?;
        let column = |name: &String| {
            let values = drawn.remove(name).unwrap_or_default();
            let filler = values.first().copied().unwrap_or(0.0);
            [vec![filler; unused], values].concat()
        };
        Ok(names.iter().map(column).collect())
    }
}
