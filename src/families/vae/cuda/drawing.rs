//! A model on the device, ready to be drawn: its decoder's parameters, and the launches that draw a run of images.

use std::sync::Arc;

use half::bf16;
use rayon::prelude::*;

use super::decoder::{Decoder, bytes, numbers};
use super::ops::codes::CodesOf;
use super::ops::pixels::Drawn;
use crate::device::cuda::device::{Address, Device, Launch, Memory};
use crate::device::cuda::room::{check_limit, check_room};
use crate::families::vae::Vae;
use crate::families::vae::codes::{check, code};
use crate::family::cuda::{Shown, Slots};
use crate::family::{Codes, EngineError, SamplingPlan, Told};

/// Images that pass the decoder together, at the least and at the most: what lies between its layers is to stay in the card's
/// second-level cache.
const CHUNK: [u64; 2] = [64, 4096];

/// A decoder on the device with seed, codes and conditions: all that an image depends on but its number.
pub struct Drawing {
    decoder: Decoder,
    /// What the decoder is given, and what its layers but the last give, of a chunk of images.
    between: Vec<Memory<bf16>>,
    told: Told,
    codes: Codes,
    latents: usize,
    /// Numbers that the decoder is given of an image, zeros among them.
    pitch: usize,
    seed: u64,
    chunk: usize,
    bytes: u64,
}

/// What the images of a launch are told, and their codes where they are not normal numbers.
pub struct Given {
    told: Shown,
    codes: Option<Memory<f32>>,
}

impl Drawing {
    /// Send the decoder of `model` to `device`.
    ///
    /// # Errors
    /// Codes or conditions that are not the model's; images that are too large for a block of threads; less memory than it takes:
    /// free on the device, or allowed by `plan`.
    pub fn new(
        device: &Arc<dyn Device>,
        model: &Vae,
        plan: &SamplingPlan,
    ) -> Result<Self, EngineError> {
        let latents = model.network.latents;
        check(&plan.codes, latents)?;
        let told = Told::new(model, plan)?;
        let (parameters, numbers) = (bytes(model), numbers(model));
        let each = 2 * numbers.iter().sum::<usize>() as u64;
        let chunk = (device.properties().l2 / each.max(1)).clamp(CHUNK[0], CHUNK[1]);
        // Half of what is allowed is for the images themselves.
        let allowed = plan.max_memory.map_or(chunk, |most| {
            most.saturating_sub(parameters) / 2 / each.max(1)
        });
        let chunk = chunk.min(allowed.max(1));
        let bytes = parameters + chunk * each;
        check_limit(plan.max_memory, bytes)?;
        let needed = [
            (parameters, "the decoder's parameters".to_string()),
            (chunk * each, "what lies between its layers".into()),
        ];
        check_room(device, &needed, "use another card or --device cpu")?;
        Ok(Self {
            decoder: Decoder::new(device, model)?,
            between: (numbers.iter())
                .map(|numbers| Memory::zeros(device, chunk as usize * numbers))
                .collect::<Result<_, _>>()?,
            told,
            codes: plan.codes.clone(),
            latents,
            pitch: numbers.first().copied().unwrap_or(0),
            seed: plan.seed,
            chunk: chunk as usize,
            bytes,
        })
    }

    /// Whether codes are normal numbers, which the device draws itself.
    fn draws_codes(&self) -> bool {
        self.codes == Codes::default()
    }
}

impl crate::family::cuda::Drawing for Drawing {
    type Shown = Given;

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn wave(&self) -> usize {
        self.chunk
    }

    fn tile(&self) -> usize {
        1
    }

    fn shown_bytes(&self) -> u64 {
        let codes = if self.draws_codes() { 0 } else { self.latents };
        Shown::bytes_each(&self.told) + 4 * codes as u64
    }

    fn shown(&self, device: &Arc<dyn Device>, images: usize) -> Result<Given, EngineError> {
        Ok(Given {
            told: Shown::new(&self.told, device, images)?,
            codes: match self.draws_codes() {
                true => None,
                false => Some(Memory::zeros(device, images * self.latents)?),
            },
        })
    }

    fn show(&self, shown: &mut Given, first: u64, images: usize) -> Result<(), EngineError> {
        if let Some(memory) = &mut shown.codes {
            let numbers = first..first.saturating_add(images as u64);
            let codes: Vec<Vec<f32>> = (numbers.into_par_iter())
                .map(|image| code(&self.codes, self.seed, image, self.latents))
                .collect();
            memory.write(0, &codes.concat())?;
        }
        // All of a total is left when an image begins.
        shown
            .told
            .send(&self.told, (first, images), |budget| budget)
    }

    fn launches(
        &self,
        first: u64,
        images: usize,
        shown: &Given,
        slots: &Slots,
    ) -> Result<Vec<Launch>, EngineError> {
        let mut launches = Vec::new();
        for start in (0..images).step_by(self.chunk) {
            let here = self.chunk.min(images - start);
            let number = first.wrapping_add(start as u64);
            let codes = CodesOf {
                codes: (shown.codes.as_ref())
                    .map_or(Address::NULL, |codes| codes.at(start * self.latents)),
                conditions: shown.told.conditions(),
                condition_rows: shown.told.rows(),
                latents: self.latents,
                width: self.told.width(),
                output: (self.between.first()).map_or(Address::NULL, Memory::address),
                pitch: self.pitch,
                seed: self.seed,
                first: number,
                images: here,
            };
            launches.push(codes.launch());
            let drawn = Drawn {
                seed: self.seed,
                first: number,
                images: here,
                slot_pixel: slots.pixel(start, here),
                slot_value: slots.value(start, here),
                counts: slots.counts(start, here),
                totals: shown.told.totals(),
                condition_rows: shown.told.rows(),
            };
            launches.extend(self.decoder.launches(&self.between, drawn)?);
        }
        Ok(launches)
    }
}
