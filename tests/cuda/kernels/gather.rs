//! Batches out of the resident data set.

use std::sync::Arc;

use half::bf16;
use sarm::device::cuda::device::{Address, Device, Memory};
use sarm::families::sarm::cuda::ops::gather::{Gather, Resident};
use sarm::random::{Purpose, permutation, unit, words};

use crate::kernels::case::{Case, Demand, Output, Prepared, Size, poisoned};

struct Shape {
    images: usize,
    places: usize,
    conditions: usize,
    channels: usize,
    /// Columns beyond those needed.
    padding: usize,
    batch: usize,
    /// Which batch; `None`: no cursor.
    step: Option<u32>,
    occupancy: f32,
    /// What is left of totals is known.
    limited: bool,
    /// Before zeros too.
    filled: bool,
}

/// Cases of `kernels/sarm/gather.cu`.
pub fn cases(size: Size) -> Vec<Case> {
    let shape =
        |images, places, [conditions, channels]: [usize; 2], padding, batch, step, occupancy| {
            Shape {
                images,
                places,
                conditions,
                channels,
                padding,
                batch,
                step,
                occupancy,
                limited: conditions == 2,
                filled: false,
            }
        };
    let filled = |shape| Shape {
        filled: true,
        ..shape
    };
    let shapes = match size {
        Size::Small => vec![
            shape(5, 1, [0, 1], 0, 3, None, 0.5),
            shape(9, 17, [2, 2], 8, 7, Some(1), 0.3),
            shape(12, 40, [1, 3], 0, 4, Some(2), 1.0),
            shape(6, 625, [3, 1], 16, 5, Some(0), 0.1),
            shape(4, 9, [40, 4], 0, 2, Some(1), 0.0),
            filled(shape(7, 70, [2, 1], 0, 6, Some(1), 0.1)),
            filled(shape(5, 33, [2, 1], 0, 5, None, 0.9)),
            filled(shape(3, 64, [2, 1], 0, 3, None, 0.0)),
        ],
        Size::Full => [128, 1024, 8192]
            .into_iter()
            .flat_map(|batch| {
                let jets = || shape(20_000, 625, [2, 1], 0, batch, Some(1), 0.1);
                [jets(), filled(jets())]
            })
            .collect(),
    };
    shapes.into_iter().map(case).collect()
}

fn case(shape: Shape) -> Case {
    Case {
        name: format!(
            "gather/{}x{}x{}+{}{}",
            shape.batch,
            shape.places,
            shape.channels,
            shape.conditions,
            match (shape.limited, shape.filled) {
                (_, true) => "/filled",
                (true, _) => "/limited",
                _ => "",
            }
        ),
        prepare: Box::new(move |device| prepare(device, &shape)),
    }
}

fn prepare(device: &Arc<dyn Device>, shape: &Shape) -> Prepared {
    let (n, c, channels) = (shape.places, shape.conditions, shape.channels);
    let random = |i: usize, item: usize| {
        let w = words(21, Purpose::Synthetic, i as u64, item as u32);
        [unit(w[1]), unit(w[2])]
    };
    let (mut start, mut place, mut shown, mut target) = (vec![0u64], vec![], vec![], vec![]);
    for image in 0..shape.images {
        for p in 0..n {
            let [a, b] = random(image, p);
            if a < shape.occupancy {
                place.push(p as u16);
                shown.extend((0..channels).map(|k| bf16::from_f32(b + k as f32)));
                // GeV, where they are taken from what is left.
                target.push(match shape.filled {
                    true => (b * 3.0 + 0.1).to_bits(),
                    false => 1 + (b * 1e6) as u32,
                });
            }
        }
        start.push(place.len() as u64);
    }
    let conditions: Vec<bf16> = (0..shape.images * c)
        .map(|i| bf16::from_f32(random(i, 1 << 20)[0] - 0.5))
        .collect();
    let steps = shape.step.map_or(1, |s| s as usize + 2);
    let rows: Vec<u32> = (0..steps)
        .flat_map(|s| permutation(3, Purpose::Shuffle, s as u32, shape.images))
        .cycle()
        .take(steps * shape.batch)
        .collect();
    let totals: Vec<f32> = (0..shape.images)
        .map(|i| 100.0 + random(i, 1 << 22)[0])
        .collect();
    let limit: Vec<f32> = match shape.filled {
        false => (0..place.len()).map(|i| random(i, 1 << 21)[0]).collect(),
        // What is left, of some pixels with the sign of those that take all of it.
        true => (0..shape.images)
            .flat_map(|image| {
                let mut left = totals[image];
                let entries = start[image] as usize..start[image + 1] as usize;
                let before: Vec<f32> = entries
                    .map(|i| {
                        let sign = if i % 3 == 0 { -1.0 } else { 1.0 };
                        let before = sign * left;
                        left -= f32::from_bits(target[i]);
                        before
                    })
                    .collect();
                before
            })
            .collect(),
    };
    // Some images never come to their end.
    let certain: Vec<u32> = (0..shape.images)
        .map(|image| {
            let last = place[start[image] as usize..start[image + 1] as usize].last();
            match image % 3 {
                0 => n as u32,
                _ => last.map_or(0, |p| u32::from(*p) + 1),
            }
        })
        .collect();
    let pitch = (channels * n + c).next_multiple_of(8) + shape.padding;

    let (mut shown_wanted, mut target_wanted, mut limit_wanted) = (vec![], vec![], vec![]);
    let first = shape.step.unwrap_or(0) as usize * shape.batch;
    let mut positives = 0;
    for row in &rows[first..first + shape.batch] {
        let row = *row as usize;
        let mut s = vec![0.0; pitch];
        let mut t = vec![0.0; n];
        let mut l = vec![0.0; n];
        if shape.limited {
            t[certain[row] as usize..].fill(f64::from(u32::MAX));
        }
        for (to, v) in s.iter_mut().zip(&conditions[row * c..(row + 1) * c]) {
            *to = v.to_f64();
        }
        for i in start[row] as usize..start[row + 1] as usize {
            for k in 0..channels {
                s[c + channels * usize::from(place[i]) + k] = shown[channels * i + k].to_f64();
            }
            t[usize::from(place[i])] = f64::from(target[i]);
            if shape.limited {
                l[usize::from(place[i])] = f64::from(limit[i]);
            }
            positives += 1;
        }
        shown_wanted.extend(s);
        target_wanted.extend(t);
        if shape.filled {
            let mut left = totals[row];
            let mut entries = start[row] as usize..start[row + 1] as usize;
            let mut next = entries.next();
            for (p, l) in l.iter_mut().enumerate() {
                match next.filter(|i| usize::from(place[*i]) == p) {
                    Some(i) => {
                        left -= f32::from_bits(target[i]);
                        next = entries.next();
                    }
                    None => *l = f64::from(left),
                }
            }
        }
        limit_wanted.extend(l);
    }

    let starts = Memory::from(device, &start).unwrap();
    let places = Memory::from(device, &place).unwrap();
    let showns = Memory::from(device, &shown).unwrap();
    let targets = Memory::from(device, &target).unwrap();
    let conditions = Memory::from(device, &conditions).unwrap();
    let limits = Memory::from(device, &limit).unwrap();
    let certains = Memory::from(device, &certain).unwrap();
    let totals = Memory::from(device, &totals).unwrap();
    let rows = Memory::from(device, &rows).unwrap();
    let cursor = shape.step.map(|s| Memory::from(device, &[s]).unwrap());
    let shown_out = Arc::new(poisoned::<bf16>(device, shape.batch * pitch));
    let target_out = Arc::new(poisoned::<u32>(device, shape.batch * n));
    let limit_out = Arc::new(Memory::<f32>::zeros(device, shape.batch * n).unwrap());
    let known = |address: Address| match shape.limited {
        true => address,
        false => Address::NULL,
    };
    let launch = Gather {
        data: Resident {
            start: starts.address(),
            place: places.address(),
            shown: showns.address(),
            target: targets.address(),
            limit: known(limits.address()),
            certain: known(certains.address()),
            total: match shape.filled {
                true => totals.address(),
                false => Address::NULL,
            },
            conditions: if c > 0 {
                conditions.address()
            } else {
                Address::NULL
            },
            condition_count: c,
            channels,
            places: n,
        },
        rows: rows.address(),
        cursor: cursor.as_ref().map_or(Address::NULL, Memory::address),
        batch: shape.batch,
        shown: shown_out.address(),
        pitch,
        target: target_out.address(),
        limit: known(limit_out.address()),
    }
    .launch();
    Prepared {
        launches: vec![launch],
        outputs: vec![
            Output::exactly("shown", &shown_out, shown_wanted),
            Output::exactly("target", &target_out, target_wanted),
            // As it was, where there is no positive pixel, unless it is filled.
            Output::exactly("limit", &limit_out, limit_wanted),
        ],
        demand: Demand {
            matrix_operations: 0.0,
            bytes: (shape.batch * (2 * pitch + 4 * n + 2 * c + 12) + positives * (6 + 2 * channels))
                as f64,
        },
        memory: vec![
            Box::new((starts, places, showns, targets, limits, certains, totals)),
            Box::new((conditions, rows, cursor)),
        ],
    }
}
