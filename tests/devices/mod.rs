//! Devices for tests: the one that the environment asks for, and one that is lost after a while.
#![allow(dead_code)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use sarm::engine::EngineError;
use sarm::engine::cuda::device::{Address, Device, Launch, Properties, Recording};

/// The device under test: an emulation, or with `SARM_TEST_DEVICE=cuda` the machine's first card.
pub fn under_test() -> Arc<dyn Device> {
    match std::env::var("SARM_TEST_DEVICE").as_deref() {
        Err(_) | Ok("emulation") => crate::emulation::Emulation::new().device(),
        Ok("cuda") => {
            static CARD: OnceLock<Arc<dyn Device>> = OnceLock::new();
            let open = || sarm::engine::cuda::driver::open(0).unwrap_or_else(|e| panic!("{e}"));
            Arc::clone(CARD.get_or_init(open))
        }
        Ok(other) => panic!("SARM_TEST_DEVICE={other}: 'emulation' or 'cuda'"),
    }
}

/// A device that does so many calls and then fails at every one, as a card that is lost does.
pub struct Failing {
    device: Arc<dyn Device>,
    left: Arc<AtomicUsize>,
}

impl Failing {
    /// Lost after `calls` calls.
    pub fn after(device: Arc<dyn Device>, calls: usize) -> Arc<dyn Device> {
        Arc::new(Self {
            device,
            left: Arc::new(AtomicUsize::new(calls)),
        })
    }
}

fn count(left: &AtomicUsize) -> Result<(), EngineError> {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
        .map(drop)
        .map_err(|_| EngineError::Device("the device is lost".into()))
}

struct FailingRecording {
    recording: Box<dyn Recording>,
    left: Arc<AtomicUsize>,
}

impl Recording for FailingRecording {
    fn replay(&self) -> Result<(), EngineError> {
        count(&self.left)?;
        self.recording.replay()
    }
}

impl Device for Failing {
    fn properties(&self) -> &Properties {
        self.device.properties()
    }

    fn free_memory(&self) -> Result<u64, EngineError> {
        count(&self.left)?;
        self.device.free_memory()
    }

    fn allocate(&self, bytes: usize) -> Result<Address, EngineError> {
        count(&self.left)?;
        self.device.allocate(bytes)
    }

    unsafe fn release(&self, address: Address) {
        // SAFETY: the caller's promise.
        unsafe { self.device.release(address) }
    }

    unsafe fn write(&self, to: Address, bytes: &[u8]) -> Result<(), EngineError> {
        count(&self.left)?;
        // SAFETY: the caller's promise.
        unsafe { self.device.write(to, bytes) }
    }

    unsafe fn read(&self, from: Address, bytes: &mut [u8]) -> Result<(), EngineError> {
        count(&self.left)?;
        // SAFETY: the caller's promise.
        unsafe { self.device.read(from, bytes) }
    }

    unsafe fn fill(&self, to: Address, byte: u8, bytes: usize) -> Result<(), EngineError> {
        count(&self.left)?;
        // SAFETY: the caller's promise.
        unsafe { self.device.fill(to, byte, bytes) }
    }

    unsafe fn launch(&self, launch: &Launch) -> Result<(), EngineError> {
        count(&self.left)?;
        // SAFETY: the caller's promise.
        unsafe { self.device.launch(launch) }
    }

    unsafe fn record(&self, launches: &[Launch]) -> Result<Box<dyn Recording>, EngineError> {
        count(&self.left)?;
        // SAFETY: the caller's promise.
        let recording = unsafe { self.device.record(launches)? };
        Ok(Box::new(FailingRecording {
            recording,
            left: Arc::clone(&self.left),
        }))
    }

    fn synchronise(&self) -> Result<(), EngineError> {
        count(&self.left)?;
        self.device.synchronise()
    }

    fn time(&self, recording: &dyn Recording) -> Result<f64, EngineError> {
        count(&self.left)?;
        self.device.time(recording)
    }
}
