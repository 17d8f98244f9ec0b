//! `sarm generate`

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use super::{
    Global, command_line, grouped, print_json, read_checkpoint, refuse_existing, refuse_input,
};
use crate::data::journal::Identity;
use crate::data::{self, Layout, Provenance, ReadOptions, Selection, SparseImages};
use crate::engine::{Conditions, SamplingPlan, Work};
use crate::generate::{Ending, GeneratePlan, generate};
use crate::model::Model;
use crate::physics::{DEFAULT_RANGE, Geometry, observables};

/// Draw new images from a model.
///
/// Image number i depends on model, seed, condition and i alone: shards of one seed, made anywhere,
/// are parts of one and the same sample. A killed run goes on with --resume.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  sarm generate --model runs/w/model.safetensors --count 1000000 --seed 7 --out w.h5\n  sarm generate --model m.safetensors --count 500000 --first 500000 --seed 7 --out shard2.h5\n  sarm generate --model m.safetensors --given signal=1,jet_pt=270 --count 1000 --out w270.h5"
)]
pub struct Generate {
    /// Checkpoint of the model.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Images to draw [default with --given-from: one per row].
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = super::whole::<1, u64>)]
    count: Option<u64>,
    /// Seed: with the image's number, all that chance depends on.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true, value_parser = super::whole::<0, u64>
    )]
    seed: u64,
    /// Number of the first image.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true, value_parser = super::whole::<0, u64>
    )]
    first: u64,
    /// Output file (HDF5).
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Layout of the output: dense (LAGAN, gzip) or sparse (CSR; smaller and faster).
    #[arg(long, default_value = "dense")]
    layout: Layout,
    /// Value of every condition of the model, for all images.
    #[arg(
        long,
        value_name = "NAME=VALUE,..",
        value_delimiter = ',',
        conflicts_with = "given_from"
    )]
    given: Vec<Given>,
    /// Take the conditions from the rows of a data file: image i gets row i, round and round.
    #[arg(long, value_name = "FILE")]
    given_from: Option<PathBuf>,
    /// Rows of --given-from to use.
    #[arg(
        long,
        value_name = "NAME=VALUE|NAME=LOW..HIGH",
        requires = "given_from",
        conflicts_with = "given"
    )]
    select: Vec<Selection>,
    /// Write the observables of each image (jet_pt, jet_mass, tau_21 ..) beside it
    /// [default: yes in the dense layout, no in the sparse one].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new())]
    observables: Option<bool>,
    /// Half-width of the image in eta and phi, for the observables written beside it.
    #[arg(long, value_name = "R", default_value_t = DEFAULT_RANGE, allow_negative_numbers = true)]
    range: f64,
    /// Go on with an unfinished run of the same images.
    #[arg(long)]
    resume: bool,
    /// Overwrite the output.
    #[arg(long)]
    force: bool,
    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
}

/// NAME=VALUE
#[derive(Clone)]
struct Given {
    name: String,
    value: f32,
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

#[derive(serde::Serialize)]
struct Report {
    out: PathBuf,
    ending: &'static str,
    images_drawn: u64,
    images_taken_over: u64,
    seconds: f64,
    images_per_second: f64,
    sampler_images_per_second: f64,
    events_per_core_hour: f64,
    device: String,
}

/// Raw condition values per row, by name; one row for all images with `--given`.
struct GivenRows {
    names: Vec<String>,
    columns: Vec<Vec<f32>>,
}

impl GivenRows {
    fn rows(&self) -> usize {
        self.columns.first().map_or(0, Vec::len)
    }

    fn standardised(&self, model: &Model) -> Conditions {
        let values = (0..self.rows())
            .flat_map(|row| (0..self.names.len()).map(move |i| (row, i)))
            .map(|(row, i)| model.standardise(i, self.columns[i][row]))
            .collect();
        Conditions::new(self.names.len(), values)
    }

    /// What images `first ..` were conditioned on, by the name it is written under: a quantity that is
    /// also computed from the image keeps that name for the computed one.
    fn written(
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

impl Generate {
    fn given_rows(&self, model: &Model) -> anyhow::Result<GivenRows> {
        let names = model.config.condition.names.clone();
        for (i, g) in self.given.iter().enumerate() {
            if self.given[..i].iter().any(|other| other.name == g.name) {
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
        let columns = match &self.given_from {
            Some(_) if names.is_empty() => {
                bail!("the model has no conditions (--given-from makes no sense); leave it out")
            }
            Some(path) => {
                let options = ReadOptions {
                    selections: self.select.clone(),
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
                    let found = self.given.iter().find(|g| g.name == *name);
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

    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        let inputs = [Some(&self.model), self.given_from.as_ref()];
        refuse_input(&self.out, inputs.into_iter().flatten())?;
        refuse_existing(&self.out, self.force || self.resume)?;
        let checkpoint = read_checkpoint(&self.model)?;
        let model = &checkpoint.model;
        let given = self.given_rows(model)?;
        let count = match (self.count, &self.given_from) {
            (Some(count), _) => count,
            (None, Some(_)) => given.rows() as u64,
            (None, None) => bail!("how many images? give --count N"),
        };
        let engine = global.engine(Work::Sampling)?.engine;
        let conditions = given.standardised(model);
        let size = model.config.image;
        let identity = Identity {
            model: sha256_bytes(&checkpoint.sha256)?,
            condition: condition_hash(&conditions),
            seed: self.seed,
            first: self.first,
            count,
            height: size.height as u32,
            width: size.width as u32,
            arithmetic: engine.arithmetic(),
        };
        let mut plan = GeneratePlan::new(&self.out, identity, self.layout);
        plan.resume = self.resume;
        plan.force = self.force;
        plan.provenance = Provenance::new()
            .with("command", command_line())
            .with("model", self.model.display().to_string())
            .with("device", engine.describe());
        // What all training images had in common, the generated ones have too.
        if let Some(signal) = checkpoint.record.constants.get("signal")
            && !given.names.iter().any(|n| n == "signal")
        {
            plan.constants.insert("signal".into(), *signal);
        }
        let mut sampler = engine.sampler(
            model,
            &SamplingPlan {
                seed: self.seed,
                conditions,
                ..SamplingPlan::default()
            },
        )?;
        let geometry = Geometry::new(size.height, size.width, self.range)?;
        // Names that belong to observables, written this time or not.
        let none = SparseImages::new(size.height, size.width).unwrap_or_default();
        let computed: BTreeSet<String> = observables(&none, &geometry)?
            .columns()
            .into_keys()
            .collect();
        let with_observables = self.observables.unwrap_or(self.layout == Layout::Dense);
        let columns = |first: u64, images: &SparseImages| {
            let mut columns = BTreeMap::new();
            if with_observables {
                // The sampler's images have the model's size, and so has the geometry: no error here.
                columns = observables(images, &geometry)
                    .map(|o| o.columns())
                    .unwrap_or_default();
            }
            columns.extend(given.written(first, images.len(), &computed));
            columns
        };
        let bar = super::progress::bar(global, count);
        bar.set_prefix("generate");
        // From the first image that is drawn now: those taken over are in no rate.
        let mut started = None;
        let outcome = generate(&plan, sampler.as_mut(), &columns, &mut |p| {
            if started.is_none() && p.replayed > 0 {
                global.say(format!("going on after {} images", grouped(p.replayed)));
                bar.set_position(p.done);
                bar.reset_eta();
            }
            started.get_or_insert_with(Instant::now);
            bar.set_position(p.done);
            ControlFlow::Continue(())
        })
        .with_context(|| format!("generating '{}'", self.out.display()));
        bar.finish_and_clear();
        let outcome = outcome?;
        let seconds = started.map_or(Duration::ZERO, |at| at.elapsed());
        let seconds = seconds.max(Duration::from_micros(1)).as_secs_f64();
        let report = Report {
            out: self.out.clone(),
            ending: match outcome.ending {
                Ending::Complete => "complete",
                Ending::AlreadyComplete => "already complete",
                // Nothing here asks to stop, but the library can.
                Ending::Interrupted => "interrupted",
            },
            images_drawn: outcome.drawn,
            images_taken_over: outcome.replayed,
            seconds,
            images_per_second: outcome.drawn as f64 / seconds,
            sampler_images_per_second: outcome.drawn as f64
                / outcome.drawing.as_secs_f64().max(1e-9),
            events_per_core_hour: outcome.drawn as f64 / seconds * 3600.0
                / rayon::current_num_threads() as f64,
            device: engine.describe(),
        };
        match outcome.ending {
            Ending::AlreadyComplete => global.say(format!(
                "'{}' is complete already: nothing to do",
                self.out.display()
            )),
            _ => global.say(format!(
                "{} images in {seconds:.1} s, to disk: {:.0} images/s, {} events per core-hour ({}): {}",
                grouped(outcome.drawn),
                report.images_per_second,
                grouped(report.events_per_core_hour as u64),
                report.device,
                self.out.display()
            )),
        }
        if self.json {
            print_json(&report)?;
        }
        Ok(())
    }
}

/// SHA-256 of the condition vectors, zeros without.
fn condition_hash(conditions: &Conditions) -> [u8; 32] {
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

fn sha256_bytes(hex: &str) -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    for (i, b) in bytes.iter_mut().enumerate() {
        let digits = hex
            .get(2 * i..2 * i + 2)
            .context("the model's hash is too short")?;
        *b = u8::from_str_radix(digits, 16).context("the model's hash is not hexadecimal")?;
    }
    Ok(bytes)
}
