//! `sarm train`

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use indicatif::ProgressBar;

use super::input::{Duplicates, FileArguments, Inspected, Select};
use super::{Global, grouped, print_json};
use crate::data;
use crate::data::ReadOptions;
use crate::device::Task;
use crate::families;
use crate::family::Model;
use crate::prior::Prior;
use crate::run::train::{EpochMetrics, Observer, TrainPlan, check_directory, train};

/// Train a model on images.
///
/// Writes `model.safetensors` (the best model by validation NLL), `metrics.csv` (one line per epoch), `config.toml`
/// and `state.safetensors` (which --resume continues from) into the run directory.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  sarm train --data jets.h5 --select signal=1 --config configs/paper/jets-dc.toml --out runs/w"
)]
pub struct Train {
    /// HDF5 file of images, dense (LAGAN) or sparse. Several files are treated as one.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    file: FileArguments,
    #[command(flatten)]
    duplicates: Duplicates,
    /// TOML configuration; configs/paper/ has the paper's [default: one stage, D+C].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Run directory.
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
    /// Continue the run in --out. On the same kind of device the result is identical, bit for bit, to that of an
    /// uninterrupted run.
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
    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        let opened = global.open(Task::Training)?;
        let mut config = match &self.config {
            None => families::default_configuration(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read '{}'", path.display()))?;
                families::configuration(&text)
                    .with_context(|| format!("in '{}'", path.display()))?
            }
        };
        if let Some(epochs) = self.epochs {
            config.training_mut().epochs = epochs;
        }
        if let Some(seed) = self.seed {
            config.training_mut().seed = seed;
        }
        config.training().check()?;
        check_directory(&self.out, self.resume, self.force)?;
        let started = std::time::Instant::now();
        let dataset = data::read_all(
            &self.data,
            &ReadOptions {
                selections: self.select.select.clone(),
                columns: config.conditions().read().cloned().collect(),
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
        let mut inspected = self.duplicates.inspect(&dataset)?;
        let found = &inspected.found;
        let far = (found.pixels).and_then(|p| {
            let all = found.mean_sum * found.images as f64;
            config.far_from(found.mean_sum, all / p.count as f64)
        });
        inspected.warnings.extend(far);
        let mut observer = Bars {
            global: global.clone(),
            remark: opened.remark,
            inspected: Some(inspected),
            device: opened.devices.describe(),
            epochs: config.training().epochs,
            batch_images: 0,
            bar: None,
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
        if let Some(bar) = &observer.bar {
            bar.finish_and_clear();
        }
        let best = summary
            .history
            .iter()
            .find(|m| m.epoch == summary.best_epoch);
        let nll = best.map_or(f64::NAN, |m| m.validation_nll.unwrap_or(m.train_nll));
        global.say(format!(
            "{}the best model is epoch {}'s, NLL {nll:.3} nats/image: {}",
            if summary.stopped_early {
                "stopped early; "
            } else {
                ""
            },
            summary.best_epoch,
            summary.model.display(),
        ));
        if self.json {
            print_json(&summary.history)?;
        }
        Ok(())
    }
}

struct Bars {
    global: Global,
    remark: Option<String>,
    inspected: Option<Inspected>,
    device: String,
    epochs: usize,
    batch_images: u64,
    bar: Option<ProgressBar>,
}

impl Observer for Bars {
    fn prior(&mut self, prior: &Prior, took: Duration) {
        let names: Vec<&str> = prior.names().collect();
        self.global.say(format!(
            "learnt how the conditions are distributed ({}) in {:.1} s",
            names.join(", "),
            took.as_secs_f64()
        ));
    }

    fn start(&mut self, model: &dyn Model, images: [usize; 2], epoch: usize) {
        self.batch_images = images[0] as u64;
        let unmasked: usize = model.tensors().iter().map(|t| t.unmasked).sum();
        if let Some(remark) = self.remark.take() {
            self.global.say(remark);
        }
        if let Some(inspected) = self.inspected.take() {
            inspected.tell(&self.global);
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
        // One bar for the whole run: its time left is the run's.
        let bar = super::progress::bar(&self.global, self.batch_images * self.epochs as u64);
        bar.set_position(epoch as u64 * self.batch_images);
        bar.reset_eta();
        self.bar = Some(bar);
    }

    fn step(&mut self, epoch: usize, images: usize, nll: f64) {
        if let Some(bar) = &self.bar {
            bar.set_prefix(format!("epoch {}/{}", epoch + 1, self.epochs));
            bar.set_message(format!("NLL {nll:.2}"));
            bar.set_position(epoch as u64 * self.batch_images + images as u64);
        }
    }

    fn epoch(&mut self, m: &EpochMetrics) {
        let validation = m
            .validation_nll
            .map_or(String::new(), |v| format!("  validation {v:.3}"));
        let line = format!(
            "epoch {:>4}  NLL {:.3}{validation}  {:.0} images/s{}",
            m.epoch,
            m.train_nll,
            m.images_per_second,
            if m.best { "  best" } else { "" },
        );
        if self.global.quiet {
            return;
        }
        match &self.bar {
            Some(bar) if !bar.is_hidden() => bar.println(line),
            _ => super::tell(line),
        }
    }
}
