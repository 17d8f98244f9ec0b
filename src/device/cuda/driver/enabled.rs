//! A card by way of the driver: one context, one stream and another for copies, the kernels that were compiled in.

mod aside;
mod card;
mod energy;
mod graph;
mod images;
mod library;

use std::ffi::c_int;
use std::sync::Arc;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUevent_flags as EventFlags};

use super::OLDEST_CARD;
use crate::device::DeviceError;
use crate::device::cuda::device::{
    Address, Device, HostMemory, Launch, Mark, Properties, Recording,
};
use aside::{Event, Pinned};
use card::{Card, HALF, lock};
pub use energy::Energy;
use graph::Graph;
use library::failure;

/// Whether this program was built to use cards.
pub const BUILT: bool = true;

/// The cards of this machine, or why there are none.
///
/// # Errors
/// [`DeviceError::Missing`] without a driver or a card, [`DeviceError::OldDriver`]; [`DeviceError::Failed`] where a call of
/// the driver fails.
pub fn cards() -> Result<Vec<Properties>, DeviceError> {
    let count = library::start()?;
    (0..count)
        .map(|ordinal| properties(ordinal).map(|(_, p)| p))
        .collect()
}

/// Card number `ordinal`, ready to work.
///
/// # Errors
/// What [`cards`] meets; [`DeviceError::Missing`] where there is no card of this number, [`DeviceError::OldCard`].
pub fn open(ordinal: usize) -> Result<Arc<dyn Device>, DeviceError> {
    let count = library::start()?;
    let Some(number) = c_int::try_from(ordinal).ok().filter(|n| *n < count) else {
        let there = match count {
            1 => "1 CUDA device, cuda:0".to_string(),
            n => format!("{n} CUDA devices, cuda:0 to cuda:{}", n - 1),
        };
        return Err(DeviceError::Missing(format!(
            "there is no device cuda:{ordinal} (this machine has {there}); choose one of them"
        )));
    };
    let (device, properties) = properties(number)?;
    let (found, needed) = (properties.capability, OLDEST_CARD);
    if found < needed {
        return Err(DeviceError::OldCard {
            name: properties.name,
            found,
            needed,
        });
    }
    Ok(Arc::new(CudaDevice(Arc::new(Card::new(
        device, properties,
    )?))))
}

/// What card number `ordinal`, below the count of cards, is.
fn properties(ordinal: c_int) -> Result<(sys::CUdevice, Properties), DeviceError> {
    let device = result::device::get(ordinal).map_err(|e| failure("cuDeviceGet", "", e))?;
    let attribute = |which: Attribute| {
        // SAFETY: the device came from the driver, by the line above.
        unsafe { result::device::get_attribute(device, which) }
            .map(|value| value.max(0) as u32)
            .map_err(|e| failure("cuDeviceGetAttribute", "", e))
    };
    // SAFETY: as above.
    let memory = unsafe { result::device::total_mem(device) };
    let name = result::device::get_name(device).map_err(|e| failure("cuDeviceGetName", "", e))?;
    let properties = Properties {
        uuid: uuid(device, &name),
        name,
        capability: (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        shared_per_block: attribute(
            Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
        )?,
        shared_per_multiprocessor: attribute(
            Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR,
        )?,
        l2: attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?.into(),
        memory: memory.map_err(|e| failure("cuDeviceTotalMem", "", e))? as u64,
    };
    Ok((device, properties))
}

/// How NVIDIA's tools write a card's identifier: `GPU-00112233-4455-6677-8899-aabbccddeeff`, `MIG-..` of an instance of MIG, which the driver's
/// name for it tells. None where the driver does not tell it.
fn uuid(device: sys::CUdevice, name: &str) -> Option<String> {
    if !library::has("cuDeviceGetUuid_v2") {
        return None;
    }
    let uuid = result::device::get_uuid(device).ok()?;
    let mut text = String::from(if name.contains(" MIG ") { "MIG" } else { "GPU" });
    for (place, byte) in uuid.bytes.iter().enumerate() {
        if [0, 4, 6, 8, 10].contains(&place) {
            text.push('-');
        }
        text += &format!("{:02x}", *byte as u8);
    }
    Some(text)
}

/// A card as the engine sees it.
struct CudaDevice(Arc<Card>);

impl Device for CudaDevice {
    fn properties(&self) -> &Properties {
        &self.0.properties
    }

    fn free_memory(&self) -> Result<u64, DeviceError> {
        self.0.enter()?;
        let (free, _) = result::mem_get_info().map_err(|e| self.0.failure("cuMemGetInfo", e))?;
        Ok(free as u64)
    }

    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError> {
        self.0.enter()?;
        // The driver refuses 0; what it gives is aligned to 256 bytes.
        // SAFETY: the memory is bytes, which have no invalid value.
        match unsafe { result::malloc_sync(bytes.max(1)) } {
            Ok(address) => Ok(Address(address)),
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                let mib = |bytes: u64| bytes.div_ceil(1 << 20);
                let free = self.free_memory().ok();
                let shown = free.map_or("?".into(), |f| mib(f).to_string());
                Err(DeviceError::Memory {
                    needed: bytes as u64,
                    free,
                    why: format!(
                        "{} has too little free memory ({} MiB more are needed, {shown} of {} MiB are free); stop other programs that use it, train with a smaller batch or use --device cpu",
                        self.0.properties.name,
                        mib(bytes as u64),
                        mib(self.0.properties.memory),
                    ),
                })
            }
            Err(e) => Err(self.0.failure("cuMemAlloc", e)),
        }
    }

    unsafe fn release(&self, address: Address) {
        let freed = self.0.synchronise().and_then(|()| {
            // SAFETY: the address came from `allocate` and is given back once, by this method's contract.
            unsafe { result::memory_free(address.0) }.map_err(|e| self.0.failure("cuMemFree", e))
        });
        if let Err(problem) = freed {
            // After a failed kernel every call fails alike, and the failure was returned where it was met.
            log::debug!("{problem}");
        }
    }

    unsafe fn write(&self, to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        let card = &*self.0;
        card.enter()?;
        let mut staging = lock(&card.staging);
        for (number, piece) in bytes.chunks(HALF).enumerate() {
            let half = staging.next;
            staging.next = 1 - half;
            let copied = staging.copied[half];
            // SAFETY: the event lives as long as the card. The half is within the staging memory, is
            // this thread's by the lock, and no copy reads it any more once the event has happened.
            let source = unsafe {
                result::event::synchronize(copied)
                    .map_err(|e| card.failure("cuEventSynchronize", e))?;
                let source = staging.memory.add(half * HALF);
                std::ptr::copy_nonoverlapping(piece.as_ptr(), source, piece.len());
                std::slice::from_raw_parts(source, piece.len())
            };
            let target = to.0 + (number * HALF) as u64;
            // SAFETY: the target is allocated, by this method's contract, and the source is not written
            // again before the event recorded behind the copy has happened.
            unsafe {
                result::memcpy_htod_async(target, source, card.stream)
                    .map_err(|e| card.failure("cuMemcpyHtoDAsync", e))?;
                result::event::record(copied, card.stream)
                    .map_err(|e| card.failure("cuEventRecord", e))?;
            }
        }
        Ok(())
    }

    unsafe fn read(&self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError> {
        if bytes.is_empty() {
            return self.0.synchronise();
        }
        // SAFETY: by this method's contract; the stream is the card's.
        unsafe { self.0.copy(from.0, bytes, self.0.stream) }
    }

    unsafe fn fill(&self, to: Address, byte: u8, count: usize) -> Result<(), DeviceError> {
        if count == 0 {
            return Ok(());
        }
        self.0.enter()?;
        // SAFETY: the range is allocated, by this method's contract.
        unsafe { result::memset_d8_async(to.0, byte, count, self.0.stream) }
            .map_err(|e| self.0.failure("cuMemsetD8Async", e))
    }

    unsafe fn launch(&self, launch: &Launch) -> Result<(), DeviceError> {
        self.0.enter()?;
        // SAFETY: by this method's contract.
        unsafe { self.0.run(launch) }
    }

    unsafe fn record(&self, launches: &[Launch]) -> Result<Box<dyn Recording>, DeviceError> {
        // SAFETY: by this method's contract.
        Ok(Box::new(unsafe { Graph::new(&self.0, launches)? }))
    }

    fn synchronise(&self) -> Result<(), DeviceError> {
        self.0.synchronise()
    }

    fn mark(&self) -> Result<Box<dyn Mark>, DeviceError> {
        self.0.enter()?;
        let event = Event::new(&self.0, EventFlags::CU_EVENT_DISABLE_TIMING)?;
        event.record()?;
        Ok(Box::new(event))
    }

    fn host_memory(&self, bytes: usize) -> Result<Box<dyn HostMemory>, DeviceError> {
        Ok(Box::new(Pinned::zeros(&self.0, bytes)?))
    }

    unsafe fn read_aside(&self, from: Address, to: &mut [u8]) -> Result<(), DeviceError> {
        if to.is_empty() {
            return Ok(());
        }
        // SAFETY: by this method's contract; the stream is the card's.
        unsafe { self.0.copy(from.0, to, self.0.aside) }
    }

    fn time(&self, recording: &dyn Recording) -> Result<f64, DeviceError> {
        let card = &*self.0;
        card.enter()?;
        let [start, end] = [
            Event::new(&self.0, EventFlags::CU_EVENT_DEFAULT)?,
            Event::new(&self.0, EventFlags::CU_EVENT_DEFAULT)?,
        ];
        start.record()?;
        recording.replay()?;
        end.record()?;
        card.synchronise()?;
        // SAFETY: both events live, were recorded in one stream, and have happened.
        let milliseconds = unsafe { library::elapsed(start.event, end.event) }
            .map_err(|e| card.failure("cuEventElapsedTime", e))?;
        Ok(f64::from(milliseconds) / 1e3)
    }
}
