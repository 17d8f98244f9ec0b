//! The two likelihoods of one positive pixel, with gradients and drawing; elements are pixels.

mod common;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sarm::families::sarm::Values;
use sarm::likelihood;
use sarm::likelihood::{Mixture, levels};
use sarm::numeric::{Isa, Kernel, Vector};
use sarm::random::{Purpose, normal, unit, words};

/// Runs a computation with the engine's instruction set, as the engine runs it.
macro_rules! kernel {
    ($name:ident { $($field:ident: $kind:ty),* }, $output:ty, $me:ident => $body:expr) => {
        struct $name<'a> { $($field: $kind),* }
        impl Kernel for $name<'_> {
            type Output = $output;
            #[inline(always)]
            fn run<V: Vector>($me) -> $output { $body }
        }
    };
}

kernel!(Nll { mixture: Mixture, pixels: &'a [(f32, f32, f32)], values: &'a [f32] }, f32, self => {
    let mut sum = 0.0;
    for (x, v) in self.pixels.iter().zip(self.values.chunks_exact(3 * self.mixture.components)) {
        sum += self.mixture.nll(x.0, v);
    }
    sum
});
kernel!(NllAndGradient {
    mixture: Mixture, pixels: &'a [(f32, f32, f32)], values: &'a [f32], gradient: &'a mut [f32]
}, f32, self => {
    let mut sum = 0.0;
    for (x, v) in self.pixels.iter().zip(self.values.chunks_exact(self.gradient.len())) {
        sum += self.mixture.nll_and_gradient(x.0, v, black_box(self.gradient));
    }
    sum
});
kernel!(Draw { mixture: Mixture, pixels: &'a [(f32, f32, f32)], values: &'a [f32] }, f32, self => {
    let mut sum = 0.0;
    for (x, v) in self.pixels.iter().zip(self.values.chunks_exact(3 * self.mixture.components)) {
        sum += self.mixture.draw(v, x.1, x.2);
    }
    sum
});
kernel!(Softmax { logits: &'a mut [f32], levels: &'a [usize] }, f32, self => {
    let mut sum = 0.0;
    let n = self.logits.len() / self.levels.len();
    for (l, level) in self.logits.chunks_exact_mut(n).zip(self.levels) {
        sum += levels::softmax_nll(l, *level);
    }
    sum
});
kernel!(DrawLevel { logits: &'a mut [f32] }, usize, self => {
    let mut sum = 0;
    let n = self.logits.len() / PIXELS;
    for (i, l) in self.logits.chunks_exact_mut(n).enumerate() {
        sum += levels::draw(l, (i as f32 + 0.5) / PIXELS as f32);
    }
    sum
});

const PIXELS: usize = 1000;

fn numbers(count: usize, scale: f64) -> Vec<f32> {
    (0..count as u64)
        .map(|i| (scale * normal(words(8, Purpose::Synthetic, i, 1))[0]) as f32)
        .collect()
}

fn gate(c: &mut Criterion) {
    let logits = numbers(PIXELS, 2.0);
    let mut group = c.benchmark_group("gate");
    group.throughput(Throughput::Elements(PIXELS as u64));
    group.bench_function("nll and gradient", |b| {
        b.iter(|| {
            let cost =
                |(i, g): (usize, &f32)| likelihood::gate(*g, if i % 10 == 0 { 1.0 } else { -1.0 });
            let all = logits.iter().enumerate().map(cost);
            all.fold((0.0, 0.0), |sum, c| (sum.0 + c.0, sum.1 + c.1))
        })
    });
}

fn mixture(c: &mut Criterion) {
    let Values::Mixture(mixture) = common::jets("jets-dc").values() else {
        unreachable!("jets-dc is D+C")
    };
    let p = 3 * mixture.components;
    let values = numbers(PIXELS * p, 1.0);
    let pixels: Vec<(f32, f32, f32)> = (0..PIXELS as u64)
        .map(|i| {
            let w = words(8, Purpose::Synthetic, i, 2);
            (-3.0 * unit(w[0]).ln(), unit(w[1]), unit(w[2]))
        })
        .collect();
    let mut gradient = vec![0.0f32; p];
    let mut group = c.benchmark_group("D+C, 5 components");
    group.throughput(Throughput::Elements(PIXELS as u64));
    let isa = Isa::best();
    let (pixels, values) = (&pixels[..], &values[..]);
    group.bench_function("nll", |b| {
        b.iter(|| {
            isa.dispatch(Nll {
                mixture,
                pixels,
                values,
            })
        })
    });
    group.bench_function("nll and gradient", |b| {
        b.iter(|| {
            let gradient = &mut gradient;
            isa.dispatch(NllAndGradient {
                mixture,
                pixels,
                values,
                gradient,
            })
        })
    });
    group.bench_function("draw", |b| {
        b.iter(|| {
            isa.dispatch(Draw {
                mixture,
                pixels,
                values,
            })
        })
    });
}

fn softmax(c: &mut Criterion) {
    let Values::Levels(grid) = common::jets("jets-dd").values() else {
        unreachable!("jets-dd is D+D")
    };
    let n = grid.len();
    let logits = numbers(PIXELS * n, 1.5);
    let levels_of: Vec<usize> = (0..PIXELS as u64)
        .map(|i| words(8, Purpose::Synthetic, i, 3)[0] as usize % n)
        .collect();
    let mut group = c.benchmark_group(format!("D+D, {n} levels"));
    group.throughput(Throughput::Elements(PIXELS as u64));
    // The logits become the derivatives: a fresh copy for every run, made outside the clock.
    let (isa, levels) = (Isa::best(), &levels_of[..]);
    group.bench_function("nll and gradient", |b| {
        b.iter_batched_ref(
            || logits.clone(),
            |logits| isa.dispatch(Softmax { logits, levels }),
            BatchSize::LargeInput,
        )
    });
    group.bench_function("draw", |b| {
        b.iter_batched_ref(
            || logits.clone(),
            |logits| isa.dispatch(DrawLevel { logits }),
            BatchSize::LargeInput,
        )
    });
}

criterion_group! { name = benches; config = common::criterion(); targets = gate, mixture, softmax }
criterion_main!(benches);
