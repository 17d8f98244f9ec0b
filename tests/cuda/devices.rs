//! Devices for tests: the one that the environment asks for, one that is lost after a while, one on paper.
#![allow(dead_code)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use sarm::device::DeviceError;
use sarm::device::cuda::device::{
    Address, Device, HostMemory, Launch, Mark, Properties, Recording,
};
use sarm::device::{Card, Devices};

/// Whether the tests run on an emulation, or with `SARM_TEST_DEVICE=cuda` on the machine's first card.
pub fn emulated() -> bool {
    match std::env::var("SARM_TEST_DEVICE").as_deref() {
        Err(_) | Ok("emulation") => true,
        Ok("cuda") => false,
        Ok(other) => panic!("SARM_TEST_DEVICE={other}: 'emulation' or 'cuda'"),
    }
}

/// The machine's first card, opened once.
pub fn card() -> Arc<dyn Device> {
    static CARD: OnceLock<Arc<dyn Device>> = OnceLock::new();
    let open = || sarm::device::cuda::driver::open(0).unwrap_or_else(|e| panic!("{e}"));
    Arc::clone(CARD.get_or_init(open))
}

/// `device` as what a model runs on.
pub fn devices(device: Arc<dyn Device>) -> Devices {
    Devices::cards(vec![Card {
        name: "cuda:0".into(),
        device,
    }])
    .unwrap()
}

/// The device under test.
pub fn under_test() -> Arc<dyn Device> {
    match emulated() {
        true => crate::emulation::Emulation::new().device(),
        false => card(),
    }
}

/// A device that does so many calls and then fails: at every one, as a card that is lost does, or once.
pub struct Failing {
    device: Arc<dyn Device>,
    left: Arc<Calls>,
}

/// Calls until a failure.
pub struct Calls {
    left: AtomicUsize,
    once: bool,
}

impl Calls {
    /// Fail after so many calls from now on.
    pub fn fail_after(&self, calls: usize) {
        self.left.store(calls, Ordering::Relaxed);
    }
}

impl Failing {
    /// Lost after `calls` calls.
    pub fn after(device: Arc<dyn Device>, calls: usize) -> Arc<dyn Device> {
        let left = Arc::new(Calls {
            left: AtomicUsize::new(calls),
            once: false,
        });
        Arc::new(Self { device, left })
    }

    /// One that fails once, when it is told to, and goes on.
    pub fn once(device: Arc<dyn Device>) -> (Arc<dyn Device>, Arc<Calls>) {
        let left = Arc::new(Calls {
            left: AtomicUsize::new(usize::MAX),
            once: true,
        });
        let calls = Arc::clone(&left);
        (Arc::new(Self { device, left }), calls)
    }
}

fn count(calls: &Calls) -> Result<(), DeviceError> {
    let less = |n: usize| n.checked_sub(1);
    let counted = calls
        .left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    if counted.is_err() && calls.once {
        calls.fail_after(usize::MAX);
    }
    counted
        .map(drop)
        .map_err(|_| DeviceError::from("the device is lost"))
}

struct FailingRecording {
    recording: Box<dyn Recording>,
    left: Arc<Calls>,
}

impl Recording for FailingRecording {
    fn replay(&self) -> Result<(), DeviceError> {
        count(&self.left)?;
        self.recording.replay()
    }
}

struct FailingMark {
    mark: Box<dyn Mark>,
    left: Arc<Calls>,
}

impl Mark for FailingMark {
    fn wait(&self) -> Result<(), DeviceError> {
        count(&self.left)?;
        self.mark.wait()
    }
}

impl Device for Failing {
    fn properties(&self) -> &Properties {
        self.device.properties()
    }

    fn free_memory(&self) -> Result<u64, DeviceError> {
        count(&self.left)?;
        self.device.free_memory()
    }

    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError> {
        count(&self.left)?;
        self.device.allocate(bytes)
    }

    unsafe fn release(&self, address: Address) {
        // SAFETY: the caller's promise.
        unsafe { self.device.release(address) }
    }

    unsafe fn write(&self, to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        count(&self.left)?;
        // SAFETY: the caller's promise.
        unsafe { self.device.write(to, bytes) }
    }

    unsafe fn read(&self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError> {
        count(&self.left)?;
        // SAFETY: the caller's promise.
        unsafe { self.device.read(from, bytes) }
    }

    unsafe fn fill(&self, to: Address, byte: u8, bytes: usize) -> Result<(), DeviceError> {
        count(&self.left)?;
        // SAFETY: the caller's promise.
        unsafe { self.device.fill(to, byte, bytes) }
    }

    unsafe fn launch(&self, launch: &Launch) -> Result<(), DeviceError> {
        count(&self.left)?;
        // SAFETY: the caller's promise.
        unsafe { self.device.launch(launch) }
    }

    unsafe fn record(&self, launches: &[Launch]) -> Result<Box<dyn Recording>, DeviceError> {
        count(&self.left)?;
        // SAFETY: the caller's promise.
        let recording = unsafe { self.device.record(launches)? };
        Ok(Box::new(FailingRecording {
            recording,
            left: Arc::clone(&self.left),
        }))
    }

    fn synchronise(&self) -> Result<(), DeviceError> {
        count(&self.left)?;
        self.device.synchronise()
    }

    fn mark(&self) -> Result<Box<dyn Mark>, DeviceError> {
        count(&self.left)?;
        Ok(Box::new(FailingMark {
            mark: self.device.mark()?,
            left: Arc::clone(&self.left),
        }))
    }

    fn host_memory(&self, bytes: usize) -> Result<Box<dyn HostMemory>, DeviceError> {
        count(&self.left)?;
        self.device.host_memory(bytes)
    }

    unsafe fn read_aside(&self, from: Address, to: &mut [u8]) -> Result<(), DeviceError> {
        count(&self.left)?;
        // SAFETY: the caller's promise.
        unsafe { self.device.read_aside(from, to) }
    }

    fn time(&self, recording: &dyn Recording) -> Result<f64, DeviceError> {
        count(&self.left)?;
        self.device.time(recording)
    }
}

/// An H100 on paper: it does nothing, and keeps the kernels of each recording.
pub struct OnPaper {
    properties: Properties,
    next: AtomicUsize,
    recordings: Mutex<Vec<Vec<&'static str>>>,
}

impl OnPaper {
    pub fn h100() -> Arc<Self> {
        Arc::new(Self {
            properties: Properties {
                name: "H100 on paper".into(),
                uuid: None,
                capability: (9, 0),
                multiprocessors: 132,
                shared_per_block: 227 << 10,
                shared_per_multiprocessor: 228 << 10,
                l2: 50 << 20,
                memory: 80 << 30,
            },
            next: AtomicUsize::new(256),
            recordings: Mutex::default(),
        })
    }

    /// Kernels of each recording that was made, in the order of their launches.
    pub fn recordings(&self) -> Vec<Vec<&'static str>> {
        self.recordings.lock().unwrap().clone()
    }
}

struct Nothing;

impl Recording for Nothing {
    fn replay(&self) -> Result<(), DeviceError> {
        Ok(())
    }
}

impl Mark for Nothing {
    fn wait(&self) -> Result<(), DeviceError> {
        Ok(())
    }
}

impl Device for OnPaper {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn free_memory(&self) -> Result<u64, DeviceError> {
        Ok(self.properties.memory)
    }

    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError> {
        let size = bytes.next_multiple_of(256);
        Ok(Address(self.next.fetch_add(size, Ordering::Relaxed) as u64))
    }

    unsafe fn release(&self, _: Address) {}

    unsafe fn write(&self, _: Address, _: &[u8]) -> Result<(), DeviceError> {
        Ok(())
    }

    unsafe fn read(&self, _: Address, bytes: &mut [u8]) -> Result<(), DeviceError> {
        bytes.fill(0);
        Ok(())
    }

    unsafe fn fill(&self, _: Address, _: u8, _: usize) -> Result<(), DeviceError> {
        Ok(())
    }

    unsafe fn launch(&self, _: &Launch) -> Result<(), DeviceError> {
        Ok(())
    }

    unsafe fn record(&self, launches: &[Launch]) -> Result<Box<dyn Recording>, DeviceError> {
        let kernels = launches.iter().map(|l| l.kernel).collect();
        self.recordings.lock().unwrap().push(kernels);
        Ok(Box::new(Nothing))
    }

    fn synchronise(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn mark(&self) -> Result<Box<dyn Mark>, DeviceError> {
        Ok(Box::new(Nothing))
    }

    fn host_memory(&self, bytes: usize) -> Result<Box<dyn HostMemory>, DeviceError> {
        Ok(Box::new(crate::emulation::Bytes(vec![0; bytes])))
    }

    unsafe fn read_aside(&self, _: Address, to: &mut [u8]) -> Result<(), DeviceError> {
        to.fill(0);
        Ok(())
    }

    fn time(&self, _: &dyn Recording) -> Result<f64, DeviceError> {
        Ok(0.0)
    }
}
