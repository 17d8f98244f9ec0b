//! A training under way: what it starts from, its epochs, its checkpoints.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::data::{Shuffles, Weights, advise_total, checksum, complete, split};
use super::divergence::{Judged, diverged};
use super::resume::{
    Progress, RunFiles, keep_others_out, metrics_csv, prepare_directory, resume, save_state,
};
use super::{Ending, EpochMetrics, Observer, Summary, TrainError, TrainPlan, check_directory};
use crate::checkpoint::Record;
use crate::checkpoint::tensors::write_atomically;
use crate::conditions::ConditionedImages;
use crate::data::{Dataset, FileOptions};
use crate::device::Devices;
use crate::family::{Model, Objective, TrainConfig, Trainer, TrainingState};
use crate::nn::adam::Rates;
use crate::prior::Prior;
use crate::prior::learn::learn;
use crate::run::checkpoint::save;
use crate::run::dataset::{column, conditions};
use crate::run::forecast;
use crate::run::lock::Lock;
use crate::run::on_threads_of;

/// Time that one call of the engine should take: short enough for progress to move.
const CALL: Duration = Duration::from_millis(200);

/// What to ask for at once, at most `most`, after a call of `now` took `took`: a device is kept busy only by much.
fn next_call(now: usize, took: Duration, aim: Duration, most: usize) -> usize {
    if took < aim / 2 {
        (2 * now).min(most)
    } else if took > aim {
        (now / 2).max(1)
    } else {
        now
    }
}

/// Steps of a call at most.
const MOST_STEPS: usize = 1 << 12;
/// Held-out images of a call: at first, and at most.
const JUDGED: (usize, usize) = (1 << 10, 1 << 18);
/// Held-out images that say how good the model is before the first step, at most.
const AT_START: usize = 1 << 12;

/// A training between two epochs.
pub(super) struct Run {
    files: RunFiles,
    _lock: Lock,
    training: TrainConfig,
    checkpoint_every: Duration,
    model: Box<dyn Model>,
    prior: Option<Prior>,
    record: Record,
    trainer: Box<dyn Trainer>,
    /// Images trained on, and held out.
    rows: Vec<u32>,
    held: Vec<u32>,
    weights: Option<Weights>,
    shuffles: Shuffles,
    progress: Progress,
    steps_per_call: usize,
    last_checkpoint: Instant,
}

/// What [`Run::start`] finds.
pub(super) enum Started {
    /// Epochs to do.
    Run(Box<Run>),
    /// None: the run had ended before.
    Ended(Summary),
}

impl Run {
    /// Everything before the first epoch, or before the one that a resumed run goes on with.
    pub fn start(
        devices: &Devices,
        plan: TrainPlan,
        observer: &mut dyn Observer,
    ) -> Result<Started, TrainError> {
        check_directory(&plan.out, plan.resume, plan.force)?;
        plan.config.training().check()?;
        // The plan as asked for, before anything of it is used up.
        let asked = plan.config.to_toml();
        let training = plan.config.training().clone();
        let [rows, held] = split(&training, &plan.dataset)?;
        forecast::training(plan.config.as_ref(), devices, plan.dataset.images.size())?;
        let mut model = complete(plan.config.as_ref(), &plan.dataset, &rows)?;
        let conditions = conditions(model.as_ref(), &plan.dataset)?;
        let weights = Weights::of(&plan.dataset, [&rows, &held])?;
        // Before anything is prepared that may take minutes.
        if weights.is_some() && devices.card_count() > 0 {
            return Err(crate::family::EngineError::equal_weights().into());
        }
        let advice = advise_total(model.conditions(), &plan.dataset, &rows);
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
        model.check_training(&data, &rows)?;
        let checksum = checksum(&data, weights.as_ref());
        let files = RunFiles {
            directory: plan.out,
        };
        let lock = keep_others_out(&files)?;
        // Again, now that nobody else changes it.
        check_directory(&files.directory, plan.resume, plan.force)?;
        let resumed = match plan.resume && files.has_state() {
            true => Some(resume(
                &files,
                model.as_ref(),
                &training,
                rows.len(),
                checksum,
            )?),
            false => None,
        };
        match &resumed {
            Some(resumed) if !resumed.progress.goes_on(&training) => {
                let progress = resumed.progress.clone();
                let ending = Ending::AlreadyComplete;
                return Ok(Started::Ended(summary(
                    &files,
                    progress,
                    ending,
                    model.objective(),
                )));
            }
            Some(_) => {}
            None => model.initialise(devices, &data, &rows, &training, &mut |line| {
                observer.prepares(line);
            })?,
        }
        // A device may lack the room: nothing of an old run is thrown away before it has been found.
        let mut trainer = model.trainer(devices, data)?;
        if let Some(weights) = &weights {
            trainer.weigh(&weights.of_rows)?;
            observer.advice(&weights.in_words(&rows));
        }
        let fresh = resumed.is_none();
        let (mut progress, record, prior) = match resumed {
            Some(resumed) => {
                trainer.restore(&resumed.state)?;
                (resumed.progress, resumed.record, resumed.prior)
            }
            None => {
                prepare_directory(&files, &asked)?;
                if let Some(advice) = advice {
                    observer.advice(&advice);
                }
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
                let of_rows = weights.as_ref().map(|w| &w.of_rows[..]);
                if !conditions.names.is_empty() {
                    observer.learns_prior(&conditions.names);
                }
                let prior = on_threads_of(devices, || {
                    learn(conditions, &columns, of_rows, [&rows, &held], training.seed)
                })?;
                if let Some(prior) = &prior {
                    observer.prior(prior, began.elapsed());
                }
                prior
            }
        };
        if fresh && !held.is_empty() {
            let some = &held[..held.len().min(AT_START)];
            progress.start_nll = Some(mean(&trainer.nll(some)?, some, weights.as_ref()));
        }
        observer.start(model.as_ref(), [rows.len(), held.len()], progress.epoch);
        let mut run = Self {
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
            weights,
            progress,
            steps_per_call: 1,
            last_checkpoint: Instant::now(),
        };
        if fresh {
            // So that what is killed in its first epoch goes on too, and a disk that cannot be written to says so now.
            run.checkpoint()?;
        }
        Ok(Started::Run(Box::new(run)))
    }

    /// Whether another epoch is due.
    pub fn goes_on(&self) -> bool {
        self.progress.goes_on(&self.training)
    }

    pub fn stopped_early(&self) -> bool {
        self.progress.stopped_early(&self.training)
    }

    /// The steps of an epoch that are left, its validation, its files. It breaks, its state saved, where the observer asks
    /// to stop.
    pub fn epoch(&mut self, observer: &mut dyn Observer) -> Result<ControlFlow<()>, TrainError> {
        let done = self.epoch_or_divergence(observer);
        if let Err(
            TrainError::Diverged { rate, .. }
            | TrainError::DivergedHeldOut { rate, .. }
            | TrainError::Worse { rate, .. },
        ) = &done
        {
            // A state saved in the epoch may be diverged already, one of before leads to the same end: who resumes is told.
            self.progress.diverged = Some(*rate);
            if let Err(error) = self.checkpoint() {
                log::warn!("{error}");
            }
        }
        done
    }

    fn epoch_or_divergence(
        &mut self,
        observer: &mut dyn Observer,
    ) -> Result<ControlFlow<()>, TrainError> {
        let epoch = self.progress.epoch;
        let started = Instant::now();
        let rate = self.training.learning_rate_at(epoch);
        let done_before = self.progress.steps_in_epoch * self.training.batch;
        let images = self.rows.len().saturating_sub(done_before);
        if self.steps(rate, observer)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let validation_nll = match self.validate(rate, observer)? {
            ControlFlow::Continue(nll) => nll,
            ControlFlow::Break(()) => return Ok(ControlFlow::Break(())),
        };
        let terms = self.trainer.take_terms().into_iter();
        let train_nll = self.progress.nll_sum / self.rows.len() as f64;
        let judged = Judged {
            train: train_nll,
            validation: validation_nll,
        };
        if let Some(error) = diverged(&self.progress, judged, (rate, self.model.objective())) {
            return Err(error);
        }
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
            terms: terms.map(|(name, v)| (name.into(), v)).collect(),
            best,
            seconds,
            images_per_second: images as f64 / seconds,
        };
        observer.epoch(&metrics);
        self.end_epoch(metrics)?;
        Ok(ControlFlow::Continue(()))
    }

    /// Whether the observer asks to stop; the state is then saved.
    fn stops(&mut self, observer: &mut dyn Observer) -> Result<ControlFlow<()>, TrainError> {
        if !observer.stops() {
            return Ok(ControlFlow::Continue(()));
        }
        self.checkpoint()?;
        Ok(ControlFlow::Break(()))
    }

    fn checkpoint(&mut self) -> Result<(), TrainError> {
        let state = self.trainer.state()?;
        self.save_state(&state)
    }

    /// The steps that are left of an epoch, with a checkpoint now and then.
    fn steps(
        &mut self,
        rate: f32,
        observer: &mut dyn Observer,
    ) -> Result<ControlFlow<()>, TrainError> {
        let epoch = self.progress.epoch;
        let batch = self.training.batch;
        let rates = Rates {
            learning_rate: rate,
            weight_decay: self.training.weight_decay as f32,
        };
        let order = self.shuffles.order(epoch, epoch + 1 < self.training.epochs);
        let mut left = &order[(self.progress.steps_in_epoch * batch).min(order.len())..];
        while !left.is_empty() {
            if self.stops(observer)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let (now, later) =
                left.split_at(left.len().min(self.steps_per_call.saturating_mul(batch)));
            left = later;
            let called = Instant::now();
            let losses = self.trainer.steps(now, batch, rates)?;
            let aim = CALL.min(self.checkpoint_every / 4);
            self.steps_per_call = next_call(self.steps_per_call, called.elapsed(), aim, MOST_STEPS);
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
                self.checkpoint()?;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Mean NLL of the held-out images, if there are any. A state that is saved here is that of an epoch without steps left.
    fn validate(
        &mut self,
        rate: f32,
        observer: &mut dyn Observer,
    ) -> Result<ControlFlow<(), Option<f64>>, TrainError> {
        let mut all = Vec::with_capacity(self.held.len());
        self.trainer.take_terms();
        let mut at_once = JUDGED.0;
        while all.len() < self.held.len() {
            if self.stops(observer)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let called = Instant::now();
            let left = &self.held[all.len()..];
            all.extend(self.trainer.nll(&left[..left.len().min(at_once)])?);
            at_once = next_call(at_once, called.elapsed(), CALL, JUDGED.1);
        }
        if all.is_empty() {
            return Ok(ControlFlow::Continue(None));
        }
        let nll = mean(&all, &self.held, self.weights.as_ref());
        match nll.is_finite() {
            true => Ok(ControlFlow::Continue(Some(nll))),
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
    pub fn summary(self, ending: Ending) -> Summary {
        summary(&self.files, self.progress, ending, self.model.objective())
    }
}

fn summary(files: &RunFiles, progress: Progress, ending: Ending, objective: Objective) -> Summary {
    Summary {
        ending,
        model: files.model(),
        best_epoch: progress.best_epoch,
        history: progress.history,
        objective,
    }
}

/// Mean of the NLL of the images `rows`, weighted where there are weights.
fn mean(nll: &[f64], rows: &[u32], weights: Option<&Weights>) -> f64 {
    match weights {
        None => nll.iter().sum::<f64>() / nll.len() as f64,
        Some(weights) => weights.mean(nll, rows),
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
