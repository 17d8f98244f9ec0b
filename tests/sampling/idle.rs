//! A card that says what it is and does nothing.

use sarm::device::DeviceError;
use sarm::device::cuda::device::{
    Address, Device, HostMemory, Launch, Mark, Properties, Recording,
};

/// The card.
pub struct Idle(pub Properties);

fn idle<T>() -> Result<T, DeviceError> {
    Err(DeviceError::from("this card does nothing"))
}

impl Device for Idle {
    fn properties(&self) -> &Properties {
        &self.0
    }
    fn free_memory(&self) -> Result<u64, DeviceError> {
        idle()
    }
    fn allocate(&self, _: usize) -> Result<Address, DeviceError> {
        idle()
    }
    unsafe fn release(&self, _: Address) {}
    unsafe fn write(&self, _: Address, _: &[u8]) -> Result<(), DeviceError> {
        idle()
    }
    unsafe fn read(&self, _: Address, _: &mut [u8]) -> Result<(), DeviceError> {
        idle()
    }
    unsafe fn fill(&self, _: Address, _: u8, _: usize) -> Result<(), DeviceError> {
        idle()
    }
    unsafe fn launch(&self, _: &Launch) -> Result<(), DeviceError> {
        idle()
    }
    unsafe fn record(&self, _: &[Launch]) -> Result<Box<dyn Recording>, DeviceError> {
        idle()
    }
    fn synchronise(&self) -> Result<(), DeviceError> {
        idle()
    }
    fn mark(&self) -> Result<Box<dyn Mark>, DeviceError> {
        idle()
    }
    fn host_memory(&self, _: usize) -> Result<Box<dyn HostMemory>, DeviceError> {
        idle()
    }
    unsafe fn read_aside(&self, _: Address, _: &mut [u8]) -> Result<(), DeviceError> {
        idle()
    }
    fn time(&self, _: &dyn Recording) -> Result<f64, DeviceError> {
        idle()
    }
}
