//! Likelihoods of images: forward alone, in batches as large as the memory allows.

use std::sync::Arc;

use super::batch::Batch;
use super::dataset::ResidentImages;
use super::parameters::{Layout, Parameters};
use super::step::Around;
use crate::conditions::ConditionedImages;
use crate::device::cuda::device::{Device, Memory};
use crate::device::cuda::room::{check_room, fits};
use crate::families::sarm::Sarm;
use crate::family::EngineError;
use crate::family::cuda::RecordedBatch;

/// Images of a batch.
const BATCH: usize = 4096;
/// Images that are on the device at once while a file is scored.
const RESIDENT: usize = 1 << 17;

/// Buffers for scoring.
pub struct Scorer {
    recorded: RecordedBatch<Batch>,
    rows: Memory<u32>,
}

impl Scorer {
    /// Buffers for `images` images, or for fewer in a batch where there is too little memory besides `reserved` bytes.
    pub fn new(
        device: &Arc<dyn Device>,
        model: &Sarm,
        layout: &Layout,
        images: usize,
        reserved: u64,
    ) -> Result<Self, EngineError> {
        let bytes = |images: usize| {
            Batch::bytes(device.properties(), model, layout, images, false) + 4 * images as u64
        };
        let free = device.free_memory()?;
        let mut batch = images.clamp(1, BATCH);
        while batch > 1 && !fits(free, &[bytes(batch), reserved]) {
            batch /= 2;
        }
        check_room(
            device,
            &[
                (bytes(batch), format!("scoring {batch} images at once")),
                (reserved, "the images".into()),
            ],
            "use another card or --device cpu",
        )?;
        Ok(Self {
            recorded: RecordedBatch::new(Batch::new(device, model, layout, batch, false)?),
            rows: Memory::zeros(device, batch)?,
        })
    }

    /// Negative log-likelihood in nats of the resident images number `rows`.
    ///
    /// `around` is the same at every call, or [`forget`](Self::forget) comes between.
    pub fn nll(&mut self, around: &Around, rows: &[u32]) -> Result<Vec<f64>, EngineError> {
        around.data.check_rows(rows)?;
        let mut all = Vec::with_capacity(rows.len());
        for rows in rows.chunks(self.rows.len()) {
            self.rows.write(0, rows)?;
            let (buffer, images) = (&self.rows, rows.len());
            let plan = |batch: &Batch| batch.scoring(around, buffer, images);
            // SAFETY: the memory is the batch's, this scorer's and `around`'s, which stays until `forget`; rows
            // were checked above.
            let recording = unsafe { self.recorded.recording(around.device, images, plan)? };
            recording.replay()?;
            all.extend(self.recorded.batch().image_nll(images)?);
        }
        Ok(all)
    }

    /// What the last calls were given `around` will be gone.
    pub fn forget(&mut self) {
        self.recorded.forget();
    }
}

/// Log-likelihood in nats of each image of `data`, which is `model`'s; however many there are, only a
/// part of them is on the device at once.
pub fn score(
    device: &Arc<dyn Device>,
    model: &Sarm,
    data: &ConditionedImages,
) -> Result<Vec<f64>, EngineError> {
    let layout = Layout::of(model);
    check_room(
        device,
        &[(Parameters::bytes(&layout, false), "the parameters".into())],
        "use another card or --device cpu",
    )?;
    let parameters = Parameters::new(device, model, false)?;
    let images = data.images.len();
    let starts = data.images.csr().0;
    let parts = (0..images)
        .step_by(RESIDENT)
        .map(|first| first..images.min(first + RESIDENT));
    let largest = parts.clone().map(|part| {
        let nonzeros = (starts[part.end] - starts[part.start]) as usize;
        ResidentImages::bytes(model, part.len(), nonzeros)
    });
    let mut scorer = Scorer::new(device, model, &layout, images, largest.max().unwrap_or(0))?;
    let mut scores = Vec::with_capacity(images);
    for part in parts {
        let rows: Vec<u32> = (0..part.len() as u32).collect();
        let resident = ResidentImages::new(device, model, data, part)?;
        let around = Around {
            device,
            model,
            parameters: &parameters,
            data: &resident,
        };
        scores.extend(scorer.nll(&around, &rows)?.into_iter().map(|nll| -nll));
        scorer.forget();
    }
    Ok(scores)
}
