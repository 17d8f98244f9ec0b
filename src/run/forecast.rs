//! What a run takes of memory, worked out from the shape of the network before anything of it is allocated.

use super::room;
use crate::data::ImageSize;
use crate::device::Devices;
use crate::family::{Configuration, Demand, Lower, Model};

/// A network that this machine has too little memory for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this network has {parameters} parameters and takes {needed} to {work} ({available} are available); {remedy}"
)]
pub struct TooLarge {
    parameters: String,
    needed: String,
    work: &'static str,
    available: String,
    remedy: String,
}

/// What training `config` on images of `size` takes, where its family can say.
///
/// # Errors
/// More than the machine has left for this process.
pub fn training(
    config: &dyn Configuration,
    devices: &Devices,
    size: ImageSize,
) -> Result<Option<Demand>, TooLarge> {
    let on_card = devices.card_count() > 0;
    let Some(demand) = config.demand(size, on_card) else {
        return Ok(None);
    };
    check(demand, "train", |available| {
        match config.lower(size, on_card, available) {
            Lower::Fits(settings) => format!("lower {settings}"),
            Lower::Least(settings, bytes) => format!(
                "use fewer pixels or a machine with more memory, for even with {settings} it takes {}",
                room::size(bytes)
            ),
            Lower::Unknown => "use a smaller network or fewer pixels".into(),
        }
    })?;
    Ok(Some(demand))
}

/// What drawing from `model`, which is in memory already, takes besides.
///
/// # Errors
/// More than the machine has left for this process.
pub fn drawing(model: &dyn Model) -> Result<Demand, TooLarge> {
    let tensors = model.tensors();
    let parameters = tensors.iter().map(|t| t.size() as u64).sum();
    // The sampler lays out each weight that is not masked once, in single precision.
    let bytes = 4 * tensors.iter().map(|t| t.unmasked as u64).sum::<u64>();
    let demand = Demand { parameters, bytes };
    check(demand, "draw from", |_| {
        "use a machine with more memory or a smaller model".into()
    })?;
    Ok(demand)
}

fn check(
    demand: Demand,
    work: &'static str,
    remedy: impl FnOnce(u64) -> String,
) -> Result<(), TooLarge> {
    match room::memory() {
        Some(available) if available < demand.bytes => Err(TooLarge {
            parameters: count(demand.parameters),
            needed: room::size(demand.bytes),
            work,
            available: room::size(available),
            remedy: remedy(available),
        }),
        _ => Ok(()),
    }
}

/// `0.98 billion`, `17.8 million`, `950 000`: three figures.
pub fn count(n: u64) -> String {
    let (value, unit) = match n {
        0..1_000_000 => return n.to_string(),
        1_000_000..950_000_000 => (n as f64 / 1e6, "million"),
        _ => (n as f64 / 1e9, "billion"),
    };
    match value {
        v if v < 9.995 => format!("{v:.2} {unit}"),
        v if v < 99.95 => format!("{v:.1} {unit}"),
        v => format!("{v:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_three_figures() {
        for (n, text) in [
            (950_000, "950000"),
            (1_234_567, "1.23 million"),
            (17_839_800, "17.8 million"),
            (876_543_210, "877 million"),
            (976_543_210, "0.98 billion"),
            (4_294_967_295, "4.29 billion"),
        ] {
            assert_eq!(count(n), text);
        }
    }
}
