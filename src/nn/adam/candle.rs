//! Adam steps in place: candle's optimizer makes a dozen new tensors per parameter and step, which takes longer than the
//! network itself.

use std::sync::Mutex;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Var, bail};
use rayon::prelude::*;

use crate::nn::adam::AdamRule;
use crate::nn::layers::numbers;

/// Moments of all parameters.
pub(crate) struct Adam {
    learning_rate: f32,
    steps: u64,
    parameters: Vec<(Var, Moments)>,
}

#[derive(Default)]
struct Moments {
    first: Vec<f32>,
    second: Vec<f32>,
}

/// Numbers of a parameter that one task updates.
const TASK: usize = 1 << 14;

impl Adam {
    pub fn new(parameters: &[Var], learning_rate: f64) -> Self {
        let moments = |var: &Var| Moments {
            first: vec![0.0; var.elem_count()],
            second: vec![0.0; var.elem_count()],
        };
        Self {
            learning_rate: learning_rate as f32,
            steps: 0,
            parameters: parameters.iter().map(|p| (p.clone(), moments(p))).collect(),
        }
    }

    /// One step down `gradients`.
    pub fn step(&mut self, gradients: &GradStore) -> Result<()> {
        self.steps += 1;
        let rule = AdamRule::new(self.learning_rate.into(), self.steps);
        for (parameter, moments) in &mut self.parameters {
            if let Some(gradient) = gradients.get(parameter) {
                let step = Step {
                    rule,
                    moments: Mutex::new(moments),
                };
                parameter.inplace_op2(&gradient.contiguous()?, &step)?;
            }
        }
        Ok(())
    }
}

/// The update of one parameter. The lock is for candle, which shares operations.
struct Step<'a> {
    rule: AdamRule,
    moments: Mutex<&'a mut Moments>,
}

impl InplaceOp2 for Step<'_> {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(
        &self,
        values: &mut CpuStorage,
        _: &Layout,
        gradient: &CpuStorage,
        layout: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(values), Ok(mut moments)) = (values, self.moments.lock()) else {
            bail!("a parameter is not in float32")
        };
        let rule = self.rule;
        let Moments { first, second } = &mut **moments;
        (values
            .par_chunks_mut(TASK)
            .zip(numbers(gradient, layout)?.par_chunks(TASK)))
        .zip(first.par_chunks_mut(TASK).zip(second.par_chunks_mut(TASK)))
        .for_each(|((values, gradient), (first, second))| {
            rule.step(values, first, second, gradient);
        });
        Ok(())
    }
}
