//! Which engine to run on: what `--device` asks for, and what this machine has.

use std::fmt;
use std::str::FromStr;

use super::cpu::CpuEngine;
use super::cuda::{self, CudaEngine, driver};
use super::{Engine, EngineError};

/// What `--device` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A card for training if there is one, else the CPU, which alone scores in float32 and draws.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// Card number N, 0 unless given.
    Cuda(Option<u16>),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => return Ok(Self::Auto),
            "cpu" => return Ok(Self::Cpu),
            "cuda" => return Ok(Self::Cuda(None)),
            _ => {}
        }
        text.strip_prefix("cuda:")
            // Numbers may carry a sign, devices do not.
            .filter(|number| number.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|number| number.parse().ok())
            .map(|number| Self::Cuda(Some(number)))
            .ok_or_else(|| "give auto, cpu, cuda or cuda:N with N = 0, 1 ..".into())
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Auto => write!(f, "auto"),
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda(None) => write!(f, "cuda"),
            Self::Cuda(Some(number)) => write!(f, "cuda:{number}"),
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
pub fn open(choice: DeviceChoice, threads: usize, work: Work) -> Result<Opened, EngineError> {
    let cpu = |remark| {
        Ok(Opened {
            engine: Box::new(CpuEngine::new(threads)?),
            remark,
        })
    };
    match (choice, work) {
        (DeviceChoice::Cuda(_), Work::Sampling) => Err(cuda::no_sampler()),
        (DeviceChoice::Cuda(number), _) => Ok(Opened {
            engine: cuda(number.unwrap_or(0))?,
            remark: None,
        }),
        (DeviceChoice::Auto, Work::Training) if driver::BUILT => match cuda(0) {
            Ok(engine) => Ok(Opened {
                engine,
                remark: None,
            }),
            Err(problem) => cpu(Some(format!("running on the CPU: {problem}"))),
        },
        (DeviceChoice::Auto | DeviceChoice::Cpu, _) => cpu(None),
    }
}

fn cuda(number: u16) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(CudaEngine::new(driver::open(number.into())?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_parsed_and_printed() {
        for text in ["auto", "cpu", "cuda", "cuda:0", "cuda:13"] {
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
        ] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
    }
}
