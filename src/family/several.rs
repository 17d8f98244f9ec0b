//! Devices that share the drawing of images: one range of image numbers, cut into as many shares, joined again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::EngineError;
use super::Sampler;
use crate::data::SparseImages;

/// Shares that differ by less from those by speed stay as they are: a little more than what fits at once takes a sampler twice the time.
const WORTH: f64 = 0.15;
/// A measured time counts if the slowest sampler took as long: shorter ones are those of threads that start.
const TELLING: Duration = Duration::from_millis(2);

/// Samplers of one model and one plan that share every range that is asked for.
///
/// An image depends on its number alone, so the images are those of any one of them. The first range is shared by what keeps each
/// sampler busy, later ones by how fast each was with the first.
pub struct Several {
    /// By the names that their errors carry.
    samplers: Vec<(String, Box<dyn Sampler>)>,
    /// How much of a range each takes, relative to the others.
    weights: Vec<f64>,
    measured: bool,
    /// Ranges that are announced, and the images of each share: they are cut when they are asked for as they were then.
    announced: VecDeque<(u64, usize, Vec<usize>)>,
}

/// A sampler with its share of a range: its number, its first image and their count.
type Share<'a> = (usize, &'a str, &'a mut (dyn Sampler + 'static), u64, usize);

impl Several {
    /// Share among `samplers`, at least one.
    ///
    /// # Errors
    ///
    /// [`EngineError::Device`] without samplers.
    pub fn new(samplers: Vec<(String, Box<dyn Sampler>)>) -> Result<Self, EngineError> {
        if samplers.is_empty() {
            return Err(EngineError::Device(
                "there is no device to draw on; name one".into(),
            ));
        }
        let busy = |(_, sampler): &(String, Box<dyn Sampler>)| sampler.preferred_count().max(1);
        Ok(Self {
            weights: samplers.iter().map(|s| busy(s) as f64).collect(),
            samplers,
            measured: false,
            announced: VecDeque::new(),
        })
    }

    /// Images of each share of a range of `count`, by the weights as they are now.
    fn cut(&self, count: usize) -> Vec<usize> {
        let all: f64 = self.weights.iter().sum();
        let (mut start, mut part) = (0, 0.0);
        let last = self.weights.len() - 1;
        let images = self.weights.iter().enumerate().map(|(i, weight)| {
            part += weight;
            let end = match i == last {
                true => count,
                false => ((count as f64 * part / all) as usize).clamp(start, count),
            };
            end - std::mem::replace(&mut start, end)
        });
        images.collect()
    }

    /// Images `first ..` in contiguous shares of so many images, those without any left out.
    fn shares(&mut self, first: u64, images: &[usize]) -> Vec<Share<'_>> {
        let mut next = first;
        let samplers = self.samplers.iter_mut().enumerate().zip(images);
        let all = samplers.map(|((number, (name, sampler)), count)| {
            let first = next;
            next += *count as u64;
            (number, name.as_str(), sampler.as_mut(), first, *count)
        });
        all.filter(|share| share.4 > 0).collect()
    }

    /// Weigh by the seconds that each sampler took for its share of the first range that kept all of them busy.
    fn weigh(&mut self, images: &[usize], seconds: &[(usize, Duration)]) {
        let slowest = seconds.iter().map(|s| s.1).max().unwrap_or_default();
        if self.measured || seconds.len() < self.samplers.len() || slowest < TELLING {
            return;
        }
        self.measured = true;
        let speed =
            |number: usize, time: Duration| images[number] as f64 / time.as_secs_f64().max(1e-9);
        let speeds: Vec<f64> = seconds
            .iter()
            .map(|(number, time)| speed(*number, *time))
            .collect();
        let (all, weights) = (speeds.iter().sum::<f64>(), self.weights.iter().sum::<f64>());
        let mut pairs = speeds.iter().zip(&self.weights);
        if pairs.any(|(speed, weight)| (speed / all * weights / weight - 1.0).abs() > WORTH) {
            self.weights = speeds;
        }
    }

    /// `work` on every share of a range at the same time: the sampler's number, how long it took, the outcome, in order; the first error of
    /// any.
    fn on_each<T: Send>(
        &mut self,
        first: u64,
        images: &[usize],
        work: impl Fn(&mut dyn Sampler, u64, usize) -> Result<T, EngineError> + Sync,
    ) -> Result<Vec<(usize, Duration, T)>, EngineError> {
        let run = |(number, name, sampler, first, count): Share| {
            let begun = Instant::now();
            let done = work(sampler, first, count).map_err(|error| match error {
                EngineError::Device(why) => why.on(name).into(),
                other => other,
            })?;
            Ok((number, begun.elapsed(), done))
        };
        let mut shares = self.shares(first, images);
        // The last share is this thread's: a range of one share needs no other.
        let last = shares.pop();
        std::thread::scope(|scope| {
            let others: Vec<_> = (shares.into_iter())
                .map(|share| scope.spawn(|| run(share)))
                .collect();
            let last = last.map(run);
            let join = |other: std::thread::ScopedJoinHandle<'_, _>| {
                other
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            others.into_iter().map(join).chain(last).collect()
        })
    }
}

impl Sampler for Several {
    fn sample(&mut self, first: u64, count: usize) -> Result<SparseImages, EngineError> {
        if count == 0 {
            // Of the right size, which the samplers know.
            return self.samplers[0].1.sample(first, 0);
        }
        let as_announced = self
            .announced
            .pop_front()
            .filter(|a| (a.0, a.1) == (first, count));
        let cut = as_announced.map_or_else(
            || {
                self.announced.clear();
                self.cut(count)
            },
            |announced| announced.2,
        );
        let shares = self.on_each(first, &cut, |sampler, first, count| {
            sampler.sample(first, count)
        })?;
        let seconds: Vec<_> = shares.iter().map(|share| (share.0, share.1)).collect();
        self.weigh(&cut, &seconds);
        let mut shares = shares.into_iter().map(|share| share.2);
        let mut images = shares.next().unwrap_or_default();
        for share in shares {
            images.extend(&share);
        }
        Ok(images)
    }

    fn announce(&mut self, first: u64, count: usize) -> Result<(), EngineError> {
        if count == 0 {
            return Ok(());
        }
        let cut = self.cut(count);
        self.on_each(first, &cut, |sampler, first, count| {
            sampler.announce(first, count)
        })?;
        self.announced.push_back((first, count, cut));
        Ok(())
    }

    fn preferred_count(&self) -> usize {
        let busy = self
            .samplers
            .iter()
            .map(|(_, s)| s.preferred_count().max(1));
        busy.sum()
    }
}
