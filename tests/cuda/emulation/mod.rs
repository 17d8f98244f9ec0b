//! An emulated card: device memory is the host's, a launch runs the kernel's own source with a fiber for each
//! thread (`kernels/emulation/`; what is emulated and what is not: `docs/kernels.md`).
//!
//! Work is done where it is asked for, or, of [`Emulation::late`], not before somebody waits for it: what forgets to
//! wait reads what was there before, as it may on a card.
//!
//! Every launch has another schedule of its threads and blocks, drawn from a seed: `SARM_EMULATION_SEED`, or 1.
#![allow(dead_code)]

pub mod build;
mod stream;

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use libloading::Library;
use sarm::device::DeviceError;
use sarm::device::cuda::device::{
    Address, Device, HostMemory, Launch, Mark, Properties, Recording,
};

use build::Instrumentation;
use stream::{Marked, Stream, Task};

type LaunchFunction = unsafe extern "C" fn(
    *const c_char,
    u32,
    u32,
    u32,
    c_int,
    *const u8,
    usize,
    u64,
    *mut c_char,
    usize,
) -> c_int;
type KernelFunction = unsafe extern "C" fn(usize, *mut usize) -> *const c_char;
type WatchedFunction = unsafe extern "C" fn() -> c_int;
type LeaveOutFunction = unsafe extern "C" fn(*const c_char, c_int);
type SiteFunction = unsafe extern "C" fn(usize, *mut *const c_char) -> c_int;

/// The library of `kernels/emulation/library.cpp` and the kernels in it.
#[derive(Debug)]
pub struct Kernels {
    launch: LaunchFunction,
    kernel: KernelFunction,
    leave_out: LeaveOutFunction,
    site: SiteFunction,
    /// A sanitizer watches memory.
    watched: bool,
}

/// Environment variable that asks for a build with sanitizers, by a word of [`Instrumentation::word`]; the parent that sets it loads their
/// run-time first.
pub const SANITIZED: &str = "SARM_EMULATION_SANITIZED";

/// Whether this process was started to look for races.
pub fn looks_for_races() -> bool {
    std::env::var(SANITIZED).is_ok_and(|word| word == Instrumentation::Races.word())
}

impl Kernels {
    /// The project's kernels, built now if they are not yet.
    pub fn project() -> Arc<Self> {
        static LOADED: OnceLock<Arc<Kernels>> = OnceLock::new();
        Arc::clone(LOADED.get_or_init(|| Self::load(&build::PROJECT)))
    }

    /// Those of some folders of `kernels/`.
    pub fn load(folders: &[&str]) -> Arc<Self> {
        let instrumentation = match std::env::var(SANITIZED) {
            Ok(word) => Instrumentation::of(&word),
            Err(_) => Instrumentation::None,
        };
        let path = build::library(folders, instrumentation);
        // SAFETY: the library is this project's own; its initialisers only fill its table of kernels.
        let library = unsafe { Library::new(&path) }.unwrap_or_else(|e| panic!("{e}"));
        // SAFETY: the types are those of kernels/emulation/library.cpp.
        let kernels = unsafe {
            Self {
                launch: *library.get(b"sarm_emulation_launch\0").unwrap(),
                kernel: *library.get(b"sarm_emulation_kernel\0").unwrap(),
                leave_out: *library.get(b"sarm_emulation_leave_out\0").unwrap(),
                site: *library.get(b"sarm_emulation_site\0").unwrap(),
                watched: library
                    .get::<WatchedFunction>(b"sarm_emulation_watched\0")
                    .unwrap()()
                    != 0,
            }
        };
        // Its code stays: threads keep their emulated machines until they end.
        std::mem::forget(library);
        Arc::new(kernels)
    }

    /// Launches of this thread do as if the barrier or wait at a line of a file (`folder/name`) were not there, if any, and
    /// [`sites`](Self::sites) lists those that they come to from now on.
    pub fn leave_out(&self, site: Option<(&str, u32)>) {
        let (file, line) = site.unwrap_or_default();
        let file = CString::new(file).expect("a name without zeros");
        // SAFETY: the function copies the name.
        unsafe { (self.leave_out)(file.as_ptr(), line as c_int) };
    }

    /// Files and lines of barriers and waits.
    pub fn sites(&self) -> Vec<(String, u32)> {
        let site = |index| {
            let mut file = std::ptr::null();
            // SAFETY: the function takes any index, and writes a name where there is a site.
            let line = unsafe { (self.site)(index, &mut file) };
            // SAFETY: a name is a string literal of the library, which stays loaded.
            (line > 0).then(|| (unsafe { CStr::from_ptr(file) }, line as u32))
        };
        let all = (0..).map_while(site);
        // The folder and the name.
        let short = |path: &str| {
            let parts: Vec<&str> = path.rsplitn(3, '/').take(2).collect();
            parts.into_iter().rev().collect::<Vec<_>>().join("/")
        };
        all.map(|(file, line)| (short(file.to_str().unwrap()), line))
            .collect()
    }

    /// Names of the kernels and sizes of their parameters, bytes.
    pub fn list(&self) -> BTreeMap<String, usize> {
        let mut found = BTreeMap::new();
        for index in 0.. {
            let mut size = 0;
            // SAFETY: the function takes any index and writes one size.
            let name = unsafe { (self.kernel)(index, &mut size) };
            if name.is_null() {
                break;
            }
            // SAFETY: a name is a string literal of the library, which stays loaded.
            let name = unsafe { CStr::from_ptr(name) };
            found.insert(name.to_str().unwrap().to_string(), size);
        }
        found
    }
}

/// Bytes before and behind an allocation that nobody may change; a sanitizer has its own.
const GUARD: usize = 256;
const GUARD_BYTE: u8 = 0xA5;

/// The state that launches and recordings share.
#[derive(Debug)]
struct Shared {
    kernels: Arc<Kernels>,
    properties: Properties,
    seed: u64,
    launches: AtomicU64,
    /// Size of each allocation by its address.
    allocations: Mutex<BTreeMap<u64, usize>>,
    late: bool,
    stream: Mutex<Stream>,
}

/// The seed that schedules start from.
pub fn seed() -> u64 {
    std::env::var("SARM_EMULATION_SEED").map_or(1, |text| {
        text.parse()
            .unwrap_or_else(|e| panic!("SARM_EMULATION_SEED={text}: {e}"))
    })
}

/// The emulated card.
#[derive(Debug, Clone)]
pub struct Emulation(Arc<Shared>);

impl Emulation {
    /// A card with the project's kernels.
    pub fn new() -> Self {
        Self::seeded(seed())
    }

    /// One whose schedules come from `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self::with(Kernels::project(), seed, 1 << 30)
    }

    /// One that does nothing before somebody waits for it, and then no more than is waited for.
    pub fn late() -> Self {
        Self::made(Kernels::project(), seed(), 1 << 30, true)
    }

    /// One with `memory` bytes in all.
    pub fn with(kernels: Arc<Kernels>, seed: u64, memory: u64) -> Self {
        Self::made(kernels, seed, memory, false)
    }

    fn made(kernels: Arc<Kernels>, seed: u64, memory: u64, late: bool) -> Self {
        Self(Arc::new(Shared {
            kernels,
            // Those of an H100, on which the number of processors and the shared memory shape the launches;
            // two processors, for cooperative launches keep every block alive at once.
            properties: Properties {
                name: "emulation".into(),
                uuid: None,
                capability: (9, 0),
                multiprocessors: 2,
                shared_per_block: 227 * 1024,
                shared_per_multiprocessor: 228 * 1024,
                l2: 50 << 20,
                memory,
            },
            seed,
            launches: AtomicU64::new(0),
            allocations: Mutex::default(),
            late,
            stream: Mutex::default(),
        }))
    }

    /// The same as a device.
    pub fn device(self) -> Arc<dyn Device> {
        Arc::new(self)
    }
}

fn failed<T>(message: String) -> Result<T, DeviceError> {
    Err(DeviceError::Other(message))
}

impl Shared {
    fn guard(&self) -> usize {
        if self.kernels.watched { 0 } else { GUARD }
    }

    fn layout(&self, bytes: usize) -> Layout {
        Layout::from_size_align(bytes + 2 * self.guard(), 256)
            .expect("a size below the address space")
    }

    fn used(&self) -> u64 {
        self.allocations
            .lock()
            .unwrap()
            .values()
            .map(|b| *b as u64)
            .sum()
    }

    /// The place of `count` bytes from `at` on, if they lie in one allocation.
    fn range(&self, what: &str, at: Address, count: usize) -> Result<*mut u8, DeviceError> {
        let allocations = self.allocations.lock().unwrap();
        let found = allocations.range(..=at.0).next_back();
        match found {
            Some((start, size)) if at.0 + count as u64 <= start + *size as u64 => {
                Ok(at.0 as *mut u8)
            }
            Some((start, size)) if at.0 < start + *size as u64 => failed(format!(
                "{what} of {count} bytes at byte {} of an allocation of {size}",
                at.0 - start
            )),
            _ => failed(format!(
                "{what} of {count} bytes at {:#x}, which is in no allocation",
                at.0
            )),
        }
    }

    /// Whether an allocation's surroundings are as they were.
    fn check_guards(&self) -> Result<(), String> {
        for (&start, &size) in self.allocations.lock().unwrap().iter() {
            for (name, from) in [
                ("before", start - self.guard() as u64),
                ("past", start + size as u64),
            ] {
                // SAFETY: `allocate` made this many bytes on either side.
                let guard = unsafe { std::slice::from_raw_parts(from as *const u8, self.guard()) };
                if guard.iter().any(|b| *b != GUARD_BYTE) {
                    return Err(format!("it writes {name} an allocation of {size} bytes"));
                }
            }
        }
        Ok(())
    }

    /// # Safety
    /// As for [`Device::launch`].
    unsafe fn launch(&self, launch: &Launch) -> Result<(), DeviceError> {
        let number = self.launches.fetch_add(1, Ordering::Relaxed);
        let report = |problem: &str| {
            failed(format!(
                "kernel {} ({} blocks of {} threads): {problem} (launch {number}, SARM_EMULATION_SEED={})",
                launch.kernel, launch.blocks, launch.threads, self.seed
            ))
        };
        if launch.shared > self.properties.shared_per_block {
            return report(&format!(
                "{} bytes of shared memory, a block has {}",
                launch.shared, self.properties.shared_per_block
            ));
        }
        let name = CString::new(launch.kernel).expect("a name without zeros");
        let mut message = [0 as c_char; 1500];
        // SAFETY: name, parameter and message are as long as is said; the library checks the parameter's size
        // against the kernel's; what it points to is the caller's promise.
        let status = unsafe {
            (self.kernels.launch)(
                name.as_ptr(),
                launch.blocks,
                launch.threads,
                launch.shared,
                c_int::from(launch.cooperative),
                launch.parameter.as_ptr(),
                launch.parameter.len(),
                // Far apart for neighbouring seeds and launches.
                self.seed
                    .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                    .wrapping_add(number),
                message.as_mut_ptr(),
                message.len(),
            )
        };
        if status != 0 {
            // SAFETY: the library ends the message with a 0.
            let message = unsafe { CStr::from_ptr(message.as_ptr()) };
            return report(&message.to_string_lossy());
        }
        self.check_guards().or_else(|problem| report(&problem))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let allocations = std::mem::take(&mut *self.allocations.lock().unwrap());
        for (start, size) in allocations {
            let layout = self.layout(size);
            let start = start - self.guard() as u64;
            // SAFETY: allocated with this layout and not released yet, for it is in the list.
            unsafe { std::alloc::dealloc(start as *mut u8, layout) }
        }
    }
}

impl Device for Emulation {
    fn properties(&self) -> &Properties {
        &self.0.properties
    }

    fn free_memory(&self) -> Result<u64, DeviceError> {
        Ok(self.0.properties.memory - self.0.used())
    }

    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError> {
        let free = self.free_memory()?;
        if bytes as u64 > free {
            return failed(format!(
                "out of memory: {bytes} bytes asked for, {free} are free"
            ));
        }
        let layout = self.0.layout(bytes);
        let guard = self.0.guard();
        assert!(layout.size() > 0, "an allocation of 0 bytes");
        // SAFETY: the layout is not empty, by the line above.
        let start = unsafe { std::alloc::alloc(layout) };
        assert!(!start.is_null(), "no memory");
        // SAFETY: the range is the allocation.
        unsafe {
            start.write_bytes(GUARD_BYTE, layout.size());
            start.add(guard).write_bytes(0xFF, bytes);
        }
        let address = start as u64 + guard as u64;
        self.0.allocations.lock().unwrap().insert(address, bytes);
        Ok(Address(address))
    }

    unsafe fn release(&self, address: Address) {
        // A failure stays, and comes out where somebody waits.
        self.0.wait(self.0.asked()).ok();
        let size = self.0.allocations.lock().unwrap().remove(&address.0);
        let size = size.expect("an address that was allocated and not released");
        let start = address.0 - self.0.guard() as u64;
        // SAFETY: `allocate` made it with this layout, and it was in the list until now.
        unsafe { std::alloc::dealloc(start as *mut u8, self.0.layout(size)) }
    }

    unsafe fn write(&self, to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        // SAFETY: a write is no launch.
        unsafe { self.0.ask(Task::Write(to, bytes.to_vec())) }
    }

    unsafe fn read(&self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.synchronise()?;
        // SAFETY: the caller's promise; all work is done.
        unsafe { self.read_aside(from, bytes) }
    }

    unsafe fn fill(&self, to: Address, byte: u8, count: usize) -> Result<(), DeviceError> {
        // SAFETY: a fill is no launch.
        unsafe { self.0.ask(Task::Fill(to, byte, count)) }
    }

    unsafe fn launch(&self, launch: &Launch) -> Result<(), DeviceError> {
        // SAFETY: the caller's promise.
        unsafe { self.0.ask(Task::Launch(launch.clone())) }
    }

    unsafe fn record(&self, launches: &[Launch]) -> Result<Box<dyn Recording>, DeviceError> {
        Ok(Box::new(Recorded {
            device: Arc::clone(&self.0),
            launches: launches.to_vec(),
        }))
    }

    fn synchronise(&self) -> Result<(), DeviceError> {
        self.0.wait(self.0.asked())
    }

    fn mark(&self) -> Result<Box<dyn Mark>, DeviceError> {
        Ok(Box::new(Marked {
            device: Arc::clone(&self.0),
            asked: self.0.asked(),
        }))
    }

    fn host_memory(&self, bytes: usize) -> Result<Box<dyn HostMemory>, DeviceError> {
        Ok(Box::new(Bytes(vec![0; bytes])))
    }

    unsafe fn read_aside(&self, from: Address, to: &mut [u8]) -> Result<(), DeviceError> {
        let start = self.0.range("read", from, to.len())?;
        // SAFETY: `range` found the bytes in one allocation.
        unsafe { start.copy_to_nonoverlapping(to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    fn time(&self, recording: &dyn Recording) -> Result<f64, DeviceError> {
        let start = Instant::now();
        recording.replay()?;
        self.synchronise()?;
        Ok(start.elapsed().as_secs_f64())
    }
}

struct Recorded {
    device: Arc<Shared>,
    launches: Vec<Launch>,
}

impl Recording for Recorded {
    fn replay(&self) -> Result<(), DeviceError> {
        for launch in &self.launches {
            // SAFETY: whoever recorded them promised it for every replay.
            unsafe { self.device.ask(Task::Launch(launch.clone()))? };
        }
        Ok(())
    }
}

/// Memory that no device knows of.
pub struct Bytes(pub Vec<u8>);

impl HostMemory for Bytes {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
