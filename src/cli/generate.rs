//! `sarm generate`

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::input::FileArguments;
use super::interrupt::{Interrupt, resuming, tell_how_to_go_on};
use super::progress::{Progress, duration};
use super::{Global, bytes, command_line, grouped, output, print_json, refuse_input};
use crate::data::{Layout, Provenance, Selection};
use crate::device::Devices;
use crate::run::codes;
use crate::run::conditions::{Given, Source};
use crate::run::generate::{self, DiskUse, Ending, Job, Outcome, Output, Request};
use crate::run::pretrained::{self, Pretrained};
use crate::run::{forecast, room};

/// Generate new images with a model.
///
/// Image number i depends only on model, seed, condition and i (on one kind of device), so shards with the same seed are
/// parts of one data set, wherever they were made. --resume continues a killed run.
///
/// On Ctrl-C or a signal of a batch system (SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGHUP) the run saves the images in progress,
/// prints the command that continues it and exits with code 128 + the signal's number (Ctrl-C: 130, SIGTERM: 143). A second
/// Ctrl-C or SIGTERM ends it at once. A signal that is ignored where sarm starts, as nohup ignores SIGHUP, stays ignored.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  sarm generate --model jets-w --count 100000 --out w.h5\n  sarm generate --model runs/w/model.safetensors --count 1000000 --seed 7 --out w.h5\n  sarm generate --model m.safetensors --count 500000 --first 500000 --seed 7 --out shard2.h5\n  sarm generate --model m.safetensors --count 100000000 --device cuda:all --layout sparse --out many.h5\n  sarm generate --model m.safetensors --given signal=1,jet_pt=270,jet_mass=80 --count 1000 --out w270.h5\n  sarm generate --model vae.safetensors --latent 3=0.75..1 --given signal=1 --count 50000 --out bright.h5"
)]
pub struct Generate {
    /// Checkpoint file, or the name of a model that ships with sarm: jets-w, jets-qcd, muons-iso, muons-bb.
    #[arg(long, value_name = "FILE|NAME")]
    model: PathBuf,
    /// Number of images [default with --given-from: one per row].
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = super::whole::<1, u64>)]
    count: Option<u64>,
    /// Random seed; with the image number it fixes every draw.
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
    /// Output file (HDF5). Directories that lead to it are made.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Layout of the output: dense (LAGAN, gzip), sparse (CSR; smaller and faster) or calochallenge.
    ///
    /// calochallenge writes showers in MeV, for the CaloChallenge's evaluation.
    #[arg(long, default_value = "dense")]
    layout: Layout,
    /// Conditions that all images share; the model draws the ones left out.
    ///
    /// They are drawn from their distribution, given these [default: those that the name of a shipped model stands for;
    /// otherwise none].
    #[arg(
        long,
        value_name = "NAME=VALUE,..",
        value_delimiter = ',',
        conflicts_with = "given_from"
    )]
    given: Vec<Given>,
    /// Take the conditions from the rows of a data file: image i gets row i.
    ///
    /// After the last row they start again. A shipped model uses only rows of its class. A total is computed as the sum of
    /// the row's pixels.
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
    /// Draw number K of a VAE's codes from the normal distribution between LOW and HIGH, or fix it [default: all of it].
    ///
    /// The numbers count from 0. An end left out is open: 3=1.. takes all above 1.
    #[arg(
        long,
        value_name = "K=LOW..HIGH|K=VALUE,..",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    latent: Vec<Selection>,
    /// Let number K of a VAE's codes go evenly from LOW to HIGH over the images of the run; the others are 0.
    ///
    /// Conditions that are not given are drawn for each image, and a sparse decoder draws its pixels: give every one, and look at many
    /// images.
    #[arg(long, value_name = "K=LOW..HIGH", conflicts_with = "latent")]
    sweep: Option<Selection>,
    /// Take the codes from a file that `sarm encode` wrote: image i gets row i.
    ///
    /// After the last row they start again. Conditions that are not given are those of the row, and without --count there are as
    /// many images as rows.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["latent", "sweep"])]
    codes: Option<PathBuf>,
    /// Go straight from the code in row A of --codes to that in row B over the images of the run.
    ///
    /// Conditions are those of --given, and drawn for each image where they are not given.
    #[arg(long, value_name = "A..B", requires = "codes", value_parser = line)]
    line: Option<[u64; 2]>,
    #[command(flatten)]
    file: FileArguments,
    /// Also write the observables of each image (jet_pt, tau_21 ..) [default: in the dense layout].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new())]
    observables: Option<bool>,
    /// Half-width of the image in eta and phi, for the observables [default: 1.25; 0.4 for muons-iso and muons-bb].
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    range: Option<f64>,
    /// Limit on the memory used on each card: 4GiB, 512MiB, or bytes [default: all free memory].
    ///
    /// What the card's driver takes is not counted. It does not change the images.
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, value_parser = bytes)]
    max_memory: Option<u64>,
    /// Limit on the disk space of the run: 4GiB, 512MiB, or bytes [default: all free space].
    ///
    /// It counts the output and, until that is complete, its journal. A run that will need more is refused after its first
    /// images.
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, value_parser = bytes)]
    max_disk: Option<u64>,
    /// Continue an unfinished run with the same options.
    #[arg(long)]
    resume: bool,
    /// Overwrite the output.
    #[arg(long)]
    force: bool,
    /// Print a summary as JSON.
    #[arg(long)]
    json: bool,
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
    /// Where the processor draws.
    events_per_core_hour: Option<f64>,
    /// Where cards draw.
    events_per_gpu_hour: Option<f64>,
    device: String,
}

impl Report {
    fn new(out: PathBuf, outcome: &Outcome, seconds: f64, devices: &Devices) -> Self {
        let drawn = outcome.drawn as f64;
        let hourly = |devices: usize| Some(drawn / seconds * 3600.0 / devices as f64);
        let (per_core, per_card) = match devices.card_count() {
            0 => (hourly(rayon::current_num_threads()), None),
            cards => (None, hourly(cards)),
        };
        Self {
            out,
            ending: match outcome.ending {
                Ending::Complete => "complete",
                Ending::AlreadyComplete => "already complete",
                Ending::Interrupted => "interrupted",
            },
            images_drawn: outcome.drawn,
            images_taken_over: outcome.replayed,
            seconds,
            images_per_second: drawn / seconds,
            sampler_images_per_second: drawn / outcome.drawing.as_secs_f64().max(1e-9),
            events_per_core_hour: per_core,
            events_per_gpu_hour: per_card,
            device: devices.describe(),
        }
    }

    /// `41 000 000 events per core-hour`.
    fn hourly(&self) -> String {
        match (self.events_per_core_hour, self.events_per_gpu_hour) {
            (Some(rate), _) => format!("{} events per core-hour", grouped(rate as u64)),
            (_, rate) => format!(
                "{} events per GPU-hour",
                grouped(rate.unwrap_or(0.0) as u64)
            ),
        }
    }
}

impl Generate {
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let inputs = [
            Some(&self.model),
            self.given_from.as_ref(),
            self.codes.as_ref(),
        ];
        refuse_input(&self.out, inputs.into_iter().flatten())?;
        if let (None, Some(option)) = (&self.given_from, self.file.first_of_rows()) {
            bail!(
                "{option} says how the rows of --given-from are read (which is not given); leave it out"
            );
        }
        output::check(&self.out, self.force || self.resume)?;
        let interrupt = Interrupt::watch()?;
        let preparation = interrupt.end_until_work_begins(|signal| {
            tell_how_to_go_on(signal, "before the first image", &resuming(None));
        })?;
        global.start_threads()?;
        let checkpoint = pretrained::open(&self.model)?;
        let request = Request {
            count: self.count,
            first: self.first,
            seed: self.seed,
            conditions: self.source()?,
            codes: self.codes(),
            device: global.device.clone(),
            threads: global.threads(),
            max_memory: self.max_memory,
        };
        let output = Output {
            path: self.out.clone(),
            layout: self.layout,
            binning: self.file.binning.read()?,
            observables: self.observables,
            range: self.range.unwrap_or_else(|| pretrained::range(&self.model)),
            resume: self.resume,
            force: self.force,
            max_disk: self.max_disk,
            provenance: Provenance::new()
                .with("command", command_line())
                .with("model", self.model.display().to_string()),
        };
        let demand = forecast::drawing(checkpoint.model.as_ref())?;
        // What is refused before the work is refused in one line.
        output.check(&checkpoint)?;
        output.geometry(checkpoint.model.image())?;
        let mut job = Job::new(&checkpoint, &request)?;
        let opened = job.opened().clone();
        log::info!("{}", opened.devices.describe());
        if let Some(remark) = opened.remark {
            global.say(remark);
        }
        global.say(format!(
            "{} parameters; the sampler takes {} of memory",
            forecast::count(demand.parameters),
            room::size(demand.bytes),
        ));
        if let Some(origin) = job.conditions_origin() {
            global.say(format!("conditions: {origin}"));
        }
        for remark in job.beyond_training() {
            log::warn!("{remark}");
        }
        output::make_parents(&self.out)?;
        preparation.over();
        let (outcome, seconds) = self.write(global, &mut job, &output, &interrupt)?;
        let report = Report::new(self.out.clone(), &outcome, seconds, &opened.devices);
        self.tell(global, &outcome, &report);
        if self.json {
            print_json(&report)?;
        }
        let stopped = outcome.ending == Ending::Interrupted;
        let Some(signal) = interrupt.signal().filter(|_| stopped) else {
            return Ok(ExitCode::SUCCESS);
        };
        let (done, of) = (outcome.replayed + outcome.drawn, job.identity().count);
        let after = format!("after {} of {} images", grouped(done), grouped(of));
        tell_how_to_go_on(signal, &after, &resuming(None));
        Ok(signal.exit_code())
    }

    /// Where the codes come from.
    fn codes(&self) -> codes::Source {
        match (&self.codes, self.line, &self.sweep) {
            (Some(path), Some(rows), _) => codes::Source::Line {
                path: path.clone(),
                rows,
            },
            (Some(path), None, _) => codes::Source::File(path.clone()),
            (None, _, Some(sweep)) => codes::Source::Sweep(sweep.clone()),
            (None, _, None) => codes::Source::Drawn(self.latent.clone()),
        }
    }

    /// Where the conditions come from.
    fn source(&self) -> anyhow::Result<Source> {
        let Some(path) = &self.given_from else {
            let given = pretrained::given(&self.model, &self.given)?;
            return Ok(match (&self.codes, self.line) {
                (Some(codes), None) => Source::Encoded {
                    path: codes.clone(),
                    given,
                },
                _ => Source::Given(given),
            });
        };
        // A class that the model's name stands for is that of rows, too.
        let own = pretrained::named(&self.model);
        let class = own.into_iter().flat_map(Pretrained::selections);
        Ok(Source::Rows {
            path: path.clone(),
            select: self.select.iter().cloned().chain(class).collect(),
            file: self.file.options(),
        })
    }

    /// Draw and write, saying how far it is: what was done, and the seconds that it took.
    fn write(
        &self,
        global: &Global,
        job: &mut Job,
        output: &Output,
        interrupt: &Interrupt,
    ) -> anyhow::Result<(Outcome, f64)> {
        let progress = Progress::new(global, job.identity().count);
        // From the first image that is drawn now: those taken over are in no rate.
        let mut started = None;
        let mut foretold = false;
        let outcome = job.write(output, &mut |p| {
            if started.is_none() {
                if p.replayed > 0 {
                    global.say(format!("going on after {} images", grouped(p.replayed)));
                }
                progress.begin(p.done);
            }
            let began = *started.get_or_insert_with(Instant::now);
            progress.at(p.done, "generate", String::new());
            if let Some(disk) = p.disk.filter(|_| !foretold && p.done < p.total) {
                foretold = true;
                progress.say(forecast(&p, &disk, began.elapsed()));
            }
            match interrupt.signal() {
                None => ControlFlow::Continue(()),
                Some(_) => ControlFlow::Break(()),
            }
        });
        progress.end();
        let outcome = outcome.with_context(|| format!("generating '{}'", self.out.display()))?;
        let took = started.map_or(Duration::ZERO, |at| at.elapsed());
        Ok((outcome, took.max(Duration::from_micros(1)).as_secs_f64()))
    }

    /// What was done, in a line.
    fn tell(&self, global: &Global, outcome: &Outcome, report: &Report) {
        let out = self.out.display();
        match outcome.ending {
            Ending::AlreadyComplete => {
                global.say(format!("'{out}' is complete already: nothing to do"));
            }
            Ending::Interrupted => {}
            Ending::Complete => global.say(format!(
                "{} images in {:.1} s, to disk: {:.0} images/s, {} ({}): {out}",
                grouped(outcome.drawn),
                report.seconds,
                report.images_per_second,
                report.hourly(),
                report.device,
            )),
        }
    }
}

/// Two rows, `A..B`.
fn line(text: &str) -> Result<[u64; 2], String> {
    let rows = text.split_once("..").and_then(|(from, to)| {
        let row = |text: &str| text.trim().parse().ok();
        Some([row(from)?, row(to)?])
    });
    rows.ok_or_else(|| "write two rows, A..B, counted from 0".into())
}

/// What is to come, from what the first images took.
fn forecast(progress: &generate::Progress, disk: &DiskUse, took: Duration) -> String {
    let drawn = (progress.done - progress.replayed).max(1) as f64;
    let left = (progress.total - progress.done) as f64;
    format!(
        "about {} for {} images, {} more on the disk until they are complete; about {} left",
        room::size(disk.output),
        grouped(progress.total),
        room::size(disk.peak - disk.output),
        duration(took.mul_f64(left / drawn)),
    )
}
