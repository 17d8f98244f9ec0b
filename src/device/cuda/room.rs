//! Whether something fits into a device's memory.

use std::sync::Arc;

use super::device::Device;
use crate::device::EngineError;

/// Refuse what cannot fit before anything is allocated. `what`: bytes and what they are for.
pub fn check_room(
    device: &Arc<dyn Device>,
    what: &[(u64, String)],
    remedy: &str,
) -> Result<(), EngineError> {
    let (needed, free) = (what.iter().map(|w| w.0).sum::<u64>(), device.free_memory()?);
    if needed <= free {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    // The parts add up to the whole as printed.
    let needed: u64 = what.iter().map(|w| mib(w.0)).sum();
    let parts: Vec<String> = what
        .iter()
        .map(|(bytes, name)| format!("{} MiB for {name}", mib(*bytes)))
        .collect();
    Err(EngineError::Device(format!(
        "{} has too little free memory: {} MiB are needed ({}), {} MiB are free; {remedy}",
        device.properties().name,
        needed,
        parts.join(", "),
        mib(free),
    )))
}

/// Refuse what would take more of the device's memory than a user allows it.
pub fn check_limit(limit: Option<u64>, needed: u64) -> Result<(), EngineError> {
    match limit.filter(|limit| *limit < needed) {
        None => Ok(()),
        Some(limit) => Err(EngineError::Device(format!(
            "the limit on device memory is {}, {} are needed at the least; raise --max-memory",
            size(limit),
            size(needed),
        ))),
    }
}

/// Bytes for a person: KiB where MiB would be too coarse.
fn size(bytes: u64) -> String {
    match bytes.div_ceil(1 << 10) {
        kib @ 0..16_384 => format!("{kib} KiB"),
        kib => format!("{} MiB", kib.div_ceil(1 << 10)),
    }
}
