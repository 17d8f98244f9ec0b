//! The handles of a card, and the launch of a kernel.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cudarc::driver::result::stream::StreamKind;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUfunction_attribute as Limit};

use super::images::{IMAGES, Image};
use super::library::failure;
use crate::device::DeviceError;
use crate::device::cuda::device::{Launch, Properties};

/// A kernel, and what it allows.
struct Kernel {
    function: sys::CUfunction,
    parameter: usize,
    threads: u32,
    shared: u32,
}

/// Bytes of one half of the staging memory.
pub const HALF: usize = 4 << 20;

/// Page-locked memory by way of which everything is written: a copy from it needs no waiting, and a small
/// write does not hold up the work under way. While one half is copied, the other is filled.
pub struct Staging {
    pub memory: *mut u8,
    pub copied: [sys::CUevent; 2],
    pub next: usize,
}

/// The handles of a card. Freed in the order in which they must be, whatever part of them was made.
pub struct Card {
    device: sys::CUdevice,
    context: sys::CUcontext,
    pub stream: sys::CUstream,
    /// For copies beside the work in `stream`.
    pub aside: sys::CUstream,
    modules: Vec<sys::CUmodule>,
    kernels: HashMap<&'static str, Kernel>,
    pub staging: Mutex<Staging>,
    /// What was last put into the stream, to say where an error may come from.
    pub last: Mutex<Arc<str>>,
    /// Whether every kernel is waited for before the next is launched, recorded ones too: then the one that
    /// fails is known.
    pub stepping: bool,
    pub properties: Properties,
}

// SAFETY: the driver's handles may be used by any thread in which their context is current, which `enter`
// sees to before every use; the staging memory is behind a lock.
unsafe impl Send for Card {}
// SAFETY: as above; the driver does its own locking.
unsafe impl Sync for Card {}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the locks guard is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cores at which a thread that spins while it waits for the card would take what others need: the file's writer, the reader.
const FEW: usize = 4;

/// Whether threads of this machine sleep while they wait for a card, which wakes them some microseconds later than they would see it.
fn waits_asleep() -> bool {
    static ASLEEP: OnceLock<bool> = OnceLock::new();
    let few = || std::thread::available_parallelism().is_ok_and(|cores| cores.get() <= FEW);
    *ASLEEP.get_or_init(few)
}

/// A point in a stream of the current context.
pub fn new_event(flags: sys::CUevent_flags) -> Result<sys::CUevent, DriverError> {
    let asleep = match waits_asleep() {
        true => sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC as u32,
        false => 0,
    };
    let mut event = std::ptr::null_mut();
    // SAFETY: the pointer is to a local handle; without a current context the driver refuses.
    unsafe { sys::cuEventCreate(&mut event, flags as u32 | asleep) }.result()?;
    Ok(event)
}

impl Card {
    pub fn new(device: sys::CUdevice, properties: Properties) -> Result<Self, DeviceError> {
        let on = format!("on {}", properties.name);
        let said = |call: &'static str| move |e: DriverError| failure(call, &on, e);
        if waits_asleep() {
            let flag = sys::CUctx_flags::CU_CTX_SCHED_BLOCKING_SYNC as u32;
            // SAFETY: the device came from the driver.
            unsafe { sys::cuDevicePrimaryCtxSetFlags_v2(device, flag) }
                .result()
                .map_err(said.clone()("cuDevicePrimaryCtxSetFlags"))?;
        }
        // SAFETY: the device came from the driver.
        let context = unsafe { result::primary_ctx::retain(device) }
            .map_err(said.clone()("cuDevicePrimaryCtxRetain"))?;
        // From here on an early return frees what was made so far.
        let mut card = Self {
            device,
            context,
            stream: std::ptr::null_mut(),
            aside: std::ptr::null_mut(),
            modules: Vec::new(),
            kernels: HashMap::new(),
            staging: Mutex::new(Staging {
                memory: std::ptr::null_mut(),
                copied: [std::ptr::null_mut(); 2],
                next: 0,
            }),
            last: Mutex::new("".into()),
            stepping: ["SARM_CUDA_STEP", "CUDA_LAUNCH_BLOCKING"]
                .iter()
                .filter_map(std::env::var_os)
                .any(|value| !value.is_empty() && value != "0"),
            properties,
        };
        card.enter()?;
        for stream in [&mut card.stream, &mut card.aside] {
            *stream = result::stream::create(StreamKind::NonBlocking)
                .map_err(said.clone()("cuStreamCreate"))?;
        }
        {
            let mut staging = lock(&card.staging);
            // SAFETY: the context is current; what is written there is bytes, which have no invalid value.
            staging.memory = unsafe { result::malloc_host(2 * HALF, 0) }
                .map_err(said.clone()("cuMemHostAlloc"))?
                .cast();
            for event in &mut staging.copied {
                *event = new_event(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
                    .map_err(said.clone()("cuEventCreate"))?;
            }
        }
        for image in IMAGES {
            card.load(image)?;
        }
        Ok(card)
    }

    /// Load a kernel file and look up what is in it.
    fn load(&mut self, image: &Image) -> Result<(), DeviceError> {
        let from = format!("for kernels/{}.cu on {}", image.name, self.properties.name);
        // SAFETY: the bytes are a fat binary that nvcc wrote, aligned, and live as long as the program.
        let module = unsafe { result::module::load_data(image.bytes.as_ptr().cast()) }
            .map_err(|e| failure("cuModuleLoadData", &from, e))?;
        self.modules.push(module);
        for name in image.kernels {
            let doing = format!("for kernel {name}");
            let said = |call: &'static str| {
                let doing = doing.clone();
                move |e: DriverError| failure(call, &doing, e)
            };
            let symbol = CString::new(*name).unwrap_or_default();
            // SAFETY: the module was loaded above.
            let function = unsafe { result::module::get_function(module, symbol) }
                .map_err(said("cuModuleGetFunction"))?;
            let (mut offset, mut parameter) = (0, 0);
            // SAFETY: the function was found above, and the pointers are to local integers.
            unsafe { sys::cuFuncGetParamInfo(function, 0, &mut offset, &mut parameter) }
                .result()
                .map_err(said("cuFuncGetParamInfo"))?;
            let limit = |which: Limit| {
                // SAFETY: the function was found above.
                unsafe { result::function::get_function_attribute(function, which) }
                    .map(|value| value.max(0) as u32)
                    .map_err(said("cuFuncGetAttribute"))
            };
            let threads = limit(Limit::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK)?;
            let fixed = limit(Limit::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?;
            let shared = self.properties.shared_per_block.saturating_sub(fixed);
            // Permission alone: how much a launch takes, and how many blocks fit, is each launch's own.
            // SAFETY: the function was found above, and the card has this much.
            unsafe {
                result::function::set_function_attribute(
                    function,
                    Limit::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                    shared as i32,
                )
            }
            .map_err(said("cuFuncSetAttribute"))?;
            self.kernels.insert(
                name,
                Kernel {
                    function,
                    parameter,
                    threads,
                    shared,
                },
            );
        }
        Ok(())
    }

    /// Make the context current in this thread.
    pub fn enter(&self) -> Result<(), DeviceError> {
        // SAFETY: the context is retained as long as the card lives.
        unsafe { result::ctx::set_current(self.context) }
            .map_err(|e| self.failure("cuCtxSetCurrent", e))
    }

    /// A failed call, with what the stream was last given: errors of kernels come out at later calls.
    pub fn failure(&self, call: &'static str, error: DriverError) -> DeviceError {
        let last = lock(&self.last);
        let doing = match last.is_empty() {
            true => format!("on {}", self.properties.name),
            false => format!("on {}, after {last}", self.properties.name),
        };
        failure(call, &doing, error)
    }

    pub fn synchronise(&self) -> Result<(), DeviceError> {
        self.wait_for(self.stream)
    }

    /// Wait until all work in `stream`, one of this card's, is done.
    fn wait_for(&self, stream: sys::CUstream) -> Result<(), DeviceError> {
        self.enter()?;
        // SAFETY: the streams live as long as the card.
        unsafe { result::stream::synchronize(stream) }
            .map_err(|e| self.failure("cuStreamSynchronize", e))
    }

    /// Copy from the card by way of `stream`, one of this card's, and wait for it.
    ///
    /// # Safety
    /// `bytes.len()` bytes from `from` on lie in one allocation of this card.
    pub unsafe fn copy(
        &self,
        from: u64,
        bytes: &mut [u8],
        stream: sys::CUstream,
    ) -> Result<(), DeviceError> {
        self.enter()?;
        // SAFETY: the source is allocated, by this method's contract, and the copy is over before the
        // borrow of the target is: the stream is waited for below even if the call fails.
        let copied = unsafe { result::memcpy_dtoh_async(bytes, from, stream) };
        let over = self.wait_for(stream);
        copied.map_err(|e| self.failure("cuMemcpyDtoHAsync", e))?;
        over
    }

    /// Put a kernel into the card's stream, and wait for it where that is wanted.
    ///
    /// # Safety
    /// As for [`Device::launch`].
    pub unsafe fn run(&self, launch: &Launch) -> Result<(), DeviceError> {
        // SAFETY: by this method's contract; the stream is the card's.
        unsafe { self.launch(launch, self.stream)? };
        *lock(&self.last) = launch.kernel.into();
        match self.stepping {
            true => self.synchronise(),
            false => Ok(()),
        }
    }

    /// Put a kernel into `stream`.
    ///
    /// # Safety
    /// As for [`Device::launch`]; the stream is of this card.
    pub unsafe fn launch(&self, launch: &Launch, stream: sys::CUstream) -> Result<(), DeviceError> {
        let name = launch.kernel;
        let Some(kernel) = self.kernels.get(name) else {
            return Err(DeviceError::Fault(format!(
                "there is no kernel '{name}' (this is a fault of sarm); please report it"
            )));
        };
        if launch.parameter.len() != kernel.parameter {
            return Err(DeviceError::Fault(format!(
                "kernel '{name}' takes {} bytes, not {} (its structures in Rust and in CUDA differ: a fault of sarm); please report it",
                kernel.parameter,
                launch.parameter.len()
            )));
        }
        if launch.shared > kernel.shared {
            return Err(DeviceError::Unsupported(format!(
                "kernel '{name}' needs {} bytes of shared memory a block ({} gives {}); use a smaller network, another card or --device cpu",
                launch.shared, self.properties.name, kernel.shared
            )));
        }
        if launch.blocks == 0 || launch.threads == 0 || launch.threads > kernel.threads {
            return Err(DeviceError::Fault(format!(
                "kernel '{name}' was to run {} blocks of {} threads (at least 1, at most {} threads: a fault of sarm); please report it",
                launch.blocks, launch.threads, kernel.threads
            )));
        }
        let mut parameters = [launch.parameter.as_ptr().cast_mut().cast::<c_void>()];
        let (grid, block) = ((launch.blocks, 1, 1), (launch.threads, 1, 1));
        let (function, shared) = (kernel.function, launch.shared);
        // SAFETY: the function lives as long as the card; it takes one parameter, of which the driver copies
        // as many bytes as there are, by the check above; what it points to is the caller's promise.
        let (call, outcome) = unsafe {
            match launch.cooperative {
                false => (
                    "cuLaunchKernel",
                    result::launch_kernel(function, grid, block, shared, stream, &mut parameters),
                ),
                true => (
                    "cuLaunchCooperativeKernel",
                    result::launch_cooperative_kernel(
                        function,
                        grid,
                        block,
                        shared,
                        stream,
                        &mut parameters,
                    ),
                ),
            }
        };
        outcome.map_err(|e| {
            let shape = format!(
                "for kernel '{name}' with {} blocks of {} threads and {shared} bytes of shared memory",
                launch.blocks, launch.threads
            );
            failure(call, &shape, e)
        })
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let staging = self
            .staging
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        // A context that failed refuses all of this, and the driver then frees everything with the process.
        // SAFETY: each handle was made by `new`, is freed once, here, and nothing else holds it any more:
        // recordings keep the card alive, and memory keeps its device alive.
        unsafe {
            if result::ctx::set_current(self.context).is_ok() {
                let streams = [self.stream, self.aside];
                for stream in streams.into_iter().filter(|s| !s.is_null()) {
                    result::stream::synchronize(stream).ok();
                }
                for event in staging.copied.into_iter().filter(|e| !e.is_null()) {
                    result::event::destroy(event).ok();
                }
                if !staging.memory.is_null() {
                    result::free_host(staging.memory.cast()).ok();
                }
                for module in self.modules.drain(..) {
                    result::module::unload(module).ok();
                }
                for stream in streams.into_iter().filter(|s| !s.is_null()) {
                    result::stream::destroy(stream).ok();
                }
            }
            result::primary_ctx::release(self.device).ok();
        }
    }
}
