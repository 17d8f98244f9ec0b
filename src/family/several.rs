//! Devices that share the drawing of images: one range of image numbers, cut into as many shares, joined again.

use super::EngineError;
use super::Sampler;
use crate::data::SparseImages;

/// Samplers of one model and one plan that share every range that is asked for.
///
/// An image depends on its number alone, so the images are those of any one of them.
pub struct Several {
    /// By the names that their errors carry.
    samplers: Vec<(String, Box<dyn Sampler>)>,
    /// Where shares end, in parts of the last of them: taken from what keeps each sampler busy, once, so that
    /// a range is cut alike when it is announced and when it is asked for.
    ends: Vec<u64>,
}

/// A sampler with its share of a range: its first image and their count.
type Share<'a> = (&'a str, &'a mut (dyn Sampler + 'static), u64, usize);

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
        let mut end = 0;
        let mut ends = Vec::with_capacity(samplers.len());
        for (_, sampler) in &samplers {
            end += sampler.preferred_count().max(1) as u64;
            ends.push(end);
        }
        Ok(Self { samplers, ends })
    }

    /// Images `first .. first + count` cut into contiguous shares, those without images left out.
    fn shares(&mut self, first: u64, count: usize) -> Vec<Share<'_>> {
        let all = self.ends.last().copied().unwrap_or(1);
        let mut start = 0;
        let mut shares = Vec::with_capacity(self.samplers.len());
        for ((name, sampler), part) in self.samplers.iter_mut().zip(&self.ends) {
            let end = (count as u128 * u128::from(*part) / u128::from(all)) as usize;
            if start < end {
                let share = (first + start as u64, end - start);
                shares.push((name.as_str(), sampler.as_mut(), share.0, share.1));
            }
            start = end;
        }
        shares
    }

    /// `work` on every share of a range at the same time, the outcomes in order; the first error of any.
    fn on_each<T: Send>(
        &mut self,
        first: u64,
        count: usize,
        work: impl Fn(&mut dyn Sampler, u64, usize) -> Result<T, EngineError> + Sync,
    ) -> Result<Vec<T>, EngineError> {
        let run = |(name, sampler, first, count): Share| {
            work(sampler, first, count).map_err(|error| match error {
                EngineError::Device(why) => why.on(name).into(),
                other => other,
            })
        };
        let mut shares = self.shares(first, count);
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
        let mut shares = self
            .on_each(first, count, |sampler, first, count| {
                sampler.sample(first, count)
            })?
            .into_iter();
        let mut images = shares.next().unwrap_or_default();
        for share in shares {
            images.extend(&share);
        }
        Ok(images)
    }

    fn announce(&mut self, first: u64, count: usize) -> Result<(), EngineError> {
        self.on_each(first, count, |sampler, first, count| {
            sampler.announce(first, count)
        })
        .map(drop)
    }

    fn preferred_count(&self) -> usize {
        self.ends.last().map_or(1, |all| *all as usize)
    }
}
