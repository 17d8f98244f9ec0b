//! `sarm train`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::input::{Duplicates, Inspected, Select, Settings, WeightedFileArguments};
use super::interrupt::{Interrupt, Preparation, again, resuming, tell_how_to_go_on};
use super::progress::{Progress, duration};
use super::{Global, grouped, print_json};
use crate::data;
use crate::data::ReadOptions;
use crate::device::Task;
use crate::family::{Demand, Model, Objective};
use crate::prior::Prior;
use crate::run::train::{
    Ending, EpochMetrics, Observer, Summary, TrainError, TrainPlan, check_directory, train,
};
use crate::run::{forecast, on_threads_of, room};

/// Train a model on images.
///
/// Writes `model.safetensors` (the best model by validation NLL), `metrics.csv` (one line per epoch), `config.toml`
/// and `state.safetensors` (which --resume continues from) into the run directory. With --resume the same line starts a run and
/// goes on with it, as often as a batch system asks.
///
/// On Ctrl-C or a signal of a batch system (SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGHUP) the run saves its state, prints the
/// command that continues it and exits with code 128 + the signal's number (Ctrl-C: 130, SIGTERM: 143). A second Ctrl-C or
/// SIGTERM ends it at once. A signal that is ignored where sarm starts, as nohup ignores SIGHUP, stays ignored.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  sarm train --data jets.h5 --select signal=1 --config configs/paper/jets-dc.toml --out runs/w"
)]
pub struct Train {
    /// HDF5 or numpy file of images; several are treated as one.
    ///
    /// All that a quoted pattern matches are one data set too, 'part_*.h5'. FILE:/group/name names a data
    /// set of the file.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    file: WeightedFileArguments,
    #[command(flatten)]
    duplicates: Duplicates,
    /// TOML configuration; configs/paper/ has the paper's, docs/configuration.md every key [default: one stage, D+C].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// Run directory; it and those that lead to it are made.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of epochs; overrides the configuration.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = super::whole::<0, usize>)]
    epochs: Option<usize>,
    /// Random seed; overrides the configuration.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = super::whole::<0, u64>)]
    seed: Option<u64>,
    /// Use only the first N selected images.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = super::whole::<0, usize>)]
    limit: Option<usize>,
    /// Continue the run in --out, or start it if there is none.
    ///
    /// On the same kind of device the result is identical, bit for bit, to that of an uninterrupted run.
    #[arg(long)]
    resume: bool,
    /// Overwrite the run in --out.
    #[arg(long, conflicts_with = "resume")]
    force: bool,
    /// Seconds between checkpoints inside an epoch.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 300,
        allow_negative_numbers = true, value_parser = super::whole::<0, u64>
    )]
    checkpoint_every: u64,
    /// Print the metrics of every epoch as JSON at the end.
    #[arg(long)]
    json: bool,
}

impl Train {
    pub fn run(mut self, global: &Global) -> anyhow::Result<ExitCode> {
        self.data = data::matching(&self.data)?;
        let mut config = self.settings.configuration(self.config.as_deref())?;
        // Cards count all images alike. With nothing said, scoring's device is the processor.
        let opened = global.open(match self.file.are_weighted() {
            false => Task::Training,
            true => Task::Scoring,
        })?;
        if let Some(epochs) = self.epochs {
            config.training_mut().epochs = epochs;
        }
        if let Some(seed) = self.seed {
            config.training_mut().seed = seed;
        }
        config.training().check()?;
        check_directory(&self.out, self.resume, self.force)?;
        super::output::probe(&self.out.join("model.safetensors"))?;
        let interrupt = Interrupt::watch()?;
        let force = self.force;
        let preparation = interrupt.end_until_work_begins(move |signal| {
            // The run that --force overwrites may still be there: --resume would go on with that one.
            let again = match force {
                true => again(),
                false => resuming(None),
            };
            tell_how_to_go_on(signal, "before the first step", &again);
        })?;
        let started = Instant::now();
        let dataset = data::read_all(
            &self.data,
            &ReadOptions {
                selections: self.select.select.clone(),
                columns: (config.conditions().read().cloned())
                    .chain(config.training().group.clone())
                    .collect(),
                total: config.conditions().total.clone(),
                limit: self.limit,
                prefer_given: false,
                size: config.image().map(|s| (s.height, s.width)),
                file: self.file.options(),
            },
        )?;
        log::info!(
            "read {} images in {:.1} s",
            dataset.images.len(),
            started.elapsed().as_secs_f64()
        );
        let demand = forecast::training(config.as_ref(), &opened.devices, dataset.images.size())
            .map_err(TrainError::from)?;
        // Other threads would have heaps of their own, beside those of the work.
        let mut inspected = on_threads_of(&opened.devices, || self.duplicates.inspect(&dataset))?;
        let found = &inspected.found;
        let far = (found.pixels).and_then(|p| {
            let all = found.mean_sum * found.images as f64;
            config.far_from(found.mean_sum, all / p.count as f64)
        });
        inspected.warnings.extend(far);
        let training = config.training();
        let mut observer = Talk {
            global: global.clone(),
            remark: opened.remark,
            inspected: Some(inspected),
            demand,
            device: opened.devices.describe(),
            epochs: training.epochs,
            batch: training.batch as u64,
            batch_images: 0,
            preparation,
            interrupt: interrupt.clone(),
            forecast: Forecast::Waits,
            objective: Objective::NLL,
            progress: None,
        };
        let plan = TrainPlan {
            config,
            dataset,
            data: super::joined(&self.data),
            select: self.select.typed(),
            file: self.file.options(),
            out: self.out.clone(),
            resume: self.resume,
            force: self.force,
            checkpoint_every: Duration::from_secs(self.checkpoint_every),
        };
        let summary = train(&opened.devices, plan, &mut observer)?;
        if let Some(progress) = observer.progress.take() {
            progress.end();
        }
        self.tell(global, &summary);
        if self.json {
            print_json(&summary.history)?;
        }
        let stopped = summary.ending == Ending::Interrupted;
        let Some(signal) = interrupt.signal().filter(|_| stopped) else {
            return Ok(ExitCode::SUCCESS);
        };
        let epochs = summary.history.len();
        let when = format!("in epoch {}", epochs + 1);
        tell_how_to_go_on(signal, &when, &resuming(Some("--force")));
        Ok(signal.exit_code())
    }

    /// How it ended, in a line.
    fn tell(&self, global: &Global, summary: &Summary) {
        let ended = match summary.ending {
            Ending::Interrupted => return,
            Ending::Complete => String::new(),
            Ending::StoppedEarly => "stopped early; ".into(),
            Ending::AlreadyComplete => format!(
                "'{}' is complete already, after {} epochs: nothing to do; ",
                self.out.display(),
                summary.history.len()
            ),
        };
        let mut epochs = summary.history.iter();
        let best = epochs.find(|m| m.epoch == summary.best_epoch);
        let nll = best.map_or(f64::NAN, |m| m.validation_nll.unwrap_or(m.train_nll));
        global.say(format!(
            "{ended}the best model is epoch {}'s, {} {nll:.3} {}: {}",
            summary.best_epoch,
            summary.objective.name,
            summary.objective.unit,
            summary.model.display(),
        ));
    }
}

/// What a person hears of a training.
struct Talk {
    global: Global,
    remark: Option<String>,
    inspected: Option<Inspected>,
    /// What the network takes, said before the work.
    demand: Option<Demand>,
    device: String,
    epochs: usize,
    batch: u64,
    batch_images: u64,
    preparation: Preparation,
    interrupt: Interrupt,
    forecast: Forecast,
    objective: Objective,
    progress: Option<Progress>,
}

/// How long it will take, once that can be told.
enum Forecast {
    /// For the first steps: a device takes longer for them.
    Waits,
    /// Since then, from so many images on.
    Measures(Instant, u64),
    Told,
}

/// Steps that tell how long an epoch takes.
const MEASURED_STEPS: u64 = 100;

impl Talk {
    fn say(&self, line: String) {
        match &self.progress {
            Some(progress) => progress.say(line),
            None => self.global.say(line),
        }
    }

    /// Say how long it will take, `seen` images of all epochs having been seen.
    fn foretell(&mut self, seen: u64) {
        match self.forecast {
            Forecast::Told => {}
            Forecast::Waits => self.forecast = Forecast::Measures(Instant::now(), seen),
            Forecast::Measures(since, from) if seen >= from + MEASURED_STEPS * self.batch => {
                let image = since.elapsed().as_secs_f64() / (seen - from) as f64;
                let all = self.batch_images * self.epochs as u64;
                let of = |images: u64| duration(Duration::from_secs_f64(image * images as f64));
                self.say(format!(
                    "an epoch takes about {}, all {} about {} ({} left)",
                    of(self.batch_images),
                    self.epochs,
                    of(all),
                    of(all.saturating_sub(seen)),
                ));
                self.forecast = Forecast::Told;
            }
            Forecast::Measures(..) => {}
        }
    }
}

impl Observer for Talk {
    fn advice(&mut self, line: &str) {
        self.say(line.into());
    }

    fn stops(&mut self) -> bool {
        self.interrupt.signal().is_some()
    }

    fn prepares(&mut self, line: &str) {
        self.say(line.into());
    }

    fn learns_prior(&mut self, names: &[String]) {
        self.global.say(format!(
            "learning how the conditions are distributed ({})",
            names.join(", ")
        ));
    }

    fn prior(&mut self, prior: &Prior, took: Duration) {
        let names: Vec<&str> = prior.names().collect();
        self.global.say(format!(
            "learnt how the conditions are distributed ({}) in {:.1} s",
            names.join(", "),
            took.as_secs_f64()
        ));
    }

    fn start(&mut self, model: &dyn Model, images: [usize; 2], epoch: usize) {
        self.preparation.over();
        self.objective = model.objective();
        self.batch_images = images[0] as u64;
        let unmasked: usize = model.tensors().iter().map(|t| t.unmasked).sum();
        if let Some(remark) = self.remark.take() {
            self.global.say(remark);
        }
        if let Some(inspected) = self.inspected.take() {
            inspected.tell(&self.global);
        }
        if let Some(demand) = self.demand.take() {
            self.global.say(format!(
                "{} parameters; training takes up to {} of memory besides the images",
                forecast::count(demand.parameters),
                room::size(demand.bytes),
            ));
        }
        self.global.say(format!(
            "training {} unmasked parameters on {} images, {} held out ({})",
            grouped(unmasked as u64),
            grouped(images[0] as u64),
            grouped(images[1] as u64),
            self.device,
        ));
        if epoch > 0 {
            self.global.say(format!("going on after epoch {epoch}"));
        }
        // One for the whole run: its time left is the run's.
        let progress = Progress::new(&self.global, self.batch_images * self.epochs as u64);
        progress.begin(epoch as u64 * self.batch_images);
        self.progress = Some(progress);
    }

    fn step(&mut self, epoch: usize, images: usize, nll: f64) {
        let seen = epoch as u64 * self.batch_images + images as u64;
        if let Some(progress) = &self.progress {
            let what = format!("epoch {}/{}", epoch + 1, self.epochs);
            progress.at(seen, &what, format!("{} {nll:.2}", self.objective.name));
        }
        self.foretell(seen);
    }

    fn epoch(&mut self, m: &EpochMetrics) {
        let validation = m
            .validation_nll
            .map_or(String::new(), |v| format!("  validation {v:.3}"));
        let terms: Vec<String> = (m.terms.iter())
            .map(|(name, v)| format!("{name} {v:.3}"))
            .collect();
        let terms = match terms.is_empty() {
            true => String::new(),
            false => format!(" ({})", terms.join(", ")),
        };
        self.say(format!(
            "epoch {:>4}  {} {:.3}{validation}{terms}  {:.0} images/s{}",
            m.epoch,
            self.objective.name,
            m.train_nll,
            m.images_per_second,
            if m.best { "  best" } else { "" },
        ));
    }
}
