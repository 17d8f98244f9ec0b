//! The processor: a pool of threads and the instruction set that they use.

use std::sync::Arc;

use super::DeviceError;
use crate::numeric::Isa;

/// The processor's threads and instruction set.
#[derive(Clone)]
pub struct Cpu {
    isa: Isa,
    pool: Arc<rayon::ThreadPool>,
}

impl Cpu {
    /// `threads` threads, 0 for one per core, with the best instruction set there is.
    ///
    /// # Errors
    /// [`DeviceError::Other`] where threads cannot be started.
    pub fn new(threads: usize) -> Result<Self, DeviceError> {
        Self::with_isa(threads, Isa::best())
    }

    /// The same with the instruction set `isa`.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] where this processor has no `isa`.
    pub fn with_isa(threads: usize, isa: Isa) -> Result<Self, DeviceError> {
        if !Isa::available().contains(&isa) {
            return Err(DeviceError::Unsupported(format!(
                "this processor has no {} (it has {:?})",
                isa.name(),
                Isa::available()
            )));
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|e| DeviceError::Other(format!("cannot start {threads} threads ({e})")))?;
        Ok(Self {
            isa,
            pool: Arc::new(pool),
        })
    }

    /// How many threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The threads.
    pub fn pool(&self) -> &Arc<rayon::ThreadPool> {
        &self.pool
    }

    /// `cpu, 2 threads, avx2`.
    pub fn describe(&self) -> String {
        let threads = self.threads();
        let s = if threads == 1 { "" } else { "s" };
        format!("cpu, {threads} thread{s}, {}", self.isa.name())
    }
}
