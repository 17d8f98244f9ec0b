//! Whether something fits into a device's memory.

use std::sync::Arc;

use super::device::Device;
use crate::device::DeviceError;

/// Part of the free memory that is left alone, for what the driver needs itself and for the pages of buffers that are counted together.
const SPARE: u64 = 16;
/// What the driver takes for a large buffer is a multiple of this, bytes.
const PAGE: u64 = 2 << 20;

/// What `bytes` of buffers take at the least: small ones share a page.
fn taken(bytes: u64) -> u64 {
    match bytes < PAGE / 2 {
        true => bytes,
        false => bytes.div_ceil(PAGE) * PAGE,
    }
}

/// Of `free` bytes, those that may be taken.
pub fn usable(free: u64) -> u64 {
    free - free / SPARE
}

/// Whether buffers of so many bytes each fit into `free` bytes.
pub fn fits(free: u64, bytes: &[u64]) -> bool {
    let needed = bytes
        .iter()
        .fold(0u64, |sum, one| sum.saturating_add(taken(*one)));
    needed <= usable(free)
}

/// Refuse what cannot fit before anything is allocated. `what`: bytes and what they are for.
pub fn check_room(
    device: &Arc<dyn Device>,
    what: &[(u64, String)],
    remedy: &str,
) -> Result<(), DeviceError> {
    let free = device.free_memory()?;
    let bytes: Vec<u64> = what.iter().map(|part| part.0).collect();
    if fits(free, &bytes) {
        return Ok(());
    }
    let needed = bytes.iter().map(|one| taken(*one)).sum::<u64>();
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    // The parts add up to the whole as printed.
    let shown: u64 = what.iter().map(|w| mib(taken(w.0))).sum();
    let parts: Vec<String> = what
        .iter()
        .map(|(bytes, name)| format!("{} MiB for {name}", mib(taken(*bytes))))
        .collect();
    Err(DeviceError::Memory {
        needed,
        free: Some(free),
        why: format!(
            "{} has too little free memory: {shown} MiB are needed ({}), {} MiB are free, of which a {SPARE}th is left to the driver; {remedy}",
            device.properties().name,
            parts.join(", "),
            mib(free),
        ),
    })
}

/// Refuse what would take more of the device's memory than a user allows it.
pub fn check_limit(limit: Option<u64>, needed: u64) -> Result<(), DeviceError> {
    match limit.filter(|limit| *limit < needed) {
        None => Ok(()),
        Some(allowed) => Err(DeviceError::Limit { allowed, needed }),
    }
}
