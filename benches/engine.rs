//! The network on the processor: one masked layer, the likelihood of images, a training step.

mod common;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sarm::families::sarm::cpu::{CpuEngine, MaskedLayer};
use sarm::family::Trainer;
use sarm::numeric::Isa;
use sarm::random::{Purpose, normal, words};

/// The widest hidden layer of the jets network (616 units), 64 images, one thread.
fn layer(c: &mut Criterion) {
    let images = 64;
    let model = common::jets("jets-dc");
    let number = |what| {
        move |image: usize, unit: usize| {
            let w = words(3, Purpose::Synthetic, image as u64, unit as u32);
            normal(w)[what] as f32
        }
    };
    let mut group = c.benchmark_group("masked layer, 1 thread");
    group.throughput(Throughput::Elements(images as u64));
    for isa in Isa::available() {
        let mut layer = MaskedLayer::new(isa, &model, 1, 2, images);
        layer.set_inputs(number(0));
        group.bench_function(format!("forward, {}", isa.name()), |b| {
            b.iter(|| layer.forward())
        });
        layer.forward();
        layer.set_derivatives(number(1));
        group.bench_function(format!("backward, {}", isa.name()), |b| {
            b.iter_batched_ref(|| layer.clone(), |l| l.backward(), BatchSize::LargeInput)
        });
    }
}

/// NLL alone, gradients alone, and whole steps, at the paper's batch of 128.
fn training(c: &mut Criterion) {
    let batch = common::size(128, 20);
    for name in ["jets-dc", "jets-dd"] {
        let model = common::jets(name);
        let data = common::data(&model, 4 * batch);
        let engine = CpuEngine::new(0).unwrap();
        let mut trainer = engine.cpu_trainer(&model, data);
        let mut next = 0;
        let mut rows = move || -> Vec<u32> {
            next = (next + 1) % 4;
            (0..batch as u32).map(|i| next * batch as u32 + i).collect()
        };
        let mut group = c.benchmark_group(format!("{name}, {}", engine.cpu().describe()));
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function("forward and likelihood", |b| {
            b.iter(|| trainer.nll(&rows()).unwrap())
        });
        group.bench_function("gradients", |b| {
            b.iter(|| trainer.gradients(&rows()).unwrap())
        });
        group.bench_function("training step", |b| {
            b.iter(|| trainer.step(&rows(), 1e-5.into()).unwrap())
        });
    }
}

criterion_group! { name = benches; config = common::criterion(); targets = layer, training }
criterion_main!(benches);
