//! What does not fit, what is refused, and cards that are lost.

use std::sync::Arc;

use sarm::device::cuda::device::Device;
use sarm::families::sarm::Engine;
use sarm::families::sarm::cuda::CudaEngine;
use sarm::family::Trainer;
use sarm::run::train::{Silent, TrainPlan, train};

use super::{cases, engine, plan};
use crate::devices::{Failing, devices, under_test};
use crate::emulation::{Emulation, Kernels};
use crate::support::common::{CONFIGS, data, model};
use sarm::device::Devices;

/// A card that is lost at any moment leaves a run that goes on elsewhere, and to the same bits on a like card.
#[test]
fn a_lost_card_leaves_a_run_that_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    train(&devices(under_test()), plan(&whole, false), &mut Silent).unwrap();
    let want = std::fs::read(whole.join("model.safetensors")).unwrap();
    let mut failures = 0;
    for calls in [0, 1, 40, 150, 400, 900] {
        let out = folder.path().join(format!("{calls}"));
        let failing = devices(Failing::after(under_test(), calls));
        match train(&failing, plan(&out, false), &mut Silent) {
            Ok(_) => continue,
            Err(e) => assert!(e.to_string().contains("device is lost"), "{e}"),
        }
        failures += 1;
        let resume = out.join("state.safetensors").exists();
        train(&devices(under_test()), plan(&out, resume), &mut Silent).unwrap();
        let found = std::fs::read(out.join("model.safetensors")).unwrap();
        assert!(found == want, "lost after {calls} calls");
    }
    assert!(failures >= 4, "the card must have been lost");
}

#[test]
fn too_little_memory_is_said_with_figures() {
    let (toml, h, w) = CONFIGS[2];
    let model = model(toml, h, w, 4, 0.3);
    let data = data(&model, 41, 5, 0.3);
    let small: Arc<dyn Device> = Emulation::with(Kernels::project(), 1, 1 << 20).device();
    let error = CudaEngine::new(small)
        .trainer(&model, Arc::clone(&data))
        .err()
        .unwrap();
    let text = error.to_string();
    assert!(
        text.contains("too little free memory") && text.contains("MiB are free"),
        "{text}"
    );

    // A run that stood there is not thrown away for one that cannot begin.
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    train(&Devices::cpu(1).unwrap(), plan(&out, false), &mut Silent).unwrap();
    let before = std::fs::read(out.join("model.safetensors")).unwrap();
    let tiny = Emulation::with(Kernels::project(), 1, 1 << 16).device();
    let forced = TrainPlan {
        force: true,
        ..plan(&out, false)
    };
    let error = train(&devices(tiny), forced, &mut Silent).unwrap_err();
    assert!(
        error.to_string().contains("too little free memory"),
        "{error}"
    );
    assert!(std::fs::read(out.join("model.safetensors")).unwrap() == before);

    // Room for the parameters, not for the batch.
    let middling = Emulation::with(Kernels::project(), 1, 5 << 20).device();
    let mut trainer = CudaEngine::new(middling)
        .trainer(&model, Arc::clone(&data))
        .unwrap();
    let rows: Vec<u32> = (0..40).cycle().take(4000).collect();
    let text = trainer.step(&rows, 1e-3.into()).unwrap_err().to_string();
    assert!(
        text.contains("a batch of 4000 images") && text.contains("smaller batch"),
        "{text}"
    );
    trainer.step(&rows[..16], 1e-3.into()).unwrap();
}

/// What is said to be needed is what is allocated.
#[test]
fn memory_is_as_announced() {
    for (toml, model, data) in cases() {
        let device = Emulation::new().device();
        let before = device.free_memory().unwrap();
        let mut trainer = CudaEngine::new(Arc::clone(&device))
            .cuda_trainer(&model, &data)
            .unwrap();
        let rows: Vec<u32> = (0..32).collect();
        trainer.step(&rows, 1e-3.into()).unwrap();
        let taken = before - device.free_memory().unwrap();
        let announced = trainer.bytes(32);
        // Scratch of the backward pass is planned with its launches.
        assert!(
            taken >= announced && taken < announced + announced / 4 + 4096,
            "{toml}: {taken} bytes taken, {announced} announced"
        );
    }
}

#[test]
fn rows_beyond_the_data_are_refused() {
    let (toml, h, w) = CONFIGS[0];
    let model = model(toml, h, w, 4, 0.3);
    let data = data(&model, 5, 5, 0.3);
    let mut trainer = engine().cuda_trainer(&model, &data).unwrap();
    assert!(
        trainer
            .step(&[0, 5], 1e-3.into())
            .unwrap_err()
            .to_string()
            .contains("image 5")
    );
    assert!(
        trainer
            .nll(&[7])
            .unwrap_err()
            .to_string()
            .contains("image 7")
    );
    assert!(trainer.steps(&[], 4, 1e-3.into()).unwrap().is_empty());
    assert!(trainer.gradients(&[]).is_err());
    // More images than the kernels can count, before anything is allocated for them.
    let many = vec![0; (1 << 22) + 1];
    let text = trainer.step(&many, 1e-3.into()).unwrap_err().to_string();
    assert!(
        text.contains("a batch of 4194305 images is too large"),
        "{text}"
    );
}
