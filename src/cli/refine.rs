//! `sarm refine`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::input::{Duplicates, FileArguments, Inspected, Select, positive};
use super::interrupt::{Interrupt, Preparation, again, resuming, tell_how_to_go_on};
use super::progress::{Progress, duration};
use super::{Global, grouped, output, print_json, refuse_input};
use crate::checkpoint::ToldApart;
use crate::data;
use crate::device::Task;
use crate::run::refine::{Doing, Observer, Options, Request, Round, read, refine};
use crate::run::{Checkpoint, on_threads_of, pretrained};

/// Bring a trained model closer to what classifiers see.
///
/// In each round the model draws as many images as there are, boosted trees estimate from observables how much likelier each
/// of them is in truth, and the model is trained on the true images and on its own, which count by that. So mass,
/// multiplicity or tau_21 come closer to truth than by training alone; speed, file size and likelihood stay what they were:
/// exact. Give it the images that the model was trained on, and judge the result by others, with sarm evaluate. All true
/// images count once: a model that was trained with --weights is drawn away from these.
///
/// It runs on the processor. With 120 000 jets a round takes 45 s on two cores, four times an epoch of training, and all of it
/// 630 MiB of memory, twice that of training. --out is written after each round, so that --resume goes on from the last
/// whole one; a signal while trees grow is answered when they have, and the round that was begun is begun again.
///
/// The AUC of a round is that of the trees before it, between true images and ones drawn under the same conditions; after the
/// last round they judge once more. sarm evaluate, told a class alone, finds another. sarm info lists the rounds. Rounds cannot be added to a finished run, since the step size has fallen to
/// nothing: refine its result.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  sarm refine --model runs/jets/model.safetensors --data jets.h5 --out runs/jets/refined.safetensors"
)]
pub struct Refine {
    /// Checkpoint file of a model that was trained. A model that ships with sarm is unpacked first: sarm unpack.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// HDF5 or numpy file of true images; several are treated as one.
    ///
    /// All that a quoted pattern matches are one data set too, 'part_*.h5'. FILE:/group/name names a data
    /// set of the file.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    file: FileArguments,
    #[command(flatten)]
    duplicates: Duplicates,
    /// The refined model. Directories that lead to it are made.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Times that images are drawn, judged and trained on.
    #[arg(long, value_name = "N", default_value_t = Options::default().rounds, allow_negative_numbers = true, value_parser = super::whole::<1, usize>)]
    rounds: usize,
    /// Adam's step size in the first round; it falls along half a cosine.
    #[arg(long, value_name = "RATE", default_value_t = Options::default().learning_rate, value_parser = positive::<f64>)]
    learning_rate: f64,
    /// Images of a step.
    #[arg(long, value_name = "N", default_value_t = Options::default().batch, allow_negative_numbers = true, value_parser = super::whole::<1, usize>)]
    batch: usize,
    /// Fraction of the images that are held out: their likelihood is told after each round.
    #[arg(long, value_name = "FRACTION", default_value_t = Options::default().validation, value_parser = fraction)]
    validation: f64,
    /// A data set: images for which it holds the same number, of one event for example, are held out, and judged, together.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Half-width of the images in eta and phi; the muon images of the literature have 0.4.
    #[arg(long, value_name = "R", default_value_t = Options::default().range, value_parser = positive::<f64>)]
    range: f64,
    /// Random seed.
    ///
    /// With the seed, fraction and group of the training, on the same images in the same order, the same are held out.
    #[arg(long, value_name = "N", default_value_t = Options::default().seed, allow_negative_numbers = true, value_parser = super::whole::<0, u64>)]
    seed: u64,
    /// Use only the first N selected images.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = super::whole::<0, usize>)]
    limit: Option<usize>,
    /// Go on with --out after its last whole round, or start if there is none.
    ///
    /// On the same kind of processor the result is identical, bit for bit, to that of an uninterrupted run.
    #[arg(long)]
    resume: bool,
    /// Overwrite --out.
    #[arg(long, conflicts_with = "resume")]
    force: bool,
    /// Print the figures of the rounds of this call, and of the refined model, as JSON at the end.
    #[arg(long)]
    json: bool,
}

fn fraction(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok();
    number
        .filter(|v| (0.0..1.0).contains(v))
        .ok_or_else(|| "it must be a number from 0 up to 1".into())
}

impl Refine {
    pub fn run(mut self, global: &Global) -> anyhow::Result<ExitCode> {
        self.data = data::matching(&self.data)?;
        refuse_input(&self.out, self.data.iter().chain([&self.model]))?;
        output::check(&self.out, self.force || self.resume)?;
        if let Some(shipped) = pretrained::named(&self.model) {
            let name = shipped.name;
            anyhow::bail!(
                "'{name}' is a model that comes with sarm (its name stands for one of its classes); write it to a file first: sarm unpack --model {name} --out {name}.safetensors"
            );
        }
        let checkpoint = Checkpoint::read(&self.model)?;
        // Scoring's: with nothing said it runs on the processor, which alone trains on images that have weights.
        let opened = global.open(Task::Scoring)?;
        let interrupt = Interrupt::watch()?;
        let (out, force) = (self.out.clone(), self.force);
        let preparation = interrupt.end_until_work_begins(move |signal| {
            let command = match force || !out.exists() {
                true => again(),
                false => resuming(None),
            };
            tell_how_to_go_on(signal, "before the first round", &command);
        })?;
        let options = Options {
            rounds: self.rounds,
            learning_rate: self.learning_rate,
            batch: self.batch,
            seed: self.seed,
            validation: self.validation,
            group: self.group.clone(),
            range: self.range,
        };
        let request = Request {
            data: self.data.clone(),
            select: self.select.select.clone(),
            limit: self.limit,
            file: self.file.options(),
        };
        let dataset = read(&checkpoint, &opened.devices, &request, &options)?;
        let inspected = on_threads_of(&opened.devices, || self.duplicates.inspect(&dataset))?;
        output::make_parents(&self.out)?;
        // Again, for what another process has written meanwhile.
        output::check(&self.out, self.force || self.resume)?;
        let mut observer = Talk {
            global: global.clone(),
            device: opened.devices.describe(),
            inspected: Some(inspected),
            rounds: self.rounds,
            images: 0,
            preparation,
            interrupt: interrupt.clone(),
            progress: None,
        };
        let summary = refine(
            &opened.devices,
            checkpoint,
            (dataset, &request),
            &options,
            (&self.out, self.resume),
            &mut observer,
        )?;
        if let Some(progress) = observer.progress.take() {
            progress.end();
        }
        if self.json {
            print_json(&summary)?;
        }
        if summary.after.is_none()
            && let Some(signal) = interrupt.signal()
        {
            let when = match summary.done < self.rounds {
                true => format!("in round {}", summary.done + 1),
                false => "after the last round, before it was judged".into(),
            };
            let command = match summary.done {
                0 => again(),
                _ => resuming(Some("--force")),
            };
            tell_how_to_go_on(signal, &when, &command);
            return Ok(signal.exit_code());
        }
        let nothing = match summary.rounds.is_empty() {
            true => "all rounds were done before; ",
            false => "",
        };
        let after = summary.after.map_or(String::new(), |after| {
            format!(", {}", told_apart(&after, "from truth"))
        });
        global.say(format!(
            "{nothing}the refined model is {}{after}",
            self.out.display()
        ));
        Ok(ExitCode::SUCCESS)
    }
}

/// `told apart WORDS by AUC 0.5 +- 0.01`
fn told_apart(found: &ToldApart, words: &str) -> String {
    match (found.auc, found.auc_error) {
        (Some(auc), Some(error)) => format!("told apart {words} by AUC {auc:.4} +- {error:.4}"),
        _ => format!("not told apart {words}"),
    }
}

/// What a person hears.
struct Talk {
    global: Global,
    device: String,
    inspected: Option<Inspected>,
    rounds: usize,
    /// Trained on, of the true ones.
    images: u64,
    preparation: Preparation,
    interrupt: Interrupt,
    progress: Option<Progress>,
}

impl Observer for Talk {
    fn start(&mut self, [images, held]: [usize; 2], round: usize, nll: Option<f64>) {
        self.preparation.over();
        self.images = images as u64;
        if let Some(inspected) = self.inspected.take() {
            inspected.tell(&self.global);
        }
        let of_held = nll.map_or(String::new(), |nll| format!(", NLL {nll:.3} nats/image"));
        self.global.say(format!(
            "refining on {} images, {} held out{of_held} ({})",
            grouped(self.images),
            grouped(held as u64),
            self.device,
        ));
        if round > 0 {
            self.global.say(format!("going on after round {round}"));
        }
        // Each image is trained on, and one drawn and trained on beside it; after the last round they are drawn once more.
        let progress = Progress::new(
            &self.global,
            (3 * self.images)
                .saturating_mul(self.rounds as u64)
                .saturating_add(self.images),
        );
        progress.begin((3 * self.images).saturating_mul(round as u64));
        self.progress = Some(progress);
    }

    fn step(&mut self, round: usize, doing: Doing, images: usize) {
        let (before, what) = match doing {
            Doing::Drawing => (0, "drawing"),
            Doing::Judging => (self.images, "judging"),
            Doing::Training => (self.images, "training"),
        };
        if let Some(progress) = &self.progress {
            let done = 3 * self.images * round as u64 + before + images as u64;
            let name = match round < self.rounds {
                true => format!("round {}/{}", round + 1, self.rounds),
                false => "after the last round".into(),
            };
            progress.at(done, &name, what.into());
        }
    }

    fn round(&mut self, round: &Round) {
        let told = told_apart(&round.record.before, "before it");
        let nll = (round.record.validation_nll)
            .map_or(String::new(), |nll| format!("  validation {nll:.3}"));
        let line = format!(
            "round {:>3}  {told}{nll}  {}",
            round.round,
            duration(Duration::from_secs_f64(round.seconds)),
        );
        match &self.progress {
            Some(progress) => progress.say(line),
            None => self.global.say(line),
        }
    }

    fn stops(&mut self) -> bool {
        self.interrupt.signal().is_some()
    }
}
