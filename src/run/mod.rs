//! What the program does: train, refine, generate, score; every face calls it and prints.

pub mod checkpoint;
pub mod codes;
pub mod conditions;
pub mod dataset;
pub mod forecast;
pub mod generate;
pub mod identity;
pub mod journal;
pub(crate) mod lock;
pub mod pretrained;
#[cfg(feature = "classify")]
pub mod refine;
pub mod room;
pub mod score;
pub mod train;

pub use checkpoint::Checkpoint;

use crate::device::Devices;

/// `work` on the threads of `devices`, where these are the processor's.
pub(crate) fn on_threads_of<T: Send>(devices: &Devices, work: impl FnOnce() -> T + Send) -> T {
    match devices {
        Devices::Cpu(cpu) => cpu.pool().install(work),
        Devices::Cards(_) => work(),
    }
}
