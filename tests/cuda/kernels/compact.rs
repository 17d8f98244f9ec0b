//! Drawn images in slots to sparse images.

use std::sync::Arc;

use sarm::device::cuda::device::{Device, Memory};
use sarm::device::cuda::ops::compact::Compact;
use sarm::random::{Purpose, permutation, unit, words};

use crate::kernels::case::{Case, Demand, Output, Prepared, Size, poisoned};

#[derive(Clone, Copy)]
struct Shape {
    images: usize,
    pixels: usize,
    /// Mean fraction of nonzero pixels: images have from none to twice as many.
    occupancy: f32,
    /// The prefix sums alone, of more images than the emulation could write.
    starts_only: bool,
}

/// Cases of `kernels/common/compact.cu`.
pub fn cases(size: Size) -> Vec<Case> {
    let all = |images, pixels, occupancy| Shape {
        images,
        pixels,
        occupancy,
        starts_only: false,
    };
    let starts = |images, pixels| Shape {
        starts_only: true,
        ..all(images, pixels, 0.5)
    };
    let shapes = match size {
        Size::Small => vec![
            all(1, 1, 1e9),
            all(2, 1, 0.0),
            all(7, 17, 0.5),
            all(5, 625, 0.1),
            // Every pixel of every image, with a word and a row of words that are full.
            all(6, 1024, 1e9),
            all(3, 1025, 1e9),
            all(3, 1 << 16, 0.02),
            all(1, 1 << 16, 1e9),
            // Up to a block's stride of the prefix sums, one beyond it, and more, with each of the odd ends.
            starts(4096, 9),
            starts(4097, 9),
            starts(12_286, 625),
            starts(20_003, 40_000),
        ],
        Size::Full => vec![
            all(8192, 625, 0.1),
            all(65_536, 625, 0.1),
            all(16_384, 4096, 0.1),
            starts(1 << 20, 625),
        ],
    };
    shapes.into_iter().map(case).collect()
}

fn case(shape: Shape) -> Case {
    let what = if shape.starts_only { "-starts" } else { "" };
    Case {
        name: format!("compact{what}/{}x{}", shape.images, shape.pixels),
        prepare: Box::new(move |device| prepare(device, shape)),
    }
}

fn prepare(device: &Arc<dyn Device>, shape: Shape) -> Prepared {
    let (images, pixels) = (shape.images, shape.pixels);
    let counts: Vec<u32> = (0..images as u64)
        .map(|i| {
            let share = unit(words(31, Purpose::Synthetic, i, 0)[0]) * 2.0 * shape.occupancy;
            (share * pixels as f32).min(pixels as f32) as u32
        })
        .collect();
    let mut starts = vec![0u32];
    for count in &counts {
        starts.push(starts[starts.len() - 1] + count);
    }
    let total = starts[images] as usize;

    let written = if shape.starts_only { 0 } else { images };
    let (mut slot_pixel, mut slot_value) = (vec![], vec![]);
    let (mut pixel_wanted, mut value_wanted) = (vec![], vec![]);
    for (image, count) in counts.iter().enumerate().take(written) {
        let order = permutation(5, Purpose::Synthetic, image as u32, pixels);
        let drawn = &order[..*count as usize];
        let value = |pixel: u32| unit(words(32, Purpose::Synthetic, image as u64, pixel)[0]);
        slot_pixel.extend(drawn.iter().map(|p| *p as u16));
        slot_value.extend(drawn.iter().map(|p| value(*p)));
        // The rest of a slot holds nothing that may be read.
        slot_pixel.resize((image + 1) * pixels, u16::MAX);
        slot_value.resize((image + 1) * pixels, f32::NAN);
        let mut ascending = drawn.to_vec();
        ascending.sort_unstable();
        pixel_wanted.extend(ascending.iter().map(|p| f64::from(*p)));
        value_wanted.extend(ascending.iter().map(|p| f64::from(value(*p))));
    }

    let slot_pixel = Memory::from(device, &slot_pixel).unwrap();
    let slot_value = Memory::from(device, &slot_value).unwrap();
    let counts = Memory::from(device, &counts).unwrap();
    let starts_out = Arc::new(poisoned::<u32>(device, images + 1));
    // No room for one more.
    let pixel_out = Arc::new(poisoned::<u16>(device, pixel_wanted.len()));
    let value_out = Arc::new(poisoned::<f32>(device, value_wanted.len()));
    let mut launches = Compact {
        slot_pixel: slot_pixel.address(),
        slot_value: slot_value.address(),
        counts: counts.address(),
        images,
        pixels,
        starts: starts_out.address(),
        out_pixel: pixel_out.address(),
        out_value: value_out.address(),
    }
    .launches();
    if shape.starts_only {
        launches.truncate(1);
    }
    let moved = if shape.starts_only { 0 } else { total };
    Prepared {
        launches,
        outputs: vec![
            Output::exactly(
                "starts",
                &starts_out,
                starts.iter().map(|s| f64::from(*s)).collect(),
            ),
            Output::exactly("pixels", &pixel_out, pixel_wanted),
            Output::exactly("values", &value_out, value_wanted),
        ],
        demand: Demand {
            matrix_operations: 0.0,
            bytes: (4 * images + 4 * (images + 1) + 2 * 6 * moved) as f64,
        },
        memory: vec![Box::new((slot_pixel, slot_value, counts))],
    }
}
