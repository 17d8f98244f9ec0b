//! What lets the host work beside the card: points in its stream, and memory that it copies to at full speed.

use std::sync::Arc;

use cudarc::driver::result;
use cudarc::driver::sys;

use super::card::{Card, new_event};
use crate::device::DeviceError;
use crate::device::cuda::device::{HostMemory, Mark};

/// A point in the card's stream.
pub struct Event {
    card: Arc<Card>,
    pub event: sys::CUevent,
}

// SAFETY: an event may be used by any thread in which its context is current; `wait` and `drop` see to that,
// and the rest is called by the thread that made it.
unsafe impl Send for Event {}

impl Event {
    /// In this thread, `card`'s context is current.
    pub fn new(card: &Arc<Card>, flags: sys::CUevent_flags) -> Result<Self, DeviceError> {
        let event = new_event(flags).map_err(|e| card.failure("cuEventCreate", e))?;
        Ok(Self {
            card: Arc::clone(card),
            event,
        })
    }

    pub fn record(&self) -> Result<(), DeviceError> {
        // SAFETY: event and stream live.
        unsafe { result::event::record(self.event, self.card.stream) }
            .map_err(|e| self.card.failure("cuEventRecord", e))
    }
}

impl Mark for Event {
    fn wait(&self) -> Result<(), DeviceError> {
        self.card.enter()?;
        // SAFETY: the event lives.
        unsafe { result::event::synchronize(self.event) }
            .map_err(|e| self.card.failure("cuEventSynchronize", e))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.card.enter().is_ok() {
            // SAFETY: the event is destroyed once, here.
            unsafe { result::event::destroy(self.event) }.ok();
        }
    }
}

/// Page-locked memory.
pub struct Pinned {
    card: Arc<Card>,
    start: *mut u8,
    len: usize,
}

// SAFETY: the memory is this structure's own, and may be freed by any thread in which the context is current.
unsafe impl Send for Pinned {}

impl Pinned {
    pub fn zeros(card: &Arc<Card>, len: usize) -> Result<Self, DeviceError> {
        card.enter()?;
        // The driver refuses 0.
        // SAFETY: the context is current, and every byte is written below before it is read.
        let start = match unsafe { result::malloc_host(len.max(1), 0) } {
            Ok(start) => start.cast::<u8>(),
            Err(result::DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                return Err(DeviceError::Memory {
                    needed: len as u64,
                    free: None,
                    why: format!(
                        "the host has too little memory that can be page-locked ({} MiB more are needed for {}); stop other programs or use --device cpu",
                        len.div_ceil(1 << 20),
                        card.properties.name
                    ),
                });
            }
            Err(e) => return Err(card.failure("cuMemHostAlloc", e)),
        };
        // SAFETY: the driver gave this many bytes.
        unsafe { start.write_bytes(0, len) };
        Ok(Self {
            card: Arc::clone(card),
            start,
            len,
        })
    }
}

impl HostMemory for Pinned {
    fn bytes(&self) -> &[u8] {
        // SAFETY: the memory is this long, initialised by `zeros`, and nobody else's: copies to it are over
        // when the calls that asked for them return.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.card.enter().is_ok() {
            // SAFETY: the memory came from the driver and is given back once, here.
            unsafe { result::free_host(self.start.cast()) }.ok();
        }
    }
}
