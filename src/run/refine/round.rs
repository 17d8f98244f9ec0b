//! One round of refining: draw, judge, train.

use std::sync::Arc;
use std::time::Instant;

use super::{Doing, LEAST, Observer, Options, RefineError, Round};
use crate::checkpoint::{RefinedRound, ToldApart};
use crate::classify::{Auc, Ratios, ratios};
use crate::conditions::{ConditionedImages, Conditions};
use crate::data::{Dataset, SparseImages};
use crate::device::Devices;
use crate::family::{Model, SamplingPlan, TrainConfig, Trainer};
use crate::nn::adam::Rates;
use crate::nn::schedule::Schedule;
use crate::physics::{Geometry, GeometryError, Table, observables};
use crate::prior::MOST_LABELS;
use crate::random::{self, Purpose};
use crate::run::dataset::{DatasetError, conditions};
use crate::run::on_threads_of;
use crate::run::train::{checksum, far_above, split_at_random};

/// Steps with a step size of 0 that Adam's moments come from: it forgets its second ones in a thousand steps.
const STILL: usize = 400;
/// Steps of one step size.
const STEPS: usize = 64;

/// A model and what it is refined with.
pub(super) struct Refining<'a> {
    devices: &'a Devices,
    options: &'a Options,
    model: Box<dyn Model>,
    geometry: Geometry,
    /// Images trained on, then those held out.
    truth: Arc<ConditionedImages>,
    trained_on: usize,
    checksum: u32,
    /// Observables and labels of those trained on, `[columns][images]`.
    columns: Vec<Vec<f32>>,
    labels: Vec<usize>,
}

/// What training gave.
struct Trained {
    parameters: Vec<Vec<f32>>,
    /// Mean NLL of the images held out.
    nll: Option<f64>,
}

impl<'a> Refining<'a> {
    pub fn new(
        devices: &'a Devices,
        model: Box<dyn Model>,
        dataset: Dataset,
        options: &'a Options,
    ) -> Result<Self, RefineError> {
        let beyond = model.beyond(&dataset.images);
        if !beyond.is_empty() {
            return Err(DatasetError::beyond(&beyond, &dataset).into());
        }
        let config = TrainConfig {
            seed: options.seed,
            validation: options.validation,
            group: options.group.clone(),
            ..TrainConfig::default()
        };
        if let Some(unsuited) = model.unsuited(&dataset.images) {
            log::warn!("{unsuited}");
        }
        // In random order: halves of them are alike, whatever the order of the file.
        let [train, held] = split_at_random(&config, &dataset)?;
        if train.len() < LEAST {
            let images = train.len();
            return Err(RefineError::TooFew { images });
        }
        let size = model.image();
        let geometry = Geometry::new(size.height, size.width, options.range)?;
        let all: Vec<usize> = (train.iter().chain(&held))
            .map(|row| *row as usize)
            .collect();
        let of_all = conditions(model.as_ref(), &dataset)?;
        let truth = ConditionedImages {
            images: dataset.images.gather(all.iter().copied()),
            conditions: of_all.gather(all.iter().copied()),
        };
        let mut new = Self {
            devices,
            options,
            geometry,
            checksum: checksum(&truth, None),
            trained_on: train.len(),
            labels: labels(&truth.conditions, train.len()),
            truth: Arc::new(truth),
            columns: Vec::new(),
            model,
        };
        let images = new.truth.images.gather(0..new.trained_on);
        // A grid's levels would tell the trees what no network can learn.
        let images = new.model.as_drawn(&images).unwrap_or(images);
        new.columns = new.columns_of(&images)?;
        Ok(new)
    }

    pub fn model(&self) -> &dyn Model {
        self.model.as_ref()
    }

    pub fn set_parameters(&mut self, parameters: Vec<Vec<f32>>) {
        self.model.set_parameters(parameters);
    }

    pub fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Images trained on, and held out.
    pub fn images(&self) -> [usize; 2] {
        [self.trained_on, self.truth.images.len() - self.trained_on]
    }

    /// Mean NLL of the images held out, if there are any.
    pub fn nll(&self) -> Result<Option<f64>, RefineError> {
        let held: Vec<u32> = (self.trained_on..self.truth.images.len())
            .map(|row| row as u32)
            .collect();
        let mut trainer = self.model.trainer(self.devices, Arc::clone(&self.truth))?;
        mean_nll(trainer.as_mut(), &held)
    }

    /// Observables of `images`, image i under the conditions of number i, and the labels among these.
    fn columns_of(&self, images: &SparseImages) -> Result<Vec<Vec<f32>>, GeometryError> {
        on_threads_of(self.devices, || {
            let of_images = observables(images, &self.geometry)?;
            let rows: Vec<usize> = (0..images.len()).collect();
            let table = Table::of(images, of_images.rows(), &self.geometry, &rows);
            let mut columns = table.columns;
            for label in &self.labels {
                let row = |image| self.truth.conditions.row(image as u64);
                columns.push(rows.iter().map(|image| row(*image)[*label]).collect());
            }
            Ok(columns)
        })
    }

    /// Round number `round`, counted from 0. `None` where the observer asked to stop: the model is as before.
    pub fn round(
        &mut self,
        round: usize,
        start_nll: Option<f64>,
        observer: &mut dyn Observer,
    ) -> Result<Option<Round>, RefineError> {
        let began = Instant::now();
        let Some((generated, Ratios { of_generated, auc })) = self.judge(round, observer)? else {
            return Ok(None);
        };
        let Some(Trained { parameters, nll }) =
            self.train(round, generated, of_generated, observer)?
        else {
            return Ok(None);
        };
        if let (Some(nll), Some(start)) = (nll, start_nll)
            && (!nll.is_finite() || far_above(self.model.objective(), nll, start))
        {
            return Err(self.diverged(round, nll));
        }
        self.model.set_parameters(parameters);
        Ok(Some(Round {
            round: round + 1,
            record: RefinedRound {
                learning_rate: self.learning_rate(round, 0.0),
                before: told_apart(auc),
                validation_nll: nll,
            },
            seconds: began.elapsed().as_secs_f64(),
        }))
    }

    /// How well trees tell truth from images of the model as it is after the last round. `None` where the observer asked to stop.
    pub fn told_apart(
        &self,
        observer: &mut dyn Observer,
    ) -> Result<Option<ToldApart>, RefineError> {
        let judged = self.judge(self.options.rounds, observer)?;
        Ok(judged.map(|(_, ratios)| told_apart(ratios.auc)))
    }

    /// Images drawn in round `round`, and what trees say of them. `None` where the observer asked to stop.
    fn judge(
        &self,
        round: usize,
        observer: &mut dyn Observer,
    ) -> Result<Option<(SparseImages, Ratios)>, RefineError> {
        let Some(generated) = self.draw(round, observer)? else {
            return Ok(None);
        };
        observer.step(round, Doing::Judging, 0);
        let columns = self.columns_of(&generated)?;
        let ratios = on_threads_of(self.devices, || ratios(&self.columns, &columns));
        Ok((!observer.stops()).then_some((generated, ratios)))
    }

    /// As many images as are trained on, under their conditions.
    fn draw(
        &self,
        round: usize,
        observer: &mut dyn Observer,
    ) -> Result<Option<SparseImages>, RefineError> {
        let count = self.trained_on;
        let words = random::words(self.options.seed, Purpose::Refine, round as u64, u32::MAX);
        let plan = SamplingPlan {
            seed: u64::from(words[0]) << 32 | u64::from(words[1]),
            conditions: self.truth.conditions.gather(0..count),
            ..SamplingPlan::default()
        };
        let mut sampler = self.model.sampler(self.devices, &plan)?;
        let at_once = sampler.preferred_count().clamp(1, count);
        let mut images = sampler.sample(0, at_once)?;
        while images.len() < count {
            observer.step(round, Doing::Drawing, images.len());
            if observer.stops() {
                return Ok(None);
            }
            let next = at_once.min(count - images.len());
            images.extend(&sampler.sample(images.len() as u64, next)?);
        }
        Ok(Some(images))
    }

    /// Train on the true images and on the `generated` ones, which count by `ratios`. `None` where the observer asked to stop.
    fn train(
        &self,
        round: usize,
        generated: SparseImages,
        ratios: Vec<f32>,
        observer: &mut dyn Observer,
    ) -> Result<Option<Trained>, RefineError> {
        let (count, batch) = (self.trained_on, self.options.batch);
        let rows = self.truth.images.len();
        let mut images = generated;
        images.extend(&self.truth.images);
        let data = ConditionedImages {
            images,
            conditions: self.truth.conditions.gather((0..count).chain(0..rows)),
        };
        let mut weights = ratios;
        weights.resize(count + rows, 1.0);
        let mut trainer = self.model.trainer(self.devices, Arc::new(data))?;
        trainer.weigh(&weights)?;
        let order =
            random::permutation(self.options.seed, Purpose::Refine, round as u32, 2 * count);
        let at_once = STEPS.saturating_mul(batch);
        let still = &order[..order.len().min(STILL.saturating_mul(batch))];
        for part in still.chunks(at_once) {
            trainer.steps(part, batch, Rates::from(0.0))?;
            if observer.stops() {
                return Ok(None);
            }
        }
        for (call, part) in order.chunks(at_once).enumerate() {
            let done = call * at_once;
            observer.step(round, Doing::Training, done);
            if observer.stops() {
                return Ok(None);
            }
            let rate = self.learning_rate(round, done as f64 / order.len() as f64);
            let nll = trainer.steps(part, batch, Rates::from(rate as f32))?;
            if let Some(nll) = nll.into_iter().find(|nll| !nll.is_finite()) {
                return Err(self.diverged(round, nll));
            }
        }
        let held: Vec<u32> = (2 * count..count + rows).map(|row| row as u32).collect();
        let nll = mean_nll(trainer.as_mut(), &held)?;
        let parameters = trainer.state()?.parameters;
        Ok(Some(Trained { parameters, nll }))
    }

    fn diverged(&self, round: usize, nll: f64) -> RefineError {
        RefineError::Diverged {
            round: round + 1,
            nll,
            rate: self.options.learning_rate,
        }
    }

    /// Adam's step size where `part` of round `round` is done.
    fn learning_rate(&self, round: usize, part: f64) -> f64 {
        /// A round in so many steps of the schedule.
        const FINE: usize = 1 << 10;
        let fine = |rounds: usize| rounds.saturating_mul(FINE);
        let done = fine(round).saturating_add((part * FINE as f64) as usize);
        let factor = Schedule::Cosine.factor(done, fine(self.options.rounds), 0);
        self.options.learning_rate * factor
    }
}

fn told_apart(auc: Option<Auc>) -> ToldApart {
    ToldApart {
        auc: auc.map(|auc| auc.value),
        auc_error: auc.map(|auc| auc.error),
    }
}

/// Which conditions are labels: they have few values over the first `images` images. The trees are told these and no other
/// condition. They would tell images by how far the pixels miss a condition, which nobody sees who asks for a class.
fn labels(conditions: &Conditions, images: usize) -> Vec<usize> {
    let few = |condition: &usize| {
        let mut values: Vec<f32> = Vec::new();
        (0..images as u64).all(|image| {
            let value = conditions.row(image)[*condition];
            if !values.contains(&value) {
                values.push(value);
            }
            values.len() <= MOST_LABELS
        })
    };
    (0..conditions.width()).filter(few).collect()
}

fn mean_nll(trainer: &mut dyn Trainer, rows: &[u32]) -> Result<Option<f64>, RefineError> {
    if rows.is_empty() {
        return Ok(None);
    }
    let nll = trainer.nll(rows)?;
    Ok(Some(nll.iter().sum::<f64>() / nll.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::super::Doing;
    use super::*;
    use crate::families;

    struct Silent;
    impl Observer for Silent {}

    struct Stops(Doing);
    impl Observer for Stops {
        fn step(&mut self, _: usize, doing: Doing, _: usize) {
            assert_eq!(doing, self.0);
        }
        fn stops(&mut self) -> bool {
            true
        }
    }

    /// Each of nine pixels is hit or not, as often as not.
    fn images(count: usize) -> SparseImages {
        let mut images = SparseImages::new(3, 3).unwrap();
        for i in 0..count {
            let word = random::words(3, Purpose::Synthetic, i as u64, 0)[0];
            let hit = (0..9u16).filter(|p| word >> p & 1 == 1);
            images.push(hit.map(|p| (p, 1.0 + f32::from(p))));
        }
        images
    }

    fn refining<'a>(devices: &'a Devices, options: &'a Options) -> Refining<'a> {
        let text = "[[stage]]\nunits_per_pixel = 2\nlayers = 1\n[likelihood]\nkind = \"dc\"\ncomponents = 1\n";
        let config = families::configuration(text).unwrap();
        let dataset = Dataset {
            images: images(2000),
            rows: (0..2000).collect(),
            ..Dataset::default()
        };
        let conditions = config.conditions().clone();
        let model = config.complete(&dataset.images, conditions).unwrap();
        Refining::new(devices, model, dataset, options).unwrap()
    }

    #[test]
    fn images_count_by_their_ratios() {
        let devices = Devices::cpu(2).unwrap();
        let options = Options {
            rounds: 1,
            learning_rate: 1e-2,
            batch: 16,
            ..Options::default()
        };
        let mut refining = refining(&devices, &options);
        let mut pixels_with = |many: f32| {
            // Generated images that look like the true ones; those of many pixels count as told.
            let generated = images(refining.trained_on);
            let mut counted = 0.0f32;
            let ratios: Vec<f32> = (generated.iter())
                .map(|(index, _)| if index.len() > 4 { many } else { 2.0 - many })
                .inspect(|ratio| counted += ratio)
                .collect();
            assert!(counted > 0.0);
            let Trained { parameters, nll } = refining
                .train(0, generated, ratios, &mut Silent)
                .unwrap()
                .unwrap();
            assert!(nll.is_some_and(f64::is_finite));
            let before = refining.model.parameters().to_vec();
            refining.set_parameters(parameters);
            let drawn = refining.draw(0, &mut Silent).unwrap().unwrap();
            refining.set_parameters(before);
            drawn.nonzeros() as f64 / drawn.len() as f64
        };
        let (few, as_they_are, many) = (pixels_with(0.2), pixels_with(1.0), pixels_with(1.8));
        // 4.5 of nine pixels are hit. Images of more than four have 1.3 more than the others have less: half of the images, the
        // generated ones, are to move the mean by 0.8 / 2 of half of that distance.
        assert!((as_they_are - 4.5).abs() < 0.15, "{as_they_are}");
        assert!(
            few < as_they_are - 0.2 && many > as_they_are + 0.2,
            "{few} {many}"
        );
    }

    #[test]
    fn halves_are_alike_whatever_the_order_of_the_file() {
        let devices = Devices::cpu(1).unwrap();
        let options = Options {
            group: Some("event".into()),
            ..Options::default()
        };
        let config = families::configuration("[condition]\nnames = [\"signal\"]\n").unwrap();
        let images = images(3000);
        // All of one class first, and five images of each event.
        let column = |f: fn(usize) -> f32| (0..3000).map(f).collect::<Vec<f32>>();
        let signal = column(|row| f32::from(row >= 1500));
        let columns = [
            ("signal", signal),
            ("event", column(|row| (row / 5) as f32)),
        ];
        let dataset = Dataset {
            rows: (0..3000).collect(),
            columns: columns
                .map(|(name, values)| (name.to_string(), values))
                .into(),
            images,
            ..Dataset::default()
        };
        let mut conditions = config.conditions().clone();
        (conditions.mean, conditions.scale) = (vec![0.5], vec![0.5]);
        let model = config.complete(&dataset.images, conditions).unwrap();
        let refining = Refining::new(&devices, model, dataset, &options).unwrap();
        let classes = refining.columns.last().unwrap();
        let half = classes.len() / 2;
        for part in [&classes[..half / 7], &classes[..half], &classes[half..]] {
            let mean = part.iter().sum::<f32>() / part.len() as f32;
            // 40 events, or more.
            assert!(mean.abs() < 0.5, "{mean}");
        }
        // An event's images are of one class, and stand side by side.
        let changes = classes.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes < classes.len() / 5, "{changes}");
    }

    #[test]
    fn it_stops_where_it_is_asked_to() {
        let devices = Devices::cpu(1).unwrap();
        let options = Options::default();
        let refining = refining(&devices, &options);
        let generated = images(refining.trained_on);
        let ratios = vec![1.0; generated.len()];
        let trained = refining.train(0, generated, ratios, &mut Stops(Doing::Training));
        assert!(trained.unwrap().is_none());
    }

    #[test]
    fn the_step_size_falls_to_nothing() {
        let devices = Devices::cpu(1).unwrap();
        let options = Options {
            rounds: 4,
            learning_rate: 2.0,
            ..Options::default()
        };
        let refining = refining(&devices, &options);
        assert_eq!(refining.learning_rate(0, 0.0), 2.0);
        assert!((refining.learning_rate(2, 0.0) - 1.0).abs() < 1e-9);
        assert!(refining.learning_rate(3, 0.999) < 4e-3);
    }

    #[test]
    fn conditions_of_few_values_are_labels() {
        let values: Vec<f32> = (0..40u16)
            .flat_map(|i| [f32::from(i % 16), f32::from(i % 17), 1.0])
            .collect();
        let conditions = Conditions::new(3, values);
        assert_eq!(labels(&conditions, 40), [0, 2]);
        assert_eq!(labels(&conditions, 16), [0, 1, 2]);
    }
}
