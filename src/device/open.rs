//! The devices that a choice names, opened.

use std::sync::Arc;

use super::cuda::device::Device;
use super::cuda::driver;
use super::{Cards, Cpu, DeviceChoice, DeviceError};

/// A card of this machine, or what stands in for one.
#[derive(Clone)]
pub struct Card {
    /// What `--device` calls it: `cuda:0`. Errors of one among several carry it.
    pub name: String,
    /// The card.
    pub device: Arc<dyn Device>,
}

impl Card {
    /// `cuda, NVIDIA H100, 132 multiprocessors, 80 GiB`.
    pub fn describe(&self) -> String {
        let p = self.device.properties();
        format!(
            "cuda, {}, {} multiprocessors, {:.0} GiB",
            p.name,
            p.multiprocessors,
            p.memory as f64 / f64::from(1 << 30)
        )
    }

    /// As [`Devices::arithmetic`].
    pub fn arithmetic(&self) -> String {
        let (major, minor) = self.device.properties().capability;
        format!("bf16, sm_{major}{minor}")
    }
}

/// Where a model runs: the processor, or one card or several of one kind.
#[derive(Clone)]
pub enum Devices {
    /// The processor.
    Cpu(Cpu),
    /// Cards that work together.
    Cards(CardList),
}

/// Cards, at least one, all of one arithmetic: [`Devices::cards`] makes it.
#[derive(Clone)]
pub struct CardList(Vec<Card>);

impl std::ops::Deref for CardList {
    type Target = [Card];

    fn deref(&self) -> &[Card] {
        &self.0
    }
}

impl Devices {
    /// The processor with `threads` threads, 0 for one per core.
    ///
    /// # Errors
    /// As [`Cpu::new`].
    pub fn cpu(threads: usize) -> Result<Self, DeviceError> {
        Ok(Self::Cpu(Cpu::new(threads)?))
    }

    /// Cards that draw together.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] where two of them would draw different images, [`DeviceError::Missing`] without any.
    pub fn cards(cards: Vec<Card>) -> Result<Self, DeviceError> {
        if cards.is_empty() {
            return Err(DeviceError::Missing(
                "there is no device to run on; name one".into(),
            ));
        }
        let mut pairs = cards.iter().zip(&cards[1..]);
        match pairs.find(|(a, b)| a.arithmetic() != b.arithmetic()) {
            Some((a, b)) => Err(DeviceError::Unsupported(format!(
                "{} and {} would draw different images (in {}, and in {}); give devices of one kind",
                a.name,
                b.name,
                a.arithmetic(),
                b.arithmetic()
            ))),
            None => Ok(Self::Cards(CardList(cards))),
        }
    }

    /// Devices and instruction set, for reports: `cpu, 2 threads, avx2`.
    pub fn describe(&self) -> String {
        match self {
            Self::Cpu(cpu) => cpu.describe(),
            Self::Cards(cards) => {
                let described: Vec<_> = cards.iter().map(Card::describe).collect();
                match described.as_slice() {
                    [one] => one.clone(),
                    [first, others @ ..] if others.iter().all(|d| d == first) => {
                        format!("{} x {first}", described.len())
                    }
                    _ => described.join(" + "),
                }
            }
        }
    }

    /// What images drawn here depend on besides model, plan and number: devices of one arithmetic draw the same images
    /// bit for bit, others may not. ASCII, at most 32 bytes: `float32`.
    pub fn arithmetic(&self) -> String {
        match self {
            Self::Cpu(_) => "float32".into(),
            Self::Cards(cards) => cards.first().map_or(String::new(), Card::arithmetic),
        }
    }

    /// How many cards; 0: the processor.
    pub fn card_count(&self) -> usize {
        match self {
            Self::Cpu(_) => 0,
            Self::Cards(cards) => cards.len(),
        }
    }
}

/// What devices are opened for: not every one can do everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Training.
    Training,
    /// Likelihoods of given images.
    Scoring,
    /// Drawing images.
    Sampling,
}

/// Devices, and what their user should hear about the choice.
#[derive(Clone)]
pub struct Opened {
    /// The devices.
    pub devices: Devices,
    /// Why `auto` took the CPU, in a program that was built to use cards.
    pub remark: Option<String>,
}

impl Opened {
    /// The processor in place of a card that `auto` could not use because of `problem`.
    ///
    /// # Errors
    /// As [`Cpu::new`].
    pub fn cpu_instead(
        threads: usize,
        problem: &dyn std::fmt::Display,
    ) -> Result<Self, DeviceError> {
        Ok(Self {
            devices: Devices::cpu(threads)?,
            remark: Some(format!("running on the CPU: {problem}")),
        })
    }
}

/// The devices that `choice` asks for, able to do `task`; `threads` as for [`Cpu::new`].
///
/// # Errors
/// Why there is no such device; [`DeviceError::Unsupported`] of several cards for what one alone does.
pub fn open(choice: &DeviceChoice, threads: usize, task: Task) -> Result<Opened, DeviceError> {
    let found = |devices| {
        Ok(Opened {
            devices,
            remark: None,
        })
    };
    match (choice, task) {
        (DeviceChoice::Cuda(cards), Task::Sampling) => found(several(cards)?),
        (DeviceChoice::Cuda(cards), Task::Training) => found(one(cards.one("training")?)?),
        (DeviceChoice::Cuda(cards), Task::Scoring) => found(one(cards.one("scoring")?)?),
        (DeviceChoice::Auto, Task::Training | Task::Sampling) if driver::BUILT => match first() {
            Ok(card) => found(Devices::cards(vec![card])?),
            Err(problem) => Opened::cpu_instead(threads, &problem),
        },
        (DeviceChoice::Auto | DeviceChoice::Cpu, _) => found(Devices::cpu(threads)?),
    }
}

/// The first card of this machine that can be used.
///
/// # Errors
/// Why there are no cards, or why the first of them cannot be used.
pub fn first() -> Result<Card, DeviceError> {
    let mut of_first = None;
    for number in 0..driver::cards()?.len() {
        match card(number) {
            Ok(card) => return Ok(card),
            Err(problem) => {
                // One that is too old is no news; one that failed is.
                if !matches!(problem, DeviceError::OldCard { .. }) {
                    log::warn!("cuda:{number} is left out: {problem}");
                }
                of_first = of_first.or(Some(problem));
            }
        }
    }
    Err(of_first.unwrap_or(DeviceError::Missing(
        "this machine has no CUDA device; use --device cpu".into(),
    )))
}

fn several(cards: &Cards) -> Result<Devices, DeviceError> {
    let cards = cards.numbers()?.into_iter().map(card);
    Devices::cards(cards.collect::<Result<_, _>>()?)
}

fn one(number: usize) -> Result<Devices, DeviceError> {
    Devices::cards(vec![card(number)?])
}

/// Card `cuda:number`.
///
/// # Errors
/// As [`driver::open`].
pub fn card(number: usize) -> Result<Card, DeviceError> {
    Ok(Card {
        name: format!("cuda:{number}"),
        device: driver::open(number)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_cards_only_draw() {
        let cards = Cards::Listed(vec![2, 0]);
        for task in [Task::Training, Task::Scoring] {
            let choice = DeviceChoice::Cuda(cards.clone());
            let refused = open(&choice, 1, task).err().map(|e| e.to_string());
            let words =
                "runs on one card (--device cuda:2,0 names 2); give one of them, --device cuda:2";
            assert!(
                refused.as_ref().is_some_and(|e| e.contains(words)),
                "{refused:?}"
            );
        }
        assert_eq!(Cards::Listed(vec![7]).one("training").unwrap(), 7);
        assert_eq!(Cards::First.one("training").unwrap(), 0);
    }
}
