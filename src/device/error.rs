//! Why a device is not there, or could not do its work.

/// What to do about a driver of CUDA release `found`, where no build runs on drivers before `oldest`.
fn for_driver(found: (u32, u32), oldest: (u32, u32)) -> String {
    match found < oldest {
        true => format!(
            "update it or use --device cpu: no build of sarm runs on drivers before CUDA {}.{}",
            oldest.0, oldest.1
        ),
        false => format!(
            "update it, build sarm with an nvcc of CUDA {}, whose programs run on this driver (NVCC=.. make cuda), or use --device cpu",
            found.0
        ),
    }
}

/// Why a device is not there, or could not do its work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// This program was built without what drives cards.
    #[error(
        "this sarm was built without CUDA (feature 'cuda'); for an NVIDIA card build it with 'make cuda', or use --device cpu"
    )]
    NotBuilt,
    /// No driver that can be used, no device, or not the one that was asked for.
    #[error("{0}")]
    Missing(String),
    /// The driver is older than this program's kernels: releases of CUDA, major and minor.
    #[error(
        "the NVIDIA driver is too old (it is of CUDA {}.{}; this sarm was built with nvcc {}.{} and needs one of CUDA {}.{} or newer); {}",
        found.0, found.1, built.0, built.1, needed.0, needed.1, for_driver(*found, *oldest)
    )]
    OldDriver {
        /// The driver's.
        found: (u32, u32),
        /// The oldest that does.
        needed: (u32, u32),
        /// Of the compiler of the kernels.
        built: (u32, u32),
        /// The oldest that any build does with.
        oldest: (u32, u32),
    },
    /// A card is older than this program's kernels: compute capabilities, major and minor.
    #[error(
        "{name} is too old (its compute capability is {}.{}, needed is {}.{} or newer); choose another card or use --device cpu",
        found.0, found.1, needed.0, needed.1
    )]
    OldCard {
        /// The card.
        name: String,
        /// Its.
        found: (u32, u32),
        /// The oldest that does.
        needed: (u32, u32),
    },
    /// Too little free memory, of a card or of the host.
    #[error("{why}")]
    Memory {
        /// Bytes that are wanted now.
        needed: u64,
        /// Bytes that are free, where that is known.
        free: Option<u64>,
        /// Whose memory, what for, and what to do.
        why: String,
    },
    /// More memory than a user allows.
    #[error(
        "the limit on device memory is {}, {} are needed at the least; raise --max-memory",
        size(*allowed), size(*needed)
    )]
    Limit {
        /// Bytes that may be taken.
        allowed: u64,
        /// Bytes that are needed.
        needed: u64,
    },
    /// What was asked for cannot run on such a device.
    #[error("{0}")]
    Unsupported(String),
    /// A call of the driver failed.
    #[error("{why}")]
    Failed {
        /// The call.
        call: &'static str,
        /// The driver's number for the error.
        code: u32,
        /// Both, while doing what, what the driver says of it, and what to do.
        why: String,
    },
    /// This program contradicts itself.
    #[error("{0}")]
    Fault(String),
    /// Of one of several devices.
    #[error("{device}: {error}")]
    On {
        /// Which.
        device: String,
        /// What.
        error: Box<DeviceError>,
    },
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl DeviceError {
    /// Of models of `family` on a card.
    pub(crate) fn processor_alone(family: &str) -> Self {
        Self::Unsupported(format!(
            "this does not run on a card (models of the family {family} are trained and drawn there, and no more); give --device cpu"
        ))
    }

    /// Of several devices where one does the work.
    pub(crate) fn one_alone(work: &str) -> Self {
        Self::Unsupported(format!(
            "{work} runs on one device, not on several; give one"
        ))
    }

    /// Of a limit on memory where images are drawn on the processor.
    pub(crate) fn memory_of_a_card_alone(bytes: u64) -> Self {
        Self::Unsupported(format!(
            "images are drawn on the CPU, whose memory is not limited (--max-memory {bytes} is for cards); leave it out or give --device cuda"
        ))
    }

    /// The same, as that of one of several devices.
    pub fn on(self, device: impl Into<String>) -> Self {
        Self::On {
            device: device.into(),
            error: Box::new(self),
        }
    }
}

impl From<&str> for DeviceError {
    fn from(why: &str) -> Self {
        Self::Other(why.into())
    }
}

/// Bytes for a person: KiB where MiB would be too coarse.
fn size(bytes: u64) -> String {
    match bytes.div_ceil(1 << 10) {
        kib @ 0..16_384 => format!("{kib} KiB"),
        kib => format!("{} MiB", kib.div_ceil(1 << 10)),
    }
}
