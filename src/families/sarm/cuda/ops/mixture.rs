//! `mixture_likelihood`: D+C's cost with its gradient; `kernels/sarm/mixture.cu`.

use bytemuck::{Pod, Zeroable};

use super::MOST_STAGES;
use super::cells::{Batch, CELLS, Cells, SHARED, StageCells, StageOutput, parts, tiles};
use crate::device::cuda::device::{Address, Launch};
use crate::families::sarm::Left;
use crate::likelihood::mixture::MOST_COMPONENTS;
use crate::likelihood::{Mixture, Space};

/// The cost of a batch under D+C, all stages of a model.
#[derive(Debug, Clone, Copy)]
pub struct MixtureLikelihood<'a> {
    /// Components, unit, range.
    pub mixture: Mixture,
    /// f32 `[images, places]`, as gathered: [`Mixture::limit`] of positive pixels, with `left` also what is left before others.
    /// NULL where no total is known.
    pub limit: Address,
    /// Functions of what is left, and their weights f32 `[pixels, 1 + 3K, functions]` of each stage, where pixels are shown it.
    pub left: Option<(Left, &'a [Address])>,
    /// The batch: targets in, costs out.
    pub batch: Batch,
    /// What the networks gave, in drawing order; derivatives are written where wanted.
    pub stages: &'a [StageOutput],
}

/// `MixtureParams` of `kernels/sarm/mixture.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Params {
    cells: Cells,
    limit: Address,
    inverse_unit: f32,
    log_unit: f32,
    upper: f32,
    largest: f32,
    lower: f32,
    origin: f32,
    components: u32,
    lanes: u32,
    stage_count: u32,
    left_terms: u32,
    inverse_mean: f32,
    padding: u32,
    stages: [StageCells; MOST_STAGES],
    left: [Address; MOST_STAGES],
}

impl MixtureLikelihood<'_> {
    /// The launches, one for a model of up to 16 stages.
    ///
    /// # Panics
    /// On sizes and addresses that the kernel does not take.
    pub fn launches(&self) -> Vec<Launch> {
        let k = self.mixture.components;
        assert!((1..=MOST_COMPONENTS).contains(&k));
        let numbers = 1 + 3 * k;
        let support = self.mixture.support;
        let (unit, lower) = match support.space {
            Space::Linear => (support.unit, 0.0),
            Space::Log { lower, .. } => (support.unit, lower),
        };
        let shown = self.left.map_or(&[][..], |(_, weights)| weights);
        assert!(self.left.is_none() || self.limit != Address::NULL);
        assert!(self.left.is_none() || shown.len() == self.stages.len());
        assert!(
            shown
                .iter()
                .all(|w| w.0.is_multiple_of(4) && *w != Address::NULL)
        );
        let mut shown = shown.iter();
        let kernel = match self.left {
            Some(_) => "mixture_likelihood_left",
            None => "mixture_likelihood",
        };
        let mut first_part = 0;
        let mut launches = Vec::new();
        for group in self.stages.chunks(MOST_STAGES) {
            let mut parameter = Params {
                cells: Cells::new(&self.batch, numbers),
                limit: self.limit,
                inverse_unit: (1.0 / unit) as f32,
                log_unit: unit.ln() as f32,
                upper: support.end(),
                largest: support.largest(),
                lower: lower as f32,
                origin: support.origin() as f32,
                components: k as u32,
                lanes: k.next_power_of_two().min(32) as u32,
                stage_count: group.len() as u32,
                left_terms: self.left.map_or(0, |(left, _)| left.terms as u32),
                inverse_mean: self.left.map_or(0.0, |(left, _)| left.inverse_mean()),
                padding: 0,
                stages: Zeroable::zeroed(),
                left: Zeroable::zeroed(),
            };
            for (to, weights) in parameter
                .left
                .iter_mut()
                .zip(shown.by_ref().take(group.len()))
            {
                *to = *weights;
            }
            let mut blocks = 0;
            for (to, stage) in parameter.stages.iter_mut().zip(group) {
                *to = StageCells::new(stage, &self.batch, numbers, first_part, blocks);
                first_part += parts(stage.pixels);
                blocks += tiles(stage.pixels, self.batch.images);
            }
            launches
                .push(Launch::new(kernel, blocks, CELLS as u32, &parameter).with_shared(SHARED));
        }
        launches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_is_as_large_as_the_kernel_says() {
        assert_eq!(size_of::<Params>(), 88 + 48 * MOST_STAGES);
    }
}
