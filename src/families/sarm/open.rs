//! Which engine to run on.

use super::cpu::CpuEngine;
use super::cuda::CudaEngine;
use super::several::SeveralEngines;
use super::{Engine, Sarm};
use crate::device::cuda::driver;
use crate::device::{Cards, DeviceChoice, EngineError};
use crate::family::{Sampler, SamplingPlan};

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
    model: &Sarm,
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
