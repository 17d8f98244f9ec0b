//! The generation loop: a run of image numbers, drawn, written while drawing goes on, resumable.
//!
//! Every block of images goes to a [journal](crate::run::journal) and to the output file on a
//! thread of its own. The output gets its name only when it is complete; until then the journal is
//! what survives a kill.

mod job;

pub use job::{Drawn, Job, JobError, Output, Request};

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use crate::data::{
    DataError, ImageWriter, Layout, Provenance, SparseImages, Unit, WriteOptions, read_attributes,
};
use crate::family::EngineError;
use crate::family::Sampler;
use crate::run::identity::{Identity, difference, hex};
use crate::run::journal::{Existing, Journal, JournalError};

/// Blocks that wait for the writer before drawing waits too.
const QUEUE: usize = 4;

/// What to generate and where to.
#[derive(Debug, Clone)]
pub struct GeneratePlan {
    /// The output file.
    pub out: PathBuf,
    /// Which images: model, condition, seed, numbers, size, arithmetic.
    pub identity: Identity,
    /// Layout of the output.
    pub layout: Layout,
    /// Continue an unfinished run of the same images, if there is one.
    pub resume: bool,
    /// Replace an output or an unfinished run that is there.
    pub force: bool,
    /// More root attributes of the output; the identity is written by itself.
    pub provenance: Provenance,
    /// Unit of the pixels.
    pub unit: Unit,
    /// Columns whose numbers stand for names.
    pub names: BTreeMap<String, Vec<String>>,
    /// Per-row quantities that are the same for all images: `signal` for example.
    pub constants: BTreeMap<String, f32>,
    /// Time between two moments when the journal is made safe against a power cut.
    pub sync_interval: Duration,
}

impl GeneratePlan {
    /// A plan with no options set.
    pub fn new(out: impl Into<PathBuf>, identity: Identity, layout: Layout) -> Self {
        Self {
            out: out.into(),
            identity,
            layout,
            resume: false,
            force: false,
            provenance: Provenance::new(),
            unit: Unit::default(),
            names: BTreeMap::new(),
            constants: BTreeMap::new(),
            sync_interval: Duration::from_secs(5),
        }
    }
}

/// How far a run is, in images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Done so far, taken over from the journal included.
    pub done: u64,
    /// Taken over from the journal.
    pub replayed: u64,
    /// All of the run.
    pub total: u64,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The output is complete.
    Complete,
    /// The output was complete before: nothing was done.
    AlreadyComplete,
    /// The progress callback asked to stop; `resume` continues the run.
    Interrupted,
}

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// Images drawn now.
    pub drawn: u64,
    /// Time spent drawing them; the rest of the run's time went into waiting for the writer.
    pub drawing: Duration,
    /// Images taken over from the journal.
    pub replayed: u64,
}

const ALREADY: Outcome = Outcome {
    ending: Ending::AlreadyComplete,
    drawn: 0,
    drawing: Duration::ZERO,
    replayed: 0,
};

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The output.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The sampler.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The sampler gave something else than it was asked for.
    #[error("cannot use the images drawn ({0}); this is a mistake of the engine")]
    Sampler(String),
    /// Image numbers that do not exist.
    #[error(
        "cannot number {count} images from {first} (numbers end at 2^64 - 1); choose a lower first number"
    )]
    Range {
        /// First image number.
        first: u64,
        /// Images wanted.
        count: u64,
    },
    /// A finished output of another run.
    #[error(
        "'{path}' is of another run ({differences}); choose another output or pass --force",
        path = path.display()
    )]
    OtherOutput {
        /// The output.
        path: PathBuf,
        /// What differs.
        differences: String,
    },
}

/// Per-row quantities of a block, from the number of its first image and its images.
///
/// As long as the block, always the same names, finite; called on the writer's thread.
pub type Observables<'a> = dyn Fn(u64, &SparseImages) -> BTreeMap<String, Vec<f32>> + Sync + 'a;

/// Draw the images of `plan` and write them to its output.
///
/// The sampler hears of each block before the one in front of it is asked for, so it may draw ahead; of none
/// that is not of the run. `progress` is called after each block and may stop the run. On a stop or an error, what was drawn
/// stays in the journal `<out>.partial`, and the same plan with `resume` goes on from there: the
/// images of the output are then those of an uninterrupted run, in the same order.
///
/// # Errors
///
/// See [`GenerateError`]; nothing is left under the name of the output.
pub fn generate(
    plan: &GeneratePlan,
    sampler: &mut dyn Sampler,
    observables: &Observables,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Outcome, GenerateError> {
    let Identity { first, count, .. } = plan.identity;
    let end = first
        .checked_add(count)
        .ok_or(GenerateError::Range { first, count })?;
    // Before anything is created, and again when nobody else can finish the same run.
    if output_complete(plan)? {
        drop_stale_journal(plan);
        return Ok(ALREADY);
    }
    let existing = match (plan.resume, plan.force) {
        (true, _) => Existing::Resume,
        (false, true) => Existing::Replace,
        (false, false) => Existing::Refuse,
    };
    let journal = Journal::open(&Journal::path_for(&plan.out), &plan.identity, existing)?;
    if output_complete(plan)? {
        journal.remove().ok();
        return Ok(ALREADY);
    }
    let mut sink = Sink::create(plan, journal, observables)?;
    sink.replay()?;
    let start = sink.journal.next();
    let replayed = start - first;
    let mut report = |done| {
        progress(Progress {
            done,
            replayed,
            total: count,
        })
    };
    let stopped = report(replayed).is_break();
    let (drawn, drawing_time, interrupted) = std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(QUEUE);
        let writer = scope.spawn(move || sink.run(receiver));
        let mut next = start;
        let mut drawing_time = Duration::ZERO;
        let mut drawing = || -> Result<bool, GenerateError> {
            if stopped {
                return Ok(true);
            }
            let size = |sampler: &dyn Sampler, first| {
                (sampler.preferred_count().max(1) as u64).min(end - first)
            };
            let announce = |sampler: &mut dyn Sampler, first, block| match block {
                0 => Ok(()),
                block => sampler.announce(first, block as usize),
            };
            let began = Instant::now();
            let mut block = size(sampler, next);
            announce(sampler, next, block)?;
            drawing_time += began.elapsed();
            while next < end {
                let began = Instant::now();
                // A device draws it while the host takes the present block and hands it to the writer.
                let (following, upcoming) = (next + block, size(sampler, next + block));
                let announced = announce(sampler, following, upcoming);
                let images = sampler.sample(next, block as usize)?;
                drawing_time += began.elapsed();
                check(&images, block, &plan.identity)?;
                // The writer hangs up when it fails; its error is the one to report.
                if sender.send(Message::Block(images)).is_err() {
                    return Ok(true);
                }
                next = following;
                if report(next - first).is_break() && next < end {
                    return Ok(true);
                }
                // Only now: the block that was drawn is safe.
                announced?;
                block = upcoming;
            }
            sender.send(Message::Finish).ok();
            Ok(false)
        };
        let outcome = drawing();
        drop(sender);
        let written = writer
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        written?;
        Ok::<_, GenerateError>((next - start, drawing_time, outcome?))
    })?;
    Ok(Outcome {
        ending: match interrupted {
            true => Ending::Interrupted,
            false => Ending::Complete,
        },
        drawn,
        drawing: drawing_time,
        replayed,
    })
}

/// The name that the output has until it is complete; holding the journal's lock, nobody else uses it.
fn temporary(out: &Path) -> PathBuf {
    let mut name = Journal::path_for(out).into_os_string();
    name.push(".h5");
    name.into()
}

fn check(images: &SparseImages, count: u64, identity: &Identity) -> Result<(), GenerateError> {
    let (height, width) = (identity.height as usize, identity.width as usize);
    if images.len() as u64 != count || (images.height(), images.width()) != (height, width) {
        return Err(GenerateError::Sampler(format!(
            "{} images of {} x {} pixels instead of {count} of {height} x {width}",
            images.len(),
            images.height(),
            images.width()
        )));
    }
    Ok(())
}

/// Root attributes that say which images a file holds.
fn identity_attributes(plan: &GeneratePlan) -> Provenance {
    let id = &plan.identity;
    Provenance::new()
        .with("model_sha256", hex(&id.model))
        .with("condition_sha256", hex(&id.condition))
        .with("seed", id.seed)
        .with("first_image", id.first)
        .with("count", id.count)
        .with("arithmetic", id.arithmetic.clone())
        .with("layout", plan.layout.to_string())
}

/// Whether the output is there and is what the plan wants; an error when it is there and in the way.
fn output_complete(plan: &GeneratePlan) -> Result<bool, GenerateError> {
    if plan.out.symlink_metadata().is_err() {
        return Ok(false);
    }
    if !plan.resume {
        return match plan.force {
            true => Ok(false),
            false => Err(DataError::Exists {
                path: plan.out.clone(),
            }
            .into()),
        };
    }
    let found = match read_attributes(&plan.out) {
        Ok(found) => found,
        Err(_) if plan.force => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let wanted = identity_attributes(plan).attributes;
    let differences: Vec<String> = wanted
        .iter()
        .filter(|(name, value)| found.get(*name) != Some(value))
        .map(|(name, value)| match found.get(name) {
            Some(other) => difference(name, &other.to_string(), &value.to_string()),
            None => format!("no {name} instead of {value}"),
        })
        .collect();
    match (differences.is_empty(), plan.force) {
        (true, _) => Ok(true),
        (false, true) => Ok(false),
        (false, false) => Err(GenerateError::OtherOutput {
            path: plan.out.clone(),
            differences: differences.join(", "),
        }),
    }
}

/// A kill between naming the output and deleting its journal leaves the journal.
fn drop_stale_journal(plan: &GeneratePlan) {
    let path = Journal::path_for(&plan.out);
    if path.exists()
        && let Ok(journal) = Journal::open(&path, &plan.identity, Existing::Resume)
    {
        journal.remove().ok();
        std::fs::remove_file(temporary(&plan.out)).ok();
    }
}

enum Message {
    Block(SparseImages),
    Finish,
}

/// Where blocks go: journal and output together.
struct Sink<'a> {
    plan: &'a GeneratePlan,
    journal: Journal,
    writer: ImageWriter,
    observables: &'a Observables<'a>,
}

impl<'a> Sink<'a> {
    fn create(
        plan: &'a GeneratePlan,
        journal: Journal,
        observables: &'a Observables<'a>,
    ) -> Result<Self, GenerateError> {
        let mut provenance = plan.provenance.clone();
        provenance
            .attributes
            .extend(identity_attributes(plan).attributes);
        let options = WriteOptions {
            layout: plan.layout,
            unit: plan.unit.clone(),
            names: plan.names.clone(),
            height: plan.identity.height as usize,
            width: plan.identity.width as usize,
            // A run that resumes may replace nothing: `output_complete` has looked.
            force: plan.force,
            provenance,
            temporary: Some(temporary(&plan.out)),
        };
        Ok(Self {
            writer: ImageWriter::create(&plan.out, &options)?,
            plan,
            journal,
            observables,
        })
    }

    /// Take over what the journal holds.
    fn replay(&mut self) -> Result<(), GenerateError> {
        let (plan, observables, writer) = (self.plan, self.observables, &mut self.writer);
        self.journal.replay(|first, images| {
            writer.append(&images, &columns(plan, observables, first, &images))
        })?;
        Ok(())
    }

    /// Write blocks until told to finish; without that word the journal stays and the output goes.
    fn run(mut self, blocks: Receiver<Message>) -> Result<(), DataError> {
        let mut synced = Instant::now();
        for message in blocks {
            let images = match message {
                Message::Block(images) => images,
                Message::Finish => {
                    // The output may fail to finish: what it is made of is safe first.
                    self.journal.sync()?;
                    self.writer.finish()?;
                    if let Err(error) = self.journal.remove() {
                        log::warn!("the output is complete, but {error}");
                    }
                    return Ok(());
                }
            };
            let first = self.journal.next();
            self.journal.append(&images)?;
            self.writer.append(
                &images,
                &columns(self.plan, self.observables, first, &images),
            )?;
            if synced.elapsed() >= self.plan.sync_interval {
                self.journal.sync()?;
                synced = Instant::now();
            }
        }
        self.journal.sync()
    }
}

/// Observables of a block and the plan's constants, which win.
fn columns(
    plan: &GeneratePlan,
    observables: &Observables,
    first: u64,
    images: &SparseImages,
) -> BTreeMap<String, Vec<f32>> {
    let mut columns = observables(first, images);
    for (name, value) in &plan.constants {
        columns.insert(name.clone(), vec![*value; images.len()]);
    }
    columns
}
