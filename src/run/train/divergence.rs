//! Whether a training has left for good what it had learnt: nobody should pay for the epochs to come.

use super::TrainError;
use super::resume::Progress;
use crate::family::Objective;

/// Nats per image by which a diverged training is worse than it was at its best. Epochs differ by a nat or two, and what is
/// learnt by heart costs its few tens over many epochs, in which the NLL in training falls.
const MARGIN: f64 = 50.0;
/// The same, as a fraction of that best NLL: large images have larger ups and downs.
const SHARE: f64 = 0.05;

/// NLL of an epoch, nats per image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged {
    /// Mean over its steps.
    pub train: f64,
    /// Of the held-out images, after it.
    pub validation: Option<f64>,
}

/// By how much worse than `best` is far worse.
fn margin(objective: Objective, best: f64) -> f64 {
    match objective == Objective::NLL {
        true => MARGIN.max(SHARE * best.abs()),
        // Any unit, any weights: twice as much.
        false => best.abs(),
    }
}

/// Whether `now` is far worse than `best`, an image's share of either.
pub(in crate::run) fn far_above(objective: Objective, now: f64, best: f64) -> bool {
    now > best + margin(objective, best)
}

/// What to say where the epoch after those of `progress`, at the step size `rate`, is far worse than the best one or than the
/// start. Held-out images alone do not tell: a model that learns by heart grows worse on them, and not in training.
pub(super) fn diverged(
    progress: &Progress,
    now: Judged,
    (rate, objective): (f32, Objective),
) -> Option<TrainError> {
    let history = &progress.history;
    let start = progress.start_nll.map(|nll| (0, nll));
    let lowest = |values: &mut dyn Iterator<Item = (usize, f64)>| {
        values.min_by(|(_, a), (_, b)| a.total_cmp(b))
    };
    let train = lowest(&mut history.iter().map(|m| (m.epoch, m.train_nll)));
    let (value, (best_epoch, best), of) = match now.validation {
        Some(value) => {
            let epochs = history
                .iter()
                .filter_map(|m| Some((m.epoch, m.validation_nll?)));
            let best = lowest(&mut epochs.chain(start))?;
            (value, best, "of the held-out images")
        }
        None => (now.train, train?, "in training"),
    };
    let (_, train) = train.or(start)?;
    // Ups and downs of training itself are none.
    let up = match objective == Objective::NLL {
        true => MARGIN / 2.0,
        false => margin(objective, train) / 2.0,
    };
    let far = now.train > train + up && far_above(objective, value, best);
    far.then(|| TrainError::Worse {
        epoch: progress.epoch + 1,
        objective,
        now: value,
        of,
        best,
        best_epoch,
        rate,
    })
}

#[cfg(test)]
mod tests {
    use super::super::EpochMetrics;
    use super::*;

    fn of(epochs: &[(f64, Option<f64>)], start_nll: Option<f64>) -> Progress {
        let history = epochs
            .iter()
            .enumerate()
            .map(|(i, (train, validation))| EpochMetrics {
                epoch: i + 1,
                learning_rate: 1e-3,
                train_nll: *train,
                validation_nll: *validation,
                terms: Vec::new(),
                best: true,
                seconds: 1.0,
                images_per_second: 1.0,
            });
        Progress {
            epoch: epochs.len(),
            history: history.collect(),
            start_nll,
            ..Progress::default()
        }
    }

    #[test]
    fn training_that_left_what_it_learnt_is_told_from_learning_by_heart() {
        let found = |progress: &Progress, train, validation| {
            diverged(
                progress,
                Judged { train, validation },
                (1e-2, Objective::NLL),
            )
            .map(|e| e.to_string())
        };
        let two = of(&[(120.0, Some(118.0)), (110.0, Some(112.0))], Some(150.0));
        assert_eq!(found(&two, 109.0, Some(113.0)), None);
        // By heart: better in training.
        assert_eq!(found(&two, 60.0, Some(400.0)), None);
        assert_eq!(found(&two, 111.0, Some(400.0)), None);
        let said = found(&two, 136.0, Some(163.0)).unwrap();
        assert!(
            said.contains("epoch 3") && said.contains("112.0 after epoch 2"),
            "{said}"
        );
        assert!(said.contains("lower learning_rate (it was 0.01)"), "{said}");
        // From the first step on.
        let none = of(&[], Some(150.0));
        assert!(
            found(&none, 1e4, Some(1e5))
                .unwrap()
                .contains("before the first step")
        );
        assert_eq!(found(&none, 140.0, Some(130.0)), None);
        // Without held-out images.
        let two = of(&[(120.0, None), (-2000.0, None)], None);
        assert_eq!(found(&two, -1901.0, None), None);
        assert!(found(&two, -1890.0, None).is_some());
        assert_eq!(found(&of(&[], None), 1e9, None), None);
        // A loss of any size, that is no likelihood: three times the best is far, twice is not.
        let small = of(&[(0.020, Some(0.018))], None);
        let of_loss = |train, validation| {
            let now = Judged {
                train,
                validation: Some(validation),
            };
            diverged(&small, now, (1e-2, Objective::LOSS)).map(|e| e.to_string())
        };
        assert_eq!(of_loss(0.035, 0.034), None);
        let said = of_loss(0.07, 0.06).unwrap();
        assert!(said.contains("(loss 0.1 an image"), "{said}");
    }
}
