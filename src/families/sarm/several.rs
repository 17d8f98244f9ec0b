//! Several devices as one engine.

use std::sync::Arc;

use super::{Engine, Sarm};
use crate::conditions::ConditionedImages;
use crate::device::EngineError;
use crate::family::several::Several;
use crate::family::{Sampler, SamplingPlan, Trainer};

/// Engines whose samplers share the drawing. They train and score nothing: that is done on one device.
pub struct SeveralEngines {
    engines: Vec<(String, Box<dyn Engine>)>,
}

impl SeveralEngines {
    /// Engines by name, of the same arithmetic.
    ///
    /// # Errors
    ///
    /// [`EngineError::Mismatch`] where two would draw different images.
    pub fn new(engines: Vec<(String, Box<dyn Engine>)>) -> Result<Self, EngineError> {
        let mut pairs = engines.iter().zip(engines.iter().skip(1));
        let differ = pairs.find(|(a, b)| a.1.arithmetic() != b.1.arithmetic());
        match differ {
            Some((a, b)) => Err(EngineError::Mismatch(format!(
                "{} and {} would draw different images (in {}, and in {}); give devices of one kind",
                a.0,
                b.0,
                a.1.arithmetic(),
                b.1.arithmetic()
            ))),
            None => Ok(Self { engines }),
        }
    }
}

fn one_alone<T>(work: &str) -> Result<T, EngineError> {
    Err(EngineError::Device(format!(
        "{work} runs on one device, not on several; give one"
    )))
}

impl Engine for SeveralEngines {
    fn describe(&self) -> String {
        let described: Vec<_> = self.engines.iter().map(|(_, e)| e.describe()).collect();
        match described.as_slice() {
            [first, others @ ..] if others.iter().all(|d| d == first) => {
                format!("{} x {first}", described.len())
            }
            _ => described.join(" + "),
        }
    }

    fn arithmetic(&self) -> String {
        (self.engines.first()).map_or(String::new(), |(_, engine)| engine.arithmetic())
    }

    fn cards(&self) -> usize {
        self.engines.iter().map(|(_, engine)| engine.cards()).sum()
    }

    fn trainer(
        &self,
        _: &Sarm,
        _: Arc<ConditionedImages>,
    ) -> Result<Box<dyn Trainer>, EngineError> {
        one_alone("training")
    }

    fn sampler(&self, model: &Sarm, plan: &SamplingPlan) -> Result<Box<dyn Sampler>, EngineError> {
        let samplers = self
            .engines
            .iter()
            .map(|(name, engine)| Ok((name.clone(), engine.sampler(model, plan)?)))
            .collect::<Result<_, EngineError>>()?;
        Ok(Box::new(Several::new(samplers)?))
    }

    fn score(&self, _: &Sarm, _: Arc<ConditionedImages>) -> Result<Vec<f64>, EngineError> {
        one_alone("scoring")
    }
}
