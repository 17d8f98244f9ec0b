//! A whole generation: which images, on what, where to.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;

use super::{GenerateError, GeneratePlan, Outcome, Progress, generate};
use crate::data::calochallenge::INCIDENT;
use crate::data::{CaloBinning, ImageSize, Layout, Provenance, SparseImages};
use crate::device::{DeviceChoice, Opened};
use crate::family::EngineError;
use crate::family::{Sampler, SamplingPlan, open_sampler};
use crate::physics::{Geometry, GeometryError, observables};
use crate::run::checkpoint::Checkpoint;
use crate::run::codes::{self, CodesError};
use crate::run::conditions::{GivenError, RunConditions, Source};
use crate::run::identity::{Identity, hex};

/// Which images to draw, and on what.
#[derive(Debug, Clone)]
pub struct Request {
    /// How many; `None`: one per row of conditions.
    pub count: Option<u64>,
    /// Number of the first image.
    pub first: u64,
    /// Random seed; with the image number it fixes every draw.
    pub seed: u64,
    /// Conditions of the images.
    pub conditions: Source,
    /// Codes of the images, of a model that has them.
    pub codes: codes::Source,
    /// Where to draw.
    pub device: DeviceChoice,
    /// Threads of the processor; 0: one per core.
    pub threads: usize,
    /// Memory of a card to use at most, bytes.
    pub max_memory: Option<u64>,
}

impl Request {
    /// `count` images of `seed`, all conditions drawn, on whatever there is.
    pub fn new(count: u64, seed: u64) -> Self {
        Self {
            count: Some(count),
            first: 0,
            seed,
            conditions: Source::Given(Vec::new()),
            codes: codes::Source::default(),
            device: DeviceChoice::Auto,
            threads: 0,
            max_memory: None,
        }
    }
}

/// The file that a job writes.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its name.
    pub path: PathBuf,
    /// Its layout.
    pub layout: Layout,
    /// How the showers of [`Layout::CaloChallenge`] are cut; `None`: as the model's record says.
    pub binning: Option<CaloBinning>,
    /// Whether to write the observables of each image; `None`: in the dense layout.
    pub observables: Option<bool>,
    /// Half-width of the image in eta and phi, for the observables.
    pub range: f64,
    /// Go on with an unfinished run of the same images.
    pub resume: bool,
    /// Replace what is there.
    pub force: bool,
    /// Bytes that the file and its journal may take of the disk at the most; `None`: what is free.
    pub max_disk: Option<u64>,
    /// Root attributes that say how it was made: the command, the model's name.
    pub provenance: Provenance,
}

impl Output {
    /// Refuse a layout that the images of the model in `checkpoint` cannot have.
    ///
    /// # Errors
    /// [`JobError::Layout`].
    pub fn check(&self, checkpoint: &Checkpoint) -> Result<(), JobError> {
        if self.layout != Layout::CaloChallenge {
            return Ok(());
        }
        let refuse = |why: String, suggestion| Err(JobError::Layout { why, suggestion });
        let Some(binning) = self.binning_of(checkpoint) else {
            return refuse(
                "the model does not say how its images are cut from showers".into(),
                "name the binning file with --binning or choose another --layout",
            );
        };
        if !checkpoint.record.unit.is_gev() {
            return refuse(
                format!(
                    "it is in MeV, the model's pixels in {}",
                    checkpoint.record.unit
                ),
                "choose another --layout",
            );
        }
        let pixels = checkpoint.model.image().pixels();
        if binning.voxels() != pixels {
            return refuse(
                format!(
                    "the binning has {} voxels, the model's images have {pixels} pixels",
                    binning.voxels()
                ),
                "choose another binning file or --particle",
            );
        }
        let names = &checkpoint.model.conditions().names;
        if !names.iter().any(|name| name == INCIDENT) {
            return refuse(
                format!("it holds '{INCIDENT}', which is no condition of the model"),
                "choose another --layout or a model that has it",
            );
        }
        Ok(())
    }

    /// How the showers are cut.
    fn binning_of<'a>(&'a self, checkpoint: &'a Checkpoint) -> Option<&'a CaloBinning> {
        (self.binning.as_ref()).or(checkpoint.record.binning.as_ref())
    }

    /// The geometry of images of `size`, for their observables.
    ///
    /// # Errors
    /// A half-width that makes no sense.
    pub fn geometry(&self, size: ImageSize) -> Result<Geometry, GeometryError> {
        Geometry::new(size.height, size.width, self.range)
    }
}

/// The number behind the last of `count` images from number `first`.
fn image_end(first: u64, count: u64) -> Result<u64, GenerateError> {
    (first.checked_add(count)).ok_or(GenerateError::Range { first, count })
}

/// Why images could not be generated.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Nobody said how many.
    #[error("the number of images is missing; give --count N")]
    NoCount,
    /// The model's hash, which a checkpoint read from disk always has.
    #[error("the model's SHA-256 is '{0}', which is no hash; read the model from a file")]
    Hash(String),
    /// A layout that the images cannot have.
    #[error("cannot write the layout calochallenge ({why}); {suggestion}")]
    Layout {
        /// Why not.
        why: String,
        /// What to do.
        suggestion: &'static str,
    },
    /// The conditions.
    #[error(transparent)]
    Given(#[from] GivenError),
    /// The codes.
    #[error(transparent)]
    Codes(#[from] CodesError),
    /// The device.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The geometry of the observables.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// Drawing and writing.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

/// Images drawn into memory.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// The images.
    pub images: SparseImages,
    /// What each was conditioned on, by name.
    pub conditions: BTreeMap<String, Vec<f32>>,
}

/// A generation that is ready to draw.
pub struct Job<'a> {
    checkpoint: &'a Checkpoint,
    opened: Opened,
    sampler: Box<dyn Sampler>,
    conditions: RunConditions,
    identity: Identity,
}

impl<'a> Job<'a> {
    /// Prepare to draw what `request` says from the model in `checkpoint`.
    ///
    /// # Errors
    /// See [`JobError`].
    pub fn new(checkpoint: &'a Checkpoint, request: &Request) -> Result<Self, JobError> {
        let model = checkpoint.model.as_ref();
        let rows_count = matches!(request.conditions, Source::Rows { .. });
        let codes_count = match request.count {
            None => request.codes.count(checkpoint)?,
            Some(_) => None,
        };
        if request.count.is_none() && codes_count.is_none() && !rows_count {
            return Err(JobError::NoCount);
        }
        let images = request.first..image_end(request.first, request.count.unwrap_or(0))?;
        let Request {
            conditions: source,
            seed,
            threads,
            ..
        } = request;
        let conditions = RunConditions::new(checkpoint, source, *seed, images, *threads)?;
        let count = (request.count.or(codes_count)).unwrap_or(conditions.rows() as u64);
        let end = image_end(request.first, count)?;
        let codes = request.codes.codes(checkpoint, request.first..end)?;
        let condition = codes::hash(&codes, conditions.hash(model, end));
        let plan = conditions.tell(
            model,
            SamplingPlan {
                seed: request.seed,
                codes,
                max_memory: request.max_memory,
                ..SamplingPlan::default()
            },
        );
        let (opened, sampler) = open_sampler(&request.device, request.threads, model, &plan)?;
        let size = model.image();
        let identity = Identity {
            model: sha256_bytes(&checkpoint.sha256)?,
            condition,
            seed: request.seed,
            first: request.first,
            count,
            height: size.height as u32,
            width: size.width as u32,
            arithmetic: opened.devices.arithmetic(),
        };
        Ok(Self {
            checkpoint,
            opened,
            sampler,
            conditions,
            identity,
        })
    }

    /// Which images it draws.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What it draws on.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Where the conditions come from, where that is not plain from what was asked for.
    pub fn conditions_origin(&self) -> Option<String> {
        self.conditions.origin()
    }

    /// Conditions beyond all that the model was trained on, a sentence each.
    pub fn beyond_training(&self) -> Vec<String> {
        self.conditions.beyond(self.checkpoint.prior.as_ref())
    }

    /// Draw all images into memory.
    ///
    /// # Errors
    /// [`JobError::Engine`].
    pub fn draw(mut self) -> Result<Drawn, JobError> {
        let Identity { first, count, .. } = self.identity;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let images = self.sampler.sample(first, count)?;
        let conditions = self.conditions.written(first, count, &BTreeSet::new())?;
        Ok(Drawn { images, conditions })
    }

    /// Draw all images and write them to `output`, resumable; `progress` is called after each block and may stop the run.
    ///
    /// # Errors
    /// See [`JobError`]; nothing is left under the output's name.
    pub fn write(
        &mut self,
        output: &Output,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Outcome, JobError> {
        let model = self.checkpoint.model.as_ref();
        let size = model.image();
        let geometry = output.geometry(size)?;
        output.check(self.checkpoint)?;
        let plan = self.plan(output);
        // Names of what follows from an image's pixels, written this time or not.
        let none = SparseImages::new(size.height, size.width).unwrap_or_default();
        let computed: BTreeSet<String> = observables(&none, &geometry)?
            .columns()
            .into_keys()
            .chain(model.conditions().total.clone())
            .collect();
        let with_observables = output.observables.unwrap_or(output.layout == Layout::Dense);
        let conditions = &self.conditions;
        let columns = |first: u64, images: &SparseImages| {
            let mut columns = BTreeMap::new();
            if with_observables {
                // The sampler's images have the model's size, and so has the geometry: no error here.
                columns = observables(images, &geometry)
                    .map(|o| o.columns())
                    .unwrap_or_default();
            }
            columns.extend(conditions.written(first, images.len(), &computed)?);
            Ok(columns)
        };
        Ok(generate(&plan, self.sampler.as_mut(), &columns, progress)?)
    }

    fn plan(&self, output: &Output) -> GeneratePlan {
        let mut plan = GeneratePlan::new(&output.path, self.identity.clone(), output.layout);
        plan.resume = output.resume;
        plan.unit = self.checkpoint.record.unit.clone();
        plan.names = self.checkpoint.record.names.clone();
        plan.force = output.force;
        plan.max_disk = output.max_disk;
        plan.provenance =
            (output.provenance.clone()).with("device", self.opened.devices.describe());
        if output.layout == Layout::CaloChallenge
            && let Some(binning) = output.binning_of(self.checkpoint)
        {
            plan.provenance = plan.provenance.with("binning", binning.describe());
        }
        if let Some(origin) = self.conditions_origin() {
            plan.provenance = plan.provenance.with("conditions", origin);
        }
        // What files of shorter runs have as their `condition_sha256`: the images of both are the same.
        let of_short_runs = (self.conditions).hash(self.checkpoint.model.as_ref(), 0);
        if of_short_runs != self.identity.condition {
            plan.provenance = (plan.provenance).with("drawn_sha256", hex(&of_short_runs));
        }
        // What all training images had in common, the generated ones have too.
        if let Some(signal) = self.checkpoint.record.constants.get("signal")
            && !self.conditions.names().iter().any(|n| n == "signal")
        {
            plan.constants.insert("signal".into(), *signal);
        }
        plan
    }
}

fn sha256_bytes(hex: &str) -> Result<[u8; 32], JobError> {
    let mut bytes = [0; 32];
    for (i, b) in bytes.iter_mut().enumerate() {
        let digits = hex.get(2 * i..2 * i + 2);
        *b = digits
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .ok_or_else(|| JobError::Hash(hex.into()))?;
    }
    Ok(bytes)
}
