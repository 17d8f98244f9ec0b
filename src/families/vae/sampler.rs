//! Drawing: a code of normal numbers, then the decoder.

use std::ops::Range;

use rayon::prelude::*;

use super::Vae;
use super::pass::TILE;
use crate::conditions::Conditions;
use crate::data::SparseImages;
use crate::device::Cpu;
use crate::family::{EngineError, Sampler, Told};
use crate::random::{Purpose, normals};

/// Tiles that one call draws at least, for each thread.
const TILES: usize = 8;

/// Draws images of a VAE. Tiles start at multiples of their size, whatever is asked for, so that an image has the same bits in
/// whichever company it is drawn.
pub(super) struct VaeSampler {
    pub cpu: Cpu,
    pub model: Vae,
    pub seed: u64,
    pub told: Told,
}

impl VaeSampler {
    /// Images `first .. first + TILE`, dense, GeV; below `loss.lower` they are 0. Those that are not `wanted` are told nothing.
    fn tile(&self, first: u64, wanted: &Range<u64>, conditions: &Conditions) -> Vec<f32> {
        let latents = self.model.network.latents;
        // The last numbers there are may wrap: what is not wanted is not looked at.
        let images = (0..TILE as u64).map(|i| first.wrapping_add(i));
        let codes: Vec<f32> = (images.clone())
            .flat_map(|image| normals(self.seed, Purpose::Draw, image, latents))
            .collect();
        let width = self.model.network.conditions;
        let mut told = Vec::with_capacity(TILE * width);
        for image in images {
            match wanted.contains(&image) {
                true => told.extend_from_slice(conditions.row(image)),
                false => told.resize(told.len() + width, 0.0),
            }
        }
        let input = self.model.decoder_input(&codes, &told);
        let outputs = self.model.decode(&self.model.parameters, &input);
        let loss = &self.model.config.loss;
        let (unit, lower) = (loss.unit as f32, loss.lower as f32);
        let mut pixels = outputs.into_iter().next_back().unwrap_or_default();
        for pixel in &mut pixels {
            let gev = *pixel * unit;
            *pixel = if gev < lower { 0.0 } else { gev };
        }
        pixels
    }
}

impl Sampler for VaeSampler {
    fn sample(&mut self, first: u64, count: usize) -> Result<SparseImages, EngineError> {
        let size = self.model.config.image;
        let Some(mut images) = SparseImages::new(size.height, size.width) else {
            return Err(EngineError::Mismatch("there are no such images".into()));
        };
        let tile = TILE as u64;
        let wanted = first..first.saturating_add(count as u64);
        let tiles = first / tile..wanted.end.div_ceil(tile);
        let conditions = self.told.of(first, count)?;
        let this = &*self;
        let drawn: Vec<(u64, Vec<f32>)> = self.cpu.pool().install(|| {
            (tiles.into_par_iter())
                .map(|number| {
                    (
                        number * tile,
                        this.tile(number * tile, &wanted, &conditions),
                    )
                })
                .collect()
        });
        let pixels = this.model.pixels();
        for (start, dense) in drawn {
            for (i, image) in dense.chunks_exact(pixels).enumerate() {
                if !wanted.contains(&start.wrapping_add(i as u64)) {
                    continue;
                }
                if image.iter().any(|v| !v.is_finite()) {
                    return Err(EngineError::Mismatch(
                        "the network has values beyond single precision".into(),
                    ));
                }
                images.push_dense(image);
            }
        }
        Ok(images)
    }

    fn preferred_count(&self) -> usize {
        TILES * TILE * self.cpu.threads()
    }
}
