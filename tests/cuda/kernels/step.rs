//! The end of a step.

use std::sync::Arc;

use sarm::device::cuda::device::{Address, Device, Memory};
use sarm::device::cuda::ops::step::FinishStep;

use crate::kernels::case::{Case, Demand, Output, Prepared, Size, poisoned};
use crate::kernels::likelihood::{Dice, mean};

/// Cases of `kernels/common/step.cu`.
pub fn cases(size: Size) -> Vec<Case> {
    let shapes: &[(usize, usize)] = match size {
        Size::Small => &[(1, 1), (5, 3), (31, 64), (70, 2), (1500, 4)],
        Size::Full => &[(128, 4), (1024, 4), (8192, 4)],
    };
    shapes
        .iter()
        .copied()
        .map(|(images, parts)| Case {
            name: format!("step/{images}x{parts}"),
            prepare: Box::new(move |device| finish(device, images, parts)),
        })
        .collect()
}

fn finish(device: &Arc<dyn Device>, images: usize, parts: usize) -> Prepared {
    const STEP: u32 = 2;
    let mut dice = Dice::new(images as u32);
    let nll: Vec<f32> = (0..images * parts).map(|_| dice.unit() * 300.0).collect();
    let costs: Vec<f64> = (0..images)
        .map(|i| {
            nll.iter()
                .skip(i)
                .step_by(images)
                .map(|v| f64::from(*v))
                .sum()
        })
        .collect();
    let naive: Vec<f64> = (0..images)
        .map(|i| f64::from(nll.iter().skip(i).step_by(images).sum::<f32>()))
        .collect();
    let loss = mean(&costs);
    let nll = Memory::from(device, &nll).unwrap();
    let image_nll = Arc::new(poisoned::<f64>(device, images));
    let losses = Arc::new(Memory::from(device, &[-1.0f64; 4]).unwrap());
    let cursor = Arc::new(Memory::from(device, &[STEP]).unwrap());
    let of = |image_nll, losses, cursor| {
        FinishStep {
            nll: nll.address(),
            parts,
            images,
            image_nll,
            losses,
            cursor,
        }
        .launch()
    };
    // Twice: as a step of a training, and as a batch that is scored.
    let launches = vec![
        of(Address::NULL, losses.address(), cursor.address()),
        of(image_nll.address(), Address::NULL, Address::NULL),
    ];
    let with_loss = |loss| vec![-1.0, -1.0, loss, -1.0];
    let (wanted, rounded) = (with_loss(loss), with_loss(mean(&naive)));
    let outputs = vec![
        Output::of("image_nll", &image_nll, costs, naive),
        Output::of("losses", &losses, wanted, rounded),
        Output::exactly("cursor", &cursor, vec![f64::from(STEP + 1)]),
    ];
    Prepared {
        launches,
        outputs,
        demand: Demand {
            matrix_operations: 0.0,
            bytes: (images * parts * 8 + images * 8) as f64,
        },
        memory: vec![Box::new((nll, image_nll, losses, cursor))],
    }
}
