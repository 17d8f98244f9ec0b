//! Training on the processor: tiles of images forward and back, then Adam on the sums of their derivatives.
//!
//! A batch is cut into tiles by the order of its images, and the tiles' derivatives are added in that order: the number of threads
//! changes nothing.

use std::sync::Arc;

use rayon::prelude::*;

use super::Vae;
use super::network::Part;
use super::pass::{TILE, Terms, Tile};
use crate::conditions::ConditionedImages;
use crate::device::Cpu;
use crate::family::{EngineError, Trainer, TrainingState};
use crate::nn::adam::{AdamRule, Rates};
use crate::random::{self, Purpose};

/// A VAE in training.
pub(super) struct VaeTrainer {
    cpu: Cpu,
    model: Vae,
    data: Arc<ConditionedImages>,
    state: TrainingState,
    weights: Option<Vec<f32>>,
}

impl VaeTrainer {
    pub fn new(cpu: Cpu, model: &Vae, data: Arc<ConditionedImages>) -> Self {
        let zeros: Vec<Vec<f32>> = model
            .parameters
            .iter()
            .map(|p| vec![0.0; p.len()])
            .collect();
        Self {
            cpu,
            data,
            state: TrainingState {
                parameters: model.parameters.clone(),
                first_moments: zeros.clone(),
                second_moments: zeros,
                steps: 0,
            },
            model: model.clone(),
            weights: None,
        }
    }

    /// The images `rows`, their codes drawn with the noise of `stream`.
    fn tile(&self, rows: &[u32], stream: u64) -> Tile {
        let latents = self.model.network.latents;
        let conditions = rows
            .iter()
            .flat_map(|row| self.data.conditions.row(u64::from(*row)));
        let noise = rows.iter().flat_map(|row| {
            (0..latents.div_ceil(2))
                .flat_map(|pair| {
                    let words = random::words(stream, Purpose::Vae, u64::from(*row), pair as u32);
                    random::normal(words).map(|v| v as f32)
                })
                .take(latents)
        });
        Tile {
            pixels: self.model.dense(&self.data.images, rows),
            conditions: conditions.copied().collect(),
            noise: noise.collect(),
        }
    }

    /// One step; the losses of the images before it.
    fn one_step(&mut self, rows: &[u32], rates: Rates) -> f64 {
        let learns = self.model.network.range(Part::Features).start;
        let scale = 1.0 / rows.len() as f32;
        let scales: Vec<f32> = (rows.iter())
            .map(|row| scale * self.weights.as_ref().map_or(1.0, |w| w[*row as usize]))
            .collect();
        let stream = self.state.steps;
        let parts: Vec<(Vec<Terms>, Vec<Vec<f32>>)> = self.cpu.pool().install(|| {
            (rows.par_chunks(TILE).zip(scales.par_chunks(TILE)))
                .map(|(rows, scales)| {
                    let tile = self.tile(rows, stream);
                    let parameters = &self.state.parameters;
                    let mut gradients: Vec<Vec<f32>> = parameters[..learns]
                        .iter()
                        .map(|p| vec![0.0; p.len()])
                        .collect();
                    let terms =
                        self.model
                            .losses(parameters, &tile, Some((&mut gradients, scales)));
                    (terms, gradients)
                })
                .collect()
        });
        self.state.steps += 1;
        let rule = AdamRule::new(rates, self.state.steps).without_decay();
        let state = &mut self.state;
        let parts = &parts;
        self.cpu.pool().install(|| {
            (state.parameters[..learns].par_iter_mut())
                .zip(&mut state.first_moments[..learns])
                .zip(&mut state.second_moments[..learns])
                .enumerate()
                .for_each(|(i, ((value, first), second))| {
                    let mut sum = vec![0.0f32; value.len()];
                    for (_, gradients) in parts {
                        sum.iter_mut()
                            .zip(&gradients[i])
                            .for_each(|(to, from)| *to += from);
                    }
                    rule.step(value, first, second, &sum);
                });
        });
        let weights = &self.model.config.loss;
        let losses = parts.iter().flat_map(|(terms, _)| terms).zip(&scales);
        losses
            .map(|(terms, scale)| f64::from(*scale) * terms.loss(weights))
            .sum()
    }
}

impl Trainer for VaeTrainer {
    fn steps(&mut self, rows: &[u32], batch: usize, rates: Rates) -> Result<Vec<f64>, EngineError> {
        Ok((rows.chunks(batch.max(1)))
            .map(|rows| self.one_step(rows, rates))
            .collect())
    }

    /// The loss of each image, its code drawn with noise that is always the same.
    fn nll(&mut self, rows: &[u32]) -> Result<Vec<f64>, EngineError> {
        let weights = &self.model.config.loss;
        Ok(self.cpu.pool().install(|| {
            rows.par_chunks(TILE)
                .flat_map_iter(|rows| {
                    let tile = self.tile(rows, u64::MAX);
                    let terms = self.model.losses(&self.state.parameters, &tile, None);
                    terms.into_iter().map(|terms| terms.loss(weights))
                })
                .collect()
        }))
    }

    fn weigh(&mut self, weights: &[f32]) -> Result<(), EngineError> {
        if weights.len() != self.data.images.len() {
            return Err(EngineError::Mismatch(
                "there is not one weight an image".into(),
            ));
        }
        self.weights = Some(weights.to_vec());
        Ok(())
    }

    fn state(&self) -> Result<TrainingState, EngineError> {
        Ok(self.state.clone())
    }

    fn restore(&mut self, state: &TrainingState) -> Result<(), EngineError> {
        state.check(self.state.parameters.iter().map(Vec::len))?;
        self.state = state.clone();
        Ok(())
    }
}
