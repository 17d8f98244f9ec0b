//! What a run takes of a disk: said after its first block, refused where it is more than there is or than is allowed.

use std::path::PathBuf;

use super::{GenerateError, GeneratePlan, temporary};
use crate::data::{self, Layout, SparseImages};
use crate::run::journal::Journal;
use crate::run::room;

/// Images of which it is measured what a dense file makes of them.
const MEASURED: usize = 2048;
/// Bytes of a file besides its images, and in which the file system gives space: too little to be refused for.
const BESIDE: u64 = 4 << 20;

/// What a run takes of its disk in the end, bytes, by what its first block takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUse {
    /// The output.
    pub output: u64,
    /// The output and the journal that is deleted once the output is complete.
    pub peak: u64,
}

/// Watches what a run takes of its disk.
pub(super) struct Watch<'a> {
    plan: &'a GeneratePlan,
    forecast: Option<DiskUse>,
    warned: bool,
}

impl<'a> Watch<'a> {
    pub fn new(plan: &'a GeneratePlan) -> Self {
        Self {
            plan,
            forecast: None,
            warned: false,
        }
    }

    /// What the run takes in the end, once that is known.
    pub fn forecast(&self) -> Option<DiskUse> {
        self.forecast
    }

    /// After a block: `images` with so many `columns` of numbers, the journal now `journal` bytes long with all but
    /// `left` images of the run.
    ///
    /// # Errors
    /// [`GenerateError::Disk`] where the run will not fit, or takes more than it may.
    pub fn block(
        &mut self,
        images: &SparseImages,
        columns: usize,
        journal: u64,
        left: u64,
    ) -> Result<(), GenerateError> {
        let first = self.forecast.is_none();
        if first && !images.is_empty() {
            self.forecast = Some(self.measure(images, columns)?);
        }
        let used = self.used(journal);
        if let Some(allowed) = self.plan.max_disk {
            let needed = match (&self.forecast, first) {
                (Some(forecast), true) if left > 0 => forecast.peak.max(used),
                _ => used,
            };
            if needed > allowed {
                let why = format!("--max-disk allows {}", room::size(allowed));
                return Err(self.refuse(needed, why, "allow more"));
            }
        }
        if let (true, Some(forecast)) = (first, &self.forecast)
            && let Some(free) = room::disk(&self.plan.out)
            && forecast.peak > used.saturating_add(free).saturating_add(BESIDE)
        {
            let why = format!("{} are free", room::size(free));
            return Err(self.refuse(forecast.peak, why, "free some space"));
        }
        Ok(())
    }

    /// Now and then: say so where others have taken the space that is still needed.
    pub fn look(&mut self, journal: u64) {
        let (Some(forecast), Some(free)) = (self.forecast, room::disk(&self.plan.out)) else {
            return;
        };
        let needed = forecast.peak.saturating_sub(self.used(journal));
        if needed > free.saturating_add(BESIDE) && !self.warned {
            self.warned = true;
            log::warn!(
                "the disk of '{}' is filling up ({} are free, about {} are still needed); free some space",
                self.plan.out.display(),
                room::size(free),
                room::size(needed),
            );
        }
    }

    fn refuse(&self, needed: u64, why: String, remedy: &'static str) -> GenerateError {
        GenerateError::Disk {
            path: self.plan.out.clone(),
            needed: room::size(needed),
            why,
            remedy,
            sparse: match self.plan.layout {
                Layout::Dense => ", choose --layout sparse",
                Layout::Sparse | Layout::CaloChallenge => "",
            },
        }
    }

    /// Bytes that journal and unfinished output take.
    fn used(&self, journal: u64) -> u64 {
        let output: PathBuf = temporary(&self.plan.out);
        journal + output.metadata().map_or(0, |file| file.len())
    }

    fn measure(&self, images: &SparseImages, columns: usize) -> Result<DiskUse, GenerateError> {
        let count = images.len() as f64;
        let pixels = match self.plan.layout {
            // A start, and a place and a value for each pixel: as long in a file as in memory.
            Layout::Sparse => 8.0 + 6.0 * images.nonzeros() as f64 / count,
            Layout::Dense | Layout::CaloChallenge => {
                let some = images.gather(0..images.len().min(MEASURED));
                data::packed_bytes(&some)? as f64 / some.len() as f64
            }
        };
        // Hardly smaller when they are packed: these numbers have few bits in common.
        let output = pixels + 4.0 * columns as f64;
        let journal = Journal::bytes(images) as f64 / count;
        let of_all = |bytes: f64| (bytes * self.plan.identity.count as f64) as u64;
        Ok(DiskUse {
            output: of_all(output),
            peak: of_all(output + journal),
        })
    }
}
