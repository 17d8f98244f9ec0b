//! Whether something fits into a device's memory.

use std::sync::Arc;

use super::device::Device;
use crate::device::DeviceError;

/// Refuse what cannot fit before anything is allocated. `what`: bytes and what they are for.
pub fn check_room(
    device: &Arc<dyn Device>,
    what: &[(u64, String)],
    remedy: &str,
) -> Result<(), DeviceError> {
    let (needed, free) = (what.iter().map(|w| w.0).sum::<u64>(), device.free_memory()?);
    if needed <= free {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    // The parts add up to the whole as printed.
    let shown: u64 = what.iter().map(|w| mib(w.0)).sum();
    let parts: Vec<String> = what
        .iter()
        .map(|(bytes, name)| format!("{} MiB for {name}", mib(*bytes)))
        .collect();
    Err(DeviceError::Memory {
        needed,
        free: Some(free),
        why: format!(
            "{} has too little free memory: {shown} MiB are needed ({}), {} MiB are free; {remedy}",
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
