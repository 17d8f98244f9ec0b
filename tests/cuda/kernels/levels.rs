//! The likelihood of D+D with its gradient, and the step of the shared map.

use std::sync::Arc;

use sarm::device::cuda::device::{Address, Device, Memory, Properties};
use sarm::families::sarm::cuda::ops::levels::{
    LevelsLikelihood, LevelsPlan, LevelsStage, LevelsUpdate, MapUpdate, Moments, log_widths,
};
use sarm::likelihood::Grid;
use sarm::likelihood::levels::softmax_nll;
use sarm::numeric::Real;

use crate::kernels::case::{Case, Demand, Output, Prepared, Size, poisoned};
use crate::kernels::likelihood::{
    Answer, At, Buffers, Dice, Pixels, answer, as_bf16, difference, differences, mean, widen,
};

/// What the kernels are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// Costs alone.
    Score,
    /// The map's gradient stored.
    Store,
    /// The map moved by Adam.
    Adam,
}

#[derive(Debug, Clone)]
struct Shape {
    pixels: Pixels,
    latents: usize,
    levels: usize,
    /// Shared memory of a block, KiB: little of it makes the levels come in tiles.
    shared: u32,
    /// Logits far from what an exponential can hold.
    extreme: bool,
    goal: Goal,
}

/// Cases of `kernels/sarm/levels.cu`.
pub fn cases(size: Size) -> Vec<Case> {
    let shape = |images, stages: &[(usize, usize)], latents, levels| Shape {
        pixels: Pixels {
            images,
            stages: stages.to_vec(),
            occupancy: 0.2,
        },
        latents,
        levels,
        shared: 227,
        extreme: false,
        goal: Goal::Store,
    };
    let mut shapes = Vec::new();
    match size {
        Size::Small => {
            shapes.push(shape(1, &[(1, 0)], 1, 2));
            shapes.push(shape(3, &[(5, 8)], 1, 300));
            shapes.push(shape(37, &[(9, 0), (33, 8)], 3, 20));
            shapes.push(shape(2, &[(9, 0), (300, 0)], 10, 300));
            shapes.push(shape(2, &[(40, 16)], 33, 300));
            shapes.push(shape(2, &[(40, 0)], 13, 2));
            shapes.push(shape(1, &[(1, 0); 18], 2, 3));
            let mut full = shape(2, &[(70, 0)], 10, 20);
            full.pixels.occupancy = 1.0;
            shapes.push(full.clone());
            full.pixels.occupancy = 0.0;
            shapes.push(full);
            // Several tiles a block.
            shapes.push(shape(70, &[(64, 0)], 2, 6));
            // The sums do not fit, nor all levels, nor many entries.
            for (latents, levels, shared) in [
                (10, 300, 64),
                (10, 300, 34),
                (33, 300, 24),
                (100, 20, 36),
                (300, 9, 99),
                (1024, 11, 48),
            ] {
                let mut tiled = shape(2, &[(9, 0), (20, 0)], latents, levels);
                tiled.shared = shared;
                shapes.push(tiled);
            }
            for shared in [227, 12] {
                let mut ragged = shape(21, &[(5, 0), (12, 0)], 3, 40);
                ragged.shared = shared;
                shapes.push(ragged);
            }
            let mut extreme = shape(2, &[(40, 0)], 3, 50);
            extreme.extreme = true;
            shapes.push(extreme.clone());
            extreme.shared = 10;
            shapes.push(extreme);
            for goal in [Goal::Score, Goal::Adam] {
                let mut other = shape(3, &[(9, 0), (40, 0)], 10, 20);
                other.goal = goal;
                shapes.push(other);
            }
        }
        Size::Full => {
            for latents in [10, 100] {
                for images in [128, 1024, 8192] {
                    let mut jets = shape(images, &[], latents, 300);
                    jets.pixels = Pixels::jets(images);
                    jets.goal = Goal::Adam;
                    shapes.push(jets);
                }
            }
        }
    }
    shapes
        .into_iter()
        .map(|shape| Case {
            name: format!(
                "levels/{}x{:?}/u{}/n{}/{}KiB/{}/{:?}{}",
                shape.pixels.images,
                shape.pixels.stages.iter().map(|s| s.0).collect::<Vec<_>>(),
                shape.latents,
                shape.levels,
                shape.shared,
                shape.pixels.occupancy,
                shape.goal,
                if shape.extreme { "/extreme" } else { "" },
            ),
            prepare: Box::new(move |device| prepare(device, &shape, size)),
        })
        .collect()
}

/// Map `[levels, latents]` and bias of every stage, one after another, in `T`.
type Maps<T> = Vec<Vec<T>>;

struct Problem<'a> {
    shape: &'a Shape,
    grid: Grid,
    targets: &'a [u32],
}

impl Problem<'_> {
    /// Costs, derivatives by the latents, and by map and bias in the layout of `maps`.
    fn answer<T: Real>(
        &self,
        outputs: &[Vec<T>],
        maps: &Maps<T>,
        store: fn(f64) -> f64,
    ) -> (Answer, Maps<T>) {
        let (u, n) = (self.shape.latents, self.shape.levels);
        let pixels = &self.shape.pixels;
        let scale = T::of(1.0 / pixels.images as f64);
        let mut sums: Maps<T> = maps.iter().map(|m| vec![T::of(0.0); m.len()]).collect();
        let values = |At { stage: s, .. }, target: u32, z: &[T], g: &mut [T]| {
            let level = target as usize - 1;
            let (map, bias) = maps[s].split_at(n * u);
            let dot = |row: &[T]| {
                let mut sum = T::of(0.0);
                for (w, z) in row.iter().zip(z) {
                    sum += *w * *z;
                }
                sum
            };
            let mut logits: Vec<T> = (0..n)
                .map(|i| dot(&map[i * u..(i + 1) * u]) + bias[i])
                .collect();
            let cost = softmax_nll(&mut logits, level);
            g.fill(T::of(0.0));
            for (i, d) in logits.iter().enumerate() {
                for j in 0..u {
                    g[j] += *d * map[i * u + j];
                    sums[s][i * u + j] += *d * scale * z[j];
                }
                sums[s][n * u + i] += *d * scale;
            }
            cost + T::of(self.grid.log_width(level))
        };
        let answer = answer(pixels, 1 + u, self.targets, outputs, store, values);
        (answer, sums)
    }
}

fn prepare(device: &Arc<dyn Device>, shape: &Shape, size: Size) -> Prepared {
    let Shape {
        pixels,
        latents: u,
        levels: n,
        goal,
        ..
    } = shape;
    let (u, n) = (*u, *n);
    let gradient = *goal != Goal::Score;
    let grid = Grid::new(n, 2.0, 300.0);
    let mut dice = Dice::new((u * 1000 + n) as u32);
    let targets = pixels.targets(&mut dice, |dice| 1 + (dice.unit() * n as f32) as u32);
    let spread = if shape.extreme { 60.0 } else { 1.0 };
    let outputs = pixels.outputs(1 + u, &mut dice, |dice, row| {
        row[0] = dice.normal() * 3.0;
        row[1..]
            .iter_mut()
            .for_each(|v| *v = dice.normal() * spread);
    });
    let stages = pixels.stages.len();
    let maps: Maps<f32> = (0..stages)
        .map(|_| (0..n * (u + 1)).map(|_| dice.normal()).collect())
        .collect();

    let card = Properties {
        shared_per_block: shape.shared << 10,
        ..device.properties().clone()
    };
    let counts: Vec<usize> = pixels.stages.iter().map(|s| s.0).collect();
    let plan = LevelsPlan::new(u, n, &counts, pixels.images, &card);
    let buffers = Buffers::new(device, pixels, 1 + u, &targets, &outputs, gradient);
    let widths = Memory::from(device, &log_widths(&grid)).unwrap();
    let map = |maps: &Maps<f32>| -> Vec<Arc<Memory<f32>>> {
        maps.iter()
            .map(|m| Arc::new(Memory::from(device, m).unwrap()))
            .collect()
    };
    let values = map(&maps);
    let sums: Vec<_> = (0..stages)
        .map(|s| poisoned::<f32>(device, plan.sums(s)))
        .collect();
    let list: Vec<LevelsStage> = (0..stages)
        .map(|s| LevelsStage {
            output: buffers.stages[s],
            map: values[s].address(),
            bias: values[s].at(n * u),
            sums: if gradient {
                sums[s].address()
            } else {
                Address::NULL
            },
        })
        .collect();
    let mut launches = LevelsLikelihood {
        plan: &plan,
        log_widths: widths.address(),
        map_pitch: u,
        batch: buffers.batch,
        stages: &list,
    }
    .launches();

    // Moments as of some steps already made.
    let moments = |dice: &mut Dice| -> Maps<f32> {
        maps.iter()
            .map(|m| m.iter().map(|_| (dice.unit() + 0.1) * 1e-2).collect())
            .collect()
    };
    let (first, second) = (moments(&mut dice), moments(&mut dice));
    // What decaying weights keep, 0.5, is nothing to the map.
    let rates = [[0.0f32; 3], [1e-3, 1.7, 0.5]];
    let cursor = Memory::from(device, &[1u32]).unwrap();
    let rate_memory = Memory::from(device, &rates.concat()).unwrap();
    let updated: Vec<[Arc<Memory<f32>>; 3]> = match goal {
        Goal::Adam => (0..stages)
            .zip(map(&first).into_iter().zip(map(&second)))
            .map(|(s, (first, second))| [Arc::clone(&values[s]), first, second])
            .collect(),
        _ => maps
            .iter()
            .map(|m| std::array::from_fn(|_| Arc::new(poisoned::<f32>(device, m.len()))))
            .collect(),
    };
    let updates: Vec<(Address, MapUpdate)> = updated
        .iter()
        .zip(&sums)
        .map(|([value, first, second], sums)| {
            let moments = |i| Moments {
                value: value.at(i),
                first: first.at(i),
                second: second.at(i),
            };
            let update = match goal {
                Goal::Adam => MapUpdate::Adam {
                    map: moments(0),
                    bias: moments(n * u),
                },
                _ => MapUpdate::Store {
                    map: value.at(0),
                    bias: value.at(n * u),
                },
            };
            (sums.address(), update)
        })
        .collect();
    if gradient {
        launches.extend(
            LevelsUpdate {
                plan: &plan,
                map_pitch: u,
                stages: &updates,
                rates: rate_memory.address(),
                cursor: cursor.address(),
            }
            .launches(),
        );
    }

    let mut results = Vec::new();
    if size == Size::Small {
        let problem = Problem {
            shape,
            grid,
            targets: &targets,
        };
        let mut wide = widen(&outputs);
        let mut wide_maps = widen(&maps);
        let (exact, exact_maps) = problem.answer(&wide, &wide_maps, |v| v);
        let (naive, naive_maps) = problem.answer(&outputs, &maps, as_bf16);
        let small = pixels.images * pixels.places() * n * u < 40_000 && !shape.extreme;
        let (mut by_latents, mut by_maps) = (Vec::new(), vec![Vec::new(); stages]);
        if small && gradient {
            by_latents = differences(&mut wide, &exact, |outputs| {
                mean(&problem.answer(outputs, &wide_maps, |v| v).0.nll)
            });
            for s in 0..stages.min(2) {
                for i in (0..n * (u + 1)).step_by(n * (u + 1) / 8 + 1) {
                    let mut row = wide_maps[s].clone();
                    let mut of = |row: &[f64]| {
                        wide_maps[s].copy_from_slice(row);
                        mean(&problem.answer(&wide, &wide_maps, |v| v).0.nll)
                    };
                    by_maps[s].push((i, difference(&mut row, i, &mut of)));
                }
            }
        }
        results = buffers.outputs(&exact, &naive, by_latents);
        for s in 0..if gradient { stages } else { 0 } {
            let naive: Vec<f64> = naive_maps[s].iter().map(|v| f64::from(*v)).collect();
            if *goal == Goal::Store {
                results.push(Output {
                    differences: by_maps[s].clone(),
                    ..Output::of("map", &updated[s][0], exact_maps[s].clone(), naive)
                });
                continue;
            }
            let (exact, naive) = (
                adam(&maps[s], &first[s], &second[s], &exact_maps[s], rates[1]),
                adam(&maps[s], &first[s], &second[s], &naive_maps[s], rates[1]),
            );
            for (i, name) in ["map", "first moments", "second moments"]
                .into_iter()
                .enumerate()
            {
                let (exact, naive) = (exact[i].clone(), naive[i].clone());
                results.push(Output::of(name, &updated[s][i], exact, naive));
            }
        }
    }
    let positives = pixels.images as f64 * pixels.places() as f64 * f64::from(pixels.occupancy);
    Prepared {
        launches,
        outputs: results,
        demand: Demand {
            // Forward, back to the latents, back to the map.
            matrix_operations: positives * 6.0 * (n * (u + 1)) as f64,
            bytes: pixels.bytes(1 + u),
        },
        memory: vec![
            buffers.keep(),
            Box::new((widths, values, sums, cursor, rate_memory, updated)),
        ],
    }
}

/// Parameters and moments after a step of Adam in `T`, by the rule's constants as f32 holds them.
pub fn adam<T: Real>(
    value: &[f32],
    first: &[f32],
    second: &[f32],
    gradient: &[T],
    rates: [f32; 3],
) -> [Vec<f64>; 3] {
    let of = |v: f32| T::of(f64::from(v));
    let (beta_1, beta_2) = (of(0.9), of(0.999));
    let one = T::of(1.0);
    let mut after: [Vec<f64>; 3] = Default::default();
    for (i, g) in gradient.iter().enumerate() {
        let m = beta_1 * of(first[i]) + (one - beta_1) * *g;
        let v = beta_2 * of(second[i]) + (one - beta_2) * *g * *g;
        // In f64 either way: the rounding to T is all that is left of the difference.
        let root = T::of((v * of(rates[1])).to_f64().sqrt());
        let moved = of(value[i]) - of(rates[0]) * m / (root + T::of(1e-8));
        for (to, v) in after.iter_mut().zip([moved, m, v]) {
            to.push(v.to_f64());
        }
    }
    after
}
