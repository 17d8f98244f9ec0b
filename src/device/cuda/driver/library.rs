//! The driver's library: whether it is there and new enough, and what its errors mean to a user.
//!
//! `cudarc` panics where the library or one of its symbols is missing: [`start`] looks for every one of
//! them before the first call.

use std::ffi::c_int;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUresult};

use super::images::TOOLKIT;
use crate::device::DeviceError;

/// Oldest release of CUDA whose driver has all of [`SYMBOLS`].
const OLDEST: (u32, u32) = (12, 4);
/// The newer and the older name of one function, of which the driver must have one: the newer came with CUDA 12.8.
const ELAPSED: [&str; 2] = ["cuEventElapsedTime_v2", "cuEventElapsedTime"];

/// Everything that this folder calls, by way of `cudarc`.
const SYMBOLS: [&str; 42] = [
    "cuInit",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuDeviceGet",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDeviceTotalMem_v2",
    "cuDevicePrimaryCtxSetFlags_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxSetCurrent",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuModuleGetFunction",
    "cuFuncGetAttribute",
    "cuFuncSetAttribute",
    "cuFuncGetParamInfo",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemFreeHost",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemsetD8Async",
    "cuStreamCreate",
    "cuStreamSynchronize",
    "cuStreamDestroy_v2",
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuLaunchKernel",
    "cuLaunchCooperativeKernel",
    "cuGraphInstantiateWithFlags",
    "cuGraphUpload",
    "cuGraphLaunch",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuEventCreate",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuEventDestroy_v2",
];

/// Why there is no card to work on, in a sentence.
fn missing<T>(sentence: impl Into<String>) -> Result<T, DeviceError> {
    Err(DeviceError::Missing(sentence.into()))
}

/// Start the driver: how many cards there are, at least 1, or why there are none.
pub fn start() -> Result<c_int, DeviceError> {
    // SAFETY: libraries of the driver's name are opened and closed, as the loader does for any program.
    if !unsafe { sys::is_culib_present() } {
        return missing(
            "no NVIDIA driver was found (there is no libcuda.so on this machine); install the driver or use --device cpu",
        );
    }
    if !has("cuDriverGetVersion") {
        return missing(
            "the library libcuda.so is no CUDA driver (it lacks cuDriverGetVersion); reinstall the driver or use --device cpu",
        );
    }
    let mut version: c_int = 0;
    // SAFETY: the symbol is there, by the check above, and the pointer is to a local integer.
    unsafe { sys::cuDriverGetVersion(&mut version) }
        .result()
        .map_err(|e| failure("cuDriverGetVersion", "", e))?;
    let found = ((version / 1000) as u32, (version % 1000 / 10) as u32);
    let needed = OLDEST.max((TOOLKIT.0, 0));
    if found < needed {
        return Err(DeviceError::OldDriver {
            found,
            needed,
            built: TOOLKIT,
            oldest: OLDEST,
        });
    }
    let lacking = SYMBOLS.iter().find(|name| !has(name));
    if let Some(name) = lacking.or(ELAPSED.iter().all(|name| !has(name)).then_some(&ELAPSED[0])) {
        return missing(format!(
            "the NVIDIA driver lacks {name} (it says that it is of CUDA {}.{}); reinstall it or use --device cpu",
            found.0, found.1
        ));
    }
    match result::init() {
        Err(DriverError(CUresult::CUDA_ERROR_NO_DEVICE)) => return no_cards(),
        other => other.map_err(|e| failure("cuInit", "", e))?,
    }
    match result::device::get_count().map_err(|e| failure("cuDeviceGetCount", "", e))? {
        ..=0 => no_cards(),
        count => Ok(count),
    }
}

fn no_cards<T>() -> Result<T, DeviceError> {
    missing(
        "this machine has no CUDA device that may be used (the driver is there, but CUDA_VISIBLE_DEVICES may hide the cards); check that variable or use --device cpu",
    )
}

/// Whether the driver's library has a symbol. The library must be present.
pub fn has(symbol: &str) -> bool {
    // SAFETY: the library is present, by `start`, and the symbol is looked up, not called.
    unsafe { sys::culib().get::<unsafe extern "C" fn()>(symbol.as_bytes()) }.is_ok()
}

/// Milliseconds between two events.
///
/// # Safety
/// Both live, were recorded in one stream, and have happened; [`start`] has found what is needed.
pub unsafe fn elapsed(start: sys::CUevent, end: sys::CUevent) -> Result<f32, DriverError> {
    type Elapsed = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> CUresult;
    let mut milliseconds = 0.0;
    // SAFETY: the library is present, by `start`; both functions are of this type in cuda.h (the newer one differs in what it says of events
    // that have not happened), and the pointer is to a local number.
    let outcome = unsafe {
        let mut found = ELAPSED
            .iter()
            .map(|name| sys::culib().get::<Elapsed>(name.as_bytes()));
        match found.find_map(Result::ok) {
            Some(elapsed) => elapsed(&mut milliseconds, start, end),
            None => CUresult::CUDA_ERROR_NOT_FOUND,
        }
    };
    outcome.result().map(|()| milliseconds)
}

/// A failed call in a sentence: which, while doing what (may be empty), why, and what to do.
pub fn failure(call: &'static str, doing: &str, error: DriverError) -> DeviceError {
    let text = |found: Result<&std::ffi::CStr, DriverError>| {
        found.map_or_else(
            |_| format!("error {}", error.0 as u32),
            |text| text.to_string_lossy().into_owned(),
        )
    };
    let (name, meaning) = (text(error.error_name()), text(error.error_string()));
    let doing = if doing.is_empty() {
        String::new()
    } else {
        format!(" {doing}")
    };
    let remedy = remedy(error.0);
    DeviceError::Failed {
        call,
        code: error.0 as u32,
        why: format!("CUDA failed in {call}{doing} with {name} ({meaning}); {remedy}"),
    }
}

fn remedy(code: CUresult) -> &'static str {
    use CUresult::*;
    match code {
        CUDA_ERROR_OUT_OF_MEMORY => {
            "free some of the card's memory, train with a smaller batch, or use --device cpu"
        }
        CUDA_ERROR_NO_BINARY_FOR_GPU
        | CUDA_ERROR_INVALID_PTX
        | CUDA_ERROR_UNSUPPORTED_PTX_VERSION
        | CUDA_ERROR_JIT_COMPILER_NOT_FOUND => {
            "update the driver, build with this machine's nvcc, or use --device cpu, because the driver cannot run this program's kernels on this card"
        }
        CUDA_ERROR_SYSTEM_DRIVER_MISMATCH | CUDA_ERROR_SYSTEM_NOT_READY => {
            "restart the machine or its fabric manager, or use --device cpu, because the driver's kernel module and library do not match"
        }
        CUDA_ERROR_STUB_LIBRARY => {
            "take the folder of this libcuda.so, the toolkit's empty one, out of LD_LIBRARY_PATH"
        }
        CUDA_ERROR_DEVICE_UNAVAILABLE | CUDA_ERROR_OPERATING_SYSTEM | CUDA_ERROR_NOT_PERMITTED => {
            "look at nvidia-smi, or use --device cpu: another program holds the card, or this user may not use it"
        }
        CUDA_ERROR_ECC_UNCORRECTABLE
        | CUDA_ERROR_NVLINK_UNCORRECTABLE
        | CUDA_ERROR_CONTAINED
        | CUDA_ERROR_DEVICE_NOT_LICENSED => {
            "look at nvidia-smi and the system's log for why the card failed; files are as of their last checkpoint, so --resume goes on, on another card or with --device cpu"
        }
        CUDA_ERROR_ILLEGAL_ADDRESS
        | CUDA_ERROR_MISALIGNED_ADDRESS
        | CUDA_ERROR_ILLEGAL_INSTRUCTION
        | CUDA_ERROR_INVALID_ADDRESS_SPACE
        | CUDA_ERROR_INVALID_PC
        | CUDA_ERROR_HARDWARE_STACK_ERROR
        | CUDA_ERROR_ASSERT
        | CUDA_ERROR_LAUNCH_FAILED
        | CUDA_ERROR_LAUNCH_TIMEOUT
        | CUDA_ERROR_UNKNOWN => {
            "start again with --resume, which goes on from the last checkpoint, because this process cannot use the card any more; if it happens again, please report it and the kernel that is named with SARM_CUDA_STEP=1, under which kernels wait for each other, slowly"
        }
        _ => {
            "please report it, a fault of sarm or of the driver; --device cpu works without the card"
        }
    }
}
