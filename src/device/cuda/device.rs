//! What the CUDA engine asks of a device: memory, copies, launches, recorded sequences, time.
//!
//! The driver implements it for a card (feature `cuda`), the tests for an emulation of one, so the
//! whole engine above it is one piece of code that runs with and without a card. All work of a device
//! is done in the order in which it was asked for, as on one CUDA stream; only [`Device::read_aside`]
//! goes past it.

use std::marker::PhantomData;
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use crate::device::DeviceError;

/// An address in a device's memory. 0 stands for "not wanted", as a null pointer does in a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Address(pub u64);

impl Address {
    /// The null pointer.
    pub const NULL: Address = Address(0);
}

/// What a device is, for sizing launches and for reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Properties {
    /// The card's name.
    pub name: String,
    /// What NVIDIA's tools know it by, whatever they count: `GPU-..`, of an instance of MIG `MIG-..`.
    pub uuid: Option<String>,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Shared memory that one block may ask for, bytes.
    pub shared_per_block: u32,
    /// Shared memory of a multiprocessor, bytes.
    pub shared_per_multiprocessor: u32,
    /// Second-level cache, bytes.
    pub l2: u64,
    /// Device memory in all, bytes.
    pub memory: u64,
}

/// One kernel launch: a kernel of `kernels/` by name, its grid, and the bytes of its one parameter.
///
/// Grids and blocks are one-dimensional.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Blocks in the grid.
    pub blocks: u32,
    /// Threads in a block, a multiple of 32.
    pub threads: u32,
    /// Dynamic shared memory of a block, bytes.
    pub shared: u32,
    /// All blocks must be resident together, because they wait for each other.
    pub cooperative: bool,
    /// The kernel's parameter.
    pub parameter: Vec<u8>,
}

impl Launch {
    /// A launch with `parameter`, which must have the layout of the kernel's own structure.
    pub fn new(kernel: &'static str, blocks: u32, threads: u32, parameter: &impl Pod) -> Self {
        Self {
            kernel,
            blocks,
            threads,
            shared: 0,
            cooperative: false,
            parameter: bytemuck::bytes_of(parameter).to_vec(),
        }
    }

    /// The same with `bytes` of dynamic shared memory a block.
    pub fn with_shared(mut self, bytes: u32) -> Self {
        self.shared = bytes;
        self
    }
}

/// A card, or an emulation of one.
pub trait Device: Send + Sync {
    /// What it is.
    fn properties(&self) -> &Properties;

    /// Device memory that is free now, bytes.
    ///
    /// # Errors
    /// [`DeviceError::Failed`] where a call of the driver fails, and it may be for work that was asked for earlier.
    fn free_memory(&self) -> Result<u64, DeviceError>;

    /// `bytes` of memory, aligned to 256 bytes, contents undefined.
    ///
    /// # Errors
    /// [`DeviceError::Memory`] where less is free; otherwise as [`free_memory`](Self::free_memory).
    fn allocate(&self, bytes: usize) -> Result<Address, DeviceError>;

    /// Give memory back, after all work asked for so far.
    ///
    /// # Safety
    /// `address` came from [`allocate`](Self::allocate) of this device, once, and no later work uses it.
    unsafe fn release(&self, address: Address);

    /// Copy to the device.
    ///
    /// # Safety
    /// `bytes.len()` bytes from `to` on lie in one allocation of this device.
    ///
    /// # Errors
    /// As [`free_memory`](Self::free_memory).
    unsafe fn write(&self, to: Address, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Copy from the device, after all work asked for so far.
    ///
    /// # Safety
    /// `bytes.len()` bytes from `from` on lie in one allocation of this device.
    ///
    /// # Errors
    /// As [`free_memory`](Self::free_memory).
    unsafe fn read(&self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Set `count` bytes to `byte`.
    ///
    /// # Safety
    /// `count` bytes from `to` on lie in one allocation of this device.
    ///
    /// # Errors
    /// As [`free_memory`](Self::free_memory).
    unsafe fn fill(&self, to: Address, byte: u8, count: usize) -> Result<(), DeviceError>;

    /// Run a kernel.
    ///
    /// # Safety
    /// The parameter is of the kernel's type, and what it points to is allocated on this device, of the
    /// sizes that the kernel states.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] for more shared memory than a block has, [`DeviceError::Fault`] for a kernel that is
    /// not there, a parameter of another size, no blocks or threads, or too many threads; otherwise as
    /// [`free_memory`](Self::free_memory).
    unsafe fn launch(&self, launch: &Launch) -> Result<(), DeviceError>;

    /// Record a sequence of launches that can be replayed as one: a CUDA graph.
    ///
    /// # Safety
    /// As for [`launch`](Self::launch), of each, at every replay.
    ///
    /// # Errors
    /// As [`launch`](Self::launch), of each.
    unsafe fn record(&self, launches: &[Launch]) -> Result<Box<dyn Recording>, DeviceError>;

    /// Wait until all work asked for so far is done, and report its failure if it failed.
    ///
    /// # Errors
    /// [`DeviceError::Failed`] where work failed.
    fn synchronise(&self) -> Result<(), DeviceError>;

    /// A mark behind all work asked for so far.
    ///
    /// # Errors
    /// As [`free_memory`](Self::free_memory).
    fn mark(&self) -> Result<Box<dyn Mark>, DeviceError>;

    /// `bytes` of page-locked memory of the host, all 0: copies to it run at the full speed of the bus, beside
    /// other work of the device.
    ///
    /// # Errors
    /// [`DeviceError::Memory`] where the host cannot lock as much; otherwise as [`free_memory`](Self::free_memory).
    fn host_memory(&self, bytes: usize) -> Result<Box<dyn HostMemory>, DeviceError>;

    /// Copy from the device beside the work under way, done on return. It waits for no work: the caller has
    /// waited for a [`mark`](Self::mark) behind what wrote the source.
    ///
    /// # Safety
    /// `to.len()` bytes from `from` on lie in one allocation of this device, and no work under way writes
    /// them.
    ///
    /// # Errors
    /// As [`free_memory`](Self::free_memory).
    unsafe fn read_aside(&self, from: Address, to: &mut [u8]) -> Result<(), DeviceError>;

    /// Seconds that `recording` takes on the device, by its own clock, once. Where no work is under way that
    /// hides it, the time that the host takes to hand it in counts.
    ///
    /// # Errors
    /// [`DeviceError::Failed`] where work failed.
    fn time(&self, recording: &dyn Recording) -> Result<f64, DeviceError>;
}

/// A recorded sequence of launches.
pub trait Recording: Send {
    /// Run it once more.
    ///
    /// # Errors
    /// [`DeviceError::Failed`] where the driver refuses it, and it may be for work that was asked for earlier.
    fn replay(&self) -> Result<(), DeviceError>;
}

/// A point in the work of a device.
pub trait Mark: Send {
    /// Wait until all work before it is done, and report its failure if it failed.
    ///
    /// # Errors
    /// [`DeviceError::Failed`] where that work failed.
    fn wait(&self) -> Result<(), DeviceError>;
}

/// Page-locked memory of the host, given back when dropped.
pub trait HostMemory: Send {
    /// What it holds.
    fn bytes(&self) -> &[u8];

    /// The same, to be overwritten.
    fn bytes_mut(&mut self) -> &mut [u8];
}

/// Device memory that holds `len` values of `T`, given back when dropped.
pub struct Memory<T> {
    device: Arc<dyn Device>,
    address: Address,
    len: usize,
    holds: PhantomData<T>,
}

impl<T: Pod> Memory<T> {
    /// Room for `len` values, all bits 0.
    ///
    /// # Errors
    /// As [`Device::allocate`].
    pub fn zeros(device: &Arc<dyn Device>, len: usize) -> Result<Self, DeviceError> {
        // An empty allocation is no address: nothing would tell it from "not wanted".
        let address = device.allocate((len * size_of::<T>()).max(1))?;
        let memory = Self {
            device: Arc::clone(device),
            address,
            len,
            holds: PhantomData,
        };
        memory.fill(0)?;
        Ok(memory)
    }

    /// A copy of `values`.
    ///
    /// # Errors
    /// As [`Device::allocate`].
    pub fn from(device: &Arc<dyn Device>, values: &[T]) -> Result<Self, DeviceError> {
        let mut memory = Self::zeros(device, values.len())?;
        memory.write(0, values)?;
        Ok(memory)
    }

    /// Values that it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Address of value number `index`, which may be one past the last.
    ///
    /// # Panics
    /// Where `index` is beyond that.
    pub fn at(&self, index: usize) -> Address {
        assert!(index <= self.len, "value {index} of {}", self.len);
        Address(self.address.0 + (index * size_of::<T>()) as u64)
    }

    /// Address of the first value.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Set every byte to `byte`.
    ///
    /// # Errors
    /// As [`Device::fill`].
    pub fn fill(&self, byte: u8) -> Result<(), DeviceError> {
        // SAFETY: the range is this allocation.
        unsafe {
            self.device
                .fill(self.address, byte, self.len * size_of::<T>())
        }
    }

    /// Overwrite the values from number `first` on.
    ///
    /// # Errors
    /// As [`Device::write`].
    ///
    /// # Panics
    /// Where the values would end beyond the memory's.
    pub fn write(&mut self, first: usize, values: &[T]) -> Result<(), DeviceError> {
        assert!(first + values.len() <= self.len);
        // SAFETY: the range lies in this allocation, by the line above.
        unsafe {
            self.device
                .write(self.at(first), bytemuck::cast_slice(values))
        }
    }

    /// Read values from number `first` on, after all work asked for so far.
    ///
    /// # Errors
    /// As [`Device::read`].
    ///
    /// # Panics
    /// Where the values would end beyond the memory's.
    pub fn read(&self, first: usize, values: &mut [T]) -> Result<(), DeviceError> {
        assert!(first + values.len() <= self.len);
        // SAFETY: the range lies in this allocation, by the line above.
        unsafe {
            self.device
                .read(self.at(first), bytemuck::cast_slice_mut(values))
        }
    }

    /// All values, after all work asked for so far.
    ///
    /// # Errors
    /// As [`Device::read`].
    pub fn to_vec(&self) -> Result<Vec<T>, DeviceError> {
        let mut values = vec![T::zeroed(); self.len];
        self.read(0, &mut values)?;
        Ok(values)
    }
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        // SAFETY: the address came from this device, and the memory is given back here alone.
        unsafe { self.device.release(self.address) }
    }
}
