//! Training on the processor: tiles of images forward and back, then Adam on the sums of their derivatives.
//!
//! A batch is cut into tiles by the order of its images, and the tiles' derivatives are added in that order: the number of threads
//! changes nothing.

use std::sync::Arc;

use rayon::prelude::*;

use super::Vae;
use super::gradients::summed;
use super::network::Part;
use super::pass::{TILE, Tile};
use super::terms::{Judged, Terms};
use super::total::part;
use crate::conditions::ConditionedImages;
use crate::device::Cpu;
use crate::family::{EngineError, Trainer, TrainingState};
use crate::nn::adam::{AdamRule, Rates};
use crate::random::{Purpose, normals};

/// A VAE in training.
pub(super) struct VaeTrainer {
    cpu: Cpu,
    model: Vae,
    data: Arc<ConditionedImages>,
    state: TrainingState,
    weights: Option<Vec<f32>>,
    judged: Judged,
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
            judged: Judged::default(),
        }
    }

    /// The images `rows`, their codes, and scales where they are told totals, drawn with the noise of `stream`.
    fn tile(&self, rows: &[u32], stream: u64) -> Tile {
        let latents = self.model.network.latents;
        let part = |row: &u32| part(stream, Purpose::Vae, u64::from(*row), 0);
        let told = if self.model.total().is_some() {
            rows
        } else {
            &[]
        };
        let noise =
            (rows.iter()).flat_map(|row| normals(stream, Purpose::Vae, u64::from(*row), latents));
        Tile {
            noise: noise.collect(),
            parts: told.iter().map(part).collect(),
            ..self.model.tile(&self.data, rows)
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
        let networks = self.model.ready(&self.state.parameters, true);
        let (terms, gradients) = summed(
            &self.cpu,
            rows.len().div_ceil(TILE),
            &self.state.parameters[..learns],
            |number, gradients| {
                let images = number * TILE..rows.len().min((number + 1) * TILE);
                let tile = self.tile(&rows[images.clone()], stream);
                let passed = self.model.forward(&networks, &tile);
                (self.model).backward(&networks, &tile, passed, &scales[images], gradients)
            },
        );
        self.state.steps += 1;
        let rule = AdamRule::new(rates, self.state.steps).without_decay();
        let state = &mut self.state;
        self.cpu.pool().install(|| {
            (state.parameters[..learns].par_iter_mut())
                .zip(&mut state.first_moments[..learns])
                .zip(&mut state.second_moments[..learns])
                .zip(&gradients)
                .for_each(|(((value, first), second), gradient)| {
                    rule.step(value, first, second, gradient);
                });
        });
        let weights = &self.model.config.loss;
        (terms.iter().flatten().zip(&scales))
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
        let networks = self.model.ready(&self.state.parameters, false);
        let terms: Vec<Terms> = self.cpu.pool().install(|| {
            rows.par_chunks(TILE)
                .flat_map_iter(|rows| {
                    let tile = self.tile(rows, u64::MAX);
                    self.model.forward(&networks, &tile).terms
                })
                .collect()
        });
        let weights = &self.model.config.loss;
        let weighted: Vec<[f64; 3]> = terms.iter().map(|terms| terms.weighted(weights)).collect();
        let of_rows =
            (self.weights.as_ref()).map(|w| rows.iter().map(|row| f64::from(w[*row as usize])));
        match of_rows {
            Some(weights) => self.judged.add(&weighted, weights),
            None => self.judged.add(&weighted, std::iter::repeat(1.0)),
        }
        Ok(weighted.iter().map(|terms| terms.iter().sum()).collect())
    }

    fn take_terms(&mut self) -> Vec<(&'static str, f64)> {
        std::mem::take(&mut self.judged).means(Terms::names(&self.model))
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
