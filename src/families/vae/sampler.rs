//! Drawing: a code of normal numbers, then the decoder.

use rayon::prelude::*;

use super::Vae;
use super::codes::{check, code};
use super::pass::{Networks, TILE};
use super::sparse::Chances;
use super::total::bring_to;
use crate::conditions::Conditions;
use crate::conditions::total::is_spent;
use crate::data::SparseImages;
use crate::device::Cpu;
use crate::family::{Codes, EngineError, Sampler, SamplingPlan, Told};
use crate::likelihood::Mixture;

/// Pixels of an image that are not 0, in order.
type Pixels = Vec<(u16, f32)>;

/// Tiles that one call draws at least, for each thread.
const TILES: usize = 8;

/// Draws images of a VAE.
pub(super) struct VaeSampler {
    cpu: Cpu,
    model: Vae,
    /// The smallest pixel of an image that is told its total, GeV.
    lower: f32,
    networks: Networks,
    seed: u64,
    codes: Codes,
    told: Told,
}

impl VaeSampler {
    /// # Errors
    /// Where the plan's conditions or codes are not those of the model.
    pub fn new(cpu: Cpu, model: &Vae, plan: &SamplingPlan) -> Result<Self, EngineError> {
        check(&plan.codes, model.network.latents)?;
        Ok(Self {
            cpu,
            networks: model.ready(&model.parameters, false),
            lower: model.lower(),
            model: model.clone(),
            seed: plan.seed,
            codes: plan.codes.clone(),
            told: Told::new(model, plan)?,
        })
    }

    /// The pixels above 0 of `images`, GeV.
    fn tile(&self, images: &[u64], conditions: &Conditions) -> Vec<Pixels> {
        let latents = self.model.network.latents;
        let codes = (images.iter()).flat_map(|image| code(&self.codes, self.seed, *image, latents));
        let codes: Vec<f32> = codes.collect();
        let told: Vec<f32> = (images.iter())
            .flat_map(|image| conditions.row(*image))
            .copied()
            .collect();
        let input = self.model.decoder_input(&codes, &told);
        if let Some(mixture) = &self.model.mixture {
            return self.sparse(mixture, (images, conditions), &input);
        }
        let outputs = self.model.decode(&self.networks, &input);
        let loss = &self.model.config.loss;
        let (unit, lower) = (loss.unit as f32, loss.lower as f32);
        let outputs = outputs.last().map_or(&[][..], Vec::as_slice);
        let each = outputs.chunks_exact(self.model.pixels());
        each.map(|outputs| {
            let gev = outputs.iter().map(|x| x * unit).enumerate();
            // What is no number is kept: whoever takes the pixels looks for it.
            let nonzero = gev.filter(|(_, x)| !(*x < lower || *x == 0.0));
            nonzero.map(|(pixel, x)| (pixel as u16, x)).collect()
        })
        .collect()
    }

    /// The same of a sparse decoder, which is given `input`. Gates come first: mixtures are worked out where one is open.
    fn sparse(
        &self,
        mixture: &Mixture,
        (images, conditions): (&[u64], &Conditions),
        input: &[f32],
    ) -> Vec<Pixels> {
        let (model, networks, seed) = (&self.model, &self.networks, self.seed);
        let [under, gates] = model.decode_gates(networks, input);
        let of_image = under.len() / images.len();
        let each = (under.chunks_exact(of_image)).zip(gates.chunks_exact(model.pixels()));
        (images.iter().zip(each))
            .map(|(image, (under, gates))| {
                let budget = conditions.budget(*image);
                if is_spent(budget) {
                    return Vec::new();
                }
                let chances = Chances {
                    seed,
                    image: *image,
                };
                let mut open = chances.open(gates);
                if budget.is_some() && open.is_empty() {
                    let likeliest = (0..gates.len()).min_by(|a, b| gates[*a].total_cmp(&gates[*b]));
                    open.extend(likeliest);
                }
                let outputs = model.decode_pixels(networks, under, &open);
                let mut pixels = chances.draw(mixture, &open, &outputs);
                if let Some(budget) = budget {
                    bring_to(&mut pixels, budget.remaining, self.lower);
                }
                pixels
            })
            .collect()
    }
}

impl Sampler for VaeSampler {
    fn sample(&mut self, first: u64, count: usize) -> Result<SparseImages, EngineError> {
        let size = self.model.config.image;
        let Some(mut images) = SparseImages::new(size.height, size.width) else {
            return Err(EngineError::Mismatch("there are no such images".into()));
        };
        let conditions = self.told.of(first, count)?;
        let wanted: Vec<u64> = (first..first.saturating_add(count as u64)).collect();
        let this = &*self;
        let drawn: Vec<Vec<Pixels>> = (self.cpu.pool()).install(|| {
            wanted
                .par_chunks(TILE)
                .map(|images| this.tile(images, &conditions))
                .collect()
        });
        for image in drawn.into_iter().flatten() {
            if image.iter().any(|(_, x)| !x.is_finite()) {
                return Err(EngineError::Mismatch(
                    "the network has values beyond single precision".into(),
                ));
            }
            images.push(image);
        }
        Ok(images)
    }

    fn preferred_count(&self) -> usize {
        TILES * TILE * self.cpu.threads()
    }
}
