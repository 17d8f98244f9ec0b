//! Which engine to run on: what `--device` asks for, and what this machine has.

use std::fmt;
use std::str::FromStr;

use super::cpu::CpuEngine;
use super::cuda::{CudaEngine, driver};
use super::several::SeveralEngines;
use super::{Engine, EngineError, Sampler, SamplingPlan};
use crate::model::Model;

/// What `--device` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A card for training and drawing if there is one, else the CPU, which alone scores in float32.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// Cards.
    Cuda(Cards),
}

/// Cards of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cards {
    /// Number 0.
    First,
    /// Those of these numbers, each once.
    Listed(Vec<u16>),
    /// All that are new enough.
    All,
}

impl Cards {
    /// Their numbers, at least one.
    fn numbers(&self) -> Result<Vec<usize>, EngineError> {
        Ok(match self {
            Self::First => vec![0],
            Self::Listed(numbers) => numbers.iter().map(|n| usize::from(*n)).collect(),
            Self::All => {
                let cards = driver::cards()?;
                let usable = |number: &usize| cards[*number].capability >= driver::OLDEST_CARD;
                let numbers: Vec<_> = (0..cards.len()).filter(usable).collect();
                match numbers.is_empty() {
                    // Opening it says what is wrong.
                    true => vec![0],
                    false => numbers,
                }
            }
        })
    }

    /// The number of the one card for `work`, which several cannot share.
    ///
    /// # Errors
    ///
    /// [`EngineError::Device`] where they are several, or none of all.
    pub fn one(&self, work: &str) -> Result<usize, EngineError> {
        match self.numbers()?.as_slice() {
            [number] => Ok(*number),
            numbers => Err(EngineError::Device(format!(
                "{work} runs on one card (--device {self} names {}); give one of them, --device cuda:{}",
                numbers.len(),
                numbers.first().copied().unwrap_or(0)
            ))),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = match text {
            "auto" => return Ok(Self::Auto),
            "cpu" => return Ok(Self::Cpu),
            "cuda" => return Ok(Self::Cuda(Cards::First)),
            "cuda:all" => return Ok(Self::Cuda(Cards::All)),
            _ => text.strip_prefix("cuda:"),
        };
        let number = |text: &str| {
            // Numbers may carry a sign, devices do not.
            let digits = Some(text).filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
            digits.and_then(|t| t.parse().ok())
        };
        let numbers: Vec<u16> = numbers
            .and_then(|list| list.split(',').map(number).collect())
            .ok_or("give auto, cpu, cuda, cuda:N, several as cuda:N,M,.. or cuda:all, with N, M = 0, 1 ..")?;
        match (1..numbers.len()).find(|i| numbers[..*i].contains(&numbers[*i])) {
            Some(i) => Err(format!("card {} is named twice; name it once", numbers[i])),
            None => Ok(Self::Cuda(Cards::Listed(numbers))),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Auto => write!(f, "auto"),
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda(cards) => cards.fmt(f),
        }
    }
}

impl fmt::Display for Cards {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::First => write!(f, "cuda"),
            Self::All => write!(f, "cuda:all"),
            Self::Listed(numbers) => {
                let numbers: Vec<_> = numbers.iter().map(u16::to_string).collect();
                write!(f, "cuda:{}", numbers.join(","))
            }
        }
    }
}

/// What an engine is wanted for: not every engine can do everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Training.
    Training,
    /// Likelihoods of given images.
    Scoring,
    /// Drawing images.
    Sampling,
}

/// An engine, and what its user should hear about the choice.
pub struct Opened {
    /// The engine.
    pub engine: Box<dyn Engine>,
    /// Why `auto` took the CPU, in a program that was built to use cards.
    pub remark: Option<String>,
}

/// The engine that `choice` asks for, able to do `work`; `threads` as for [`CpuEngine::new`].
///
/// # Errors
///
/// [`EngineError::Device`] where there is no such device; several cards for what one alone does.
pub fn open(choice: &DeviceChoice, threads: usize, work: Work) -> Result<Opened, EngineError> {
    let cpu = |remark| {
        Ok(Opened {
            engine: Box::new(CpuEngine::new(threads)?),
            remark,
        })
    };
    let found = |engine| {
        Ok(Opened {
            engine,
            remark: None,
        })
    };
    match (choice, work) {
        (DeviceChoice::Cuda(cards), Work::Sampling) => found(several(cards)?),
        (DeviceChoice::Cuda(cards), Work::Training) => found(cuda(cards.one("training")?)?),
        (DeviceChoice::Cuda(cards), Work::Scoring) => found(cuda(cards.one("scoring")?)?),
        (DeviceChoice::Auto, Work::Training | Work::Sampling) if driver::BUILT => match cuda(0) {
            Ok(engine) => found(engine),
            Err(problem) => cpu(Some(format!("running on the CPU: {problem}"))),
        },
        (DeviceChoice::Auto | DeviceChoice::Cpu, _) => cpu(None),
    }
}

/// What [`open`] gives for drawing, with a sampler of `model`.
///
/// Under `auto` a model that the card cannot draw is drawn on the CPU, unless `plan` limits the card's memory.
///
/// # Errors
///
/// As for [`open`] and [`Engine::sampler`].
pub fn open_sampler(
    choice: &DeviceChoice,
    threads: usize,
    model: &Model,
    plan: &SamplingPlan,
) -> Result<(Opened, Box<dyn Sampler>), EngineError> {
    let opened = open(choice, threads, Work::Sampling)?;
    let chosen_here = *choice == DeviceChoice::Auto && opened.engine.cards() > 0;
    match opened.engine.sampler(model, plan) {
        Err(EngineError::Device(problem)) if chosen_here && plan.max_memory.is_none() => {
            let mut opened = open(&DeviceChoice::Cpu, threads, Work::Sampling)?;
            opened.remark = Some(format!("running on the CPU: {problem}"));
            let sampler = opened.engine.sampler(model, plan)?;
            Ok((opened, sampler))
        }
        sampler => Ok((opened, sampler?)),
    }
}

/// One engine for all of `cards`.
fn several(cards: &Cards) -> Result<Box<dyn Engine>, EngineError> {
    let numbers = cards.numbers()?;
    if let [number] = numbers[..] {
        return cuda(number);
    }
    let engines = numbers
        .into_iter()
        .map(|number| Ok((format!("cuda:{number}"), cuda(number)?)))
        .collect::<Result<_, EngineError>>()?;
    Ok(Box::new(SeveralEngines::new(engines)?))
}

fn cuda(number: usize) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(CudaEngine::new(driver::open(number)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_parsed_and_printed() {
        for text in [
            "auto",
            "cpu",
            "cuda",
            "cuda:0",
            "cuda:13",
            "cuda:0,1",
            "cuda:3,0,12",
            "cuda:all",
        ] {
            let choice: DeviceChoice = text.parse().unwrap();
            assert_eq!(choice.to_string(), text);
        }
        for text in [
            "",
            "gpu",
            "CUDA",
            "cuda:",
            "cuda:-1",
            "cuda:+1",
            "cuda: 1",
            "cuda:1.0",
            "cuda:99999",
            "cpu:0",
            "cuda0",
            "cuda:0,",
            "cuda:,1",
            "cuda:0 1",
            "cuda:0,all",
            "cuda:ALL",
            "cuda:1,0,1",
            "cuda:1,01",
        ] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
    }

    #[test]
    fn several_cards_only_draw() {
        let cards = Cards::Listed(vec![2, 0]);
        for work in [Work::Training, Work::Scoring] {
            let choice = DeviceChoice::Cuda(cards.clone());
            let refused = open(&choice, 1, work).err().map(|e| e.to_string());
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
