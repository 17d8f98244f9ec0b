//! Which devices to run on: what `--device` asks for, and what this machine has.

use std::fmt;
use std::str::FromStr;

use super::DeviceError;
use super::cuda::driver;

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
    pub(super) fn numbers(&self) -> Result<Vec<usize>, DeviceError> {
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
    /// [`DeviceError::Unsupported`] where they are several; why there are none of all.
    pub fn one(&self, work: &str) -> Result<usize, DeviceError> {
        match self.numbers()?.as_slice() {
            [number] => Ok(*number),
            numbers => Err(DeviceError::Unsupported(format!(
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
}
