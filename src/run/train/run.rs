//! A training under way: what it starts from, its epochs, its checkpoints.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::data::{Shuffles, checksum, complete, split};
use super::resume::{
    Progress, RunFiles, RunLock, metrics_csv, prepare_directory, resume, save_state,
};
use super::{EpochMetrics, Observer, Summary, TrainError, TrainPlan, check_directory};
use crate::checkpoint::Record;
use crate::checkpoint::tensors::write_atomically;
use crate::conditions::ConditionedImages;
use crate::data::{Dataset, FileOptions};
use crate::device::Devices;
use crate::family::{Model, TrainConfig, Trainer, TrainingState};
use crate::nn::adam::Rates;
use crate::prior::Prior;
use crate::prior::learn::learn;
use crate::run::checkpoint::save;
use crate::run::dataset::{column, conditions};
use crate::run::on_threads_of;

/// Time that one call of the engine should take: short enough for progress to move.
const CALL: Duration = Duration::from_millis(200);

/// Steps to ask for at once, after a call of `steps` took `took`: a device is kept busy only by many.
fn next_steps_per_call(steps: usize, took: Duration, checkpoint_every: Duration) -> usize {
    let aim = CALL.min(checkpoint_every / 4);
    if took < aim / 2 {
        (2 * steps).min(1 << 12)
    } else if took > aim {
        (steps / 2).max(1)
    } else {
        steps
    }
}

/// A training between two epochs.
pub(super) struct Run {
    files: RunFiles,
    _lock: RunLock,
    training: TrainConfig,
    checkpoint_every: Duration,
    model: Box<dyn Model>,
    prior: Option<Prior>,
    record: Record,
    trainer: Box<dyn Trainer>,
    /// Images trained on, and held out.
    rows: Vec<u32>,
    held: Vec<u32>,
    shuffles: Shuffles,
    progress: Progress,
    steps_per_call: usize,
    last_checkpoint: Instant,
}

impl Run {
    /// Everything before the first epoch, or before the one that a resumed run goes on with.
    pub fn start(
        devices: &Devices,
        plan: TrainPlan,
        observer: &mut dyn Observer,
    ) -> Result<Self, TrainError> {
        check_directory(&plan.out, plan.resume, plan.force)?;
        plan.config.training().check()?;
        // The plan as asked for, before anything of it is used up.
        let asked = plan.config.to_toml();
        let training = plan.config.training().clone();
        let [rows, held] = split(&training, plan.dataset.images.len())?;
        let mut model = complete(plan.config.as_ref(), &plan.dataset, &rows)?;
        let conditions = conditions(model.as_ref(), &plan.dataset)?;
        let record = record(
            &plan.dataset,
            plan.data,
            plan.select,
            &plan.file,
            [&rows, &held],
        );
        let Dataset {
            images, columns, ..
        } = plan.dataset;
        let data = Arc::new(ConditionedImages { images, conditions });
        let checksum = checksum(&data);
        let files = RunFiles {
            directory: plan.out,
        };
        let lock = RunLock::take(&files)?;
        // Again, now that nobody else changes it.
        check_directory(&files.directory, plan.resume, plan.force)?;
        let resumed = match plan.resume {
            true => Some(resume(
                &files,
                model.as_ref(),
                &training,
                rows.len(),
                checksum,
            )?),
            false => None,
        };
        if resumed.is_none() {
            model.initialise(&data, &rows, &training);
        }
        // A device may lack the room: nothing of an old run is thrown away before it has been found.
        let mut trainer = model.trainer(devices, data)?;
        let (progress, record, prior) = match resumed {
            Some(resumed) => {
                trainer.restore(&resumed.state)?;
                (resumed.progress, resumed.record, resumed.prior)
            }
            None => {
                prepare_directory(&files, &asked)?;
                let progress = Progress {
                    data_checksum: checksum,
                    ..Progress::default()
                };
                (progress, record, None)
            }
        };
        let prior = match prior {
            Some(prior) => Some(prior),
            None => {
                let began = Instant::now();
                let conditions = model.conditions();
                let columns = (conditions.names.iter())
                    .map(|name| column(&columns, name, rows.len() + held.len()))
                    .collect::<Result<Vec<_>, _>>()?;
                let prior = on_threads_of(devices, || {
                    learn(conditions, &columns, [&rows, &held], training.seed)
                })?;
                if let Some(prior) = &prior {
                    observer.prior(prior, began.elapsed());
                }
                prior
            }
        };
        observer.start(model.as_ref(), [rows.len(), held.len()], progress.epoch);
        Ok(Self {
            files,
            _lock: lock,
            shuffles: Shuffles::new(&rows, training.seed),
            training,
            checkpoint_every: plan.checkpoint_every,
            model,
            prior,
            record,
            trainer,
            rows,
            held,
            progress,
            steps_per_call: 1,
            last_checkpoint: Instant::now(),
        })
    }

    /// Whether another epoch is due.
    pub fn goes_on(&self) -> bool {
        self.progress.epoch < self.training.epochs && !self.stopped_early()
    }

    fn stopped_early(&self) -> bool {
        self.progress.stopped_early(&self.training)
    }

    /// The steps of an epoch that are left, its validation, its files.
    pub fn epoch(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let epoch = self.progress.epoch;
        let started = Instant::now();
        let rate = self.training.learning_rate_at(epoch);
        let done_before = self.progress.steps_in_epoch * self.training.batch;
        let images = self.rows.len().saturating_sub(done_before);
        self.steps(rate, observer)?;
        let validation_nll = self.validate(rate)?;
        let train_nll = self.progress.nll_sum / self.rows.len() as f64;
        let best = match (validation_nll, self.progress.best_nll) {
            (Some(now), Some(best)) => now < best,
            _ => true,
        };
        let seconds = started.elapsed().as_secs_f64();
        let metrics = EpochMetrics {
            epoch: epoch + 1,
            learning_rate: rate,
            train_nll,
            validation_nll,
            best,
            seconds,
            images_per_second: images as f64 / seconds,
        };
        observer.epoch(&metrics);
        self.end_epoch(metrics)
    }

    /// The steps that are left of an epoch, with a checkpoint now and then.
    fn steps(&mut self, rate: f32, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let epoch = self.progress.epoch;
        let batch = self.training.batch;
        let rates = Rates {
            learning_rate: rate,
            weight_decay: self.training.weight_decay as f32,
        };
        let order = self.shuffles.order(epoch, epoch + 1 < self.training.epochs);
        let mut left = &order[(self.progress.steps_in_epoch * batch).min(order.len())..];
        while !left.is_empty() {
            let (now, later) =
                left.split_at(left.len().min(self.steps_per_call.saturating_mul(batch)));
            left = later;
            let called = Instant::now();
            let losses = self.trainer.steps(now, batch, rates)?;
            self.steps_per_call =
                next_steps_per_call(self.steps_per_call, called.elapsed(), self.checkpoint_every);
            for (batch, nll) in now.chunks(batch).zip(losses) {
                if !nll.is_finite() {
                    return Err(TrainError::Diverged {
                        epoch: epoch + 1,
                        step: self.progress.steps_in_epoch + 1,
                        rate,
                    });
                }
                self.progress.steps_in_epoch += 1;
                self.progress.nll_sum += nll * batch.len() as f64;
            }
            let seen = (self.progress.steps_in_epoch * batch).min(self.rows.len());
            observer.step(epoch, seen, self.progress.nll_sum / seen as f64);
            if self.last_checkpoint.elapsed() >= self.checkpoint_every {
                let state = self.trainer.state()?;
                self.save_state(&state)?;
            }
        }
        Ok(())
    }

    /// Mean NLL of the held-out images, if there are any.
    fn validate(&mut self, rate: f32) -> Result<Option<f64>, TrainError> {
        if self.held.is_empty() {
            return Ok(None);
        }
        let nll = self.trainer.nll(&self.held)?.iter().sum::<f64>() / self.held.len() as f64;
        match nll.is_finite() {
            true => Ok(Some(nll)),
            false => Err(TrainError::DivergedHeldOut {
                epoch: self.progress.epoch + 1,
                rate,
            }),
        }
    }

    /// Keep the model if it is the best one, then the metrics, then the state.
    fn end_epoch(&mut self, metrics: EpochMetrics) -> Result<(), TrainError> {
        let state = self.trainer.state()?;
        self.progress.epoch += 1;
        self.progress.steps_in_epoch = 0;
        self.progress.nll_sum = 0.0;
        if metrics.best {
            self.progress.best_epoch = self.progress.epoch;
            self.progress.best_nll = metrics.validation_nll;
            self.record.epochs = self.progress.epoch;
            self.record.train_nll = Some(metrics.train_nll);
            self.record.validation_nll = metrics.validation_nll;
            self.model.set_parameters(state.parameters.clone());
            self.save_model(&self.files.model())?;
        }
        self.progress.history.push(metrics);
        write_atomically(
            &self.files.metrics(),
            metrics_csv(&self.progress.history).as_bytes(),
        )?;
        self.save_state(&state)
    }

    fn save_model(&self, path: &Path) -> Result<(), TrainError> {
        save(path, self.model.as_ref(), self.prior.as_ref(), &self.record)?;
        Ok(())
    }

    fn save_state(&mut self, state: &TrainingState) -> Result<(), TrainError> {
        save_state(
            &self.files,
            self.model.as_ref(),
            self.prior.as_ref(),
            &self.record,
            &self.training,
            &self.progress,
            state,
        )?;
        self.last_checkpoint = Instant::now();
        Ok(())
    }

    /// How it ended.
    pub fn summary(self) -> Summary {
        Summary {
            model: self.files.model(),
            best_epoch: self.progress.best_epoch,
            stopped_early: self.stopped_early(),
            history: self.progress.history,
        }
    }
}

/// What a model's file says of the images that it was trained on.
fn record(
    dataset: &Dataset,
    data: String,
    select: Vec<String>,
    file: &FileOptions,
    [rows, held]: [&[u32]; 2],
) -> Record {
    let same = |v: &[f32]| v.windows(2).all(|w| w[0] == w[1]);
    Record {
        data,
        select,
        constants: (dataset.columns.iter())
            .filter(|(_, v)| same(v))
            .filter_map(|(name, v)| Some((name.clone(), *v.first()?)))
            .collect(),
        binning: dataset.binning.clone(),
        images: [rows.len(), held.len()],
        unit: dataset.about.unit.clone(),
        names: dataset.about.names.clone(),
        scale: file.scale,
        threshold: file.threshold,
        version: env!("CARGO_PKG_VERSION").into(),
        ..Record::default()
    }
}
