//! A card that says what it is and does nothing.

use sarm::device::EngineError;
use sarm::device::cuda::device::{
    Address, Device, HostMemory, Launch, Mark, Properties, Recording,
};

/// The card.
pub struct Idle(pub Properties);

fn idle<T>() -> Result<T, EngineError> {
    Err(EngineError::Device("this card does nothing".into()))
}

impl Device for Idle {
    fn properties(&self) -> &Properties {
        &self.0
    }
    fn free_memory(&self) -> Result<u64, EngineError> {
        idle()
    }
    fn allocate(&self, _: usize) -> Result<Address, EngineError> {
        idle()
    }
    unsafe fn release(&self, _: Address) {}
    unsafe fn write(&self, _: Address, _: &[u8]) -> Result<(), EngineError> {
        idle()
    }
    unsafe fn read(&self, _: Address, _: &mut [u8]) -> Result<(), EngineError> {
        idle()
    }
    unsafe fn fill(&self, _: Address, _: u8, _: usize) -> Result<(), EngineError> {
        idle()
    }
    unsafe fn launch(&self, _: &Launch) -> Result<(), EngineError> {
        idle()
    }
    unsafe fn record(&self, _: &[Launch]) -> Result<Box<dyn Recording>, EngineError> {
        idle()
    }
    fn synchronise(&self) -> Result<(), EngineError> {
        idle()
    }
    fn mark(&self) -> Result<Box<dyn Mark>, EngineError> {
        idle()
    }
    fn host_memory(&self, _: usize) -> Result<Box<dyn HostMemory>, EngineError> {
        idle()
    }
    unsafe fn read_aside(&self, _: Address, _: &mut [u8]) -> Result<(), EngineError> {
        idle()
    }
    fn time(&self, _: &dyn Recording) -> Result<f64, EngineError> {
        idle()
    }
}
